package instance

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/framedb/framedb/actors/routing"
)

// Record is what has to outlive a restart of an instance actor. Safe for
// concurrent use.
type Record struct {
	// Outbox holds what is to be published on the cluster's Redis.
	Outbox *routing.Outbox

	conns *Conns
	turn  Turn
	past  Past // belongs to the holder of turn

	mu      sync.Mutex
	wake    func()       // guarded by mu: pokes the actor; may be nil
	woken   bool         // guarded by mu: it was poked and has not looked yet
	waiting []chan error // guarded by mu: for a round that begins after now
	seen    Observation  // guarded by mu: the last one
	untold  error        // guarded by mu: why the last report is not in the store
}

// Turn is held by the one job that works on a cluster. It outlives the record:
// a cluster that is made anew under its old name has to wait for the old job.
type Turn chan struct{}

// NewTurn makes a turn that nobody holds.
func NewTurn() Turn { return make(Turn, 1) }

// Take waits until no other job holds the turn. The returned function ends it.
func (t Turn) Take(ctx context.Context) (end func(), err error) {
	select {
	case t <- struct{}{}:
		if ctx.Err() != nil { // both were ready
			<-t
			return nil, ctx.Err()
		}
		return func() { <-t }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// NewRecord makes the record of one cluster.
func NewRecord(password string, turn Turn) *Record {
	return &Record{Outbox: routing.NewOutbox(), conns: NewConns(password), turn: turn}
}

// Close ends the connections and whatever waits, with err.
func (r *Record) Close(err error) {
	r.conns.Close()
	r.answer(r.takeWaiting(), err)
}

// Poke asks for a round soon; it does not block, and many pokes are one.
func (r *Record) Poke() {
	r.mu.Lock()
	wake, woken := r.wake, r.woken
	r.woken = true
	r.mu.Unlock()
	if wake != nil && !woken {
		wake()
	}
}

// Round has a fresh round run and returns what it came to once its report is
// stored. The channel gets exactly one value.
func (r *Record) Round() <-chan error {
	ch := make(chan error, 1)
	r.mu.Lock()
	r.waiting = append(r.waiting, ch)
	r.mu.Unlock()
	r.Poke()
	return ch
}

func (r *Record) onPoke(wake func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wake, r.woken = wake, false
}

// heard notes that the actor looks now.
func (r *Record) heard() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.woken = false
}

func (r *Record) takeWaiting() []chan error {
	r.mu.Lock()
	defer r.mu.Unlock()
	waiting := r.waiting
	r.waiting = nil
	return waiting
}

func (r *Record) answer(waiting []chan error, err error) {
	for _, ch := range waiting {
		ch <- err
	}
}

func (r *Record) saw(o Observation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = o
}

func (r *Record) told(untold error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.untold = untold
}

// Untold returns why the store does not have what the last round saw, nil if it
// has.
func (r *Record) Untold() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.untold
}

// Seen returns the last observation and when it was made; the zero one before
// the first.
func (r *Record) Seen() (members []Member, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen.Members), r.seen.At
}
