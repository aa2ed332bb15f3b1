package httpapi

import (
	"sync"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// Bounds of what the agent has in hand for all its callers. More serves more of
// them at once; all of it is memory that a node shares with its Redis, or work
// that its Redis does beside its own.
const (
	// maxFrameBytes bounds the frames that are on their way through, in or out.
	maxFrameBytes = 4 * wire.MaxFrame
	// maxAnswerBytes bounds the large answers that are made in one piece and not
	// read yet. Lists of rows are not among them: see rows.
	maxAnswerBytes = 64 << 20
	// maxListings bounds the lists of frames: each looks at every key of a
	// cluster, on the one thread that serves its readers and writers too.
	maxListings = 2
	// maxSweeps bounds the sweeps that callers wait for.
	maxSweeps = 2
	// maxStreams bounds the event streams.
	maxStreams = 4096
)

// budget admits bytes, or whatever it counts, up to a bound.
type budget struct {
	mu   sync.Mutex
	left int64 // guarded by mu
}

func newBudget(most int64) *budget { return &budget{left: most} }

// take reserves n, or gives ErrOverloaded with a time to try again.
func (b *budget) take(n int64) (*share, error) {
	s := &share{from: b}
	return s, s.resize(n)
}

// share is what one request holds of a budget; for one goroutine.
type share struct {
	from *budget
	held int64
}

// resize makes the share n in all, or gives ErrOverloaded and leaves it as it
// is. To become smaller never fails.
func (s *share) resize(n int64) error {
	b := s.from
	b.mu.Lock()
	defer b.mu.Unlock()
	if n-s.held > b.left {
		return later(wire.CodeOverloaded, "the agent has as much in hand as it may: try again")
	}
	b.left -= n - s.held
	s.held = n
	return nil
}

// release gives everything back.
func (s *share) release() { s.resize(0) }

// later is an error that asks the caller to try again in a second.
func later(code wire.Code, format string, args ...any) *wire.Error {
	e := wire.Errorf(code, format, args...)
	e.RetryAfter = time.Second
	return e
}
