// Package refcount keeps the reference counts of one cluster in order, on the
// node that owns it: it does what waits in its Redis' queues, gives back what
// lapsed leases held, and ends what is left over or too much. See DESIGN.md.
package refcount

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
)

// Frames is what the service needs of a cluster's data path. Each call goes to
// the master of that moment, and to none that was not seen to be it.
type Frames interface {
	DeleteWaiting(ctx context.Context, limit int) (frames.Deletes, error)
	Waiting(ctx context.Context, q frames.Queue, limit int) ([]frames.Entry, error)
	Settle(ctx context.Context, q frames.Queue, e frames.Entry, sizes []string) (frames.Settled, error)
	SetAside(ctx context.Context, q frames.Queue, e frames.Entry, reason error) (bool, error)
	LapseLease(ctx context.Context) (frames.GivenBack, error)
	Learn(ctx context.Context, source wire.SourceID, sizes ...string) error
}

// Sweeper finds what is left over; see frames.Sweeper.
type Sweeper interface {
	Round(ctx context.Context, rules map[wire.SourceID]frames.SourceRule) (frames.Swept, error)
}

var (
	_ Frames  = (*frames.Cluster)(nil)
	_ Sweeper = (*frames.Sweeper)(nil)
)

// The queues of decrement batches, in database 0 of the cluster's Redis; see
// frames.ParseBatch for what an entry is.
const (
	ListKey   = "framedb:decr"        // LPUSH
	StreamKey = "framedb:decr:stream" // XADD … * batch <JSON> [token <token>]
	Group     = "framedb"
)

// Config says what the service works on. The functions must not block.
type Config struct {
	Cluster wire.ClusterName
	Frames  Frames
	Sweeper Sweeper
	// Sources are those that are mapped to the cluster, with what their
	// metadata and retention say. Nil for none.
	Sources func() map[wire.SourceID]frames.SourceRule
	Timing  Timing // zero is DefaultTiming
	// Logger is silent when nil.
	Logger *slog.Logger
	// Registerer gets the metrics while Run runs; nil for none.
	Registerer prometheus.Registerer
}

// Timing says how often is looked.
type Timing struct {
	// Queues is the longest pause between two looks at the queues: what is
	// pushed waits so long at most. Each look costs the master some 50 µs.
	Queues time.Duration
	// Leases is the pause between two looks for lapsed leases.
	Leases time.Duration
	// Sizes is the pause between two looks at the sources' metadata.
	Sizes time.Duration
	// Sweep is the pause between two rounds, or four times as long as the last
	// one took, if that is longer. A round costs the master some 2 s of its
	// processor for a million keys, in steps of less than a millisecond. What is
	// left over is found after two rounds, and the grace time; retention is one
	// late.
	Sweep time.Duration
	// MaxBackoff is the longest pause after failures.
	MaxBackoff time.Duration
}

// DefaultTiming is right for clusters of up to some million keys.
func DefaultTiming() Timing {
	return Timing{Queues: 500 * time.Millisecond, Leases: time.Second, Sizes: 5 * time.Second, Sweep: time.Minute, MaxBackoff: 30 * time.Second}
}

// Service keeps one cluster's counts in order.
type Service struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	known   map[wire.SourceID][]string // that Redis was told; of the loop "sizes"
}

// New makes the service; Run starts it.
func New(cfg Config) *Service {
	if cfg.Timing == (Timing{}) {
		cfg.Timing = DefaultTiming()
	}
	if cfg.Sources == nil {
		cfg.Sources = func() map[wire.SourceID]frames.SourceRule { return nil }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Service{
		cfg:     cfg,
		log:     cfg.Logger.With("cluster", cfg.Cluster),
		metrics: newMetrics(),
		known:   map[wire.SourceID][]string{},
	}
}

// Run works until ctx ends, and returns when all has stopped: at most the
// command that is under way is then still done by Redis. Every step may be done
// by two agents at once, so it needs no lease: ctx has to end when the node is
// not the owner any more, a moment too late does no harm. It is called once.
//
// Errors: ctx's; another one says that the metrics could not be registered.
func (s *Service) Run(ctx context.Context) error {
	unregister, err := s.metrics.register(s.cfg.Registerer, s.cfg.Cluster)
	if err != nil {
		return fmt.Errorf("register the metrics of cluster %q: %w", s.cfg.Cluster, err)
	}
	defer unregister()
	var loops sync.WaitGroup
	for _, l := range s.loops() {
		loops.Go(func() { s.repeat(ctx, l) })
	}
	loops.Wait()
	return ctx.Err()
}

// loop is one thing that is done again and again. Step reports whether there is
// more to do at once.
type loop struct {
	name  string
	pause time.Duration
	rest  int // the pause is at least so many times as long as the step took
	step  func(context.Context) (more bool, err error)
}

func (s *Service) loops() []loop {
	t := s.cfg.Timing
	return []loop{
		{name: "deletes", pause: t.Queues, step: s.deletes},
		{name: "list", pause: t.Queues, step: func(ctx context.Context) (bool, error) { return s.batches(ctx, frames.Queue{Key: ListKey}) }},
		{name: "stream", pause: t.Queues, step: func(ctx context.Context) (bool, error) {
			return s.batches(ctx, frames.Queue{Key: StreamKey, Group: Group})
		}},
		{name: "leases", pause: t.Leases, step: s.leases},
		{name: "sizes", pause: t.Sizes, step: s.sizes},
		{name: "sweep", pause: t.Sweep, rest: 4, step: s.sweep},
	}
}

// repeat does one thing until ctx ends, with a pause when there is nothing to
// do, and growing ones after failures.
func (s *Service) repeat(ctx context.Context, l loop) {
	failures := backoff.NewExponentialBackOff()
	failures.InitialInterval, failures.MaxInterval = min(l.pause, s.cfg.Timing.MaxBackoff), s.cfg.Timing.MaxBackoff
	failed := false
	for ctx.Err() == nil {
		start := time.Now()
		more, err := l.step(ctx)
		pause := max(l.pause, time.Duration(l.rest)*time.Since(start))
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.metrics.failures.WithLabelValues(l.name).Inc()
			pause = failures.NextBackOff()
			if !failed {
				s.log.Warn("reference counts: it fails and is tried again", "step", l.name, "err", err)
			}
			failed = true
		default:
			if failed {
				s.log.Info("reference counts: it works again", "step", l.name)
			}
			failed = false
			failures.Reset()
			if more {
				continue
			}
		}
		sleep(ctx, pause)
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

// sizes tells Redis which sizes the mappings' metadata name, as far as it was
// not told.
func (s *Service) sizes(ctx context.Context) (more bool, err error) {
	rules := s.cfg.Sources()
	maps.DeleteFunc(s.known, func(source wire.SourceID, _ []string) bool {
		_, mapped := rules[source]
		return !mapped
	})
	for source, rule := range rules {
		if len(rule.Sizes) == 0 || slices.Equal(s.known[source], rule.Sizes) {
			continue
		}
		if err := s.cfg.Frames.Learn(ctx, source, rule.Sizes...); err != nil {
			return false, fmt.Errorf("source %q: %w", source, err)
		}
		s.known[source] = slices.Clone(rule.Sizes)
	}
	return false, nil
}
