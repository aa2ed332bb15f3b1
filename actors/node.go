package actors

import (
	"context"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/framedb/framedb/actors/instance"
	"github.com/framedb/framedb/client/wire"
)

// look has the node actor compare its children with the store.
type look struct {
	// done is closed afterwards, unless it is nil.
	done chan struct{}
}

func (look) IgnoreDeadLetterLogging() {}

// node is the actor at the root: it has one child for each cluster that this
// node owns. Everything is read from the store anew at each look, so that a
// restart loses nothing.
type node struct {
	ctx        context.Context
	a          *Actors
	supervisor *supervisor
	children   map[wire.ClusterName]*child
}

// child is one instance actor and what it was last told of.
type child struct {
	pid        *actor.PID
	record     *instance.Record
	created    uint64
	epoch      uint64
	generation uint64
	removing   bool
}

func newNode(ctx context.Context, a *Actors, s *supervisor) *node {
	return &node{ctx: ctx, a: a, supervisor: s, children: map[wire.ClusterName]*child{}}
}

// Receive never blocks: views are memory, and all else is done in jobs.
func (n *node) Receive(c actor.Context) {
	switch msg := c.Message().(type) {
	case *actor.Started:
		n.look(c)
	case look:
		n.look(c)
		if msg.done != nil {
			close(msg.done)
		}
	case *actor.Terminated:
		n.supervisor.forget(msg.Who)
	}
}

func (n *node) look(c actor.Context) {
	view := n.a.cfg.Store.View()
	rows, tags := ownedBy(view, n.a.cfg.Node)
	for name, kid := range n.children {
		if row, ok := rows[name]; !ok || !kid.worksOn(row) {
			n.end(c, name)
		}
	}
	for name, row := range rows {
		if _, ok := n.children[name]; !ok {
			n.begin(c, row)
		}
	}
	n.assignTags(rows, tags)
	for name, row := range rows {
		n.children[name].follow(row)
	}
}

// worksOn reports whether the row is of the cluster and the epoch that the
// actor was started for.
func (k *child) worksOn(row *wire.Cluster) bool {
	return row.CreateIndex == k.created && row.Status.OwnerEpoch == k.epoch
}

// follow pokes the instance when there is something new for it; its own
// reports are not.
func (k *child) follow(row *wire.Cluster) {
	removing := row.Status.Phase == wire.PhaseRemoving
	if k.generation != row.Generation || k.removing != removing {
		k.generation, k.removing = row.Generation, removing
		k.record.Poke()
	}
}

func (n *node) begin(c actor.Context, row *wire.Cluster) {
	record := n.a.records.open(row.Name)
	if row.Status.Phase == wire.PhaseRemoving {
		record.Outbox.Close()
	}
	// A name is never used twice: a former actor may still be ending.
	name := actorName(row.Name, n.a.names.Add(1))
	cfg := instance.Config{
		Context: n.ctx, Jobs: &n.a.jobs,
		Cluster: row.Name, Namespace: n.a.cfg.Namespace,
		Node: n.a.cfg.Node, Epoch: row.Status.OwnerEpoch, Begin: n.mayBegin(row), Lease: n.a.lease,
		Store: n.a.cfg.Store, Driver: n.a.cfg.Driver, Sentinels: n.a.sentinels,
		Tags: n.a.tags, Record: record, Observer: observer{n.a, c.Self().Id + "/" + name},
		Logger: n.a.log, Timing: n.a.cfg.Timing,
	}
	pid, err := c.SpawnNamed(actor.PropsFromProducer(
		func() actor.Actor { return instance.New(cfg) }, actor.WithSupervisor(n.supervisor)), name)
	if err != nil {
		panic(fmt.Errorf("start the actor of cluster %s: %w", row.Name, err))
	}
	n.children[row.Name] = &child{
		pid: pid, record: record, created: row.CreateIndex, epoch: row.Status.OwnerEpoch,
		generation: row.Generation, removing: row.Status.Phase == wire.PhaseRemoving,
	}
}

// mayBegin is when a former owner, which may not know yet that it is one, has
// stopped for certain. The first owner of a cluster has nobody to wait for.
func (n *node) mayBegin(row *wire.Cluster) time.Time {
	if row.Status.OwnerEpoch <= 1 {
		return time.Time{}
	}
	return time.Now().Add(n.a.cfg.Ownership.handover())
}

func (n *node) end(c actor.Context, name wire.ClusterName) {
	kid := n.children[name]
	c.Stop(kid.pid)
	n.supervisor.forget(kid.pid)
	delete(n.children, name)
	n.a.records.drop(name, kid.record)
	n.a.crashes.clear(kid.pid.Id)
}

// assignTags decides which cluster serves each tag, and tells those concerned.
func (n *node) assignTags(rows map[wire.ClusterName]*wire.Cluster, carried []wire.NodeTag) {
	begun, bare := n.a.tags.assign(serving(rows, carried))
	for _, name := range begun {
		n.children[name].record.Poke()
	}
	for _, tag := range bare {
		n.a.jobs.Go(func() { n.a.clearTag(n.ctx, tag) })
	}
}
