package actors

import (
	"context"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// ownedBy returns the clusters that the node works on, and its tags: those that
// it owns, as long as it carries their tag. One of which it still has something
// from an earlier time is cleaned up first. Nothing while the node is not
// registered.
func ownedBy(v *state.View, name wire.NodeName) (map[wire.ClusterName]*wire.Cluster, []wire.NodeTag) {
	rows := map[wire.ClusterName]*wire.Cluster{}
	n, ok := v.Node(name)
	if !ok {
		return rows, nil
	}
	for _, c := range v.ClustersOwnedBy(name) {
		if mayWork(n, c) {
			rows[c.Name] = c
		}
	}
	for _, l := range v.LeftoversOn(name) {
		delete(rows, l.Cluster)
	}
	return rows, n.AllTags()
}

// serving chooses for each tag the cluster to which the tag's socket leads:
// the first by name that was ready once and is not being removed. A degraded
// one keeps it, so that a failover moves nobody to other data. A tag that no
// cluster serves has the empty name.
func serving(rows map[wire.ClusterName]*wire.Cluster, tags []wire.NodeTag) map[wire.NodeTag]wire.ClusterName {
	chosen := map[wire.NodeTag]wire.ClusterName{}
	for _, tag := range tags {
		chosen[tag] = ""
	}
	for _, c := range rows {
		if c.Status.Phase != wire.PhaseReady && c.Status.Phase != wire.PhaseDegraded {
			continue
		}
		if now := chosen[c.NodeTag]; now == "" || c.Name < now {
			chosen[c.NodeTag] = c.Name
		}
	}
	return chosen
}

// follow has the node actor look at each change of the node's row or of a
// cluster that it owns, and when it is asked from outside, until ctx ends.
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
