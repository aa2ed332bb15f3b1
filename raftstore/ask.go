package raftstore

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/peer"
)

// maxStrangers is how many agents are asked for the leader, of all there are.
const maxStrangers = 3

// StatusReply is what an agent says of itself to others.
type StatusReply struct {
	DataID   string
	Expect   int
	HasState bool
	// Cluster, Promise and Abandoned are the record's; of Promise the ID.
	Cluster   string
	Promise   string
	Abandoned []string

	// Leader is empty when none is known.
	Leader     wire.NodeName
	LeaderAddr string
	Applied    uint64
}

// Status answers at once.
func (a *answers) Status(_ struct{}, reply *StatusReply) error {
	*reply = a.s.membership.status()
	return nil
}

func (m *membership) status() StatusReply {
	r := m.belonging()
	leader, addr := m.s.leaderNow()
	said := StatusReply{
		DataID: m.s.DataID(), Expect: m.s.cfg.Expect, HasState: m.s.hasState(),
		Cluster: r.Cluster, Abandoned: r.Abandoned,
		Leader: leader, LeaderAddr: addr, Applied: m.s.View().Index(),
	}
	if r.Promise != nil {
		said.Promise = r.Promise.ID
	}
	return said
}

// leaderNow is the leader that Raft knows and its host:port, empty for none.
func (s *Store) leaderNow() (wire.NodeName, string) {
	address, id := s.raft.LeaderWithID()
	_, addr := peer.SplitAddress(address)
	return wire.NodeName(id), addr
}

// ask makes one call of one agent.
func (m *membership) ask(ctx context.Context, to Peer, method string, args, reply any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return m.s.port.Ask(ctx, to.Name, to.Addr, method, args, reply)
}

// askAll asks each for its Status. Those that gave no answer are missing.
func (m *membership) askAll(peers []Peer) map[wire.NodeName]StatusReply {
	said := map[wire.NodeName]StatusReply{}
	var mu sync.Mutex
	each(peers, func(p Peer) {
		var reply StatusReply
		if err := m.ask(m.life, p, "Status", struct{}{}, &reply); err != nil {
			m.log.Debug("an agent does not say how it is", "agent", p.Name, "err", err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		said[p.Name] = reply
	})
	return said
}

// each runs f for all peers, maxAsked at a time, and waits.
func each(peers []Peer, f func(Peer)) {
	var working sync.WaitGroup
	slots := make(chan struct{}, maxAsked)
	for _, p := range peers {
		slots <- struct{}{}
		working.Go(func() {
			defer func() { <-slots }()
			f(p)
		})
	}
	working.Wait()
}

// others are the agents that are alive, by name, but this one.
func (m *membership) others() []Peer {
	var all []Peer
	for name, p := range m.s.directory.get() {
		if p.Alive && p.Addr != "" && name != m.s.cfg.Node {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b Peer) int { return compareNames(a.Name, b.Name) })
	return all
}

// findLeader asks the first agent by name, who would found, and a few others.
func (m *membership) findLeader() (Peer, bool) {
	if name, addr := m.s.leaderNow(); name != "" && name != m.s.cfg.Node {
		return Peer{Name: name, Addr: addr}, true
	}
	some := m.others()
	if len(some) > 1 {
		rest := some[1:]
		rand.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
		some = some[:1+min(len(rest), maxStrangers)]
	}
	for _, said := range m.askAll(some) {
		if said.Leader != "" && said.Leader != m.s.cfg.Node {
			return Peer{Name: said.Leader, Addr: said.LeaderAddr}, true
		}
	}
	return Peer{}, false
}
