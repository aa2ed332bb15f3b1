package raftstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/raftstore/peer"
)

func TestAgentsThatStartTogetherFoundOneCluster(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ expect, agents, founders, voters int }{
		{2, 2, 1, 1}, {3, 3, 3, 3}, {4, 4, 3, 3}, {5, 5, 5, 5}, {3, 5, 3, 5}, {6, 7, 5, 5},
	} {
		t.Run(fmt.Sprintf("%d of %d", c.expect, c.agents), func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, c.expect)
			all := names(c.agents)
			rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			f.startAll(all...)
			f.ready(all...)
			f.write(all[0], "a")
			f.check("a")
			f.waitFor("the voters are chosen", func() bool { return len(f.voters()) == c.voters })
		})
	}
}

// TestOneMayBeMissingForAWhile: the others wait for it.
func TestOneMayBeMissingForAWhile(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.startAll("n2", "n3")
	f.never("two of three founded a cluster", 10*quick().Interval, func() bool {
		return f.store("n2").hasState() || f.store("n3").hasState()
	})
	f.start("n1")
	f.ready("n1", "n2", "n3")
	f.write("n3", "a")
	f.check("a")
}

// TestAFounderWaitsUntilGossipIsQuiet: it may not know all yet.
func TestAFounderWaitsUntilGossipIsQuiet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &membership{s: &Store{cfg: Config{Membership: quick()}}}
		few, more := []Peer{{Name: "n2", Addr: "a:1"}}, []Peer{{Name: "n2", Addr: "a:1"}, {Name: "n3", Addr: "b:1"}}
		for _, seen := range [][]Peer{few, more, few} {
			if m.quiet(seen) {
				t.Errorf("%v are new and it is quiet", seen)
			}
			time.Sleep(quick().Interval / 2)
			if !m.quiet(seen) {
				t.Errorf("%v have been seen for long", seen)
			}
		}
	})
}

// TestAFounderThatDiesIsReplaced: it had all promises and did nothing with
// them.
func TestAFounderThatDiesIsReplaced(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.startAll("n2", "n3")
	founding := Founding{ID: "x", Voters: 3, Members: []Member{{Name: "n1", DataID: "n1's"}}}
	for _, name := range f.running() {
		founding.Members = append(founding.Members, Member{Name: name, Addr: f.store(name).Addr(), DataID: f.store(name).DataID()})
	}
	for _, name := range f.running() {
		if err := f.store(name).membership.promise(founding); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	f.start("n4")
	f.ready("n2", "n3", "n4")
	if took := time.Since(began); took < quick().FounderLost {
		t.Errorf("the founder was given up after %v", took)
	}
	f.write("n2", "a")
	f.check("a")
}

// TestTheWipedDoNotFound: most agents lost everything; a cluster of theirs
// would hide what the last one has.
func TestTheWipedDoNotFound(t *testing.T) {
	t.Parallel()
	f := founded(t, 3)
	f.write("n3", "b")
	for _, name := range names(3) {
		f.kill(name)
	}
	f.wipe("n1")
	f.wipe("n2")
	f.startAll("n0", "n1", "n2", "n3") // the first three could do without n3
	f.never("a new cluster beside an old one", 20*quick().Interval, func() bool {
		return f.store("n0").hasState() || f.store("n1").hasState() || f.store("n2").hasState()
	})
}

// mute drops what one agent's Raft would say, and nothing else.
type mute struct {
	peer.TCP
	on atomic.Bool
}

func (m *mute) Dial(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := m.TCP.Dial(ctx, addr)
	return &mutedConn{Conn: conn, mute: m}, err
}

type mutedConn struct {
	net.Conn
	mute   *mute
	raft   bool
	spoken bool
}

func (c *mutedConn) Write(b []byte) (int, error) {
	if !c.spoken {
		c.spoken, c.raft = true, len(b) > 4 && peer.Kind(b[4]) == peer.KindRaft
	}
	if c.raft && c.mute.on.Load() {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

// TestAFounderThatComesBackTooLate had bootstrapped when it died; the others
// went on without it.
func TestAFounderThatComesBackTooLate(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	quiet := new(mute)
	quiet.on.Store(true)
	change := f.change
	f.change = func(c *Config) {
		change(c)
		if c.Node == "n1" {
			c.Network = quiet
		}
	}
	f.startAll(names(3)...)
	f.waitFor("n1 bootstraps", func() bool { return f.store("n1").hasState() })
	f.kill("n1")
	f.start("n4")
	f.ready("n2", "n3", "n4")
	f.write("n2", "a")

	quiet.on.Store(false)
	late := f.start("n1")
	f.waitFor("n1 stands for election", func() bool { return late.raft.State() == raft.Candidate })
	f.never("n1 leads or is led", time.Second, func() bool { return late.Status().Leader != "" })
	f.kill("n1")
	f.wipe("n1")
	f.start("n1")
	f.ready("n1")
	f.check("a")
}

// TestOneAloneDoesNotGiveTheFounderUp: n1 and n2, whom n3 does not see, may
// have founded the cluster that it promised to be part of.
func TestOneAloneDoesNotGiveTheFounderUp(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.startAll("n3")
	founding := Founding{ID: "x", Voters: 3, Members: []Member{{Name: "n1", DataID: "1"}, {Name: "n2", DataID: "2"}, {Name: "n3", DataID: f.store("n3").DataID()}}}
	if err := f.store("n3").membership.promise(founding); err != nil {
		t.Fatal(err)
	}
	f.startAll("n4", "n5")
	f.waitFor("n3 gives it up", func() bool { return slices.Contains(f.store("n3").membership.belonging().Abandoned, "x") })
	f.never("n3 takes part in another founding", 20*quick().Interval, func() bool {
		p := f.store("n3").membership.belonging().Promise
		return p == nil || p.ID != "x" || f.store("n4").hasState()
	})
}
