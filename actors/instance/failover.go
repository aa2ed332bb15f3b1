package instance

import (
	"slices"

	"github.com/framedb/framedb/client/sentinel"
	"github.com/framedb/framedb/client/wire"
)

// failover starts a failover when one is due, and reports whether it did. A
// member that is silent is left to Sentinel; here it is only about a master
// that was seen not to run, where waiting for down-after gains nothing, and
// one that has to leave.
func (p *planner) failover() bool {
	m := p.Seen.at(p.master)
	switch {
	case m == nil:
	case !m.Redis.Running:
		return p.start(Failover{Sentinels: p.forDeadMaster()})
	case p.leaves(m) && p.masterMember() == m:
		return p.handOver()
	}
	return false
}

// handOver has a living master hand over to a member that is in sync.
func (p *planner) handOver() bool {
	return p.start(Failover{Sentinels: p.forLivingMaster(), Pause: p.master})
}

// start starts a failover if a Sentinel would choose well and none is under
// way.
func (p *planner) start(f Failover) bool {
	if !p.agreed || len(f.Sentinels) == 0 || p.Seen.failingOver() || p.Now.Sub(p.Past.FailoverAt) < failoverEvery {
		return false
	}
	p.do(f)
	return true
}

// restart has a member start anew that needs it, one at a time while all others
// are well. The master is the last: it hands over, and then is one of them. If
// it does not know that yet it is ended at once, since what it still takes is
// lost.
func (p *planner) restart() {
	master := p.masterMember()
	if master == nil || p.Now.Sub(p.Past.RestartAt) < restartEvery {
		return
	}
	for i := range p.Seen.Members {
		m := &p.Seen.Members[i]
		if m == master || !m.Redis.NeedsRestart {
			continue
		}
		if m.Answers() && m.Info.Role == wire.RoleMaster || p.wellBut(m) {
			p.do(Restart{Member: m.ID})
		}
		return
	}
	if master.Redis.NeedsRestart && p.wellBut(nil) {
		p.handOver()
	}
}

// forDeadMaster returns the Sentinels that would choose the member that has
// most of the data. What one replica has acknowledged must not be lost to
// another with less, and a Sentinel chooses by what it read a while ago. So
// every member that runs has to be seen, and nobody else to say that it is
// master.
func (p *planner) forDeadMaster() []wire.Endpoint {
	most := int64(-1)
	for i := range p.Seen.Members {
		m := &p.Seen.Members[i]
		if m.Redis.Running && !m.Answers() || m.Answers() && m.Info.Role == wire.RoleMaster {
			return nil
		}
		if m.wasInSync(p.master) {
			most = max(most, m.Info.Offset)
		}
	}
	return p.sentinelsThatChoose(choice, func(m *Member) bool {
		return m.wasInSync(p.master) && m.Info.Offset == most
	})
}

// forLivingMaster returns the Sentinels that would choose a member that stays
// and is in sync, whichever they choose: there is time to wait for that.
func (p *planner) forLivingMaster() []wire.Endpoint {
	return p.sentinelsThatChoose(candidates, func(m *Member) bool {
		return m.inSync(p.master)
	})
}

// sentinelsThatChoose returns the Sentinels of whose candidates every one
// stays and is good.
func (p *planner) sentinelsThatChoose(from func(*sentinel.Report) []sentinel.Replica, good func(*Member) bool) []wire.Endpoint {
	var fit []wire.Endpoint
	for _, r := range p.Seen.reports() {
		replicas := from(&r)
		bad := slices.ContainsFunc(replicas, func(replica sentinel.Replica) bool {
			m := p.Seen.at(replica.Endpoint)
			return m == nil || p.leaves(m) || !good(m)
		})
		if len(replicas) > 0 && !bad {
			fit = append(fit, r.Sentinel)
		}
	}
	return fit
}

// candidates are the replicas that a Sentinel may make master.
func candidates(r *sentinel.Report) []sentinel.Replica {
	return slices.DeleteFunc(slices.Clone(r.Replicas), func(replica sentinel.Replica) bool {
		return replica.Down || replica.Priority == 0
	})
}

// choice is the candidate that a Sentinel prefers, or several when it takes
// the first of them by an ID that we do not know.
func choice(r *sentinel.Report) []sentinel.Replica {
	all := candidates(r)
	if len(all) == 0 {
		return nil
	}
	better := func(a, b sentinel.Replica) int {
		if a.Priority != b.Priority {
			return a.Priority - b.Priority
		}
		return int(b.Offset - a.Offset)
	}
	best := slices.MinFunc(all, better)
	return slices.DeleteFunc(all, func(replica sentinel.Replica) bool { return better(replica, best) != 0 })
}
