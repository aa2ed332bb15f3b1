package routing

import (
	"context"
	"sync"

	"github.com/framedb/framedb/client/wire"
)

// maxPending bounds the changes that wait in one outbox. More are merged, and
// if that is not enough they are forgotten and everything that is mapped is
// sent anew; then only removals can go unheard.
const maxPending = 65536

// Outbox holds the changes that are to be sent on one cluster's Redis, and
// outlives the publisher that empties it. Safe for concurrent use.
type Outbox struct {
	mu      sync.Mutex
	pending []Change      // guarded by mu, in order
	refresh bool          // guarded by mu: send everything that is mapped anew
	closing bool          // guarded by mu: the last change of this cluster is in
	changed chan struct{} // guarded by mu: closed and replaced at each change
	wake    func()        // guarded by mu: tells the publisher; may be nil
	woken   bool          // guarded by mu: it was told and has not looked yet
	merges  int           // guarded by mu: how often pending was rewritten
}

// NewOutbox makes an empty outbox.
func NewOutbox() *Outbox { return &Outbox{changed: make(chan struct{})} }

// OnWork sets what is called after something was put in; it must not block.
func (o *Outbox) OnWork(wake func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wake, o.woken = wake, false
}

// Add puts changes in, oldest first.
func (o *Outbox) Add(changes ...Change) {
	o.update(func() {
		o.pending = append(o.pending, changes...)
		if len(o.pending) <= maxPending {
			return
		}
		o.mergeLocked()
		if len(o.pending) > maxPending {
			o.pending, o.refresh = nil, true
		}
	})
}

// Refresh has everything that is mapped to the cluster sent anew.
func (o *Outbox) Refresh() { o.update(func() { o.refresh = !o.closing }) }

// Close says that the cluster is being removed, and that nothing follows on
// what is in already.
func (o *Outbox) Close() { o.update(func() { o.closing, o.refresh = true, false }) }

func (o *Outbox) update(f func()) {
	o.mu.Lock()
	f()
	close(o.changed)
	o.changed = make(chan struct{})
	wake, woken := o.wake, o.woken
	o.woken = true
	o.mu.Unlock()
	if wake != nil && !woken {
		wake()
	}
}

// Flush waits until the outbox was closed and emptied, or ctx ends; it reports
// whether all was sent.
func (o *Outbox) Flush(ctx context.Context) bool {
	for {
		o.mu.Lock()
		sent, changed := o.closing && len(o.pending) == 0, o.changed
		o.mu.Unlock()
		if sent {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// batch is what next took a look at.
type batch struct {
	changes []Change
	merges  int
	// refresh is true when a refresh is due and no change comes before it.
	refresh bool
}

// next returns at most limit of the oldest changes; they stay in until sent is
// called.
func (o *Outbox) next(limit int) batch {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := min(limit, len(o.pending))
	return batch{append([]Change(nil), o.pending[:n]...), o.merges, n == 0 && o.refresh}
}

// sent takes out what next gave. If it was merged with newer changes
// meanwhile, it stays and is sent again.
func (o *Outbox) sent(b batch) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if b.merges == o.merges {
		o.pending = o.pending[len(b.changes):]
	}
	close(o.changed)
	o.changed = make(chan struct{})
}

// heard notes that the publisher looks now.
func (o *Outbox) heard() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.woken = false
}

// refreshing notes that a refresh begins; what comes from here on asks for
// another.
func (o *Outbox) refreshing() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refresh = false
}

// failed merges what waits, so that a cluster that cannot be reached for long
// hears of each mapping once.
func (o *Outbox) failed() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mergeLocked()
}

func (o *Outbox) mergeLocked() {
	o.pending = compact(o.pending)
	o.merges++
}

// idle reports whether there is nothing to send.
func (o *Outbox) idle() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.pending) == 0 && !o.refresh
}

// compact merges the changes of each mapping into one, at the first one's place.
func compact(changes []Change) []Change {
	at := map[key]int{}
	var kept []Change
	for _, c := range changes {
		i, ok := at[c.key()]
		if !ok {
			at[c.key()] = len(kept)
			kept = append(kept, c)
			continue
		}
		kept[i] = merge(kept[i], c)
	}
	return kept
}

// Outboxes finds the outbox of a cluster that this node works on.
type Outboxes interface {
	Outbox(wire.ClusterName) (*Outbox, bool)
	// AllOutboxes are those of all clusters that this node works on.
	AllOutboxes() []*Outbox
}
