package raftstore

import (
	"crypto/rand"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/peer"
)

// maxForerunners is how many agents with lower names a founder may have that
// do not found: further ones would all ask each other.
const maxForerunners = 16

// PromiseReply is nothing, or why the agent does not take part.
type PromiseReply struct{ Failure *Failure }

// Promise takes part in a founding.
func (a *answers) Promise(f *Founding, reply *PromiseReply) error {
	reply.Failure = failureOf(a.s.membership.promise(*f))
	return nil
}

func (m *membership) promise(f Founding) error {
	if err := f.validate(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.s.hasState() {
		return wire.Errorf(wire.CodeConflict, "agent %s has data", m.s.cfg.Node)
	}
	r, err := m.record.promise(f, m.s.cfg.Node, m.s.DataID())
	if err != nil {
		return err
	}
	return m.becomeLocked(r)
}

// found founds a cluster if that is this node's to do: it is the first by name
// of those who may, Expect agents are alive, and none of all that are has, or
// knows of, a cluster.
func (m *membership) found() {
	others := m.others()
	if m.s.cfg.Expect < 2 || len(others)+1 < m.s.cfg.Expect || !m.quiet(others) {
		return
	}
	forerunners := 0
	for forerunners < len(others) && others[forerunners].Name < m.s.cfg.Node {
		forerunners++
	}
	if forerunners > maxForerunners {
		return
	}
	first := m.askAll(others[:forerunners])
	for _, p := range others[:forerunners] {
		if said, ok := first[p.Name]; !ok || said.Expect > 1 {
			return // it founds
		}
	}
	said := m.askAll(others)
	for _, p := range others {
		s, ok := said[p.Name]
		if !ok {
			m.log.Warn("no cluster is founded: an agent that gossip sees cannot be asked whether it has data", "agent", p.Name, "addr", p.Addr)
			return
		}
		if s.HasState || s.Cluster != "" || s.Leader != "" {
			m.log.Info("no cluster is founded: an agent belongs to one", "agent", p.Name)
			return
		}
	}
	m.foundWith(m.plan(others, said))
}

// quiet reports whether gossip has seen the same agents for a moment: one that
// has just begun may not know yet of those who have data.
func (m *membership) quiet(others []Peer) bool {
	same := func(a, b Peer) bool { return a.Name == b.Name && a.Addr == b.Addr }
	if !slices.EqualFunc(m.crowd, others, same) {
		m.crowd, m.crowded = others, time.Now()
	}
	if time.Since(m.crowded) >= m.s.cfg.Membership.Interval/2 {
		return true
	}
	m.failures = 0 // the next round is not far
	return false
}

// plan is a founding by this node and the first others.
func (m *membership) plan(others []Peer, said map[wire.NodeName]StatusReply) Founding {
	n := m.s.cfg.Expect
	f := Founding{
		ID: rand.Text(), Voters: oddUpTo(min(n, m.s.cfg.MaxVoters)),
		Members: []Member{{Name: m.s.cfg.Node, Addr: m.s.Addr(), DataID: m.s.DataID()}},
	}
	for _, p := range others[:n-1] {
		f.Members = append(f.Members, Member{Name: p.Name, Addr: p.Addr, DataID: said[p.Name].DataID})
	}
	return f
}

// oddUpTo is the largest odd number up to n, at least 1.
func oddUpTo(n int) int { return max(1, n-(n+1)%2) }

// foundWith gathers the promises and bootstraps when it has all, or withdraws.
func (m *membership) foundWith(f Founding) {
	if err := m.promise(f); err != nil { // its own comes first
		m.log.Debug("no cluster is founded", "err", err)
		return
	}
	if m.allPromise(f) {
		if err := m.bootstrap(f); err != nil {
			m.log.Warn("cannot found a cluster", "err", err)
		} else {
			m.log.Info("founded a cluster", "agents", len(f.Members), "voters", f.Voters)
			return
		}
	}
	m.withdraw()
}

func (m *membership) allPromise(f Founding) bool {
	var granted atomic.Int64
	var others []Peer
	for _, member := range f.Members[1:] {
		others = append(others, Peer{Name: member.Name, Addr: member.Addr})
	}
	each(others, func(p Peer) {
		var reply PromiseReply
		err := m.ask(m.life, p, "Promise", &f, &reply)
		if err == nil {
			err = reply.Failure.err()
		}
		if err != nil {
			m.log.Debug("an agent does not take part in founding a cluster", "agent", p.Name, "err", err)
			return
		}
		granted.Add(1)
	})
	return int(granted.Load()) == len(others)
}

// bootstrap makes this node the first of the cluster; it is elected by those
// who promised, since they have nothing yet.
func (m *membership) bootstrap(f Founding) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.record.belongs() != f.ID {
		return wire.Errorf(wire.CodeConflict, "the founding was given up")
	}
	if err := m.s.logs.forgetVotes(); err != nil {
		return err
	}
	if err := m.s.raft.BootstrapCluster(f.configuration()).Error(); err != nil {
		return err
	}
	return m.s.hurry()
}

func (f *Founding) configuration() raft.Configuration {
	var c raft.Configuration
	for i, member := range f.Members {
		suffrage := raft.Nonvoter
		if i < f.Voters {
			suffrage = raft.Voter
		}
		c.Servers = append(c.Servers, raft.Server{
			Suffrage: suffrage, ID: raft.ServerID(member.Name), Address: peer.Address(member.Name, member.Addr),
		})
	}
	return c
}

// withdraw ends this node's own founding, unless it bootstrapped. Those who
// promised hear of it when they ask.
func (m *membership) withdraw() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.s.logs.isEmpty() {
		if err := m.becomeLocked(m.record.release()); err != nil {
			m.log.Warn("cannot withdraw from founding a cluster", "err", err)
		}
	}
}

// reconsider sees whether the founding that this node promised to can still
// succeed, and is free for another one if not.
func (m *membership) reconsider(f Founding) {
	said := m.askAll(m.alive(f.Members))
	if said[f.founder().Name].DataID == f.founder().DataID {
		m.lost = time.Time{}
	} else if m.lost.IsZero() {
		m.lost = time.Now()
	}
	if !m.lost.IsZero() && time.Since(m.lost) >= m.s.cfg.Membership.FounderLost {
		m.abandon(f)
	}
	said[m.s.cfg.Node] = m.status()
	if f.isOver(said) {
		m.release(f)
	}
}

// alive are the members that gossip sees, but this node, where they are now.
func (m *membership) alive(members []Member) []Peer {
	all := m.s.directory.get()
	var found []Peer
	for _, member := range members {
		if p := all[member.Name]; p.Alive && p.Addr != "" && member.Name != m.s.cfg.Node {
			found = append(found, p)
		}
	}
	return found
}

// abandon gives the founding up, if it left nothing behind.
func (m *membership) abandon(f Founding) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.record.belongs() != f.ID {
		return
	}
	err := m.leaveLocked()
	if err == nil {
		m.log.Warn("the founder of the cluster does not answer; another founding begins once most of the voters to be say so too. If that cannot be any more, start this agent with an empty data directory",
			"founder", f.founder().Name, "voters", f.Voters)
		err = m.becomeLocked(m.record.abandon())
	}
	if err != nil {
		m.log.Debug("cannot give up a founding", "err", err)
	}
}

// leaveLocked closes the door to where this node belongs, and waits until what
// came through it is done. Errors: ErrConflict (it left something behind, the
// door is open again), or ctx's when the store closes.
func (m *membership) leaveLocked() error {
	if err := m.s.port.SetCluster(m.life, ""); err != nil {
		return err
	}
	if !m.s.hasState() {
		return nil
	}
	conflict := wire.Errorf(wire.CodeConflict, "this agent has data of the cluster that it helped to found")
	return errors.Join(conflict, m.s.port.SetCluster(m.life, m.record.belongs()))
}

// release is free for another founding once f is over.
func (m *membership) release(f Founding) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.record.Promise == nil || m.record.Promise.ID != f.ID || m.record.Cluster != "" || m.s.hasState() {
		return
	}
	if err := m.becomeLocked(m.record.release()); err != nil {
		m.log.Warn("cannot be free for another founding", "err", err)
		return
	}
	m.lost, m.failures = time.Time{}, 0
}
