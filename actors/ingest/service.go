// Package ingest takes frames in on one agent: it admits them within a bound of
// memory, writes them in batches to where their source goes, keeps them on disk
// while that is down or slow, and acknowledges each at the level that its
// producer asked for. See DESIGN.md.
package ingest

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/framedb/framedb/actors/ingest/spool"
	"github.com/framedb/framedb/client/wire"
)

// Defaults of Config.
const (
	DefaultMemoryBytes = 96 << 20
	DefaultSpoolBytes  = 8 << 30
	DefaultSpoolAge    = 24 * time.Hour
	DefaultSpillAfter  = time.Second
	DefaultFlushFor    = 5 * time.Second
)

// Config says how an agent takes frames in.
type Config struct {
	Router Router
	// Agent is the name by which back-pressure messages of this agent are known;
	// default "agent".
	Agent wire.NodeName
	// MemoryBytes bounds the frames in memory. More rides out longer pauses
	// without the disk. Default 96 MiB. A single frame may be larger.
	MemoryBytes int64
	// SpoolDir is the directory of the spools, of which this service is the only
	// user; empty is without: then what cannot be written is refused when
	// RetryFor has passed, and durable in memory is refused at once.
	SpoolDir string
	// SpoolBytes bounds all spools together, and each of them. Default 8 GiB.
	SpoolBytes int64
	// SpoolAge is how old the oldest frame of a source may be before no more of
	// it are taken; default 24 h, at most 29 days: a lane is remembered for 30.
	SpoolAge time.Duration
	// SpoolMinFree is how much of the spools' disk stays free; see spool.Config.
	SpoolMinFree int64
	// SyncEvery trades the durability of spooled frames for speed; see
	// spool.Config. Default 0: synced before they are acknowledged.
	SyncEvery time.Duration
	// SpillAfter is how long a frame waits for a slow destination before it goes
	// to disk. Default 1 s.
	SpillAfter time.Duration
	// RetryFor is how long a frame is tried without a spool. Default 10 s.
	RetryFor time.Duration
	// FlushFor bounds how long frames in memory are written at the end, before
	// they go to disk. Default 5 s.
	FlushFor time.Duration
	// ReplicaTimeout bounds one wait for replicas. Default 1 s.
	ReplicaTimeout time.Duration

	Logger     *slog.Logger          // nil is silent
	Registerer prometheus.Registerer // nil is without metrics
}

func (c *Config) applyDefaults() {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	if c.MemoryBytes <= 0 {
		c.MemoryBytes = DefaultMemoryBytes
	}
	if c.SpoolBytes <= 0 {
		c.SpoolBytes = DefaultSpoolBytes
	}
	set(&c.SpoolAge, DefaultSpoolAge)
	c.SpoolAge = min(c.SpoolAge, 29*24*time.Hour)
	set(&c.SpillAfter, DefaultSpillAfter)
	set(&c.RetryFor, 10*time.Second)
	set(&c.FlushFor, DefaultFlushFor)
	set(&c.ReplicaTimeout, time.Second)
	if c.Agent == "" {
		c.Agent = "agent"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// Service takes frames in. Safe for concurrent use.
type Service struct {
	cfg     Config
	log     *slog.Logger
	memory  *budget // of frames on their way in
	drains  *budget // of frames that come back from disk
	quota   *spool.Quota
	metrics *metrics
	id      identity
	seq     atomic.Uint64

	// writing ends when lanes are to stop writing; work is what runs for them.
	writing context.Context
	stop    context.CancelFunc
	work    sync.WaitGroup

	mu      sync.Mutex
	lanes   map[laneKey]*lane          // guarded by mu
	numbers map[wire.SourceID]*numbers // guarded by mu
	state   state                      // guarded by mu

	pressure *pressure
}

// state is where the service is in its life.
type state int

// The states, in their order.
const (
	created state = iota
	running
	stopping
)

type laneKey struct {
	source wire.SourceID
	target TargetName
}

// New makes the service; it opens nothing.
//
// Errors: those of Registerer.
func New(cfg Config) (*Service, error) {
	cfg.applyDefaults()
	s := &Service{
		cfg: cfg, log: cfg.Logger,
		// A quarter is for frames that come back from disk.
		memory:  newBudget(cfg.MemoryBytes * 3 / 4),
		drains:  newBudget(cfg.MemoryBytes / 4),
		quota:   spool.NewQuota(cfg.SpoolBytes),
		lanes:   map[laneKey]*lane{},
		numbers: map[wire.SourceID]*numbers{},
	}
	s.writing, s.stop = context.WithCancel(context.Background())
	s.pressure = newPressure(s)
	var err error
	s.metrics, err = newMetrics(cfg.Registerer, s)
	return s, err
}

// tick is how often spools are synced and closed, and messages repeated.
const tick = time.Second

// Run serves until ctx ends; then it takes no more, writes or spools what it
// has, and returns when nothing of it runs any more. It is called once. Frames
// that an earlier service left in the spools are written first.
//
// Errors: those of the spool directory.
func (s *Service) Run(ctx context.Context) error {
	defer s.metrics.unregister()
	defer s.stop()
	if err := s.start(); err != nil {
		return err
	}
	var messages sync.WaitGroup
	listening, deaf := context.WithCancel(context.WithoutCancel(ctx))
	defer messages.Wait()
	defer deaf()
	messages.Go(func() { s.pressure.run(listening) })
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.maintain()
		case <-ctx.Done():
			s.shutDown()
			return nil
		}
	}
}

// start reads who this service is and opens the spools that have frames.
func (s *Service) start() error {
	var err error
	if s.id, err = openIdentity(s.cfg.SpoolDir); err != nil {
		return err
	}
	left, err := leftLanes(s.cfg.SpoolDir)
	if err != nil {
		return err
	}
	// Nothing new may be written before them.
	for _, key := range left {
		l := s.lane(key)
		if _, err := l.openSpool(); err != nil {
			l.log.Error("the spool cannot be opened; it is tried again", "err", err)
		}
		l.startSpooling()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = running
	return nil
}

// lane returns the lane of a source at a target, made if need be.
func (s *Service) lane(key laneKey) *lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[key]
	if l == nil {
		l = newLane(s, key)
		s.lanes[key] = l
	}
	return l
}

func (s *Service) allLanes() []*lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*lane, 0, len(s.lanes))
	for _, l := range s.lanes {
		all = append(all, l)
	}
	return all
}

// maintain syncs what is due, and forgets lanes that had nothing to do.
func (s *Service) maintain() {
	for _, l := range s.allLanes() {
		if l.maintain() && l.retire() {
			s.mu.Lock()
			delete(s.lanes, l.key)
			s.mu.Unlock()
		}
	}
}

// shutDown is the start backwards: no more is taken; what is in memory is
// written for a while, then goes to disk; then everything ends.
func (s *Service) shutDown() {
	s.mu.Lock()
	s.state = stopping
	s.mu.Unlock()
	lanes := s.allLanes()
	deadline := time.Now().Add(s.cfg.FlushFor)
	for _, l := range lanes {
		l.flush(deadline)
	}
	for _, l := range lanes {
		l.spillAll()
	}
	s.stop()
	s.work.Wait()
	for _, l := range lanes {
		l.close()
	}
}

// live returns an error unless frames are taken.
func (s *Service) live() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == running {
		return nil
	}
	e := wire.Errorf(wire.CodeUnavailable, "this agent does not take frames in now")
	e.RetryAfter = time.Second
	return e
}

// hasSpool reports whether frames can go to disk.
func (s *Service) hasSpool() bool { return s.cfg.SpoolDir != "" }
