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
	now   time.Time
	items []item       // in any order that does not change
	nodes []*wire.Node // by name
	alive map[wire.NodeName]bool
	// unfit says since when the leader sees an owner that cannot work.
	unfit map[tenure]time.Time
	grace time.Duration
}

// tenure is one owner's time with an item.
type tenure struct {
	state.Item
	created uint64 // of two items of one name
	epoch   uint64
}

// ownersPlan is what to propose, and what to remember.
type ownersPlan struct {
	assign     []state.AssignOwner
	unattended []state.ReportUnattended
	// unfit takes the place of owners.unfit.
	unfit map[tenure]time.Time
}

// planOwners decides who works on what. It is pure. An item without an owner
// gets one at once. An owner that is alive keeps what it has, so that nothing
// moves for the sake of balance or because a former owner is back; one that
// drains hands on what is not bound to its node. What is on its disk nobody
// else ever gets.
func planOwners(in owners) ownersPlan {
	p := ownersPlanner{owners: in, byName: map[wire.NodeName]*wire.Node{}, owned: map[wire.NodeName]int{}}
	p.plan.unfit = map[tenure]time.Time{}
	for _, n := range in.nodes {
		p.byName[n.Name] = n
	}
	for n := range in.items {
		p.owned[in.items[n].owner]++
	}
	for n := range in.items {
		p.decide(&in.items[n])
	}
	return p.plan
}

type ownersPlanner struct {
	owners
	byName map[wire.NodeName]*wire.Node
	owned  map[wire.NodeName]int // items, with what was planned so far
	plan   ownersPlan
}

func (p *ownersPlanner) decide(i *item) {
	why := p.whyUnfit(i)
	switch {
	case why == "":
		if owner := p.byName[i.owner]; owner.Draining && i.binding == free {
			p.place(i)
		}
	case i.owner == "" || p.overdue(i):
		if i.owner != "" && i.binding == pinned && !i.removing() {
			p.leave(i, fmt.Sprintf("its data is on node %s, which %s", i.owner, why))
		} else if !p.place(i) {
			p.leave(i, p.nobody(i, why))
		}
	}
}

// whyUnfit says what keeps the owner from working, in words that an operator
// reads; empty when nothing does.
func (p *ownersPlanner) whyUnfit(i *item) string {
	owner, known := p.byName[i.owner]
	switch {
	case i.owner == "":
		return "it has no owner"
	case !known || !p.alive[i.owner]:
		return "is gone"
	case !mayWork(owner, i):
		return fmt.Sprintf("does not carry %s any more", i.tag)
	}
	return ""
}

// overdue notes that the owner is unfit, and reports whether it has been for
// longer than the grace period.
func (p *ownersPlanner) overdue(i *item) bool {
	t := tenure{i.Item, i.created, i.epoch}
	since, noted := p.owners.unfit[t]
	if !noted {
		since = p.now
	}
	p.plan.unfit[t] = since
	return p.now.Sub(since) >= p.grace
}

// place gives the item to the eligible node that owns the fewest, and reports
// whether there is one.
func (p *ownersPlanner) place(i *item) bool {
	candidates := p.eligible(func(n *wire.Node) bool { return n.Carries(i.tag) })
	if len(candidates) == 0 && i.removing() {
		candidates = p.eligible(func(*wire.Node) bool { return true })
	}
	if len(candidates) == 0 {
		return false
	}
	best := slices.MinFunc(candidates, func(a, b *wire.Node) int {
		return cmp.Or(cmp.Compare(p.owned[a.Name], p.owned[b.Name]), cmp.Compare(a.Name, b.Name))
	})
	p.owned[best.Name]++
	p.owned[i.owner]--
	p.plan.assign = append(p.plan.assign, state.AssignOwner{Item: i.Item, Owner: best.Name, Epoch: i.epoch})
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

// nobody says why no node can be the owner.
func (p *ownersPlanner) nobody(i *item, why string) string {
	if i.owner != "" {
		why = fmt.Sprintf("its owner %s %s", i.owner, why)
	}
	if slices.ContainsFunc(p.nodes, func(n *wire.Node) bool { return p.alive[n.Name] && n.Draining && n.Carries(i.tag) }) {
		return fmt.Sprintf("%s, and every other live node that carries %s is draining", why, i.tag)
	}
	return fmt.Sprintf("%s, and no other live node carries %s", why, i.tag)
}

// leave has an operator read why nobody works on the item.
func (p *ownersPlanner) leave(i *item, reason string) {
	if i.reason != reason || i.phase == wire.PhaseReady {
		p.plan.unattended = append(p.plan.unattended, state.ReportUnattended{Item: i.Item, Epoch: i.epoch, Reason: reason})
	}
}
