package httpapi

import (
	"sync"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// maxFrameBytes bounds the frames that are on their way through the agent, in
// or out. More lets more large frames pass at once; all of it is memory that a
// node shares with its Redis.
const maxFrameBytes = 4 * wire.MaxFrame

// budget admits bytes, or whatever it counts, up to a bound.
type budget struct {
	mu   sync.Mutex
	left int64 // guarded by mu
}

func newBudget(most int64) *budget { return &budget{left: most} }

// take reserves n bytes until the function that it returns is called, or gives
// ErrOverloaded.
func (b *budget) take(n int64) (release func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.left {
		e := wire.Errorf(wire.CodeOverloaded, "the agent has as much in hand as it may: try again")
		e.RetryAfter = time.Second
		return nil, e
	}
	b.left -= n
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.left += n
	}, nil
}
