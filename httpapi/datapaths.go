package httpapi

import (
	"slices"
	"sync"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// dataPaths keeps one data path for each cluster that frames are asked of.
type dataPaths struct {
	cfg Config

	mu     sync.Mutex
	known  map[wire.ClusterName]*dataPath // guarded by mu
	closed bool                           // guarded by mu
}

type dataPath struct {
	*frames.Cluster
	members []wire.Instance // as it was last told
}

func newDataPaths(cfg Config) *dataPaths {
	return &dataPaths{cfg: cfg, known: map[wire.ClusterName]*dataPath{}}
}

// to returns the data path to a cluster, with the members as the view has them.
func (d *dataPaths) to(v *state.View, name wire.ClusterName) (*frames.Cluster, error) {
	members := rowsOf(v.InstancesOf(name))
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, later(wire.CodeUnavailable, "the agent is stopping")
	}
	p, found := d.known[name]
	if !found {
		d.sweepLocked(v)
		p = &dataPath{
			Cluster: frames.New(frames.Config{Password: d.cfg.Password, Sentinels: d.cfg.Sentinels, Logger: d.cfg.Logger}, name, members),
			members: members,
		}
		d.known[name] = p
	}
	if !slices.Equal(p.members, members) {
		p.SetMembers(members)
		p.members = members
	}
	return p.Cluster, nil
}

// sweepLocked forgets clusters that are gone. It runs when a new one is asked
// for, so that what is kept stays within what exists.
func (d *dataPaths) sweepLocked(v *state.View) {
	for name, p := range d.known {
		if _, exists := v.Cluster(name); !exists {
			p.Close()
			delete(d.known, name)
		}
	}
}

func (d *dataPaths) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for name, p := range d.known {
		p.Close()
		delete(d.known, name)
	}
}
