package actors

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/framedb/framedb/actors/instance"
	"github.com/framedb/framedb/client/wire"
)

// metrics are what the tree tells of itself and, for clusters that ask for
// it, of Redis.
type metrics struct {
	records *records
	store   Store

	rounds    *prometheus.CounterVec
	took      prometheus.Histogram
	restarts  prometheus.Counter
	published prometheus.Counter
}

var _ prometheus.Collector = (*redisGauges)(nil)

func newMetrics(r *records, store Store) *metrics {
	return &metrics{
		records: r,
		store:   store,
		rounds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "framedb_reconcile_rounds_total", Help: "Rounds of observe, plan and act, by result.",
		}, []string{"result"}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "framedb_reconcile_duration_seconds", Help: "How long rounds took.",
			Buckets: []float64{.005, .02, .05, .1, .25, .5, 1, 2.5, 10, 60},
		}),
		restarts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "framedb_actor_restarts_total", Help: "Actors that crashed and were started again.",
		}),
		published: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "framedb_routing_messages_total", Help: "Routing messages that were published.",
		}),
	}
}

// register registers all with reg, if that is not nil; the returned function
// takes them out again.
func (m *metrics) register(reg prometheus.Registerer) (unregister func(), err error) {
	if reg == nil {
		return func() {}, nil
	}
	var done []prometheus.Collector
	unregister = func() {
		for _, c := range done {
			reg.Unregister(c)
		}
	}
	for _, c := range []prometheus.Collector{m.rounds, m.took, m.restarts, m.published, &redisGauges{m.records, m.store}} {
		if err := reg.Register(c); err != nil {
			unregister()
			return nil, err
		}
		done = append(done, c)
	}
	return unregister, nil
}

// observer hears of the rounds of one cluster.
type observer struct {
	a     *Actors
	actor string
}

var _ instance.Observer = observer{}

// Round implements instance.Observer.
func (o observer) Round(took time.Duration, err error) {
	result := "ok"
	if err != nil {
		result = "error"
	} else {
		o.a.crashes.clear(o.actor)
	}
	o.a.metrics.rounds.WithLabelValues(result).Inc()
	o.a.metrics.took.Observe(took.Seconds())
}

// Published implements instance.Observer.
func (o observer) Published(n int) { o.a.metrics.published.Add(float64(n)) }

// redisGauges tells of the members of clusters with metrics enabled, as they
// were last seen: collecting asks no Redis.
type redisGauges struct {
	records *records
	store   Store
}

// gauge is one gauge of a member.
type gauge struct {
	desc *prometheus.Desc
	// of is the value; ok is false when it could not be seen.
	of func(m *instance.Member) (value float64, ok bool)
}

func gauges() []gauge {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("framedb_redis_"+name, help, []string{"cluster", "framedb_id"}, nil)
	}
	seen := func(of func(i *instance.Info) int64) func(*instance.Member) (float64, bool) {
		return func(m *instance.Member) (float64, bool) { return float64(of(&m.Info)), m.Answers() }
	}
	return []gauge{
		{desc("up", "1 when the member runs and answers."), func(m *instance.Member) (float64, bool) { return bit(m.Answers()), true }},
		{desc("master", "1 when the member says that it is master."), func(m *instance.Member) (float64, bool) {
			return bit(m.Info.Role == wire.RoleMaster), m.Answers()
		}},
		{desc("used_memory_bytes", "Memory that Redis uses."), seen(func(i *instance.Info) int64 { return i.UsedMemory })},
		{desc("connected_clients", "Connections of clients."), seen(func(i *instance.Info) int64 { return i.Clients })},
		{desc("keys", "Keys in database 0."), seen(func(i *instance.Info) int64 { return i.Keys })},
		{desc("ops_per_second", "Commands a second, as Redis measures it."), seen(func(i *instance.Info) int64 { return i.OpsPerSecond })},
	}
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Describe implements prometheus.Collector.
func (g *redisGauges) Describe(ch chan<- *prometheus.Desc) {
	for _, one := range gauges() {
		ch <- one.desc
	}
}

// Collect implements prometheus.Collector.
func (g *redisGauges) Collect(ch chan<- prometheus.Metric) {
	view := g.store.View()
	for name, record := range g.records.all() {
		if row, ok := view.Cluster(name); !ok || !row.EnableMetrics {
			continue
		}
		members, _ := record.Seen()
		for i := range members {
			for _, one := range gauges() {
				if value, ok := one.of(&members[i]); ok {
					ch <- prometheus.MustNewConstMetric(one.desc, prometheus.GaugeValue, value, string(name), string(members[i].ID))
				}
			}
		}
	}
}
