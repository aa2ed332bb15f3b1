package objects

import (
	"context"
	"io"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// Store is the objects of one FrameDB. Safe for concurrent use.
//
// Errors of all its methods are *wire.Error: those of Backend and, for a bad
// argument, ErrInvalidArgument with the field named. What was refused changed
// nothing.
type Store struct{ backend Backend }

// New gives the objects that a backend holds.
func New(b Backend) *Store { return &Store{backend: b} }

// PutOptions says how an object is stored.
type PutOptions struct {
	// Size and Checksum announce what is going to come; nil when not known.
	// An object that turns out otherwise is refused: ErrInvalidArgument with
	// Field "size", or ErrChecksum.
	Size     *int64
	Checksum *Sum
	// ChecksumAtEnd, if not nil, is asked for the checksum when all bytes have
	// come; nil when there is none after all. Its error comes back as r's would.
	ChecksumAtEnd func() (*Sum, error)
	// ContentType and User are kept with the object.
	ContentType string
	User        map[string]string
	// TTL is after how long the object goes, in whole milliseconds; 0 keeps it.
	TTL time.Duration
	Condition
}

func (o PutOptions) validate() error {
	if o.Size != nil && *o.Size < 0 {
		return wire.InField("size", wire.Errorf(wire.CodeInvalidArgument, "it is negative"))
	}
	if o.Size != nil && *o.Size > MaxSize {
		return tooLarge()
	}
	if o.TTL < 0 || o.TTL > 0 && o.TTL < time.Millisecond {
		return wire.InField("ttl", wire.Errorf(wire.CodeInvalidArgument, "give 0, or at least 1 ms"))
	}
	if o.IfAbsent && (o.IfPresent || len(o.IfMatch) > 0) {
		return wire.InField("if_absent", wire.Errorf(wire.CodeInvalidArgument, "it cannot hold together with if-match"))
	}
	return checkMetadata(o.ContentType, o.User)
}

// Put stores what r gives until io.EOF under the key, instead of what is
// there. Nobody sees the object before it is whole; of two writers of one key
// the later one's whole object stays. An error of r comes back wrapped, and
// nothing is changed. At most 32 MiB of the object are in memory.
//
// Errors beside those of Store: ErrPrecondition, ErrChecksum, ErrTooLarge (more
// than MaxSize, or than the database takes), ErrConflict (the upload stood
// still for so long that it was swept), r's own.
func (s *Store) Put(ctx context.Context, key Key, r io.Reader, opts PutOptions) (Info, error) {
	if err := key.Validate(); err != nil {
		return Info{}, err
	}
	if err := opts.validate(); err != nil {
		return Info{}, err
	}
	return s.backend.Put(ctx, key, newSource(r, opts), opts)
}

// GetOptions says what is read.
type GetOptions struct {
	// Range is a part of the object; nil for all.
	Range *Range
	// IfMatch, when not empty, must hold the checksum of the object.
	IfMatch []Sum
}

// Get opens an object. Close the reader. ctx governs reading, too.
//
// Errors beside those of Store: ErrNotFound, ErrPrecondition, ErrRange; and
// see Reader.
func (s *Store) Get(ctx context.Context, key Key, opts GetOptions) (*Reader, error) {
	if err := key.Validate(); err != nil {
		return nil, err
	}
	obj, err := s.backend.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	r, err := newReader(ctx, obj, opts)
	if err != nil {
		obj.Close()
		return nil, err
	}
	return r, nil
}

// Stat tells what is known of an object.
//
// Errors beside those of Store: ErrNotFound.
func (s *Store) Stat(ctx context.Context, key Key) (Info, error) {
	if err := key.Validate(); err != nil {
		return Info{}, err
	}
	return s.backend.Stat(ctx, key)
}

// Exists reports whether there is an object under the key.
func (s *Store) Exists(ctx context.Context, key Key) (bool, error) {
	_, err := s.Stat(ctx, key)
	if wire.CodeOf(err) == wire.CodeNotFound {
		return false, nil
	}
	return err == nil, err
}

// List gives a page of the objects whose keys begin with a prefix. An object
// that is there all the time is on at least one of the pages.
func (s *Store) List(ctx context.Context, opts ListOptions) (Page, error) {
	if len(opts.Prefix) > MaxKey || !printable(opts.Prefix) {
		return Page{}, wire.InField("prefix", wire.Errorf(wire.CodeInvalidArgument, "it is no beginning of a key"))
	}
	if opts.Limit < 0 || opts.Limit > MaxPage {
		return Page{}, wire.InField("limit", wire.Errorf(wire.CodeInvalidArgument, "give 1 to %d", MaxPage))
	}
	if opts.Limit == 0 {
		opts.Limit = MaxPage
	}
	return s.backend.List(ctx, opts)
}

// Delete takes an object away.
//
// Errors beside those of Store: ErrNotFound (a condition that needs an object
// gives ErrPrecondition instead), ErrPrecondition.
func (s *Store) Delete(ctx context.Context, key Key, cond Condition) error {
	if err := key.Validate(); err != nil {
		return err
	}
	if cond.IfAbsent {
		return wire.InField("if_absent", wire.Errorf(wire.CodeInvalidArgument, "nothing can be deleted if it is absent"))
	}
	return s.backend.Delete(ctx, key, cond)
}

// Sweep frees abandoned uploads, replaced bodies and expired objects. Call it
// now and then, from one place or many; zero ages are taken as they are. What
// it did not come to, the next call does.
func (s *Store) Sweep(ctx context.Context, ages SweepAges) (Swept, error) {
	return s.backend.Sweep(ctx, ages)
}

// Close closes the backend.
func (s *Store) Close() error { return s.backend.Close() }
