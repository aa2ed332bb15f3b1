package instance

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/framedb/framedb/client/wire"
)

// Report is what goes into the store. Owner and epoch are those under which the
// round was run.
type Report struct {
	Status    wire.ClusterStatus
	Instances []wire.Instance
}

// Differs reports whether the store has something else.
func (r *Report) Differs(in *Input) bool {
	stored := slices.Clone(in.Stored)
	for i := range stored {
		stored[i].ModifyIndex = 0
	}
	return r.Status != in.Cluster.Status ||
		!slices.EqualFunc(r.Instances, stored, func(a, b wire.Instance) bool { return reflect.DeepEqual(a, b) })
}

// Blame puts a step that failed into the report. What the driver says comes
// before what was seen, which is mostly its consequence.
func (r *Report) Blame(a Action, err error) {
	switch _, deploying := a.(Apply); {
	case deploying:
		r.Status.Reason = wire.AsError(err).Message
	case r.Status.Reason == "":
		r.Status.Reason = fmt.Sprintf("could not %s: %v", a, err)
	}
	if r.Status.Phase == wire.PhaseReady {
		r.Status.Phase = wire.PhaseDegraded
	}
}

func (p *planner) report() Report {
	if p.Seen.Err != nil {
		return p.unseen(fmt.Sprintf("the members could not be seen: %v", p.Seen.Err))
	}
	s := p.Cluster.Status
	s.Reason = oneSentence(p.problems())
	s.Phase = phase(s.Phase, s.Reason == "")
	s.ReadyMembers = 0
	instances := make([]wire.Instance, 0, len(p.Seen.Members))
	for i := range p.Seen.Members {
		row := p.instance(&p.Seen.Members[i])
		if row.Health == wire.HealthHealthy {
			s.ReadyMembers++
		}
		instances = append(instances, row)
	}
	if name, ok := p.Seen.named(); ok {
		if m := p.Seen.at(name); m != nil {
			s.Master = m.ID
		}
	}
	if p.settled() {
		s.ObservedGeneration = p.Cluster.Generation
	}
	return Report{Status: s, Instances: instances}
}

// unseen leaves everything that was seen earlier as it is.
func (p *planner) unseen(reason string) Report {
	s := p.Cluster.Status
	s.Reason = reason
	s.Phase = phase(s.Phase, false)
	return Report{Status: s, Instances: withoutIndex(p.Stored)}
}

// Crashed is the report of a cluster whose actor crashed: only the reason is new.
func Crashed(row wire.Cluster, stored []wire.Instance, reason string) Report {
	p := planner{Input: Input{Cluster: row, Stored: stored}}
	return p.unseen(reason)
}

// phase is what follows on old: creating lasts until all was well once.
func phase(old wire.Phase, well bool) wire.Phase {
	switch {
	case well:
		return wire.PhaseReady
	case old == wire.PhaseCreating, old == wire.PhaseRemoving:
		return old
	default:
		return wire.PhaseDegraded
	}
}

// settled reports whether the newest spec is brought about: the driver has
// applied it, nobody leaves any more and no setting differs.
func (p *planner) settled() bool {
	if p.Past.Applied != p.Cluster.Generation || p.shrinks() {
		return false
	}
	return !slices.ContainsFunc(p.actions, func(a Action) bool {
		switch a.(type) {
		case ConfigSet, SentinelSet:
			return true
		}
		return false
	})
}

func withoutIndex(rows []wire.Instance) []wire.Instance {
	rows = slices.Clone(rows)
	for i := range rows {
		rows[i].ModifyIndex = 0
	}
	return rows
}

// instance is the store's row of a member.
func (p *planner) instance(m *Member) wire.Instance {
	row := wire.Instance{
		ID: m.ID, Kind: wire.KindMemory, Cluster: p.Cluster.Name, NodeTag: p.Cluster.NodeTag, Node: m.Node,
		Role: wire.RoleUnknown, Host: m.Redis.Host, Port: m.Redis.Port,
		SentinelPort: m.Sentinel.Port, Socket: m.Redis.Socket,
	}
	if m.Answers() {
		row.Role = m.Info.Role
	}
	row.Health, row.Reason = p.health(m)
	return row
}

// health is how a member's Redis is, and why when it is not healthy.
func (p *planner) health(m *Member) (wire.Health, string) {
	master, named := p.Seen.named()
	switch {
	case !m.Redis.Running:
		return wire.HealthStopped, orElse(m.Redis.Reason, "it does not run")
	case m.InfoErr != nil:
		return wire.HealthUnreachable, m.InfoErr.Error()
	case m.Info.Role == wire.RoleMaster && (!named || m.redis() == master):
		return wire.HealthHealthy, ""
	case m.Info.Role == wire.RoleMaster:
		return wire.HealthSyncing, "it says that it is master, Sentinel names another"
	case named && m.Info.Follows != master:
		return wire.HealthSyncing, fmt.Sprintf("it follows %s, not the master", address(m.Info.Follows))
	case m.Info.Syncing:
		return wire.HealthSyncing, "it copies from the master"
	case !m.Info.LinkUp:
		return wire.HealthSyncing, "it has no link to the master"
	}
	return wire.HealthHealthy, ""
}

func orElse(reason, otherwise string) string {
	if reason == "" {
		return otherwise
	}
	return reason
}
