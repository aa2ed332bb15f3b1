package backup

import (
	"context"
	"io"
	"maps"
	"sync"
	"time"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// RestoreOptions says what is restored, and how.
type RestoreOptions struct {
	// Selection of the objects of the backup; the zero value takes all.
	Selection Selection
	// Overwrite replaces objects that are there and differ. Without it they
	// stay, and are counted as Kept.
	Overwrite bool
	// IgnoreExpiry restores objects whose time is over, too, and all of them to
	// stay. Without it an object goes when it would have gone.
	IgnoreExpiry bool
	// Parallel and Progress are as in Options.
	Parallel int
	Progress func(Progress)
}

// Restored says what a restore did.
type Restored struct {
	// Objects and Bytes were written.
	Objects, Bytes int64
	// Same is how many were there already as they are in the backup, from a
	// restore that was interrupted or because they never changed.
	Same int64
	// Kept is how many were there, differ, and stayed, and the first of them.
	Kept      int64
	FirstKept []objects.Key
	// Expired is how many were left out because their time is over.
	Expired int64
}

// Restore writes the objects of a backup into a FrameDB, the one that they are
// from or another. Each appears whole and as it was stored, or not at all:
// bytes that are not those that were backed up are an error that names the
// object. Objects that are not in the backup stay as they are. After an error,
// also of a process that died, restore again: what is there is not sent again.
//
// Errors: ErrNotFound (the backup, or one of Selection.Keys in it), ErrCorrupt,
// ErrInvalidArgument, those of the store, and those of Repository.
func (r *Repository) Restore(ctx context.Context, id wire.FrameDBID, name Name, to *objects.Store, opts RestoreOptions) (_ Restored, err error) {
	defer func() { err = ended(err); r.metrics.done("restore", err) }()
	p, h, err := r.open(ctx, id, name)
	if err != nil {
		return Restored{}, err
	}
	if opts.Selection, err = opts.Selection.normal(); err != nil {
		return Restored{}, err
	}
	if opts.Parallel, err = checkParallel(opts.Parallel); err != nil {
		return Restored{}, err
	}
	x := &restoring{repo: r, place: p, head: h, store: to, opts: opts}
	x.tracker.tell = opts.Progress
	if err := x.measure(ctx); err != nil {
		return Restored{}, err
	}
	err = each(ctx, opts.Parallel, func(send func(Entry) error) error {
		return p.entries(ctx, h, x.selected(send))
	}, x.transfer)
	r.log.Info("restored", "framedb", id, "backup", name, "objects", x.done.Objects, "bytes", x.done.Bytes,
		"same", x.done.Same, "kept", x.done.Kept, "expired", x.done.Expired, "error", err)
	return x.done, err
}

// restoring is one restore.
type restoring struct {
	repo    *Repository
	place   place
	head    head
	store   *objects.Store
	opts    RestoreOptions
	tracker tracker

	mu   sync.Mutex
	done Restored // under mu until all transfers have ended
}

func (x *restoring) selected(f func(Entry) error) func(Entry) error {
	return func(e Entry) error {
		if !x.opts.Selection.has(e.Key) {
			return nil
		}
		return f(e)
	}
}

// measure reads the whole manifest before anything is changed.
func (x *restoring) measure(ctx context.Context) error {
	missing := map[objects.Key]bool{}
	for _, k := range x.opts.Selection.Keys {
		missing[k] = true
	}
	err := x.place.entries(ctx, x.head, x.selected(func(e Entry) error {
		delete(missing, e.Key)
		x.tracker.p.TotalObjects++
		x.tracker.p.TotalBytes += e.Size
		return nil
	}))
	if err != nil {
		return err
	}
	for k := range missing {
		return wire.InField("keys", wire.Errorf(wire.CodeNotFound, "object %q is not in the backup %q", k, x.head.Name))
	}
	return nil
}

// outcome is what became of an object.
type outcome int

const (
	written outcome = iota
	same
	kept
	expired
)

func (x *restoring) transfer(ctx context.Context, e Entry) error {
	var o outcome
	var read int64 // bytes of this object that are counted
	err := again(ctx, func() (err error) {
		if read > 0 {
			x.tracker.add(Progress{Bytes: -read})
			read = 0
		}
		o, err = x.object(ctx, e, &read)
		return err
	})
	if ctx.Err() != nil && err != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return ofObject(e.Key, err)
	}
	x.count(e, o)
	x.tracker.add(Progress{Objects: 1, Bytes: e.Size - read})
	return nil
}

func (x *restoring) count(e Entry, o outcome) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch o {
	case written:
		x.done.Objects++
		x.done.Bytes += e.Size
	case same:
		x.done.Same++
	case kept:
		x.done.Kept++
		if len(x.done.FirstKept) < maxSkipped {
			x.done.FirstKept = append(x.done.FirstKept, e.Key)
		}
	case expired:
		x.done.Expired++
	}
}

// object restores one object, unless it is there.
func (x *restoring) object(ctx context.Context, e Entry, read *int64) (outcome, error) {
	if x.opts.IgnoreExpiry {
		e.Expires = time.Time{}
	}
	ttl := time.Duration(0)
	if !e.Expires.IsZero() {
		if ttl = time.Until(e.Expires).Truncate(time.Millisecond); ttl <= 0 {
			return expired, nil
		}
	}
	there, err := x.store.Stat(ctx, e.Key)
	switch {
	case err == nil && alike(there, e.Info):
		return same, nil
	case err == nil && !x.opts.Overwrite:
		return kept, nil
	case err != nil && wire.CodeOf(err) != wire.CodeNotFound && wire.CodeOf(err) != wire.CodeCorrupt:
		return 0, err
	}
	body := &pieceReader{ctx: ctx, x: x, pieces: e.Pieces, read: read}
	defer body.close()
	_, err = x.store.Put(ctx, e.Key, body, objects.PutOptions{
		Size: &e.Size, Checksum: &e.Sum, ContentType: e.ContentType, User: e.User, TTL: ttl,
		Condition: objects.Condition{IfAbsent: !x.opts.Overwrite},
	})
	if wire.CodeOf(err) == wire.CodePrecondition {
		return kept, nil // it came into being a moment ago
	}
	return written, err
}

// expirySlack is by how much an expiry that was restored may be off: clocks
// differ.
const expirySlack = 10 * time.Second

// alike reports whether an object is there as it is in the backup. What another
// program stored has no metadata to compare.
func alike(there, want objects.Info) bool {
	if there.Sum != want.Sum || there.Size != want.Size {
		return false
	}
	if want.Foreign {
		return true
	}
	off := there.Expires.Sub(want.Expires).Abs()
	return there.ContentType == want.ContentType && maps.Equal(there.User, want.User) && off <= expirySlack
}

// pieceReader reads the bytes of an object from S3; none of a piece before all
// of it was found right.
type pieceReader struct {
	ctx    context.Context // of the Put that reads
	x      *restoring
	pieces []piece
	buf    *[]byte
	left   []byte
	read   *int64
}

func (p *pieceReader) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		if len(p.pieces) == 0 {
			return 0, io.EOF
		}
		if err := p.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, p.left)
	p.left = p.left[n:]
	return n, nil
}

func (p *pieceReader) next() (err error) {
	if p.buf == nil {
		p.buf = p.x.repo.bufs.Get().(*[]byte)
	}
	if p.left, err = p.x.place.getPiece(p.ctx, p.pieces[0], *p.buf); err != nil {
		return err
	}
	p.pieces = p.pieces[1:]
	n := int64(len(p.left))
	*p.read += n
	p.x.repo.metrics.move("restore", n)
	p.x.tracker.add(Progress{Bytes: n, Moved: n})
	return nil
}

func (p *pieceReader) close() {
	if p.buf != nil {
		p.x.repo.bufs.Put(p.buf)
		p.buf, p.left = nil, nil
	}
}
