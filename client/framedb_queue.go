package client

import (
	"context"
	"fmt"
	"sync"

	"github.com/framedb/framedb/client/wire"
)

// queue is a bounded queue whose writers wait for room. What was put before
// close is still taken.
type queue[T any] struct {
	room  chan struct{} // one element for each item
	items chan T        // as long as room, so that a put never waits here

	mu     sync.Mutex
	closed bool
}

func newQueue[T any](size int) *queue[T] {
	return &queue[T]{room: make(chan struct{}, size), items: make(chan T, size)}
}

// put waits for room. Errors: ErrOverloaded, which wraps ctx's error, when ctx
// ends first; ErrUnavailable after close.
func (q *queue[T]) put(ctx context.Context, item T) error {
	select {
	case q.room <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", wire.Errorf(wire.CodeOverloaded, "the queue is full"), ctx.Err())
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		<-q.room
		return errDBClosed()
	}
	q.items <- item
	return nil
}

// take waits for an item; more is false when the queue is closed and empty.
func (q *queue[T]) take() (item T, more bool) {
	item, more = <-q.items
	if more {
		<-q.room
	}
	return item, more
}

// close refuses further items.
func (q *queue[T]) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.closed = true
		close(q.items)
	}
}
