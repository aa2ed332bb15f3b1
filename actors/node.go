package actors

import (
	"context"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/framedb/framedb/actors/instance"
	"github.com/framedb/framedb/actors/storage"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// look has the node actor compare its children with the store.
type look struct {
	// done is closed afterwards, unless it is nil.
	done chan struct{}
}

func (look) IgnoreDeadLetterLogging() {}

// node is the actor at the root: it has one child for each item that this node
// owns. Everything is read from the store anew at each look, so that a restart
// loses nothing.
type node struct {
	ctx        context.Context
	a          *Actors
	supervisor *supervisor
	children   map[state.Item]*child
}

// child is an item's actor.
type child struct {
	item // as its actor was last told of it
	pid  *actor.PID
	poke func()
	drop func() // once its actor was told to stop
}

func newNode(ctx context.Context, a *Actors, s *supervisor) *node {
	return &node{ctx: ctx, a: a, supervisor: s, children: map[state.Item]*child{}}
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
	items, tags := ownedBy(view, n.a.cfg.Node)
	for name, kid := range n.children {
		if now, ok := items[name]; !ok || !kid.worksOn(now) {
			n.end(c, name)
		}
	}
	for name, now := range items {
		if _, ok := n.children[name]; !ok {
			n.begin(c, view, now)
		}
	}
	n.assignTags(items, tags)
	for name, now := range items {
		n.children[name].follow(now)
	}
}

// worksOn reports whether the item is the one, in the epoch, that the actor was
// started for.
func (k *child) worksOn(now item) bool { return now.created == k.created && now.epoch == k.epoch }

// follow pokes the actor when there is something new for it; its own reports
// are not.
func (k *child) follow(now item) {
	if k.generation != now.generation || k.removing() != now.removing() {
		k.poke()
	}
	k.item = now
}

// begin starts an item's actor. A name is never used twice: a former actor may
// still be ending.
func (n *node) begin(c actor.Context, view *state.View, i item) {
	name := actorName(i.Item, n.a.names.Add(1))
	observer := observer{n.a, c.Self().Id + "/" + name}
	kid := &child{item: i}
	var producer actor.Producer
	if i.Storage != "" {
		row, _ := view.Persistent(i.Storage)
		producer = n.persistent(kid, row, observer)
	} else {
		producer = n.cluster(kid, observer)
	}
	pid, err := c.SpawnNamed(actor.PropsFromProducer(producer, actor.WithSupervisor(n.supervisor)), name)
	if err != nil {
		panic(fmt.Errorf("start the actor of %v: %w", i.Item, err))
	}
	kid.pid = pid
	n.children[i.Item] = kid
}

func (n *node) cluster(kid *child, observer observer) actor.Producer {
	record := n.a.records.open(kid.Cluster)
	if kid.removing() {
		record.Outbox.Close()
	}
	kid.poke, kid.drop = record.Poke, func() { n.a.records.drop(kid.Cluster, record) }
	cfg := instance.Config{
		Context: n.ctx, Jobs: &n.a.jobs,
		Cluster: kid.Cluster, Namespace: n.a.cfg.Namespace,
		Node: n.a.cfg.Node, Epoch: kid.epoch, Begin: n.mayBegin(kid.epoch), Lease: n.a.lease,
		Store: n.a.cfg.Store, Driver: n.a.cfg.Driver, Sentinels: n.a.sentinels, Objects: n.a.cfg.Objects, Counts: n.a.cfg.Counts,
		Tags: n.a.tags, Record: record, Observer: observer,
		Logger: n.a.log, Timing: n.a.cfg.Timing,
	}
	return func() actor.Actor { return instance.New(cfg) }
}

func (n *node) persistent(kid *child, row *wire.PersistentInstance, observer observer) actor.Producer {
	record := n.a.records.openStorage(kid.Storage)
	kid.poke, kid.drop = record.Poke, func() { n.a.records.dropStorage(kid.Storage, record) }
	cfg := storage.Config{
		Context: n.ctx, Jobs: &n.a.jobs,
		ID: kid.Storage, Node: n.a.cfg.Node, Epoch: kid.epoch, Begin: n.mayBegin(kid.epoch), Lease: n.a.lease,
		Password: n.a.cfg.Driver.Password(),
		Store:    n.a.cfg.Store, Driver: n.a.cfg.Storage.driver(row), Database: n.a.cfg.Storage.Database,
		Backups: n.a.cfg.Storage.Backups, Objects: n.a.cfg.Objects,
		Record: record, Observer: observer, Logger: n.a.log, Timing: n.a.cfg.Timing,
	}
	return func() actor.Actor { return storage.New(cfg) }
}

// mayBegin is when a former owner, which may not know yet that it is one, has
// stopped for certain. The first owner of an item has nobody to wait for.
func (n *node) mayBegin(epoch uint64) time.Time {
	if epoch <= 1 {
		return time.Time{}
	}
	return time.Now().Add(n.a.cfg.Ownership.handover())
}

func (n *node) end(c actor.Context, name state.Item) {
	kid := n.children[name]
	c.Stop(kid.pid)
	n.supervisor.forget(kid.pid)
	delete(n.children, name)
	kid.drop()
	n.a.crashes.clear(kid.pid.Id)
}

// assignTags decides which cluster serves each tag, and tells those concerned.
func (n *node) assignTags(items map[state.Item]item, carried []wire.NodeTag) {
	begun, bare := n.a.tags.assign(serving(items, carried))
	for _, name := range begun {
		n.children[state.Item{Cluster: name}].poke()
	}
	for _, tag := range bare {
		n.a.jobs.Go(func() { n.a.clearTag(n.ctx, tag) })
	}
}
