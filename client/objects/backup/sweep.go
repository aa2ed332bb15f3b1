package backup

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// How long Sweep waits, by the clock of S3.
const (
	// Abandoned is after how long without a sign a run is taken for dead. What
	// it uploaded can be used by later runs until then.
	Abandoned = 24 * time.Hour
	// Grace is for how long bytes are marked before they are dropped.
	Grace = time.Hour
)

// Swept says what a sweep did.
type Swept struct {
	Marked, Dropped int   // pieces
	Bytes           int64 // of those that were dropped
}

// Sweep frees what no backup of a FrameDB uses: what deleted backups leave and
// what interrupted runs uploaded. The first call that finds such bytes marks
// them; one that comes Grace later drops them. Call it now and then, from one
// place or many. It takes some 150 bytes of memory for each piece in S3.
//
// Errors: ErrCorrupt when a backup cannot be read, so that nobody knows what it
// uses: nothing is dropped then. Delete that backup.
func (r *Repository) Sweep(ctx context.Context, id wire.FrameDBID) (Swept, error) {
	return r.sweep(ctx, id, Abandoned, Grace)
}

func (r *Repository) sweep(ctx context.Context, id wire.FrameDBID, abandoned, grace time.Duration) (s Swept, err error) {
	defer func() { err = ended(err); r.metrics.done("sweep", err) }()
	p, err := r.place(id)
	if err != nil {
		return Swept{}, err
	}
	view, err := p.survey(ctx, id)
	if err != nil {
		return Swept{}, err
	}
	toMark, toDrop, done := view.plan(abandoned, grace)
	for batch := range slices.Chunk(toMark, maxMark) {
		if err := p.putMark(ctx, batch); err != nil {
			return s, err
		}
		s.Marked += len(batch)
	}
	err = each(ctx, DefaultParallel, func(send func(piece) error) error { return sendAll(toDrop, send) },
		func(ctx context.Context, pc piece) error { return p.s3.remove(ctx, p.data()+pc.key()) })
	if err != nil {
		return s, err
	}
	s.Dropped = len(toDrop)
	for _, pc := range toDrop {
		s.Bytes += pc.Size
	}
	if s.Marked+s.Dropped > 0 {
		r.log.Info("swept backups", "framedb", id, "marked", s.Marked, "dropped", s.Dropped, "bytes", s.Bytes)
	}
	// After what they name: an interrupted sweep finds it again.
	err = each(ctx, DefaultParallel, func(send func(string) error) error { return sendAll(done, send) },
		func(ctx context.Context, key string) error { return p.s3.remove(ctx, p.dir+key) })
	return s, err
}

func sendAll[T any](all []T, send func(T) error) error {
	for _, one := range all {
		if err := send(one); err != nil {
			return err
		}
	}
	return nil
}

// survey is what a sweep sees. The order of reading matters: a run says that
// it is at work before it uploads, and writes its head before it stops saying
// so. Pieces, runs, heads: in this order no piece of a live run is taken for
// abandoned. The time is read first, so that heads are read after a mark has
// been there for Grace.
type survey struct {
	now    time.Time
	pieces []piece
	runs   map[runID]time.Time
	marks  []mark
	used   map[piece]bool
	dir    string
}

func (p place) survey(ctx context.Context, id wire.FrameDBID) (v survey, err error) {
	v = survey{used: map[piece]bool{}, dir: p.dir}
	if v.now, err = p.now(ctx); err != nil {
		return v, err
	}
	for o, err := range p.s3.list(ctx, p.data()) {
		if err != nil {
			return v, err
		}
		if pc, ok := parsePiece(o.key); ok {
			v.pieces = append(v.pieces, pc)
		}
	}
	if v.runs, err = p.runs(ctx); err != nil {
		return v, err
	}
	if v.marks, err = p.marks(ctx); err != nil {
		return v, err
	}
	heads, err := p.heads(ctx, id)
	if err != nil {
		return v, err
	}
	for _, h := range heads {
		if h.Damaged != "" {
			return v, fmt.Errorf("nothing is freed: %w", wire.Errorf(wire.CodeCorrupt, "%s: delete that backup", h.Damaged))
		}
		if err := v.use(ctx, p, h); err != nil {
			return v, err
		}
	}
	return v, nil
}

func (v *survey) use(ctx context.Context, p place, h head) error {
	for _, pc := range h.Body {
		v.used[pc.id()] = true
	}
	err := p.entries(ctx, h, func(e Entry) error {
		for _, pc := range e.Pieces {
			v.used[pc.id()] = true
		}
		return nil
	})
	switch _, gone := p.readHead(ctx, h.FrameDB, h.Name); {
	case err == nil:
		return nil
	case wire.CodeOf(gone) == wire.CodeNotFound && wire.AsError(gone).Field == "":
		return nil // deleted while it was read
	}
	return fmt.Errorf("nothing is freed: %w", err)
}

// plan decides what is marked, what is dropped, and which files (below dir)
// have served. It is pure.
func (v survey) plan(abandoned, grace time.Duration) (toMark, toDrop []piece, done []string) {
	there := map[piece]bool{}
	for _, pc := range v.pieces {
		there[pc] = true
	}
	marked := map[piece]bool{}
	for _, m := range v.marks {
		ripe := v.now.Sub(m.modified) >= grace
		served := ripe
		for _, pc := range m.pieces {
			switch {
			case ripe && there[pc] && !v.used[pc] && !marked[pc]:
				toDrop = append(toDrop, pc)
			case there[pc] && v.used[pc]:
				// A backup came first. The mark stays until that is gone, so
				// that whoever saw the mark stays right.
				served = false
			}
			marked[pc] = true
		}
		if served {
			done = append(done, m.key[len(v.dir):])
		}
	}
	for _, pc := range v.pieces {
		seen, running := v.runs[pc.Run]
		if !v.used[pc] && !marked[pc] && !(running && v.now.Sub(seen) < abandoned) {
			toMark = append(toMark, pc)
		}
	}
	for run, seen := range v.runs {
		if v.now.Sub(seen) >= abandoned {
			done = append(done, "runs/"+run.String())
		}
	}
	return toMark, toDrop, done
}
