package ingest

import (
	"context"
	"encoding/base64"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/framedb/framedb/actors/ingest/spool"
	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/ingest"
)

// lane is the frames of one source on their way to one target, in order. They
// are written straight from memory while that goes well; otherwise, and for
// those that are to be durable, all of them go through the spool until that is
// empty again.
type lane struct {
	service *Service
	key     laneKey
	id      string // in Redis
	log     *slog.Logger

	frames, bytes atomic.Int64 // written since it was made

	opening sync.Mutex // held while the spool is opened

	mu       sync.Mutex
	target   Target        // guarded by mu: as it was last seen
	queue    []*entry      // guarded by mu: to be written
	flying   []*entry      // guarded by mu: are being written; before those in queue and spill
	spill    []*entry      // guarded by mu: to go to the spool
	spooling bool          // guarded by mu: queue is empty, and what comes goes to spill
	slow     bool          // guarded by mu: spooling because writing took too long
	spool    *spool.Log    // guarded by mu; nil until it is needed
	writing  bool          // guarded by mu: the writer runs
	spilling bool          // guarded by mu: the spiller runs
	onDisk   bool          // guarded by mu: the spiller is appending what it took from spill
	retired  bool          // guarded by mu: another lane takes its place
	full     error         // guarded by mu: why the spool took nothing, until
	fullTill time.Time     // guarded by mu
	trouble  error         // guarded by mu: why the last write failed; nil when it did not
	idle     time.Time     // guarded by mu: since when there is nothing to do
	wake     chan struct{} // holds one token: the writer is to look again
}

func newLane(s *Service, key laneKey) *lane {
	sum := xxh3.HashString128(string(key.source) + "\x00" + string(key.target)).Bytes()
	id := identity{Spool: s.id.Spool}
	return &lane{
		service: s, key: key, id: id.lane(sum[:]),
		log:  s.log.With("source", key.source, "target", key.target),
		wake: make(chan struct{}, 1),
	}
}

// lane names a lane of this spool directory.
func (id identity) lane(sum []byte) string {
	return base64.RawURLEncoding.EncodeToString(append([]byte{byte(id.Spool >> 24), byte(id.Spool >> 16), byte(id.Spool >> 8), byte(id.Spool)}, sum...))
}

// add takes entries, or settles them with why not; false asks to look for the
// lane again.
func (l *lane) add(t *Target, entries []*entry) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.retired {
		return false
	}
	l.target = *t
	paused := l.service.pressure.paused(l.key.source, t.NodeTag)
	if err := l.refusalLocked(paused); err != nil {
		for _, e := range entries {
			e.over = true
			e.call.settle(e.frame, err, false, frames.Stored{})
			l.dropLocked(e)
		}
		return true
	}
	now := time.Now()
	for _, e := range entries {
		e.at = now
		e.seq = frames.LaneSeq{Epoch: l.service.id.Epoch, N: l.service.seq.Add(1)}
		if e.acked() {
			e.call.settle(e.frame, nil, false, frames.Stored{})
		}
	}
	if !l.spooling && (paused || entries[0].level.Promise == ingest.Durable && !t.Storage) {
		l.startSpoolingLocked()
	}
	if l.spooling {
		l.spill = append(l.spill, entries...)
	} else {
		l.queue = append(l.queue, entries...)
	}
	l.kickLocked()
	return true
}

// refusalLocked is why nothing is taken now, or nil.
func (l *lane) refusalLocked(paused bool) error {
	switch {
	case l.service.writing.Err() != nil:
		return l.service.live()
	case paused && !l.service.hasSpool():
		return overloaded(time.Second, "the source is asked to wait (back-pressure), and this agent has no spool")
	case l.spooling && l.full != nil && time.Now().Before(l.fullTill):
		return l.full
	}
	return nil
}

// startSpoolingLocked sends everything that is in memory to disk, in order.
// What is being written goes, too: if it turns out to be written, the spool's
// copy changes nothing.
func (l *lane) startSpoolingLocked() {
	if l.spooling || !l.service.hasSpool() {
		return
	}
	l.spooling = true
	for _, e := range l.flying {
		e.tried = true
	}
	for _, e := range append(l.flying[:len(l.flying):len(l.flying)], l.queue...) {
		if !e.over {
			l.spill = append(l.spill, e)
		}
	}
	l.queue = nil
}

func (l *lane) startSpooling() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.startSpoolingLocked()
	l.kickLocked()
}

// tooSlow is for a write that takes too long.
func (l *lane) tooSlow() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slow = l.service.hasSpool()
	l.startSpoolingLocked()
	l.kickLocked()
}

// kickLocked starts who has something to do and does not run.
func (l *lane) kickLocked() {
	if len(l.spill) > 0 && !l.spilling {
		l.spilling = true
		l.service.work.Go(l.runSpiller)
	}
	if !l.writing && l.service.writing.Err() == nil && (len(l.queue) > 0 || l.spooling) {
		l.writing = true
		l.service.work.Go(func() { l.runWriter(l.service.writing) })
	}
	l.poke()
}

// poke has the writer look again.
func (l *lane) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// endLocked settles an entry, unless it is, and forgets its data. With err it
// failed; else it was written, or spooled.
func (l *lane) endLocked(e *entry, err error, spooled bool, s frames.Stored) {
	if e.over {
		return
	}
	e.over = true
	if !e.acked() {
		e.call.settle(e.frame, err, spooled, s)
	}
	l.dropLocked(e)
}

// holdLocked keeps an entry's data through one more use, dropLocked ends one.
func (l *lane) holdLocked(e *entry) {
	e.call.item.hold()
	e.held++
}

func (l *lane) dropLocked(e *entry) {
	if e.held--; e.held == 0 {
		e.sizes, e.pairs = nil, nil
	}
	e.call.item.drop()
}

// openSpool opens the spool if it is not open.
func (l *lane) openSpool() (*spool.Log, error) {
	l.opening.Lock()
	defer l.opening.Unlock()
	l.mu.Lock()
	log := l.spool
	l.mu.Unlock()
	if log != nil {
		return log, nil
	}
	cfg := l.service.cfg
	log, err := spool.Open(spoolOf(cfg.SpoolDir, l.key), spool.Config{
		MaxBytes: cfg.SpoolBytes, MaxAge: cfg.SpoolAge, MinFree: cfg.SpoolMinFree,
		SyncEvery: cfg.SyncEvery, Quota: l.service.quota, OnDamage: l.damaged,
	})
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spool = log
	return log, nil
}

func (l *lane) damaged(d spool.Damage) {
	if d.Torn {
		l.log.Warn("the end of the spool was not written completely when the agent died; it was not acknowledged", "damage", d)
		return
	}
	l.log.Error("the spool is damaged; what is damaged is not written", "damage", d)
	l.service.metrics.damaged.Add(float64(d.Lost))
}

// pause returns a little later: after about d, when poked, or when ctx ends.
func (l *lane) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.wake:
	case <-ctx.Done():
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// backoff is the pause after so many failures in a row.
func backoff(failures int) time.Duration {
	d := min(50*time.Millisecond<<min(failures, 10), 5*time.Second)
	return d/2 + rand.N(d/2)
}

// depth is what is in the lane.
func (l *lane) depth() (memory int, d spool.Depth) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.spool != nil {
		d = l.spool.Depth()
	}
	return len(l.queue) + len(l.flying) + len(l.spill), d
}
