package actors

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/framedb/framedb/actors/instance"
	"github.com/framedb/framedb/actors/storage"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// crashes are the actors that rest because they crashed too often. Safe for
// concurrent use.
type crashes struct {
	mu   sync.Mutex
	rest map[string]crash // guarded by mu, by actor
}

// crash says of which item an actor is and why it rests.
type crash struct {
	item   state.Item
	reason string
}

func newCrashes() *crashes { return &crashes{rest: map[string]crash{}} }

func (c *crashes) set(actor string, why crash) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rest[actor] = why
}

func (c *crashes) clear(actor string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.rest, actor)
}

// reasons are those of one item's actors.
func (c *crashes) reasons(item state.Item) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, why := range c.rest {
		if why.item == item {
			all = append(all, why.reason)
		}
	}
	return all
}

// crashReporter counts crashes, and says in the store when an item's actor
// rests from now on.
type crashReporter struct {
	*Actors
	ctx context.Context
}

var _ crashListener = crashReporter{}

func (r crashReporter) crashed(child *actor.PID, n int, rests time.Duration, reason any) {
	r.metrics.restarts.Inc()
	item, part, ok := itemOf(child)
	if !ok || rests == 0 {
		return
	}
	text := fmt.Sprintf("its %s actor crashed %d times in a short time and is tried again in %s: %v", part, n, rests, reason)
	r.crashes.set(child.Id, crash{item, text})
	if part != childActor {
		r.jobs.Go(func() { r.reportCrash(r.ctx, item, text) })
	}
}

// restarted leaves the mark of an actor with rounds until one has succeeded.
func (r crashReporter) restarted(child *actor.PID) {
	if _, part, ok := itemOf(child); ok && part == childActor {
		r.crashes.clear(child.Id)
	}
}

// Names of what crashed.
const (
	instanceActor = "instance" // of a cluster
	storageActor  = "storage"  // of a persistent FrameDB
	childActor    = "child"
)

// actorName is the name of an item's actor below the node actor.
func actorName(i state.Item, n int64) string {
	if i.Storage != "" {
		return fmt.Sprintf("%s.%s@%d", storageActor, i.Storage, n)
	}
	return fmt.Sprintf("%s.%s@%d", instanceActor, i.Cluster, n)
}

// itemOf reads "<node actor>/<actorName>", and what is below that.
func itemOf(pid *actor.PID) (i state.Item, part string, ok bool) {
	_, rest, _ := strings.Cut(pid.Id, "/")
	own, rest, _ := strings.Cut(rest, "/")
	full, _, _ := strings.Cut(own, "@")
	part, name, ok := strings.Cut(full, ".")
	if part == storageActor {
		i.Storage = wire.FrameDBID(name)
	} else {
		i.Cluster = wire.ClusterName(name)
	}
	if rest != "" {
		part = childActor
	}
	return i, part, ok
}

// reportCrash puts the reason into the store; all else stays as it was seen.
func (a *Actors) reportCrash(ctx context.Context, i state.Item, reason string) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timing.Round)
	defer cancel()
	cmd := crashReport(a.cfg.Store.View(), i, a.cfg.Node, reason)
	if cmd == nil {
		return
	}
	if _, err := a.cfg.Store.Propose(ctx, "", cmd); err != nil {
		a.log.Warn("a crash could not be reported", "item", i.String(), "err", err)
	}
}

// crashReport is nil when the item is not the node's.
func crashReport(view *state.View, i state.Item, node wire.NodeName, reason string) state.Command {
	if i.Storage != "" {
		row, ok := view.Persistent(i.Storage)
		if !ok || row.Status.Owner != node {
			return nil
		}
		return state.ReportStorage{ID: i.Storage, Status: storage.Crashed(*row, reason)}
	}
	row, ok := view.Cluster(i.Cluster)
	if !ok || row.Status.Owner != node {
		return nil
	}
	var stored []wire.Instance
	for _, one := range view.InstancesOf(i.Cluster) {
		stored = append(stored, *one)
	}
	r := instance.Crashed(*row, stored, reason)
	return state.ReportCluster{Name: i.Cluster, Status: r.Status, Instances: r.Instances}
}
