package raftstore

import (
	"sync"

	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/client/wire"
)

// deaf are the servers that this node, as the leader, cannot reach: gossip may
// see an agent whose Raft does not answer.
type deaf struct {
	raft     *raft.Raft
	observer *raft.Observer
	heard    chan raft.Observation
	working  sync.WaitGroup // follow

	mu    sync.Mutex
	names map[wire.NodeName]bool // guarded by mu
}

func newDeaf(r *raft.Raft) *deaf {
	d := &deaf{raft: r, heard: make(chan raft.Observation, 256), names: map[wire.NodeName]bool{}}
	d.observer = raft.NewObserver(d.heard, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.FailedHeartbeatObservation, raft.ResumedHeartbeatObservation:
			return true
		}
		return false
	})
	r.RegisterObserver(d.observer)
	d.working.Go(d.follow)
	return d
}

func (d *deaf) follow() {
	for o := range d.heard {
		switch o := o.Data.(type) {
		case raft.FailedHeartbeatObservation:
			d.set(wire.NodeName(o.PeerID), true)
		case raft.ResumedHeartbeatObservation:
			d.set(wire.NodeName(o.PeerID), false)
		}
	}
}

func (d *deaf) set(name wire.NodeName, deaf bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if deaf {
		d.names[name] = true
	} else {
		delete(d.names, name)
	}
}

func (d *deaf) has(name wire.NodeName) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.names[name]
}

func (d *deaf) forget(name wire.NodeName) { d.set(name, false) }

func (d *deaf) clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.names)
}

func (d *deaf) close() {
	d.raft.DeregisterObserver(d.observer)
	close(d.heard)
	d.working.Wait()
}
