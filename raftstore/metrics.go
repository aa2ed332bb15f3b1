package raftstore

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/framedb/framedb/client/wire"
)

// metrics are the Store's own; Raft's go nowhere.
type metrics struct {
	apply     prometheus.Histogram
	write     prometheus.Histogram
	proposals *prometheus.CounterVec

	leaderChanges prometheus.Counter

	registerer prometheus.Registerer // nil when nothing is registered
	registered []prometheus.Collector
}

func newMetrics() *metrics {
	return &metrics{
		apply: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "framedb_raft_apply_seconds", Help: "Time from a proposal to its result.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 16),
		}),
		write: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "framedb_raft_log_write_seconds", Help: "Time of one write to the Raft log, fsync included.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
		proposals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "framedb_raft_proposals_total", Help: "Proposals by how Raft answered: ok, or an error code.",
		}, []string{"code"}),
		leaderChanges: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "framedb_raft_leader_changes_total", Help: "How often this agent heard of another leader than before.",
		}),
	}
}

// register registers the metrics, with gauges of s.
func (m *metrics) register(r prometheus.Registerer, s *Store) error {
	if r == nil {
		return nil
	}
	m.registerer = r
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	all := []prometheus.Collector{m.apply, m.write, m.proposals, m.leaderChanges,
		gauge("framedb_raft_term", "Raft's current term.", func() float64 { return float64(s.raft.CurrentTerm()) }),
		gauge("framedb_raft_applied_index", "Log index of the last applied command.", func() float64 { return float64(s.View().Index()) }),
		gauge("framedb_raft_is_leader", "1 on the leader, else 0.", func() float64 { return oneIf(s.isLeader()) }),
		gauge("framedb_raft_voters", "Voters in Raft's configuration.", func() float64 { return float64(len(s.Status().Voters)) }),
		gauge("framedb_raft_disk_full", "1 while no space is left for the Raft log, else 0.", func() float64 { return oneIf(s.logs.full.Load() != nil) }),
	}
	for _, c := range all {
		if err := r.Register(c); err != nil {
			m.unregister()
			return err
		}
		m.registered = append(m.registered, c)
	}
	return nil
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// unregister takes everything back, so that the same process may open again.
func (m *metrics) unregister() {
	for _, c := range m.registered {
		m.registerer.Unregister(c)
	}
	m.registered = nil
}

func (m *metrics) written(took time.Duration) { m.write.Observe(took.Seconds()) }

func (m *metrics) proposed(took time.Duration, err error) {
	code := string(wire.CodeOf(err))
	if err == nil {
		code = "ok"
		m.apply.Observe(took.Seconds())
	}
	m.proposals.WithLabelValues(code).Inc()
}
