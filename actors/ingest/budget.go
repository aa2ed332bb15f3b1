package ingest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// retryMemory is how long a caller is asked to wait for memory: about what it
// takes to write a few batches.
const retryMemory = 200 * time.Millisecond

// budget bounds the bytes of frames in memory.
type budget struct {
	max int64

	mu      sync.Mutex
	used    int64     // guarded by mu
	waiters []*waiter // guarded by mu: served in order
}

type waiter struct {
	n    int64
	done chan struct{} // closed when it has them
}

func newBudget(max int64) *budget { return &budget{max: max} }

// try takes n bytes. One that is larger than all there are is taken for all of
// them, so that it passes when nothing else is there.
func (b *budget) try(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiters) == 0 && b.takeLocked(n)
}

func (b *budget) takeLocked(n int64) bool {
	if n = min(n, b.max); b.used+n > b.max {
		return false
	}
	b.used += n
	return true
}

// wait takes n bytes as soon as they are there, after those who came before.
func (b *budget) wait(ctx context.Context, n int64) error {
	b.mu.Lock()
	w := &waiter{n, make(chan struct{})}
	b.waiters = append(b.waiters, w)
	b.serveLocked()
	b.mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.waiters, w); i >= 0 {
		b.waiters = slices.Delete(b.waiters, i, i+1)
		b.serveLocked()
		return ctx.Err()
	}
	return nil // it was served at the same moment
}

func (b *budget) serveLocked() {
	for len(b.waiters) > 0 && b.takeLocked(b.waiters[0].n) {
		close(b.waiters[0].done)
		b.waiters = b.waiters[1:]
	}
}

func (b *budget) release(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= min(n, b.max)
	b.serveLocked()
}

func (b *budget) inUse() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

func overloaded(after time.Duration, format string, args ...any) error {
	e := wire.Errorf(wire.CodeOverloaded, format, args...)
	e.RetryAfter = after
	return e
}
