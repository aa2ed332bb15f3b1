package refcount

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
)

// metrics are those of one cluster; each carries its name.
type metrics struct {
	decremented  prometheus.Counter
	missing      prometheus.Counter
	ended        *prometheus.CounterVec
	unlinked     *prometheus.CounterVec
	poison       *prometheus.CounterVec
	lapsed       prometheus.Counter
	lapsedFrames prometheus.Counter
	leaks        *prometheus.CounterVec
	suspects     *prometheus.GaugeVec
	swept        prometheus.Counter
	retired      *prometheus.CounterVec
	retiredBytes *prometheus.CounterVec
	kept         *prometheus.GaugeVec
	keptBytes    *prometheus.GaugeVec
	untracked    *prometheus.GaugeVec
	failures     *prometheus.CounterVec
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "framedb_refcount_" + name, Help: help})
	}
	counters := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "framedb_refcount_" + name, Help: help}, []string{label})
	}
	gauges := func(name, help, label string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "framedb_refcount_" + name, Help: help}, []string{label})
	}
	return &metrics{
		decremented:  counter("queue_decrements_total", "Counts that batches in queues lowered."),
		missing:      counter("queue_missing_total", "Keys of batches in queues whose count was not there."),
		ended:        counters("frames_ended_total", "Frames whose count came to zero here, by what lowered it.", "by"),
		unlinked:     counters("unlinked_keys_total", "Keys that were unlinked, by why.", "by"),
		poison:       counters("poison_total", "Entries of queues that were set aside.", "queue"),
		lapsed:       counter("leases_lapsed_total", "Leases that lapsed and gave back all they held."),
		lapsedFrames: counter("lease_frames_given_back_total", "Frames of which lapsed leases gave back uses."),
		leaks:        counters("leaks_found_total", "What was left over of frames for longer than the grace time.", "kind"),
		suspects:     gauges("suspects", "What seems to be left over of frames, in the last round.", "kind"),
		swept:        counter("swept_keys_total", "Keys that sweeps looked at."),
		retired:      counters("retention_frames_total", "Frames that their source's retention ended.", "source"),
		retiredBytes: counters("retention_bytes_total", "Bytes of those.", "source"),
		kept:         gauges("source_frames", "Frames of a source with a retention, after the last round.", "source"),
		keptBytes:    gauges("source_bytes", "Bytes of those.", "source"),
		untracked:    gauges("source_untracked_frames", "Frames beyond those that retention can remember.", "source"),
		failures:     counters("failures_total", "Steps that failed, to be tried again.", "step"),
	}
}

// register registers all with reg, if that is not nil; the returned function
// takes them out again.
func (m *metrics) register(reg prometheus.Registerer, cluster wire.ClusterName) (unregister func(), err error) {
	if reg == nil {
		return func() {}, nil
	}
	reg = prometheus.WrapRegistererWith(prometheus.Labels{"cluster": string(cluster)}, reg)
	var done []prometheus.Collector
	unregister = func() {
		for _, c := range done {
			reg.Unregister(c)
		}
	}
	for _, c := range []prometheus.Collector{m.decremented, m.missing, m.ended, m.unlinked, m.poison, m.lapsed, m.lapsedFrames,
		m.leaks, m.suspects, m.swept, m.retired, m.retiredBytes, m.kept, m.keptBytes, m.untracked, m.failures} {
		if err := reg.Register(c); err != nil {
			unregister()
			return nil, err
		}
		done = append(done, c)
	}
	return unregister, nil
}

// sweep takes over what a round found; of one that failed, what it did.
func (m *metrics) sweep(s frames.Swept) {
	m.swept.Add(float64(s.Keys))
	m.unlinked.WithLabelValues("sweep").Add(float64(s.Unlinked))
	for _, kind := range []frames.Leftover{frames.LeftData, frames.LeftCount, frames.LeftSpent} {
		m.leaks.WithLabelValues(string(kind)).Add(float64(s.Found[kind]))
		m.suspects.WithLabelValues(string(kind)).Set(float64(s.Suspects[kind]))
	}
	for _, g := range []*prometheus.GaugeVec{m.kept, m.keptBytes, m.untracked} {
		g.Reset()
	}
	for source, k := range s.Sources {
		name := string(source)
		m.retired.WithLabelValues(name).Add(float64(k.Retired))
		m.retiredBytes.WithLabelValues(name).Add(float64(k.RetiredBytes))
		m.kept.WithLabelValues(name).Set(float64(k.Frames))
		m.keptBytes.WithLabelValues(name).Set(float64(k.Bytes))
		m.untracked.WithLabelValues(name).Set(float64(k.Untracked))
	}
}
