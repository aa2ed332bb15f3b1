package backup

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/framedb/framedb/client/wire"
)

// Metrics are shared by all repositories of a process.
type Metrics struct {
	runs    *prometheus.CounterVec
	moved   *prometheus.CounterVec
	success *prometheus.GaugeVec
}

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "framedb_backup_operations_total", Help: "Backups, restores, verifications and sweeps by how they ended: ok, or an error code.",
		}, []string{"operation", "code"}),
		moved: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "framedb_backup_moved_bytes_total", Help: "Bytes of objects that went to S3 (backup) or came from it (restore, verify).",
		}, []string{"operation"}),
		success: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "framedb_backup_last_success_timestamp_seconds", Help: "When the last complete backup of a FrameDB ended.",
		}, []string{"framedb_id"}),
	}
	for _, c := range []prometheus.Collector{m.runs, m.moved, m.success} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// done counts the end of an operation.
func (m *Metrics) done(operation string, err error) {
	if m == nil {
		return
	}
	code := "ok"
	if err != nil {
		code = string(wire.CodeOf(err))
	}
	m.runs.WithLabelValues(operation, code).Inc()
}

func (m *Metrics) move(operation string, n int64) {
	if m != nil {
		m.moved.WithLabelValues(operation).Add(float64(n))
	}
}

func (m *Metrics) complete(s Summary) {
	if m != nil {
		m.success.WithLabelValues(string(s.FrameDB)).Set(float64(s.Finished.Unix()))
	}
}
