package raftstore

import (
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/peer"
)

// directory is what gossip knows, by name. Raft asks for an address before each
// message, so that it is built anew only when something changed.
type directory struct {
	peers Peers
	me    Peer
	every time.Duration // how old it may be when nothing is heard of changes

	mu      sync.Mutex
	all     map[wire.NodeName]Peer // guarded by mu, as are those below; not changed once made
	built   time.Time
	changed <-chan struct{}
}

// get returns every agent, this one among them. Do not change it.
func (d *directory) get() map[wire.NodeName]Peer {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.changed:
	default:
		if d.all != nil && time.Since(d.built) < d.every {
			return d.all
		}
	}
	d.built, d.changed = time.Now(), d.peers.Changed()
	d.all = map[wire.NodeName]Peer{}
	for _, p := range d.peers.Peers() {
		d.all[p.Name] = p
	}
	d.all[d.me.Name] = d.me
	return d.all
}

// ServerAddr tells Raft where a node is now. A node that gossip does not know
// is looked for where Raft's configuration has it.
func (d *directory) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if p := d.get()[wire.NodeName(id)]; p.Addr != "" {
		return peer.Address(p.Name, p.Addr), nil
	}
	return "", wire.Errorf(wire.CodeNotFound, "gossip does not know the agent %q", id)
}

// configuration is Raft's latest, perhaps not committed yet.
func (s *Store) configuration() raft.Configuration {
	return s.raft.GetConfiguration().Configuration()
}

func compareNames(a, b wire.NodeName) int { return strings.Compare(string(a), string(b)) }
