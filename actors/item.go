package actors

import (
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// binding says what another node than the owner can do about an item.
type binding int

const (
	// free: any node can go on with it.
	free binding = iota
	// bound: what was made is on the owner's node, and another makes it anew,
	// empty. That is for frames in memory.
	bound
	// pinned: its data is on a disk of the owner's node. No other takes it over,
	// unless it is being removed.
	pinned
)

// item is what the leader and the node actor have to know of a cluster or a
// persistent FrameDB.
type item struct {
	state.Item
	tag        wire.NodeTag
	phase      wire.Phase
	reason     string
	owner      wire.NodeName
	epoch      uint64
	created    uint64 // tells two of one name apart
	generation uint64
	binding    binding
}

// bindings says how items are bound, by their drivers.
type bindings struct{ clusters, storage bool }

func (b bindings) cluster(c *wire.Cluster) item {
	i := item{
		Item: state.Item{Cluster: c.Name}, tag: c.NodeTag, phase: c.Status.Phase, reason: c.Status.Reason,
		owner: c.Status.Owner, epoch: c.Status.OwnerEpoch, created: c.CreateIndex, generation: c.Generation,
	}
	if b.clusters {
		i.binding = bound
	}
	return i
}

func (b bindings) persistent(p *wire.PersistentInstance) item {
	i := item{
		Item: state.Item{Storage: p.ID}, tag: p.NodeTag, phase: p.Status.Phase, reason: p.Status.Reason,
		owner: p.Status.Owner, epoch: p.Status.OwnerEpoch, created: p.CreateIndex, generation: p.Generation,
	}
	if b.storage && p.External == nil {
		i.binding = pinned
	}
	return i
}

// leaves reports whether a former owner may have something of an item on its
// node: its own driver alone sees and ends that.
func (b bindings) leaves(i state.Item) bool {
	if i.Storage != "" {
		return b.storage
	}
	return b.clusters
}

// all are the items of a view: clusters, then persistent FrameDBs, by name.
func (b bindings) all(v *state.View) []item { return b.items(v.Clusters(), v.PersistentInstances()) }

func (b bindings) items(clusters []*wire.Cluster, storage []*wire.PersistentInstance) []item {
	items := make([]item, 0, len(clusters)+len(storage))
	for _, c := range clusters {
		items = append(items, b.cluster(c))
	}
	for _, p := range storage {
		items = append(items, b.persistent(p))
	}
	return items
}

func (i *item) removing() bool { return i.phase == wire.PhaseRemoving }

// mayWork reports whether a node that owns the item works on it. To end one
// needs no tag.
func mayWork(n *wire.Node, i *item) bool { return n.Carries(i.tag) || i.removing() }
