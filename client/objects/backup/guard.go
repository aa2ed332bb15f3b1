package backup

import (
	"context"
	"sync"
	"time"
)

// A run tells every touchEvery that it is at work, and reads which pieces a
// sweep has marked. Every mark lives for Grace at least, so a run that reads
// marks more often than that, without a gap, sees each mark: it does not use
// the piece, or it is spoiled. maxGap and headWithin together are well below
// Grace.
const (
	touchEvery = 5 * time.Minute
	maxGap     = 20 * time.Minute
)

// guard keeps a run from using what a sweep is going to drop.
type guard struct {
	m *making

	mu      sync.Mutex
	read    time.Time // before the last reading of marks began
	spoiled bool
}

// start begins to touch and read, in one goroutine, until stop, which waits
// for it. The context ends when the run is spoiled.
func (g *guard) start(ctx context.Context) (_ context.Context, stop func()) {
	run, cancel := context.WithCancelCause(ctx)
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(touchEvery)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
			}
			err := g.m.place.touch(run, g.m.run, g.m.opts.Name)
			if err == nil {
				err = g.check(run)
			}
			if err == errSpoiled {
				cancel(err)
				return
			}
			if err != nil {
				g.m.repo.log.Warn("a backup at work cannot say so; it tries again", "backup", g.m.opts.Name, "error", err)
			}
		}
	})
	return run, func() { close(end); wg.Wait(); cancel(nil) }
}

// check reads marks.
//
// Errors: errSpoiled.
func (g *guard) check(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	began := time.Now()
	marked, err := g.m.place.marked(ctx)
	if err != nil {
		return err
	}
	g.spoiled = g.m.index.drop(marked) || g.spoiled || tooLate(g.read, began)
	g.read = began
	if g.spoiled {
		return errSpoiled
	}
	return nil
}

// tooLate reports whether a mark may have come and gone between two readings.
// The wall clock goes on while a machine sleeps, the monotonic one does not.
func tooLate(last, now time.Time) bool {
	return max(now.Sub(last), now.Round(0).Sub(last.Round(0))) > maxGap
}
