package actors

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/framedb/framedb/actors/instance"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// crashes are the actors that rest because they crashed too often. Safe for
// concurrent use.
type crashes struct {
	mu   sync.Mutex
	rest map[string]crash // guarded by mu, by actor
}

// crash says of which cluster an actor is and why it rests.
type crash struct {
	cluster wire.ClusterName
	reason  string
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

// reasons are those of one cluster's actors.
func (c *crashes) reasons(name wire.ClusterName) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, why := range c.rest {
		if why.cluster == name {
			all = append(all, why.reason)
		}
	}
	return all
}

// crashReporter counts crashes, and says in the store when a cluster's actor
// rests from now on.
type crashReporter struct {
	*Actors
	ctx context.Context
}

var _ crashListener = crashReporter{}

func (r crashReporter) crashed(child *actor.PID, n int, rests time.Duration, reason any) {
	r.metrics.restarts.Inc()
	name, part, ok := clusterOf(child)
	if !ok || rests == 0 {
		return
	}
	text := fmt.Sprintf("its %s actor crashed %d times in a short time and is tried again in %s: %v", part, n, rests, reason)
	r.crashes.set(child.Id, crash{name, text})
	if part == instanceActor {
		r.jobs.Go(func() { r.reportCrash(r.ctx, name, text) })
	}
}

// restarted leaves an instance's mark until a round has succeeded.
func (r crashReporter) restarted(child *actor.PID) {
	if _, part, ok := clusterOf(child); ok && part != instanceActor {
		r.crashes.clear(child.Id)
	}
}

// Names of what crashed.
const (
	instanceActor = "instance"
	childActor    = "child"
)

// actorName is the name of a cluster's actor below the node actor.
func actorName(name wire.ClusterName, n int64) string { return fmt.Sprintf("%s@%d", name, n) }

// clusterOf reads "<node actor>/<actorName>", and what is below that.
func clusterOf(pid *actor.PID) (name wire.ClusterName, part string, ok bool) {
	_, rest, below := strings.Cut(pid.Id, "/")
	own, rest, _ := strings.Cut(rest, "/")
	cluster, _, named := strings.Cut(own, "@")
	part = instanceActor
	if rest != "" {
		part = childActor
	}
	return wire.ClusterName(cluster), part, below && named
}

// reportCrash puts the reason into the store; all else stays as it was seen.
func (a *Actors) reportCrash(ctx context.Context, name wire.ClusterName, reason string) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timing.Round)
	defer cancel()
	view := a.cfg.Store.View()
	row, ok := view.Cluster(name)
	if !ok || row.Status.Owner != a.cfg.Node {
		return
	}
	var stored []wire.Instance
	for _, i := range view.InstancesOf(name) {
		stored = append(stored, *i)
	}
	r := instance.Crashed(*row, stored, reason)
	cmd := state.ReportCluster{Name: name, Status: r.Status, Instances: r.Instances}
	if _, err := a.cfg.Store.Propose(ctx, "", cmd); err != nil {
		a.log.Warn("a crash could not be reported", "cluster", name, "err", err)
	}
}
