package pool

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/sentinel"
	"github.com/framedb/framedb/client/wire"
)

// Config says what a pool opens and keeps.
type Config struct {
	Locator Locator
	// Sentinels asks who is master; nil makes one for each cluster in use.
	Sentinels *sentinel.Client
	// MaxOpen bounds the FrameDBs that are open at once; what is idle makes
	// room, and if nothing is, a call hears ErrOverloaded. More costs
	// connections: each persistent FrameDB has up to MaxConns, each cluster in
	// memory a few and two goroutines. Default 64.
	MaxOpen int
	// MaxConns bounds the connections to one persistent FrameDB. More
	// transfers wait for each other at each statement. Default 8.
	MaxConns int
	// IdleFor is how long a FrameDB stays open that nobody uses. Longer spares
	// the next caller some milliseconds, shorter the server its connections.
	// Default 1 min.
	IdleFor time.Duration
	Logger  *slog.Logger // nil is silent
}

// openWithin bounds opening one FrameDB, with all retries.
const openWithin = 30 * time.Second

// Pool keeps FrameDBs open. Safe for concurrent use.
//
// What opens a FrameDB, and what closes an idle one, runs in goroutines for
// which Close waits.
type Pool struct {
	cfg  Config
	ctx  context.Context // ends with Close
	stop context.CancelFunc
	work sync.WaitGroup

	mu     sync.Mutex
	open   map[string]*opened // guarded by mu
	closed bool               // guarded by mu
}

// opened is a FrameDB that is open, or about to be.
type opened struct {
	key   string
	ready chan struct{} // closed when backend or err is set
	// What follows is set before ready is closed.
	backend objects.Backend
	members func([]wire.Instance) // tells where they are; nil for storage
	close   func() error
	err     error

	// What follows is guarded by Pool.mu.

	place   Place
	users   int
	since   time.Time // when the last user left
	timer   *time.Timer
	retired bool // nobody gets it any more; it closes when the last user leaves
}

// New makes a pool; it opens nothing.
func New(cfg Config) *Pool {
	if cfg.MaxOpen == 0 {
		cfg.MaxOpen = 64
	}
	if cfg.MaxConns == 0 {
		cfg.MaxConns = 8
	}
	if cfg.IdleFor == 0 {
		cfg.IdleFor = time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Pool{cfg: cfg, open: map[string]*opened{}}
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p
}

// Store gives the objects of a FrameDB. It opens nothing and always succeeds:
// its methods may also give the errors of Locator, ErrOverloaded (as many
// FrameDBs are open and in use as may be) and, after Close, ErrUnavailable.
// Closing it does nothing.
func (p *Pool) Store(id wire.FrameDBID) *objects.Store {
	return objects.New(&backend{pool: p, id: id})
}

// Open is how many FrameDBs are open now.
func (p *Pool) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.open)
}

// Close closes what nobody uses and waits for that. What is in use closes with
// its last user; what is being opened is given up.
func (p *Pool) Close() error {
	p.mu.Lock()
	for _, o := range p.open {
		p.retireLocked(o)
	}
	p.closed = true // no work begins any more
	p.mu.Unlock()
	p.stop()
	p.work.Wait()
	return nil
}

// acquire gives what is open at a place, opened first if need be. Give it back
// with release, unless there is an error.
func (p *Pool) acquire(ctx context.Context, place Place) (*opened, error) {
	p.mu.Lock()
	o, err := p.takeLocked(place)
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case <-o.ready:
		err = o.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		p.release(o)
		return nil, err
	}
	return o, nil
}

func (p *Pool) takeLocked(place Place) (*opened, error) {
	if p.closed {
		return nil, wire.Errorf(wire.CodeUnavailable, "the connections to FrameDBs are closed")
	}
	key := place.key()
	o := p.open[key]
	if o != nil && !o.place.same(&place) {
		p.retireLocked(o)
		o = nil
	}
	if o == nil {
		if err := p.makeRoomLocked(); err != nil {
			return nil, err
		}
		o = &opened{key: key, place: place, ready: make(chan struct{})}
		p.open[key] = o
		p.work.Go(func() { p.connect(o, place) })
	}
	o.users++
	if o.timer != nil {
		o.timer.Stop()
	}
	p.tellMembersLocked(o, place)
	return o, nil
}

// makeRoomLocked closes the FrameDB that was idle longest when there are too
// many.
func (p *Pool) makeRoomLocked() error {
	if len(p.open) < p.cfg.MaxOpen {
		return nil
	}
	var idle *opened
	for _, o := range p.open {
		if o.users == 0 && (idle == nil || o.since.Before(idle.since)) {
			idle = o
		}
	}
	if idle == nil {
		e := wire.Errorf(wire.CodeOverloaded, "%d FrameDBs are open and in use, as many as may be: try again", len(p.open))
		e.RetryAfter = time.Second
		return e
	}
	p.retireLocked(idle)
	return nil
}

// release gives back what acquire gave. The last user of what is retired closes
// it.
func (p *Pool) release(o *opened) {
	p.mu.Lock()
	o.users--
	last := o.users == 0
	if last && !o.retired {
		p.idleLocked(o)
	}
	last = last && o.retired
	p.mu.Unlock()
	if last {
		p.shut(o)
	}
}

func (p *Pool) idleLocked(o *opened) {
	o.since = time.Now()
	if o.timer == nil {
		o.timer = time.AfterFunc(p.cfg.IdleFor, func() { p.expire(o) })
	} else {
		o.timer.Reset(p.cfg.IdleFor)
	}
}

// expire is the timer's. A user who came in the last moment keeps it open.
func (p *Pool) expire(o *opened) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o.users == 0 && time.Since(o.since) >= p.cfg.IdleFor {
		p.retireLocked(o)
	}
}

// retireLocked takes it out of the pool. It closes now, or with its last user;
// it gets no more.
func (p *Pool) retireLocked(o *opened) {
	if o.retired {
		return
	}
	o.retired = true
	delete(p.open, o.key)
	if o.timer != nil {
		o.timer.Stop()
	}
	if o.users == 0 {
		p.work.Go(func() { p.shut(o) })
	}
}

func (p *Pool) shut(o *opened) {
	<-o.ready
	if o.close == nil {
		return
	}
	if err := o.close(); err != nil {
		p.cfg.Logger.Warn("closing a FrameDB failed", "framedb", o.key, "err", err)
	}
}
