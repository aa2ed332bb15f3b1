package httpapi

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the handlers' own. Routes are templates, so their number is
// bounded by the table of routes; what no route matches is one, "unknown".
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight prometheus.Gauge
	streams  prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "framedb_http_requests_total", Help: "Requests answered, by method, route template and status.",
		}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "framedb_http_request_seconds", Help: "Time to answer, by method and route template; waits on purpose included.",
			Buckets: []float64{.0001, .0005, .001, .005, .01, .05, .1, .5, 1, 5, 30, 120},
		}, []string{"method", "route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "framedb_http_requests_in_flight", Help: "Requests being answered now.",
		}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "framedb_http_event_streams", Help: "Event streams that are open now.",
		}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.inFlight, m.streams} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// routeMetrics are the metrics of one route, looked up once.
type routeMetrics struct {
	*metrics
	method, route string
	ok            prometheus.Counter // status 200, by far the most frequent
	seconds       prometheus.Observer
}

func (m *metrics) of(method, route string) routeMetrics {
	return routeMetrics{
		metrics: m, method: method, route: route,
		ok:      m.requests.WithLabelValues(method, route, "200"),
		seconds: m.seconds.WithLabelValues(method, route),
	}
}

func (m *routeMetrics) observe(status int, took time.Duration) {
	m.seconds.Observe(took.Seconds())
	if status == 200 {
		m.ok.Inc()
		return
	}
	m.requests.WithLabelValues(m.method, m.route, strconv.Itoa(status)).Inc()
}
