package agent

import (
	"cmp"
	"slices"
	"sync"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/cluster"
	"github.com/framedb/framedb/raftstore"
)

// peers tells Raft what gossip knows. Raft starts first, because gossip tells
// the others where it listens.
type peers struct {
	mu     sync.Mutex
	gossip *cluster.Cluster // guarded by mu; nil until follow
	begun  chan struct{}    // closed by follow
}

var _ raftstore.Peers = (*peers)(nil)

func newPeers() *peers { return &peers{begun: make(chan struct{})} }

func (p *peers) follow(gossip *cluster.Cluster) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gossip = gossip
	close(p.begun)
}

func (p *peers) known() *cluster.Cluster {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gossip
}

// Peers implements raftstore.Peers.
func (p *peers) Peers() []raftstore.Peer {
	gossip := p.known()
	if gossip == nil {
		return nil
	}
	members := gossip.Members()
	all := make([]raftstore.Peer, len(members))
	for i, m := range members {
		all[i] = raftstore.Peer{Name: m.Name, Addr: m.Meta.Raft, Alive: m.Alive}
	}
	return all
}

// Changed implements raftstore.Peers.
func (p *peers) Changed() <-chan struct{} {
	if gossip := p.known(); gossip != nil {
		return gossip.Changed()
	}
	return p.begun
}

// members joins what gossip, Raft and the store know of the agents, by name.
// One that the store alone knows is gone.
func (a *agent) members() []wire.Member {
	raft, view := a.store.Status(), a.store.View()
	owned := map[wire.NodeName]int{}
	for _, c := range view.Clusters() {
		owned[c.Status.Owner]++
	}
	all := map[wire.NodeName]*wire.Member{}
	for _, m := range a.gossip.Members() {
		all[m.Name] = &wire.Member{Name: m.Name, Address: m.Meta.API, Alive: m.Alive, Version: m.Meta.Version}
	}
	for _, n := range view.Nodes() {
		m := all[n.Name]
		if m == nil {
			m = &wire.Member{Name: n.Name, Address: n.Address, Version: n.Version}
			all[n.Name] = m
		}
		m.Tags, m.Draining = n.AllTags(), n.Draining
	}
	list := make([]wire.Member, 0, len(all))
	for name, m := range all {
		m.Tags = append([]wire.NodeTag{}, m.Tags...)
		m.Voter, m.Leader, m.Owned = slices.Contains(raft.Voters, name), raft.Leader == name, owned[name]
		list = append(list, *m)
	}
	slices.SortFunc(list, func(a, b wire.Member) int { return cmp.Compare(a.Name, b.Name) })
	return list
}
