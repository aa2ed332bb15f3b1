package instance

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/framedb/framedb/actors/refcount"
	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// refcountPool is how many connections the service has to the master: its six
// loops do little at once.
const refcountPool = 4

// Counts says how the reference counts of owned clusters are kept in order.
type Counts struct {
	// Timing is refcount.DefaultTiming when zero.
	Timing refcount.Timing
	Sweep  frames.SweepConfig
	// Registerer gets the metrics of each cluster, with its name; nil for none.
	Registerer prometheus.Registerer
}

// againIn is the pause before a service that could not begin tries again: one
// of a former incarnation that has the same metrics ends soon.
const againIn = time.Second

// counter is the actor that keeps a cluster's reference counts in order, as
// long as this node owns the cluster and it is not being removed.
type counter struct {
	cfg    Config
	cancel context.CancelFunc
}

func newCounter(cfg Config) *counter { return &counter{cfg: cfg} }

// Receive never blocks: the service runs in a job.
func (s *counter) Receive(c actor.Context) {
	switch c.Message().(type) {
	case *actor.Started:
		var ctx context.Context
		ctx, s.cancel = context.WithCancel(s.cfg.Context)
		s.cfg.Jobs.Go(func() { s.keep(ctx) })
	case *actor.Stopping, *actor.Restarting:
		s.cancel()
	}
}

func (s *counter) keep(ctx context.Context) {
	for pause := time.Until(s.cfg.Begin); rest(ctx, pause); pause = againIn {
		err := s.run(ctx)
		if err == nil {
			return
		}
		s.cfg.Logger.Warn("reference counts are not kept in order, will try again", "cluster", s.cfg.Cluster, "err", err)
	}
}

// run returns nil when the cluster is being removed.
func (s *counter) run(ctx context.Context) error {
	view := s.cfg.Store.View()
	if s.removing(view) {
		return nil
	}
	members := s.members(view)
	cluster := frames.New(frames.Config{
		Password: s.cfg.Driver.Password(), Sentinels: s.cfg.Sentinels, PoolSize: refcountPool, Logger: s.cfg.Logger,
	}, s.cfg.Cluster, members)
	defer cluster.Close()
	var following sync.WaitGroup
	defer following.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	following.Go(func() {
		defer stop()
		s.follow(ctx, cluster, members)
	})
	err := refcount.New(refcount.Config{
		Cluster: s.cfg.Cluster, Frames: cluster, Sweeper: frames.NewSweeper(cluster, s.cfg.Counts.Sweep),
		Sources: func() map[wire.SourceID]frames.SourceRule { return sourceRules(s.cfg.Store.View(), s.cfg.Cluster) },
		Timing:  s.cfg.Counts.Timing, Logger: s.cfg.Logger, Registerer: s.cfg.Counts.Registerer,
	}).Run(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// follow tells the data path where the members are, until ctx ends or the
// cluster is being removed.
func (s *counter) follow(ctx context.Context, cluster *frames.Cluster, known []wire.Instance) {
	for {
		view := s.cfg.Store.View()
		if s.removing(view) {
			return
		}
		if now := s.members(view); !slices.Equal(now, known) {
			cluster.SetMembers(now)
			known = now
		}
		if view.Changed(ctx) != nil {
			return
		}
	}
}

func (s *counter) removing(view *state.View) bool {
	row, found := view.Cluster(s.cfg.Cluster)
	return !found || row.Status.Phase == wire.PhaseRemoving
}

func (s *counter) members(view *state.View) []wire.Instance {
	rows := view.InstancesOf(s.cfg.Cluster)
	members := make([]wire.Instance, len(rows))
	for i, row := range rows {
		members[i] = *row
	}
	return members
}

// sourceRules are the sources that are mapped to a cluster, with the sizes that
// their metadata name, on any of its tags, and those of their ingestion, and the
// retention that this has, unless it keeps the frames elsewhere.
func sourceRules(view *state.View, cluster wire.ClusterName) map[wire.SourceID]frames.SourceRule {
	rules := map[wire.SourceID]frames.SourceRule{}
	for _, m := range view.MappingsTo(cluster) {
		rule, known := rules[m.Source]
		if in, found := view.Ingestion(m.Source); found && !known {
			rule.Sizes = slices.Clone(in.Sizes)
		}
		if in, found := view.Ingestion(m.Source); found && in.Target == "" {
			rule.Keep = frames.Retention{
				Age: time.Duration(in.Retention.Age) * time.Millisecond, Bytes: in.Retention.Bytes, Frames: in.Retention.Frames,
			}
		}
		for _, size := range refcount.Sizes(m.Metadata) {
			if !slices.Contains(rule.Sizes, size) {
				rule.Sizes = append(rule.Sizes, size)
			}
		}
		rules[m.Source] = rule
	}
	return rules
}

// rest reports false when ctx ended first.
func rest(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(max(d, 0)):
		return true
	case <-ctx.Done():
		return false
	}
}
