package ingest

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/framedb/framedb/client/ingest"
)

// metrics are what the service tells of itself. No label has a source's name:
// there may be a million of them.
type metrics struct {
	unregister func()

	frames   *prometheus.CounterVec // accepted, by level
	bytes    prometheus.Counter
	repeated prometheus.Counter
	failed   *prometheus.CounterVec // by code
	refused  *prometheus.CounterVec // by what was full
	latency  *prometheus.HistogramVec

	writes     *prometheus.HistogramVec // seconds, by result
	batch      prometheus.Histogram     // frames
	batchBytes prometheus.Histogram
	written    prometheus.Counter // bytes
	retries    prometheus.Counter

	spooledFrames prometheus.Counter
	spooledBytes  prometheus.Counter
	spoolSeconds  prometheus.Histogram
	drained       prometheus.Counter
	drainedBytes  prometheus.Counter
	damaged       prometheus.Counter
	expired       prometheus.Counter
	dropped       prometheus.Counter
	messages      *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, s *Service) (*metrics, error) {
	var all []prometheus.Collector
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Name: "framedb_ingest_" + name, Help: help}
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts(opts(name, help)))
		all = append(all, c)
		return c
	}
	counters := func(name, help, label string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts(opts(name, help)), []string{label})
		all = append(all, c)
		return c
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "framedb_ingest_" + name, Help: help, Buckets: buckets})
		all = append(all, h)
		return h
	}
	histograms := func(name, help, label string, buckets []float64) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "framedb_ingest_" + name, Help: help, Buckets: buckets}, []string{label})
		all = append(all, h)
		return h
	}
	seconds := []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}
	m := &metrics{
		frames:     counters("frames_total", "Frames that were acknowledged, by the level that was reached.", "level"),
		bytes:      counter("bytes_total", "Bytes of these frames, in all sizes that came."),
		repeated:   counter("duplicates_total", "Frames among them that were stored by an earlier try."),
		failed:     counters("failed_frames_total", "Frames that their producer was told an error of, by its code.", "code"),
		refused:    counters("refused_total", "Calls and frames that were refused because memory or the spool is full.", "full"),
		latency:    histograms("latency_seconds", "From the call to the acknowledgement of a frame, by level.", "level", seconds),
		writes:     histograms("write_seconds", "How long writes to FrameDBs took, by result.", "result", seconds),
		batch:      histogram("batch_frames", "Frames of one lane that were written at once.", prometheus.ExponentialBuckets(1, 2, 10)),
		batchBytes: histogram("batch_bytes", "Bytes of one lane that were written at once.", prometheus.ExponentialBuckets(4096, 4, 8)),
		written:    counter("written_bytes_total", "Bytes that were written to FrameDBs."),
		retries:    counter("retries_total", "Writes that failed and are tried again."),

		spooledFrames: counter("spooled_frames_total", "Frames that went to disk."),
		spooledBytes:  counter("spooled_bytes_total", "Bytes that went to disk."),
		spoolSeconds:  histogram("spool_seconds", "How long it took to have a batch on disk.", seconds),
		drained:       counter("drained_frames_total", "Frames that were written from disk to their FrameDB."),
		drainedBytes:  counter("drained_bytes_total", "Bytes that were written from disk to their FrameDB."),
		damaged:       counter("damaged_frames_total", "Spooled frames that are lost because the disk gave back something else."),
		expired:       counter("expired_frames_total", "Frames whose life ended in the spool."),
		dropped:       counter("dropped_frames_total", "Frames that were acknowledged and given up. It must be zero."),
		messages:      counters("backpressure_messages_total", "Back-pressure messages, by sent or heard.", "way"),
	}
	all = append(all, depths{s})
	var done []prometheus.Collector
	m.unregister = func() {
		for _, c := range done {
			reg.Unregister(c)
		}
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range all {
		if err := reg.Register(c); err != nil {
			m.unregister()
			return nil, err
		}
		done = append(done, c)
	}
	return m, nil
}

func (m *metrics) accepted(c *call, f *ingest.Frame, r *ingest.Result) {
	level := string(r.Level.Promise)
	m.frames.WithLabelValues(level).Inc()
	m.bytes.Add(float64(f.Bytes()))
	m.latency.WithLabelValues(level).Observe(time.Since(c.start).Seconds())
	if r.Duplicate {
		m.repeated.Inc()
	}
}

func (m *metrics) wrote(frames int, bytes int64, took time.Duration, err error) {
	result := "ok"
	if err != nil {
		result = "error"
	}
	m.writes.WithLabelValues(result).Observe(took.Seconds())
	if err == nil {
		m.batch.Observe(float64(frames))
		m.batchBytes.Observe(float64(bytes))
		m.written.Add(float64(bytes))
	}
}

func (m *metrics) spooled(frames int, bytes int64, took time.Duration) {
	m.spooledFrames.Add(float64(frames))
	m.spooledBytes.Add(float64(bytes))
	m.spoolSeconds.Observe(took.Seconds())
}

func (m *metrics) drainedFrames(frames int, bytes int64) {
	m.drained.Add(float64(frames))
	m.drainedBytes.Add(float64(bytes))
}

// depths tells what is in memory and on disk when it is asked.
type depths struct{ service *Service }

var depthDescs = struct{ memory, records, bytes, age, lanes *prometheus.Desc }{
	prometheus.NewDesc("framedb_ingest_memory_bytes", "Bytes of frames in memory.", nil, nil),
	prometheus.NewDesc("framedb_ingest_spool_frames", "Frames on disk that are not written yet.", nil, nil),
	prometheus.NewDesc("framedb_ingest_spool_bytes", "Bytes that the spools take on disk.", nil, nil),
	prometheus.NewDesc("framedb_ingest_spool_oldest_seconds", "Age of the oldest frame on disk.", nil, nil),
	prometheus.NewDesc("framedb_ingest_lanes", "Sources at targets, by state: direct, spooling or trouble.", []string{"state"}, nil),
}

// Describe implements prometheus.Collector.
func (depths) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{depthDescs.memory, depthDescs.records, depthDescs.bytes, depthDescs.age, depthDescs.lanes} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (d depths) Collect(ch chan<- prometheus.Metric) {
	st := d.service.Status()
	age := 0.0
	if !st.Oldest.IsZero() {
		age = time.Since(st.Oldest).Seconds()
	}
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	}
	gauge(depthDescs.memory, float64(st.MemoryBytes))
	gauge(depthDescs.records, float64(st.SpoolFrames))
	gauge(depthDescs.bytes, float64(st.SpoolBytes))
	gauge(depthDescs.age, age)
	gauge(depthDescs.lanes, float64(st.Direct), "direct")
	gauge(depthDescs.lanes, float64(st.Spooling), "spooling")
	gauge(depthDescs.lanes, float64(len(st.Trouble)), "trouble")
}
