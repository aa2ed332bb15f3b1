package spool

import (
	"sync"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// How long a caller is asked to wait when no more is taken.
const (
	retryFull     = time.Second
	retryDiskFull = 5 * time.Second
)

// Quota bounds the bytes of several logs together. A nil *Quota bounds nothing.
type Quota struct {
	max int64

	mu   sync.Mutex
	used int64 // guarded by mu
}

// NewQuota makes a quota of so many bytes.
func NewQuota(max int64) *Quota { return &Quota{max: max} }

// Used is how many bytes are taken, and of how many.
func (q *Quota) Used() (used, max int64) {
	if q == nil {
		return 0, 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.used, q.max
}

// take takes n bytes, if there are so many left or with force.
func (q *Quota) take(n int64, force bool) bool {
	if q == nil {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if !force && q.used+n > q.max {
		return false
	}
	q.used += n
	return true
}

func (q *Quota) release(n int64) {
	if q != nil {
		q.take(-n, true)
	}
}

func full(format string, args ...any) error {
	err := wire.Errorf(wire.CodeOverloaded, format, args...)
	err.RetryAfter = retryFull
	return err
}
