package raftstore

import (
	"cmp"
	"slices"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// server is one agent of the configuration as the leader sees it.
type server struct {
	Name  wire.NodeName
	Voter bool
	Alive bool
	// For is how long it has been alive, or dead.
	For      time.Duration
	Draining bool
}

// deed is one change of the configuration.
type deed string

const (
	promote  deed = "promote"      // have it vote
	demote   deed = "demote"       // have it vote no more
	remove   deed = "remove"       // take it out of the configuration
	handOver deed = "hand over to" // have it lead
)

// change is what the leader does next.
type change struct {
	Do   deed
	Name wire.NodeName
}

// electorate is what planChange decides on.
type electorate struct {
	Leader  wire.NodeName
	Max     int // voters
	Times   Membership
	Servers []server
	// Unready are agents that must not be promoted yet: they do not keep up.
	Unready map[wire.NodeName]bool
}

// planChange is the next change towards the voters that there should be, if
// any. It takes no vote away unless those left that are alive are a majority,
// and promotes the one that replaces before it demotes the one replaced.
func planChange(e electorate) (change, bool) {
	for _, rule := range []func(electorate) (wire.NodeName, deed){
		electorate.relieved, electorate.superfluous, electorate.wanted, electorate.forgotten,
	} {
		if name, do := rule(e); name != "" {
			return change{do, name}, true
		}
	}
	return change{}, false
}

// relieved is a voter to lead instead of a leader that drains.
func (e electorate) relieved() (wire.NodeName, deed) {
	drains := slices.ContainsFunc(e.Servers, func(s server) bool { return s.Name == e.Leader && s.Draining })
	best, found := e.best(func(s server) bool { return s.Voter && s.Alive && !s.Draining && s.Name != e.Leader })
	if drains && found {
		return best.Name, handOver
	}
	return "", ""
}

// superfluous is a voter to be none: it was replaced, or there are too many, or
// the cluster survives more deaths without it.
func (e electorate) superfluous() (wire.NodeName, deed) {
	target := e.target()
	voters := e.count(func(s server) bool { return s.Voter })
	alive := e.count(func(s server) bool { return s.Voter && s.Alive })
	good := e.count(func(s server) bool { return s.Voter && e.present(s) && !s.Draining })
	worst, found := e.worst(func(s server) bool { return s.Voter && s.Name != e.Leader })
	switch {
	case !found || !e.safeWithout(worst):
	case voters > e.Max,
		// A dead one of which nothing is to be hoped.
		!e.present(worst) && spare(min(alive, target), target) > spare(alive, voters),
		e.present(worst) && worst.Draining && good >= target,
		// An even number survives no more than the odd one below.
		e.present(worst) && voters > target && voters%2 == 0 && target >= 3:
		return worst.Name, demote
	}
	return "", ""
}

// wanted is a voter to be: the cluster has fewer than it should.
func (e electorate) wanted() (wire.NodeName, deed) {
	target := e.target()
	voters := e.count(func(s server) bool { return s.Voter && e.present(s) })
	good := e.count(func(s server) bool { return s.Voter && e.present(s) && !s.Draining })
	stable := e.Times.Stable
	if voters < 3 {
		stable = min(stable, e.Times.StableFew)
	}
	// A draining agent is better than none, but no better than a draining one.
	best, found := e.best(func(s server) bool {
		return !s.Voter && s.Alive && s.For >= stable && !e.Unready[s.Name] && (!s.Draining || voters < target)
	})
	if found && good < target {
		return best.Name, promote
	}
	return "", ""
}

// forgotten is an agent that has been dead for very long and does not vote.
func (e electorate) forgotten() (wire.NodeName, deed) {
	worst, found := e.worst(func(s server) bool { return !s.Voter && !s.Alive && s.For >= e.Times.ForgetAfter })
	if found {
		return worst.Name, remove
	}
	return "", ""
}

// target is how many voters there should be: of the agents that are present
// the largest odd number up to Max.
func (e electorate) target() int { return oddUpTo(min(e.Max, e.count(e.present))) }

// present counts an agent that is alive, or was until lately.
func (e electorate) present(s server) bool { return s.Alive || s.For < e.Times.DeadAfter }

// spare is how many more voters may die.
func spare(alive, voters int) int { return alive - majority(voters) }

// safeWithout reports whether those left that are alive are a majority when s
// has no vote any more.
func (e electorate) safeWithout(s server) bool {
	left := func(o server) bool { return o.Voter && o.Name != s.Name }
	return e.count(func(o server) bool { return left(o) && o.Alive }) >= majority(e.count(left))
}

func (e electorate) count(which func(server) bool) int {
	n := 0
	for _, s := range e.Servers {
		if which(s) {
			n++
		}
	}
	return n
}

// best is who should rather vote than others.
func (e electorate) best(which func(server) bool) (server, bool) {
	return e.first(which, e.compare)
}

// worst is the opposite of best.
func (e electorate) worst(which func(server) bool) (server, bool) {
	return e.first(which, func(a, b server) int { return e.compare(b, a) })
}

func (e electorate) first(which func(server) bool, order func(a, b server) int) (server, bool) {
	var some []server
	for _, s := range e.Servers {
		if which(s) {
			some = append(some, s)
		}
	}
	if len(some) == 0 {
		return server{}, false
	}
	return slices.MinFunc(some, order), true
}

// compare orders agents that should vote before those that should not.
func (e electorate) compare(a, b server) int {
	return cmp.Or(
		-compareBools(e.present(a), e.present(b)),
		-compareBools(a.Alive, b.Alive),
		compareBools(a.Draining, b.Draining),
		compareNames(a.Name, b.Name),
	)
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
