package backup

import (
	"context"
	"sync"

	"github.com/zeebo/xxh3"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// VerifyOptions are as in Options.
type VerifyOptions struct {
	Parallel int
	Progress func(Progress)
}

// Verified says what Verify found.
type Verified struct {
	Objects, Bytes int64 // that are right
	// Damaged is how many cannot be restored, and the first of them.
	Damaged      int64
	FirstDamaged []Skipped
}

// Verify reads all bytes of a backup and compares them with what was stored.
//
// Errors: ErrCorrupt when an object is damaged, with Verified telling which;
// ErrNotFound; those of Repository.
func (r *Repository) Verify(ctx context.Context, id wire.FrameDBID, name Name, opts VerifyOptions) (_ Verified, err error) {
	defer func() { err = ended(err); r.metrics.done("verify", err) }()
	p, h, err := r.open(ctx, id, name)
	if err != nil {
		return Verified{}, err
	}
	if opts.Parallel, err = checkParallel(opts.Parallel); err != nil {
		return Verified{}, err
	}
	v := &verifying{repo: r, place: p}
	v.tracker.tell = opts.Progress
	v.tracker.p.TotalObjects, v.tracker.p.TotalBytes = h.Objects, h.Bytes
	err = each(ctx, opts.Parallel, func(send func(Entry) error) error { return p.entries(ctx, h, send) }, v.object)
	if err == nil && v.done.Damaged > 0 {
		first := v.done.FirstDamaged[0]
		err = wire.Errorf(wire.CodeCorrupt, "%d objects of the backup %q of %q are damaged, the first is %q: %s",
			v.done.Damaged, name, id, first.Key, first.Why)
	}
	return v.done, err
}

type verifying struct {
	repo    *Repository
	place   place
	tracker tracker

	mu   sync.Mutex
	done Verified // under mu until all have ended
}

// object reads one object; damage does not end the verification.
func (v *verifying) object(ctx context.Context, e Entry) error {
	err := v.read(ctx, e)
	if err != nil && wire.CodeOf(err) != wire.CodeCorrupt {
		return ofObject(e.Key, err)
	}
	v.tracker.add(Progress{Objects: 1, Bytes: e.Size, Moved: e.Size})
	v.mu.Lock()
	defer v.mu.Unlock()
	if err == nil {
		v.done.Objects++
		v.done.Bytes += e.Size
		return nil
	}
	v.done.Damaged++
	if len(v.done.FirstDamaged) < maxSkipped {
		v.done.FirstDamaged = append(v.done.FirstDamaged, Skipped{Key: e.Key, Why: err.Error()})
	}
	return nil
}

func (v *verifying) read(ctx context.Context, e Entry) error {
	buf := v.repo.bufs.Get().(*[]byte)
	defer v.repo.bufs.Put(buf)
	hash := xxh3.New128()
	for _, p := range e.Pieces {
		data, err := v.place.getPiece(ctx, p, *buf)
		if err != nil {
			return err
		}
		v.repo.metrics.move("verify", int64(len(data)))
		hash.Write(data)
	}
	if objects.Sum(hash.Sum128().Bytes()) != e.Sum {
		return wire.Errorf(wire.CodeCorrupt, "its pieces are right and it is not: its manifest was made wrong")
	}
	return nil
}
