package raftstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// founded is a fleet of n that is ready and has "a", acknowledged.
func founded(t *testing.T, n int) *fleet {
	t.Helper()
	f := newFleet(t, n)
	f.startAll(names(n)...)
	f.ready(names(n)...)
	f.write("n1", "a")
	f.check("a")
	return f
}

func TestALateAgentJoins(t *testing.T) {
	t.Parallel()
	f := founded(t, 3)
	f.change = func(c *Config) { c.Expect = 0 }
	f.startAll("n4", "m5") // one of them the first by name
	f.ready("n4", "m5")
	f.write("m5", "b")
	f.check("a", "b")
	f.waitForVoters("m5", "n1", "n2", "n3", "n4")
}

// TestAllRestartElsewhere: each start has another address, and gossip is what
// tells.
func TestAllRestartElsewhere(t *testing.T) {
	t.Parallel()
	f := founded(t, 3)
	f.write("n2", "b")
	for _, name := range names(3) {
		f.kill(name)
	}
	f.startAll(names(3)...)
	f.ready(names(3)...)
	f.write("n3", "c")
	f.check("a", "b", "c")
}

func TestOneRestartsElsewhere(t *testing.T) {
	t.Parallel()
	f := founded(t, 3)
	f.stop("n3")
	f.write("n1", "b")
	f.start("n3")
	f.ready("n3")
	f.check("a", "b")
	f.waitForVoters(names(3)...)
	if st := f.store("n1").RaftStatus(); st.Servers[2].Address != f.store("n3").Addr() {
		t.Errorf("n3 is at %s, not %s", st.Servers[2].Address, f.store("n3").Addr())
	}
}

// TestAWipedVoterDoesNotVote: n3 lags, n2 loses its data, n1 dies. Between n3
// and an n2 that knows nothing there is no majority that has what was
// acknowledged.
func TestAWipedVoterDoesNotVote(t *testing.T) {
	t.Parallel()
	f := founded(t, 3)
	f.lead("n1")
	f.kill("n3")
	f.write("n1", "b") // n1 and n2 have it
	f.kill("n2")
	f.wipe("n2")
	f.kill("n1")
	f.startAll("n2", "n3")
	f.waitFor("n3 stands for election", func() bool { return f.store("n3").raft.State() == raft.Candidate })
	f.never("a leader without what was acknowledged", 2*time.Second, func() bool {
		return f.store("n3").isLeader() || f.store("n2").isLeader() || f.store("n2").hasState()
	})
	f.start("n1")
	f.ready(names(3)...)
	f.check("a", "b")
	f.waitForVoters(names(3)...)
	f.write("n2", "c")
	f.check("a", "b", "c")
}

// TestAWipedVoterLosesItsVote until it has what the others have.
func TestAWipedVoterLosesItsVote(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	change := f.change
	f.change = func(c *Config) {
		change(c)
		c.Membership.Stable, c.Membership.StableFew = time.Hour, time.Hour
	}
	f.startAll(names(3)...)
	f.ready(names(3)...)
	f.write("n1", "a")
	f.kill("n3")
	f.wipe("n3")
	f.start("n3")
	f.ready("n3")
	f.check("a")
	f.waitForVoters("n1", "n2")
}

// TestAPromiseToOthersDoesNotKeepAnAgentOut: n4 was asked to found with agents
// that never came.
func TestAPromiseToOthersDoesNotKeepAnAgentOut(t *testing.T) {
	t.Parallel()
	f := founded(t, 3)
	s := f.start("n4")
	founding := Founding{ID: "x", Voters: 3, Members: []Member{{Name: "m1", DataID: "1"}, {Name: "m2", DataID: "2"}, {Name: "n4", DataID: s.DataID()}}}
	promised := s.membership.promise(founding)
	f.ready("n4")
	if r := s.membership.belonging(); promised == nil && !slices.Contains(r.Abandoned, "x") || r.Promise != nil {
		t.Errorf("it has promised (%v) and remembers %+v", promised, r)
	}
	f.check("a")
}

func TestADeadVoterIsReplaced(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	change := f.change
	f.change = func(c *Config) { change(c); c.MaxVoters = 3 }
	f.startAll(names(4)...)
	f.ready(names(4)...)
	f.write("n1", "a")
	f.waitFor("three vote", func() bool { return len(f.voters()) == 3 })
	gone := f.leader()
	f.kill(gone)
	rest := without(names(4), gone)
	f.waitForVoters(rest...)
	f.write(rest[0], "b")
	f.start(gone)
	f.ready(gone)
	f.check("a", "b")
	f.waitForVoters(rest...)
}

func without(all []wire.NodeName, one wire.NodeName) []wire.NodeName {
	return slices.DeleteFunc(all, func(n wire.NodeName) bool { return n == one })
}

// TestAVoterThatRaftCannotReachIsReplaced, though gossip sees it.
func TestAVoterThatRaftCannotReachIsReplaced(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	change := f.change
	f.change = func(c *Config) { change(c); c.MaxVoters = 3 }
	f.startAll(names(4)...)
	f.ready(names(4)...)
	f.waitFor("three vote", func() bool { return len(f.voters()) == 3 })
	leader := f.leader()
	gone := without(f.voters(), leader)[0]
	f.waitFor("it has noted the cluster", func() bool { return f.store(gone).membership.belonging().Cluster != "" })
	if err := f.store(gone).port.SetCluster(f.ctx, "elsewhere"); err != nil {
		t.Fatal(err)
	}
	f.waitFor("it has no vote any more", func() bool {
		v := f.store(leader).Status().Voters
		return len(v) == 3 && !slices.Contains(v, gone)
	})
}

// TestNothingIsLostWhileAgentsComeAndGo restarts, kills and wipes one agent of
// five at a time, whichever.
func TestNothingIsLostWhileAgentsComeAndGo(t *testing.T) {
	t.Parallel()
	f := founded(t, 5)
	acknowledged := []wire.ClusterName{"a"}
	for i := range 10 {
		one := rand.IntN(5)
		name, through := names(5)[one], names(5)[(one+1)%5]
		end := []string{"stop", "kill", "wipe"}[rand.IntN(3)]
		t.Logf("%s %s, which leads: %v", end, name, f.store(name).isLeader())
		if end == "stop" {
			f.stop(name)
		} else {
			f.kill(name)
		}
		if end == "wipe" {
			f.wipe(name)
		}
		c := wire.ClusterName(fmt.Sprint("b", i))
		f.write(through, c)
		acknowledged = append(acknowledged, c)
		f.start(name)
		f.ready(name)
		f.check(acknowledged...)
		// A wiped one counts again before the next one goes.
		f.waitForVoters(names(5)...)
	}
}

func TestWhoKeepsUp(t *testing.T) {
	t.Parallel()
	f := founded(t, 2)
	leader := f.store(f.leader())
	f.waitFor("a follower keeps up", func() bool { return leader.membership.keepsUp(f.ctx, "n1") && leader.membership.keepsUp(f.ctx, "n2") })
	f.gossip.set(Peer{Name: "n3", Addr: opened(t, f.ctx, Config{Node: "n3", Dir: t.TempDir(), Bind: "127.0.0.1:0", Expect: 1}).Addr(), Alive: true})
	f.waitFor("gossip knows n3", func() bool { return leader.directory.get()["n3"].Addr != "" })
	for _, name := range []wire.NodeName{"n3", "nobody"} {
		if leader.membership.keepsUp(f.ctx, name) {
			t.Errorf("%s keeps up", name)
		}
	}
}

func TestADrainingLeaderGoesOnAsAFollower(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	change := f.change
	f.change = func(c *Config) { change(c); c.MaxVoters = 3 }
	f.startAll(names(4)...)
	f.ready(names(4)...)
	leader := f.leader()
	s := f.store(leader)
	propose(t, f.ctx, s, "", state.RegisterNode{Node: wire.Node{Name: leader}})
	propose(t, f.ctx, s, "", state.DrainNode{Name: leader, Draining: true})
	f.waitForVoters(without(names(4), leader)...)
	if f.leader() == leader {
		t.Error("it leads still")
	}
}

func TestMembershipIsValidated(t *testing.T) {
	t.Parallel()
	for want, spoil := range map[string]func(*Config){
		"max_voters":          func(c *Config) { c.MaxVoters = 4 },
		"membership.interval": func(c *Config) { c.Membership = quick(); c.Membership.Interval = 0 },
		"expect":              func(c *Config) { c.Expect = -1 },
	} {
		cfg := testConfig(t.TempDir())
		spoil(&cfg)
		if _, err := Open(cfg); !errors.Is(err, wire.ErrInvalidArgument) || field(err) != want {
			t.Errorf("%s: %v", want, err)
		}
	}
}
