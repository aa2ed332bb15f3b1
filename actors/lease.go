package actors

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/framedb/framedb/actors/instance"
	"github.com/framedb/framedb/client/wire"
)

// lease is this node's right to act on what its store shows. It lasts for a
// time from the moment at which the store was last asked whether it shows all
// that was acknowledged. Safe for concurrent use.
type lease struct {
	catchUp func(context.Context) error
	lasts   time.Duration
	// renewing is held by the one who asks the store, for all.
	renewing chan struct{}

	mu    sync.Mutex
	until time.Time // guarded by mu
}

var _ instance.Lease = (*lease)(nil)

var errLapsed = wire.Errorf(wire.CodeUnavailable, "the leader was not heard for too long to be certain of what this node owns")

func newLease(catchUp func(context.Context) error, lasts time.Duration) *lease {
	return &lease{catchUp: catchUp, lasts: lasts, renewing: make(chan struct{}, 1)}
}

// Stands implements instance.Lease.
func (l *lease) Stands() bool { return l.left() > 0 }

// left is by the clock that runs on while a process is stopped, and by the
// wall clock, which runs on while the machine is: the shorter of the two.
func (l *lease) left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	return min(l.until.Sub(now), l.until.Round(0).Sub(now))
}

// Hold implements instance.Lease.
func (l *lease) Hold(ctx context.Context) (held context.Context, release func(), err error) {
	if err := l.renew(ctx); err != nil {
		return nil, nil, err
	}
	held, end := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.keep(held, end)
	}()
	return held, func() { end(nil); <-ended }, nil
}

// keep renews until ctx ends, or ends it when the lease has lapsed.
func (l *lease) keep(ctx context.Context, end context.CancelCauseFunc) {
	for {
		left := l.left()
		if left <= 0 {
			end(errLapsed)
			return
		}
		select {
		case <-time.After(max(left-l.fresh(), min(left, l.lasts/50))):
		case <-ctx.Done():
			return
		}
		limited, cancel := context.WithTimeout(ctx, l.left())
		_ = l.renew(limited) // tried again until it lapses
		cancel()
	}
}

// fresh is how much has to be left for a lease to be as good as new: a third
// of its time passes between two questions to the store.
func (l *lease) fresh() time.Duration { return l.lasts * 2 / 3 }

// renew asks the store, unless another has just done so.
func (l *lease) renew(ctx context.Context) error {
	select {
	case l.renewing <- struct{}{}:
		defer func() { <-l.renewing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if l.left() > l.fresh() {
		return nil
	}
	asked := time.Now()
	ctx, cancel := context.WithTimeout(ctx, l.lasts)
	defer cancel()
	if err := l.catchUp(ctx); err != nil {
		return fmt.Errorf("make certain of what this node owns: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = asked.Add(l.lasts)
	return nil
}
