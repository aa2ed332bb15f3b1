package raftstore

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/framedb/framedb/client/wire"
)

func TestTheLeadIsGivenAway(t *testing.T) {
	t.Parallel()
	f := founded(t, 3)
	for _, to := range []wire.NodeName{"n2", "n3", "n3", "n1"} {
		through := f.store("n2")
		if err := through.TransferLeadership(f.ctx, to); err != nil {
			t.Fatalf("to %s: %v", to, err)
		}
		if st := through.Status(); st.Leader != to {
			t.Errorf("to %s: %s leads", to, st.Leader)
		}
	}
	former := f.leader()
	if err := f.store("n3").TransferLeadership(f.ctx, ""); err != nil || f.leader() == former {
		t.Errorf("to anybody: %v, %s leads after %s", err, f.leader(), former)
	}
	if err := f.store("n3").TransferLeadership(f.ctx, "nobody"); !errors.Is(err, wire.ErrInvalidArgument) || field(err) != "to" {
		t.Errorf("to nobody: %v", err)
	}
	alone := founded(t, 1)
	if err := alone.store("n1").TransferLeadership(f.ctx, ""); !errors.Is(err, wire.ErrConflict) {
		t.Errorf("of the only voter: %v", err)
	}
}

func TestAnAgentIsForgotten(t *testing.T) {
	t.Parallel()
	f := founded(t, 3)
	f.startAll("n4")
	f.ready("n4")
	s := f.store("n2")
	if err := s.Forget(f.ctx, "n4"); !errors.Is(err, wire.ErrConflict) {
		t.Errorf("an agent that is alive: %v", err)
	}
	f.kill("n4")
	for range 2 {
		if err := s.Forget(f.ctx, "n4"); err != nil {
			t.Errorf("an agent that is dead: %v", err)
		}
	}
	f.waitFor("it is gone", func() bool { _, ok := s.server("n4"); return !ok })
	leader := f.leader()
	if err := f.store(leader).Forget(f.ctx, leader); err != nil {
		t.Fatalf("itself: %v", err)
	}
	f.never("it joined again", 10*quick().Interval, func() bool {
		for _, name := range names(3) {
			if _, in := f.store(name).server(leader); name != leader && f.store(name).isLeader() && in {
				return true
			}
		}
		return false
	})
	f.stop(leader)
	f.start(leader)
	f.ready(leader)
	f.check("a")
}

// TestForgettingKeepsAMajority: of three with one dead none of the others may
// go.
func TestForgettingKeepsAMajority(t *testing.T) {
	t.Parallel()
	f := founded(t, 3)
	f.kill("n3")
	f.waitFor("it is refused", func() bool {
		return errors.Is(f.store("n2").Forget(f.ctx, "n2"), wire.ErrConflict)
	})
	f.write("n2", "b")
	f.check("a", "b")
}

// TestAStopIsNoElection: whoever leads hands over first, so that a rolling
// restart costs no timeout.
func TestAStopIsNoElection(t *testing.T) {
	t.Parallel()
	f := founded(t, 3)
	leader := f.leader()
	others := without(names(3), leader)
	f.stop(leader)
	start := time.Now()
	f.waitFor("another one leads", func() bool { return f.store(others[0]).isLeader() || f.store(others[1]).isLeader() })
	if took := time.Since(start); took >= heartbeatTimeout {
		t.Errorf("another one led after %v", took)
	}
	if v := f.voters(); len(v) != 3 {
		t.Errorf("a stop took a vote away: %v", v)
	}
}

func TestStatusNamesAllServers(t *testing.T) {
	t.Parallel()
	f := founded(t, 3)
	f.kill("n3")
	f.check("a")
	s := f.store("n2")
	f.waitFor("n3 is seen dead", func() bool {
		st := s.RaftStatus()
		return len(st.Servers) == 3 && !st.Servers[2].Alive
	})
	st := s.RaftStatus()
	want := []wire.RaftServer{
		{Name: "n1", Address: f.store("n1").Addr(), Voter: true, Leader: st.Leader == "n1", Alive: true},
		{Name: "n2", Address: s.Addr(), Voter: true, Leader: st.Leader == "n2", Alive: true},
	}
	if !slices.Equal(st.Servers[:2], want) || st.Node != "n2" || st.Leader == "" || st.Term == 0 || st.Index == 0 {
		t.Errorf("status is %+v", st)
	}
}
