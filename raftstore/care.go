package raftstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/client/wire"
)

const (
	// maxBehind is how many commands an agent may be behind to become a voter.
	maxBehind = 250
	// maxChanges bounds the changes of one round; the next one goes on.
	maxChanges = 16
)

// sighting is since when an agent has been alive, or dead, as this leader saw.
type sighting struct {
	alive bool
	since time.Time
}

// care sees to who votes, one change at a time. It runs on the leader.
func (m *membership) care() {
	unready := map[wire.NodeName]bool{}
	for range maxChanges {
		ctx, cancel := context.WithTimeout(m.life, 2*changeTimeout)
		did, err := m.careOnce(ctx, unready)
		cancel()
		if err != nil {
			m.log.Debug("the voters could not be changed", "err", err)
		}
		if err != nil || !did || !m.s.isLeader() {
			return
		}
	}
}

// careOnce makes the next change, and reports whether there was one, or one
// may come now that an agent is unready.
func (m *membership) careOnce(ctx context.Context, unready map[wire.NodeName]bool) (did bool, err error) {
	err = m.change(ctx, func() error {
		next, found := planChange(m.electorate(unready))
		if !found {
			return nil
		}
		did = true
		if next.Do == promote && !m.keepsUp(ctx, next.Name) {
			unready[next.Name] = true
			return nil
		}
		m.log.Info("changes Raft's configuration", "do", next.Do, "agent", next.Name)
		if err := m.do(next); err != nil {
			return fmt.Errorf("%s %s: %w", next.Do, next.Name, err)
		}
		return nil
	})
	return did, err
}

// electorate is what this leader sees of the configuration's servers.
func (m *membership) electorate(unready map[wire.NodeName]bool) electorate {
	e := electorate{Leader: m.s.cfg.Node, Max: m.s.cfg.MaxVoters, Times: m.s.cfg.Membership, Unready: unready}
	if term := m.s.raft.CurrentTerm(); m.term != term {
		m.term, m.seen = term, nil
		m.deaf.clear()
	}
	peers, view, now := m.s.directory.get(), m.s.View(), time.Now()
	seen := map[wire.NodeName]sighting{}
	for _, in := range m.s.configuration().Servers {
		name := wire.NodeName(in.ID)
		at, known := m.seen[name]
		if alive := peers[name].Alive && !m.deaf.has(name); !known || at.alive != alive {
			at = sighting{alive, now}
		}
		seen[name] = at
		node, registered := view.Node(name)
		e.Servers = append(e.Servers, server{
			Name: name, Voter: in.Suffrage == raft.Voter, Alive: at.alive, For: now.Sub(at.since),
			Draining: registered && node.Draining,
		})
	}
	m.seen = seen
	return e
}

// keepsUp asks an agent whether it follows this leader closely.
func (m *membership) keepsUp(ctx context.Context, name wire.NodeName) bool {
	var said StatusReply
	err := m.ask(ctx, m.s.directory.get()[name], "Status", struct{}{}, &said)
	return err == nil && said.HasState && said.Leader == m.s.cfg.Node && said.Applied+maxBehind >= m.s.View().Index()
}

// do makes a change and waits until it is committed.
func (m *membership) do(c change) error {
	switch c.Do {
	case promote:
		in, _ := m.s.server(c.Name)
		return m.s.configured(m.s.raft.AddVoter(in.ID, in.Address, 0, changeTimeout))
	case demote:
		return m.s.configured(m.s.raft.DemoteVoter(raft.ServerID(c.Name), 0, changeTimeout))
	case remove:
		return m.s.configured(m.s.raft.RemoveServer(raft.ServerID(c.Name), 0, changeTimeout))
	}
	return m.s.handOver(c.Name)
}

// remove takes a server out of the configuration, unless those left that are
// alive would be no majority. Errors: ErrConflict.
func (m *membership) remove(name wire.NodeName) error {
	e := m.electorate(nil)
	for _, s := range e.Servers {
		if s.Name == name && s.Voter && !e.safeWithout(s) {
			return wire.Errorf(wire.CodeConflict, "without agent %q those that are alive have no majority: start more of the voters first", name)
		}
	}
	err := m.s.configured(m.s.raft.RemoveServer(raft.ServerID(name), 0, changeTimeout))
	if err == nil {
		m.deaf.forget(name) // who comes next under that name is another one
	}
	return err
}

// change runs f, which changes the configuration, when nobody else does and if
// this node leads. Errors besides f's: ErrNoLeader, ErrTimeout.
func (m *membership) change(ctx context.Context, f func() error) error {
	select {
	case m.changing <- struct{}{}:
		defer func() { <-m.changing }()
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", wire.Errorf(wire.CodeTimeout, "other changes of Raft's configuration are under way; nothing was changed"), ctx.Err())
	}
	if !m.s.isLeader() {
		return noLeader("another agent leads")
	}
	return f()
}

// configured waits for a change of the configuration, and says what became of
// it.
func (s *Store) configured(f raft.IndexFuture) error {
	err := f.Error()
	if err == nil {
		return nil
	}
	if errors.Is(err, raft.ErrLeadershipLost) || errors.Is(err, raft.ErrRaftShutdown) {
		return wire.Errorf(wire.CodeOutcomeUnknown, "%v; repeat it", err)
	}
	return s.failure(err, false)
}

// handOver has another voter lead, of its own choice when to is empty. Raft
// brings that one up to date before.
func (s *Store) handOver(to wire.NodeName) error {
	if to == "" {
		to = s.successor()
	}
	server, ok := s.server(to)
	if !ok {
		return s.raft.LeadershipTransfer().Error() // it knows who has most, not who is alive
	}
	return s.raft.LeadershipTransferToServer(server.ID, server.Address).Error()
}

// successor is a voter that seems to be alive, empty for none.
func (s *Store) successor() wire.NodeName {
	peers := s.directory.get()
	for _, v := range s.Status().Voters {
		if v != s.cfg.Node && peers[v].Alive && !s.membership.deaf.has(v) {
			return v
		}
	}
	return ""
}
