package raftstore

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/peer"
	"github.com/framedb/framedb/raftstore/state"
)

// voters opens n stores that vote together; the first leads.
func voters(t *testing.T, ctx context.Context, n int) []*Store {
	t.Helper()
	f := newFleet(t, n)
	f.startAll(names(n)...)
	f.ready(names(n)...)
	f.waitForVoters(names(n)...)
	f.lead("n1")
	var all []*Store
	for _, name := range names(n) {
		all = append(all, f.store(name))
	}
	return all
}

func TestAnyNodeTakesAChange(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	nodes := voters(t, ctx, 3)
	propose(t, ctx, nodes[2], "r1", create("a"))
	if _, err := nodes[1].Propose(ctx, "", create("a")); !errors.Is(err, wire.ErrAlreadyExists) {
		t.Errorf("what the leader refuses: %v", err)
	}
	var first uint64
	for i, s := range nodes {
		res := propose(t, ctx, s, "r2", mapping("cam"))
		if i == 0 {
			first = res.Index
		}
		if res.Index != first {
			t.Errorf("the retry at node %d was applied at %d, want %d", i+1, res.Index, first)
		}
	}
	for i, s := range nodes {
		if err := s.CatchUp(ctx); err != nil {
			t.Fatal(err)
		}
		if _, ok := s.View().Mapping("cam", "node-1"); !ok {
			t.Errorf("node %d caught up and does not have what was acknowledged", i+1)
		}
	}
	if st := nodes[1].Status(); st.IsLeader || st.Leader != "n1" || len(st.Voters) != 3 {
		t.Errorf("status of a follower: %+v", st)
	}
}

// TestNoLeaderIsSaidAtOnce: with two of three gone there is none.
func TestNoLeaderIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	nodes := voters(t, ctx, 3)
	propose(t, ctx, nodes[2], "", create("a"))
	if err := nodes[2].CatchUp(ctx); err != nil {
		t.Fatal(err)
	}
	closeStore(t, nodes[0])
	closeStore(t, nodes[1])
	waitFor(t, ctx, "the last node sees that nobody leads", func() bool { return nodes[2].Status().Leader == "" })
	for _, ask := range []func() error{
		func() error { _, err := nodes[2].Propose(ctx, "", mapping("x")); return err },
		func() error { return nodes[2].CatchUp(ctx) },
	} {
		err := ask()
		var e *wire.Error
		if !errors.As(err, &e) || e.Code != wire.CodeNoLeader || e.RetryAfter == 0 {
			t.Errorf("got %v, want no_leader with advice", err)
		}
	}
	if _, ok := nodes[2].View().Cluster("a"); !ok {
		t.Error("reads from memory ended with the leader")
	}
}

// TestAnotherLeaderTakesOver: what the old one acknowledged is there, and the
// followers find the new one.
func TestAnotherLeaderTakesOver(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	nodes := voters(t, ctx, 3)
	for i := range 50 {
		propose(t, ctx, nodes[1+i%2], "", mappingless(i))
	}
	closeStore(t, nodes[0])
	for _, s := range nodes[1:] {
		waitFor(t, ctx, "a new leader", func() bool { l := s.Status().Leader; return l == "n2" || l == "n3" })
	}
	for i, s := range nodes[1:] {
		propose(t, ctx, s, "", mappingless(100+i))
		if err := s.CatchUp(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for i, s := range nodes[1:] {
		if err := s.CatchUp(ctx); err != nil {
			t.Fatal(err)
		}
		if n := len(s.View().Clusters()); n != 52 {
			t.Errorf("node %d has %d of 52 clusters", i+2, n)
		}
	}
}

func mappingless(i int) state.CreateClusters { return create(wire.ClusterName(fmt.Sprint("c", i))) }

// TestAnAddressOfAnotherAgentIsRefused: Raft never speaks to whoever happens
// to have an address now.
func TestAnAddressOfAnotherAgentIsRefused(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	a, b := opened(t, ctx, testConfig(t.TempDir())), opened(t, ctx, Config{
		Node: "n1", Label: "other", Dir: t.TempDir(), Bind: "127.0.0.1:0", Expect: 1})
	for _, wrong := range []struct {
		name wire.NodeName
		addr string
	}{{"n2", a.Addr()}, {"n1", b.Addr()}} {
		_, err := a.port.Dial(ctx, peer.KindRaft, wrong.name, wrong.addr)
		if !errors.Is(err, wire.ErrForbidden) {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
}

// TestAFollowerHearsAtOnce of what was committed for it: an entry that does
// nothing follows where none comes by itself.
func TestAFollowerHearsAtOnce(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	nodes := voters(t, ctx, 3)
	own := propose(t, ctx, nodes[0], "", create("a"))
	if last := nodes[0].raft.LastIndex(); last != own.Index {
		t.Fatalf("the log ends at %d, want %d: nothing else is going on", last, own.Index)
	}
	others := propose(t, ctx, nodes[1], "", create("b"))
	waitFor(t, ctx, "an entry tells the follower", func() bool { return nodes[0].raft.LastIndex() == others.Index+1 })
	if err := nodes[1].WaitForIndex(ctx, others.Index); err != nil {
		t.Error(err)
	}
}
