package raftstore

import (
	"time"

	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/client/wire"
)

// Status is what Raft says now.
type Status struct {
	Leader   wire.NodeName // empty when none is known
	IsLeader bool
	Term     uint64
	// AppliedIndex is the last command that View contains.
	AppliedIndex uint64
	// LastContact is how long ago the leader was heard; 0 on the leader. When
	// none was heard yet it counts from Open.
	LastContact time.Duration
	Voters      []wire.NodeName // in the order in which they were added
}

// Status never blocks.
func (s *Store) Status() Status {
	_, leader := s.raft.LeaderWithID()
	st := Status{
		Leader:   wire.NodeName(leader),
		IsLeader: s.isLeader(), Term: s.raft.CurrentTerm(), AppliedIndex: s.View().Index(),
	}
	st.LastContact = s.Staleness()
	for _, server := range s.raft.GetConfiguration().Configuration().Servers {
		if server.Suffrage == raft.Voter {
			st.Voters = append(st.Voters, wire.NodeName(server.ID))
		}
	}
	return st
}

// Staleness is Status.LastContact alone: what this node does not know yet was
// acknowledged since.
func (s *Store) Staleness() time.Duration {
	if s.isLeader() {
		return 0
	}
	heard := s.raft.LastContact()
	if heard.IsZero() {
		heard = s.opened
	}
	return time.Since(heard)
}

// hasLeader reports whether this node leads or knows who does.
func (s *Store) hasLeader() bool {
	leader, _ := s.raft.LeaderWithID()
	return leader != ""
}

func (s *Store) isLeader() bool { return s.raft.State() == raft.Leader }
