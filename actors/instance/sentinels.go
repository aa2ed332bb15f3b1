package instance

import (
	"strconv"
	"time"

	"github.com/framedb/framedb/client/sentinel"
	"github.com/framedb/framedb/client/wire"
)

// infoPeriod is how often Sentinels read INFO. By it they know replicas and
// how far they are; their default of ten seconds is too old to choose by.
const infoPeriod = time.Second

// setSentinels brings the settings of each Sentinel that answers in line.
func (p *planner) setSentinels() {
	for i := range p.Seen.Members {
		m := &p.Seen.Members[i]
		if !m.Sentinel.Running || m.Says.Err != nil {
			continue
		}
		set := SentinelSet{Member: m.ID, Sentinel: m.sentinel(), Options: p.sentinelOptions(&m.Says)}
		if m.Says.InfoPeriod > infoPeriod.Milliseconds() {
			set.InfoPeriod = infoPeriod
		}
		if len(set.Options) > 0 || set.InfoPeriod != 0 {
			p.do(set)
		}
	}
}

func (p *planner) sentinelOptions(r *sentinel.Report) map[string]string {
	options := map[string]string{}
	set := func(name string, have, want int64) {
		if have != want {
			options[name] = strconv.FormatInt(want, 10)
		}
	}
	spec := &p.Cluster.ClusterSpec
	set("quorum", int64(r.Quorum), int64(spec.Quorum))
	set("down-after-milliseconds", r.DownAfter, spec.DownAfter)
	set("failover-timeout", r.FailoverTimeout, spec.FailoverTimeout)
	set("parallel-syncs", int64(r.ParallelSyncs), int64(spec.ParallelSyncs))
	return options
}

// resetSentinel makes one Sentinel forget members that are gone. A Sentinel
// that was reset knows nobody for a moment and could not fail over, so this is
// done only when all is well, and to one only while the others know everyone.
func (p *planner) resetSentinel() {
	if !p.wellBut(nil) {
		return
	}
	var stale *Member
	for i := range p.Seen.Members {
		m := &p.Seen.Members[i]
		if !p.knowsAll(m) {
			return
		}
		if stale == nil && p.knowsMore(m) {
			stale = m
		}
	}
	if stale != nil {
		p.do(SentinelReset{Member: stale.ID, Sentinel: stale.sentinel()})
	}
}

// wellBut: exactly the members that should be there run, agree on a master that
// answers and, except for one, are in sync.
func (p *planner) wellBut(one *Member) bool {
	if p.masterMember() == nil || p.Seen.failingOver() || p.shrinks() || !p.allRun(p.Cluster.Replicas) {
		return false
	}
	for i := range p.Seen.Members {
		m := &p.Seen.Members[i]
		if m.Says.Err != nil || m != one && m.redis() != p.master && !m.inSync(p.master) {
			return false
		}
	}
	return true
}

// knowsAll reports whether the member's Sentinel knows every replica and every
// other Sentinel.
func (p *planner) knowsAll(m *Member) bool {
	for i := range p.Seen.Members {
		e := p.Seen.Members[i].redis()
		if e != p.master && !lists(&m.Says, e) {
			return false
		}
	}
	return m.Says.Others >= len(p.Seen.Members)-1
}

// knowsMore reports whether it knows replicas or Sentinels that are not of the
// cluster any more.
func (p *planner) knowsMore(m *Member) bool {
	for _, r := range m.Says.Replicas {
		if p.Seen.at(r.Endpoint) == nil {
			return true
		}
	}
	return m.Says.Others > len(p.Seen.Members)-1
}

func lists(r *sentinel.Report, e wire.Endpoint) bool {
	for _, replica := range r.Replicas {
		if replica.Endpoint == e {
			return true
		}
	}
	return false
}
