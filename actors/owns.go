package actors

import (
	"context"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// ownedBy returns the items that the node works on, and its tags: those that it
// owns, as long as it carries their tag. One of which it still has something
// from an earlier time is cleaned up first. Nothing while the node is not
// registered.
func ownedBy(v *state.View, name wire.NodeName) (map[state.Item]item, []wire.NodeTag) {
	items := map[state.Item]item{}
	n, ok := v.Node(name)
	if !ok {
		return items, nil
	}
	for _, i := range (bindings{}).items(v.ClustersOwnedBy(name), v.StorageOwnedBy(name)) {
		if mayWork(n, &i) {
			items[i.Item] = i
		}
	}
	for _, l := range v.LeftoversOn(name) {
		delete(items, l.Item)
	}
	return items, n.AllTags()
}

// serving chooses for each tag the cluster to which the tag's socket leads:
// the first by name that was ready once and is not being removed. A degraded
// one keeps it, so that a failover moves nobody to other data. A tag that no
// cluster serves has the empty name.
func serving(items map[state.Item]item, tags []wire.NodeTag) map[wire.NodeTag]wire.ClusterName {
	chosen := map[wire.NodeTag]wire.ClusterName{}
	for _, tag := range tags {
		chosen[tag] = ""
	}
	for _, i := range items {
		if i.Cluster == "" || i.phase != wire.PhaseReady && i.phase != wire.PhaseDegraded {
			continue
		}
		if now := chosen[i.tag]; now == "" || i.Cluster < now {
			chosen[i.tag] = i.Cluster
		}
	}
	return chosen
}

// follow has the node actor look at each change of the node's row or of an
// item that it owns, and when it is asked from outside, until ctx ends.
func (a *Actors) follow(ctx context.Context, root *actor.RootContext, node *actor.PID) {
	changed := make(chan struct{})
	a.jobs.Go(func() { a.watch(ctx, changed) })
	for {
		select {
		case <-changed:
			root.Send(node, look{})
		case asked := <-a.looks:
			root.Send(node, asked)
		case <-ctx.Done():
			return
		}
	}
}

func (a *Actors) watch(ctx context.Context, changed chan<- struct{}) {
	for {
		view := a.cfg.Store.View()
		ownedBy(view, a.cfg.Node) // what was asked for is what is watched
		select {
		case changed <- struct{}{}:
		case <-ctx.Done():
			return
		}
		if view.Changed(ctx) != nil {
			return
		}
	}
}
