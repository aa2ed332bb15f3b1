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
	for _, v := range s.voters() {
		st.Voters = append(st.Voters, wire.NodeName(v.ID))
	}
	return st
}

// voters are those of Raft's latest configuration, perhaps not committed yet.
func (s *Store) voters() (voters []raft.Server) {
	for _, server := range s.configuration().Servers {
		if server.Suffrage == raft.Voter {
			voters = append(voters, server)
		}
	}
	return voters
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
