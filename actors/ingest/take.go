package ingest

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
)

// Grant is memory for frames that are still to be read. It is given to Ingest,
// or released.
type Grant struct {
	from *budget
	n    int64
}

// Admit takes memory for n bytes of frames, before they are read.
//
// Errors: ErrOverloaded with RetryAfter, ErrUnavailable when the service does
// not run.
func (s *Service) Admit(n int64) (*Grant, error) {
	if err := s.live(); err != nil {
		return nil, err
	}
	if !s.memory.try(n) {
		s.metrics.refused.WithLabelValues("memory").Inc()
		return nil, overloaded(retryMemory, "the agent has as many frames in memory as it may: try again")
	}
	return &Grant{s.memory, n}, nil
}

// Grow makes a grant n bytes larger.
//
// Errors: as Admit; the grant is as it was then.
func (s *Service) Grow(g *Grant, n int64) error {
	more, err := s.Admit(n)
	if err == nil {
		g.add(more)
	}
	return err
}

// add makes one grant of two.
func (g *Grant) add(o *Grant) *Grant {
	if g == nil {
		return o
	}
	if o != nil {
		g.n, o.n = g.n+o.n, 0
	}
	return g
}

// Release gives the memory back; nil is nothing.
func (g *Grant) Release() {
	if g != nil {
		g.from.release(g.n)
		g.n = 0
	}
}

// Options say how frames are taken.
type Options struct {
	// Level is what is acknowledged; the zero level is what the source is
	// configured to.
	Level ingest.Level
	// Grant is memory that was admitted for the data of these frames. Ingest
	// releases it, whatever comes; nil has Ingest admit them.
	Grant *Grant
	// Done, unless nil, is called once when nobody needs the frames' data any
	// more, which may be long after Ingest has returned. It must neither block nor
	// call the service.
	Done func()
}

// Ingest takes frames of a source, in order, and returns when each reached the
// level that was asked for, or failed; results are in the order of the frames.
// One bad frame does not keep the others. The data must not be changed any
// more; see Options.Done.
//
// An error means that no frame was taken, except ctx's: then frames without a
// result are ErrOutcomeUnknown, and repeating the call stores none twice.
//
// Errors: ErrNotFound (the source), ErrInvalidArgument (source or level),
// ErrOverloaded with RetryAfter, ErrUnavailable (the service does not run);
// ctx's. Of a frame: ErrInvalidArgument or ErrTooLarge with the field named;
// ErrOverloaded with RetryAfter (memory and disk are full); ErrUnavailable or
// ErrOutcomeUnknown (there is no spool, or replicas are missing: Field
// "replicas").
func (s *Service) Ingest(ctx context.Context, source wire.SourceID, fs []ingest.Frame, opts Options) ([]ingest.Result, error) {
	c := &call{service: s, source: source, frames: fs, opts: opts, start: time.Now()}
	if err := c.begin(); err != nil {
		opts.Grant.Release()
		if opts.Done != nil {
			opts.Done()
		}
		return nil, err
	}
	c.enqueue()
	c.item.drop() // the call's own hold
	select {
	case <-c.settled:
		return c.results, nil
	case <-ctx.Done():
	}
	return c.soFar(), ctx.Err()
}

// call is one Ingest.
type call struct {
	service *Service
	source  wire.SourceID
	frames  []ingest.Frame
	opts    Options
	level   ingest.Level
	route   Route
	start   time.Time
	item    item // what all of the call holds

	mu      sync.Mutex
	results []ingest.Result // guarded by mu until settled is closed
	waits   []int           // guarded by mu: targets that each frame waits for
	left    int             // guarded by mu: frames that wait
	settled chan struct{}
}

// item counts who still needs some frames' data.
type item struct {
	holds atomic.Int64
	free  func()
}

func (i *item) hold() { i.holds.Add(1) }

func (i *item) drop() {
	if i.holds.Add(-1) == 0 {
		i.free()
	}
}

// begin checks what concerns the whole call, and takes memory.
func (c *call) begin() error {
	s := c.service
	if err := s.live(); err != nil {
		return err
	}
	if err := c.source.Validate(); err != nil {
		return wire.InField("source", err)
	}
	if err := c.opts.Level.Validate(); err != nil {
		return wire.InField("level", err)
	}
	var err error
	if c.route, err = s.cfg.Router.Route(c.source); err != nil {
		return err
	}
	if len(c.route.Targets) == 0 {
		return wire.Errorf(wire.CodeNotFound, "source %q has no mapping", c.source)
	}
	c.level = c.route.Settings.level(c.opts.Level)
	if c.opts.Grant == nil {
		n := int64(0)
		for i := range c.frames {
			n += int64(c.frames[i].Bytes())
		}
		if c.opts.Grant, err = s.Admit(n); err != nil {
			return err
		}
	}
	c.item.hold()
	c.item.free = func() {
		c.frames = nil // who still holds the call need not hold the data
		c.opts.Grant.Release()
		if c.opts.Done != nil {
			c.opts.Done()
		}
	}
	c.results = make([]ingest.Result, len(c.frames))
	c.waits = make([]int, len(c.frames))
	c.settled = make(chan struct{})
	return nil
}

// enqueue gives each frame to the lanes of its targets.
func (c *call) enqueue() {
	perLane := make([][]*entry, len(c.route.Targets))
	c.mu.Lock()
	c.left = len(c.frames)
	for i := range c.frames {
		entries, err := c.entries(i)
		if err != nil {
			c.results[i].Error = wire.AsError(err)
			c.service.metrics.failed.WithLabelValues(string(wire.CodeOf(err))).Inc()
			c.settleLocked(i)
			continue
		}
		c.results[i].Level = c.level
		for t, e := range entries {
			if e != nil {
				c.waits[i]++
				perLane[t] = append(perLane[t], e)
			}
		}
		if c.waits[i] == 0 { // it has no reader anywhere
			c.settleLocked(i)
		}
	}
	if len(c.frames) == 0 {
		close(c.settled)
	}
	c.mu.Unlock()
	for t, entries := range perLane {
		if len(entries) > 0 {
			c.deliver(&c.route.Targets[t], entries)
		}
	}
}

// entries makes what of frame i goes to each target; nil where it has no reader.
func (c *call) entries(i int) ([]*entry, error) {
	f := &c.frames[i]
	if f.Key != (wire.FrameKey{}) {
		c.results[i].Frame = f.Key.String()
	}
	if err := f.Check(c.source); err != nil {
		return nil, err
	}
	settings := &c.route.Settings
	out := make([]*entry, len(c.route.Targets))
	kept := make([][]ingest.Size, len(out))
	for t := range c.route.Targets {
		target := &c.route.Targets[t]
		var err error
		if kept[t], err = settings.sizesOf(f, target); err != nil {
			return nil, err
		}
		if c.level.Promise == ingest.Durable && !target.Storage && !c.service.hasSpool() {
			return nil, wire.InField("level", wire.Errorf(wire.CodeInvalidArgument, "this agent has no spool, and %s is in memory: ask for another level", target.Name))
		}
	}
	named := *f
	token := c.service.name(c.source, &named)
	c.results[i].Frame = named.Key.String()
	for t := range out {
		target := &c.route.Targets[t]
		count := settings.countOf(f, target)
		if count == 0 && !target.Storage {
			continue
		}
		e := &entry{call: c, frame: i, level: c.level, key: named.Key, token: token, sizes: kept[t], count: count, ttl: f.TTL}
		if e.ttl == 0 {
			e.ttl = time.Duration(settings.TTLMS) * time.Millisecond
		}
		e.complete(target.Storage)
		if target.Storage {
			if err := checkObjects(e.pairs); err != nil {
				return nil, err
			}
		}
		out[t] = e
	}
	return out, nil
}

// deliver gives entries to the lane of a target.
func (c *call) deliver(t *Target, entries []*entry) {
	for _, e := range entries {
		c.item.hold()
		e.held = 1
	}
	for {
		l := c.service.lane(laneKey{c.source, t.Name})
		if l.add(t, entries) {
			return
		}
		sleep(context.Background(), time.Millisecond) // it is being closed
	}
}

// settle notes what became of frame i at one target.
func (c *call) settle(i int, err error, spooled bool, s frames.Stored) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &c.results[i]
	switch {
	case err != nil && r.Error == nil:
		r.Error = wire.AsError(err)
		c.service.metrics.failed.WithLabelValues(string(r.Error.Code)).Inc()
	case spooled:
		r.Level = ingest.Level{Promise: ingest.Durable}
	}
	if s.Duplicate {
		r.Duplicate, r.Frame = true, s.Frame
	}
	if c.waits[i]--; c.waits[i] == 0 {
		c.settleLocked(i)
	}
}

func (c *call) settleLocked(i int) {
	r := &c.results[i]
	if r.Error != nil {
		r.Level, r.Duplicate = ingest.Level{}, false
	} else {
		c.service.metrics.accepted(c, &c.frames[i], r)
	}
	if c.left--; c.left == 0 {
		close(c.settled)
	}
}

// soFar is the results of a call that is not waited for any more.
func (c *call) soFar() []ingest.Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]ingest.Result, len(c.results))
	for i := range out {
		out[i] = c.results[i]
		if c.waits[i] > 0 {
			out[i] = ingest.Result{Frame: c.results[i].Frame, Error: wire.Errorf(wire.CodeOutcomeUnknown,
				"the call ended before the frame was acknowledged: repeat it, nothing is stored twice")}
		}
	}
	return out
}
