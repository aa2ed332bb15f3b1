package raftstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// quick is a Membership for tests.
func quick() Membership {
	return Membership{
		Interval: 40 * time.Millisecond, FounderLost: 400 * time.Millisecond,
		Stable: 200 * time.Millisecond, StableFew: 50 * time.Millisecond,
		DeadAfter: 400 * time.Millisecond, ForgetAfter: time.Hour, HandOver: time.Second,
	}
}

// gossip is what the stores of one test know of each other.
type gossip struct {
	mu      sync.Mutex
	all     map[wire.NodeName]Peer
	changed chan struct{}
}

func newGossip() *gossip { return &gossip{all: map[wire.NodeName]Peer{}, changed: make(chan struct{})} }

func (g *gossip) Peers() []Peer {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Collect(maps.Values(g.all))
}

func (g *gossip) Changed() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

func (g *gossip) set(p Peer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all[p.Name] = p
	close(g.changed)
	g.changed = make(chan struct{})
}

func (g *gossip) died(name wire.NodeName) {
	g.mu.Lock()
	p := g.all[name]
	g.mu.Unlock()
	p.Alive = false
	g.set(p)
}

// fleet are agents that gossip with each other.
type fleet struct {
	t      *testing.T
	ctx    context.Context
	root   string
	gossip *gossip
	// change changes what each agent is opened with.
	change func(*Config)

	mu     sync.Mutex
	lives  map[wire.NodeName]int // data directories that the name has had
	stores map[wire.NodeName]*Store
}

func newFleet(t *testing.T, expect int) *fleet {
	f := &fleet{
		t: t, ctx: within(t), root: t.TempDir(), gossip: newGossip(),
		change: func(c *Config) { c.Expect = expect },
		lives:  map[wire.NodeName]int{}, stores: map[wire.NodeName]*Store{},
	}
	t.Cleanup(f.end)
	return f
}

// names are n1 to n<n>.
func names(n int) []wire.NodeName {
	var all []wire.NodeName
	for i := range n {
		all = append(all, wire.NodeName(fmt.Sprint("n", i+1)))
	}
	return all
}

func (f *fleet) config(name wire.NodeName) Config {
	f.mu.Lock()
	defer f.mu.Unlock()
	cfg := Config{
		Node: name, Dir: filepath.Join(f.root, fmt.Sprint(name, "-", f.lives[name])), Bind: "127.0.0.1:0",
		Peers: f.gossip, Membership: quick(),
	}
	f.change(&cfg)
	return cfg
}

// start opens an agent, each time at another address, and has gossip see it.
func (f *fleet) start(name wire.NodeName) *Store {
	f.t.Helper()
	s, err := Open(f.config(name))
	if err != nil {
		f.t.Errorf("open %s: %v", name, err)
		return nil
	}
	f.mu.Lock()
	f.stores[name] = s
	f.mu.Unlock()
	f.gossip.set(Peer{Name: name, Addr: s.Addr(), Alive: true})
	return s
}

// startAll starts agents at the same instant.
func (f *fleet) startAll(all ...wire.NodeName) {
	f.t.Helper()
	var starting sync.WaitGroup
	for _, name := range all {
		starting.Go(func() { f.start(name) })
	}
	starting.Wait()
	if f.t.Failed() {
		f.t.FailNow()
	}
}

func (f *fleet) ready(all ...wire.NodeName) {
	f.t.Helper()
	for _, name := range all {
		if err := f.store(name).WaitReady(f.ctx); err != nil {
			f.t.Fatalf("%s: %v; %s", name, err, f.describe())
		}
	}
}

func (f *fleet) store(name wire.NodeName) *Store {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stores[name]
}

// stop ends an agent as an operator does.
func (f *fleet) stop(name wire.NodeName) {
	f.t.Helper()
	f.mu.Lock()
	s := f.stores[name]
	delete(f.stores, name)
	f.mu.Unlock()
	f.gossip.died(name)
	closeStore(f.t, s)
}

// kill ends an agent without letting it hand over.
func (f *fleet) kill(name wire.NodeName) {
	f.t.Helper()
	f.store(name).handsOver.Store(false)
	f.stop(name)
}

// wipe has the next start of the name find nothing.
func (f *fleet) wipe(name wire.NodeName) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lives[name]++
}

func (f *fleet) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	var closing sync.WaitGroup
	for _, s := range f.stores {
		closing.Go(func() { closeStore(f.t, s) })
	}
	closing.Wait()
}

func (f *fleet) running() []wire.NodeName {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.stores))
}

// describe is how each agent sees Raft.
func (f *fleet) describe() string {
	all := ""
	for _, name := range f.running() {
		s := f.store(name)
		all += fmt.Sprintf("\n%s: %+v %+v, record %+v", name, s.Status(), s.configuration().Servers, s.membership.belonging())
	}
	return all
}

// waitFor waits until ok.
func (f *fleet) waitFor(what string, ok func() bool) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			f.t.Fatalf("never: %s; %s", what, f.describe())
		}
	}
}

// never fails when it comes to happen within a while.
func (f *fleet) never(what string, while time.Duration, happens func() bool) {
	f.t.Helper()
	end := time.After(while)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if happens() {
			f.t.Fatalf("%s; %s", what, f.describe())
		}
		select {
		case <-tick.C:
		case <-end:
			return
		}
	}
}

// leader waits for one leader that all who run agree on.
func (f *fleet) leader() wire.NodeName {
	f.t.Helper()
	var leader wire.NodeName
	f.waitFor("all know one leader, who runs", func() bool {
		all := f.running()
		leader = f.store(all[0]).Status().Leader
		for _, name := range all {
			if f.store(name).Status().Leader != leader {
				return false
			}
		}
		return slices.Contains(all, leader) && f.store(leader).isLeader()
	})
	return leader
}

// lead has the agent lead.
func (f *fleet) lead(name wire.NodeName) {
	f.t.Helper()
	f.waitFor(fmt.Sprint(name, " leads"), func() bool { return f.store(name).TransferLeadership(f.ctx, name) == nil })
	f.leader()
}

// voters are those in the leader's configuration, by name.
func (f *fleet) voters() []wire.NodeName {
	f.t.Helper()
	return slices.Sorted(slices.Values(f.store(f.leader()).Status().Voters))
}

// waitForVoters waits until exactly these vote.
func (f *fleet) waitForVoters(want ...wire.NodeName) {
	f.t.Helper()
	f.waitFor(fmt.Sprint("voters are ", want), func() bool {
		for _, name := range f.running() {
			if s := f.store(name); s.isLeader() {
				return slices.Equal(slices.Sorted(slices.Values(s.Status().Voters)), want)
			}
		}
		return false
	})
}

// write has clusters created through an agent, and returns their names.
func (f *fleet) write(through wire.NodeName, clusters ...wire.ClusterName) {
	f.t.Helper()
	f.waitFor(fmt.Sprint(clusters, " is created through ", through), func() bool {
		_, err := f.store(through).Propose(f.ctx, wire.RequestID("create-"+clusters[0]), create(clusters...))
		if err != nil && !errors.Is(err, wire.ErrNoLeader) && !errors.Is(err, wire.ErrOutcomeUnknown) {
			f.t.Fatal(err)
		}
		return err == nil
	})
}

// check fails unless all who run are of one cluster and have what was
// acknowledged.
func (f *fleet) check(acknowledged ...wire.ClusterName) {
	f.t.Helper()
	ids := map[string]bool{}
	for _, name := range f.running() {
		s := f.store(name)
		f.waitFor(fmt.Sprint(name, " catches up"), func() bool { return s.CatchUp(f.ctx) == nil })
		for _, c := range acknowledged {
			if _, ok := s.View().Cluster(c); !ok {
				f.t.Errorf("%s has lost %s, which was acknowledged", name, c)
			}
		}
		ids[s.membership.belonging().belongs()] = true
	}
	if len(ids) != 1 || ids[""] {
		f.t.Errorf("there are these clusters: %v", ids)
	}
}

var _ Peers = (*gossip)(nil)
