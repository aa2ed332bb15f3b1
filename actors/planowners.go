package actors

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// owners is what the leader plans ownership from.
type owners struct {
	now      time.Time
	clusters []*wire.Cluster // by name
	nodes    []*wire.Node    // by name
	alive    map[wire.NodeName]bool
	// unfit says since when the leader sees an owner that cannot work.
	unfit map[tenure]time.Time
	grace time.Duration
	// bound is true when clusters are bound to the node that made them.
	bound bool
}

// tenure is one owner's time with a cluster.
type tenure struct {
	cluster wire.ClusterName
	created uint64 // of two clusters of one name
	epoch   uint64
}

// ownersPlan is what to propose, and what to remember.
type ownersPlan struct {
	assign     []state.AssignOwner
	unattended []state.ReportUnattended
	// unfit takes the place of owners.unfit.
	unfit map[tenure]time.Time
}

// planOwners decides who works on what. It is pure. A cluster without an owner
// gets one at once. An owner that is alive keeps what it has, so that nothing
// moves for the sake of balance or because a former owner is back; one that
// drains hands on what it can.
func planOwners(in owners) ownersPlan {
	p := ownersPlanner{owners: in, byName: map[wire.NodeName]*wire.Node{}, owned: map[wire.NodeName]int{}}
	p.plan.unfit = map[tenure]time.Time{}
	for _, n := range in.nodes {
		p.byName[n.Name] = n
	}
	for _, c := range in.clusters {
		p.owned[c.Status.Owner]++
	}
	for _, c := range in.clusters {
		p.decide(c)
	}
	return p.plan
}

type ownersPlanner struct {
	owners
	byName map[wire.NodeName]*wire.Node
	owned  map[wire.NodeName]int // clusters, with what was planned so far
	plan   ownersPlan
}

func (p *ownersPlanner) decide(c *wire.Cluster) {
	why := p.whyUnfit(c)
	switch {
	case why == "":
		if owner := p.byName[c.Status.Owner]; owner.Draining && !p.bound {
			p.place(c)
		}
	case c.Status.Owner == "" || p.overdue(c):
		if !p.place(c) {
			p.leave(c, why)
		}
	}
}

// whyUnfit says what keeps the owner from working, in words that an operator
// reads; empty when nothing does.
func (p *ownersPlanner) whyUnfit(c *wire.Cluster) string {
	name := c.Status.Owner
	owner, known := p.byName[name]
	switch {
	case name == "":
		return "it has no owner"
	case !known || !p.alive[name]:
		return fmt.Sprintf("its owner %s is gone", name)
	case !mayWork(owner, c):
		return fmt.Sprintf("its owner %s does not carry %s any more", name, c.NodeTag)
	}
	return ""
}

// mayWork reports whether a node that owns the cluster works on it. To end one
// needs no tag.
func mayWork(n *wire.Node, c *wire.Cluster) bool {
	return n.Carries(c.NodeTag) || c.Status.Phase == wire.PhaseRemoving
}

// overdue notes that the owner is unfit, and reports whether it has been for
// longer than the grace period.
func (p *ownersPlanner) overdue(c *wire.Cluster) bool {
	t := tenure{c.Name, c.CreateIndex, c.Status.OwnerEpoch}
	since, noted := p.owners.unfit[t]
	if !noted {
		since = p.now
	}
	p.plan.unfit[t] = since
	return p.now.Sub(since) >= p.grace
}

// place gives the cluster to the eligible node that owns the fewest, and
// reports whether there is one.
func (p *ownersPlanner) place(c *wire.Cluster) bool {
	candidates := p.eligible(func(n *wire.Node) bool { return n.Carries(c.NodeTag) })
	if len(candidates) == 0 && c.Status.Phase == wire.PhaseRemoving {
		candidates = p.eligible(func(*wire.Node) bool { return true })
	}
	if len(candidates) == 0 {
		return false
	}
	best := slices.MinFunc(candidates, func(a, b *wire.Node) int {
		return cmp.Or(cmp.Compare(p.owned[a.Name], p.owned[b.Name]), cmp.Compare(a.Name, b.Name))
	})
	p.owned[best.Name]++
	p.owned[c.Status.Owner]--
	p.plan.assign = append(p.plan.assign, state.AssignOwner{Item: state.Item{Cluster: c.Name}, Owner: best.Name, Epoch: c.Status.OwnerEpoch})
	return true
}

func (p *ownersPlanner) eligible(fits func(*wire.Node) bool) []*wire.Node {
	var all []*wire.Node
	for _, n := range p.nodes {
		if p.alive[n.Name] && !n.Draining && fits(n) {
			all = append(all, n)
		}
	}
	return all
}

// leave has an operator read why nobody works on the cluster.
func (p *ownersPlanner) leave(c *wire.Cluster, why string) {
	reason := fmt.Sprintf("%s, and no other live node carries %s", why, c.NodeTag)
	if slices.ContainsFunc(p.nodes, func(n *wire.Node) bool { return p.alive[n.Name] && n.Draining && n.Carries(c.NodeTag) }) {
		reason = fmt.Sprintf("%s, and every other live node that carries %s is draining", why, c.NodeTag)
	}
	if c.Status.Reason != reason || c.Status.Phase == wire.PhaseReady {
		p.plan.unattended = append(p.plan.unattended, state.ReportUnattended{Item: state.Item{Cluster: c.Name}, Epoch: c.Status.OwnerEpoch, Reason: reason})
	}
}
