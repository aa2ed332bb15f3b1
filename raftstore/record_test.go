package raftstore

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/framedb/framedb/client/wire"
)

// world are agents without clocks and network: whatever can happen does, in
// any order, and each sees of the others whom it happens to reach.
type world struct {
	agents    []*settler
	foundings []*attempt
}

type settler struct {
	name   wire.NodeName
	record record
	state  bool
}

type attempt struct {
	Founding
	granted []bool // by member
	begun   bool   // the founder has bootstrapped
}

func (a *settler) dataID() string { return "of " + string(a.name) }

func (a *settler) said() StatusReply {
	s := StatusReply{DataID: a.dataID(), HasState: a.state, Cluster: a.record.Cluster, Abandoned: a.record.Abandoned}
	if a.record.Promise != nil {
		s.Promise = a.record.Promise.ID
	}
	return s
}

// TestTwoFoundingsThatShareAnAgentNeverBothSucceed goes through founders that
// die at any point and agents that give up at any time.
func TestTwoFoundingsThatShareAnAgentNeverBothSucceed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := &world{}
		for i := range 6 {
			w.agents = append(w.agents, &settler{name: wire.NodeName(fmt.Sprint("n", i))})
		}
		steps := []func(*rapid.T){w.plan, w.promise, w.promise, w.promise, w.bootstrap, w.withdraw, w.abandon, w.release, w.release, w.receive, w.receive}
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			rapid.SampledFrom(steps).Draw(t, "step")(t)
			w.check(t)
		}
	})
}

func (w *world) agent(t *rapid.T) *settler { return rapid.SampledFrom(w.agents).Draw(t, "agent") }

func (w *world) named(name wire.NodeName) *settler {
	i := slices.IndexFunc(w.agents, func(a *settler) bool { return a.name == name })
	return w.agents[i]
}

// plan has an agent begin to found with two to four others.
func (w *world) plan(t *rapid.T) {
	founder := w.agent(t)
	f := Founding{ID: fmt.Sprint("f", len(w.foundings)), Members: []Member{{Name: founder.name, DataID: founder.dataID()}}}
	for _, a := range rapid.Permutation(w.agents).Draw(t, "others")[:rapid.IntRange(1, 5).Draw(t, "size")] {
		if a != founder {
			f.Members = append(f.Members, Member{Name: a.name, DataID: a.dataID()})
		}
	}
	f.Voters = oddUpTo(len(f.Members))
	r, err := founder.record.promise(f, founder.name, founder.dataID())
	if founder.state || err != nil || founder.record.Promise != nil {
		return
	}
	founder.record = r
	w.foundings = append(w.foundings, &attempt{Founding: f, granted: make([]bool, len(f.Members))})
	w.foundings[len(w.foundings)-1].granted[0] = true
}

func (w *world) attempt(t *rapid.T) *attempt {
	if len(w.foundings) == 0 {
		return &attempt{}
	}
	return rapid.SampledFrom(w.foundings).Draw(t, "founding")
}

// promise is a call that arrives, early or late.
func (w *world) promise(t *rapid.T) {
	f := w.attempt(t)
	if f.ID == "" {
		return
	}
	i := rapid.IntRange(0, len(f.Members)-1).Draw(t, "member")
	a := w.named(f.Members[i].Name)
	if a.state || i == 0 {
		return
	}
	r, err := a.record.promise(f.Founding, a.name, a.dataID())
	if err != nil {
		if !errors.Is(err, wire.ErrConflict) {
			t.Fatal(err)
		}
		return
	}
	a.record, f.granted[i] = r, true
}

func (w *world) bootstrap(t *rapid.T) {
	f := w.attempt(t)
	if f.ID == "" || slices.Contains(f.granted, false) {
		return
	}
	if a := w.named(f.founder().Name); a.dataID() == f.founder().DataID && a.record.belongs() == f.ID {
		f.begun, a.state = true, true
	}
}

func (w *world) withdraw(t *rapid.T) {
	f := w.attempt(t)
	if f.ID == "" {
		return
	}
	a := w.named(f.founder().Name)
	if !a.state && a.record.Promise != nil && a.record.Promise.ID == f.ID {
		a.record = a.record.release()
	}
}

func (w *world) abandon(t *rapid.T) {
	a := w.agent(t)
	if !a.state && a.record.Promise != nil && a.record.Promise.founder().DataID != a.dataID() {
		a.record = a.record.abandon()
	}
}

// release is by what some of the agents say.
func (w *world) release(t *rapid.T) {
	a := w.agent(t)
	if a.state || a.record.Promise == nil || a.record.Promise.founder().DataID == a.dataID() {
		return
	}
	said := map[wire.NodeName]StatusReply{a.name: a.said()}
	for _, other := range w.agents {
		if rapid.Bool().Draw(t, "reached") {
			said[other.name] = other.said()
		}
	}
	if a.record.Promise.isOver(said) {
		a.record = a.record.release()
	}
}

// receive has an agent get the first entry of a cluster that began, as its
// founder or somebody after it leads.
func (w *world) receive(t *rapid.T) {
	f := w.attempt(t)
	if !f.begun || w.supporters(f) < majority(f.Voters) {
		return
	}
	for _, m := range f.Members {
		if a := w.named(m.Name); a.record.belongs() == f.ID && rapid.Bool().Draw(t, "reached") {
			a.state = true
			a.record = a.record.join(f.ID)
		}
	}
}

// supporters are the voters who could elect or acknowledge in f's cluster.
func (w *world) supporters(f *attempt) int {
	n := 0
	for _, v := range f.voters() {
		if a := w.named(v.Name); a.dataID() == v.DataID && a.record.belongs() == f.ID {
			n++
		}
	}
	return n
}

func (w *world) check(t *rapid.T) {
	for i, f := range w.foundings {
		for _, g := range w.foundings[:i] {
			shared := slices.ContainsFunc(f.Members, func(m Member) bool { return slices.Contains(g.Members, m) })
			if shared && f.begun && g.begun && w.supporters(f) >= majority(f.Voters) && w.supporters(g) >= majority(g.Voters) {
				t.Fatalf("two clusters: %+v and %+v", *f, *g)
			}
		}
	}
}
