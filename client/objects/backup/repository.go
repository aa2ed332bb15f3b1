package backup

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// Config is what a Repository needs beside its Target.
type Config struct {
	Metrics *Metrics     // nil measures nothing
	Logger  *slog.Logger // nil is silent
}

// Repository is the backups of any number of FrameDBs at one Target. Safe for
// concurrent use, by many processes at one time, too.
//
// Errors of all its methods are *wire.Error, with Field the field of Target
// that is to be looked at where there is one: ErrForbidden (credentials),
// ErrNotFound and ErrInvalidArgument with Field "bucket", ErrUnavailable (no
// answer, untrusted certificate, clocks that differ too much), ErrDiskFull,
// ErrOverloaded, ErrTimeout, or ctx's own error; and those named at the
// methods.
type Repository struct {
	s3      *bucket
	root    string // "" or ends with '/'
	log     *slog.Logger
	metrics *Metrics
	bufs    sync.Pool // of *[]byte of PieceSize
}

// New makes a repository; it does not dial. Close it.
//
// Errors: those of Target.Validate.
func New(t Target, cfg Config) (*Repository, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	core, transport, err := t.client()
	if err != nil {
		return nil, err
	}
	r := &Repository{
		s3:  &bucket{core: core, transport: transport, name: t.Bucket},
		log: cfg.Logger, metrics: cfg.Metrics,
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.log = r.log.With("target", t.Name)
	if t.Prefix != "" {
		r.root = trimSlash(t.Prefix) + "/"
	}
	r.bufs.New = func() any { b := make([]byte, PieceSize); return &b }
	return r, nil
}

func trimSlash(s string) string {
	if s[len(s)-1] == '/' {
		return s[:len(s)-1]
	}
	return s
}

// Close closes idle connections.
func (r *Repository) Close() { r.s3.close() }

// Check finds out whether backups can be made: it writes an object, reads it,
// lists and removes it.
func (r *Repository) Check(ctx context.Context) error {
	key, data := r.root+".check-"+newRun().String(), []byte("framedb")
	if _, err := r.s3.put(ctx, key, data, false); err != nil {
		return err
	}
	got, _, err := r.s3.get(ctx, key, nil, int64(len(data)))
	if err == nil && !bytes.Equal(got, data) {
		err = wire.Errorf(wire.CodeCorrupt, "S3 gives %q for what was stored a moment ago", got)
	}
	for _, lerr := range r.s3.list(ctx, key) {
		if err == nil {
			err = lerr
		}
	}
	if rerr := r.s3.remove(ctx, key); err == nil {
		err = rerr
	}
	return err
}

// place is where the backups of one FrameDB are.
//
//	backups/<name>                         the head of a backup
//	data/<2 digits>/<sum>-<size>-<run>     a piece
//	runs/<run>                             an attempt at a backup that is at work
//	marks/<run>                            pieces that are going to be dropped
//	clock                                  written to hear what time it is there
type place struct {
	s3  *bucket
	dir string // ends with '/'
}

func (r *Repository) place(id wire.FrameDBID) (place, error) {
	if err := id.Validate(); err != nil {
		return place{}, wire.InField("framedb_id", err)
	}
	return place{s3: r.s3, dir: r.root + string(id) + "/"}, nil
}

// now is the time by the server's clock, in which ages are measured: the
// clocks of agents do not matter.
func (p place) now(ctx context.Context) (time.Time, error) {
	key := p.dir + "clock"
	if _, err := p.s3.put(ctx, key, nil, false); err != nil {
		return time.Time{}, err
	}
	_, now, err := p.s3.get(ctx, key, nil, 0)
	return now, err
}

// FrameDBs lists the FrameDBs of which there is something in the repository.
func (r *Repository) FrameDBs(ctx context.Context) ([]wire.FrameDBID, error) {
	names, err := r.s3.folders(ctx, r.root)
	if err != nil {
		return nil, err
	}
	var ids []wire.FrameDBID
	for _, n := range names {
		if id := wire.FrameDBID(n); id.Validate() == nil {
			ids = append(ids, id)
		}
	}
	return ids, nil
}
