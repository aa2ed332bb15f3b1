package client

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
)

// leftBehind is how long frames are looked for where the source wrote before
// it was moved: as long as tokens are remembered, and far longer than frames
// live.
const leftBehind = 10 * time.Minute

// spareFor is how long such a cluster is not asked after it failed.
const spareFor = 30 * time.Second

// target is one mapping of a source with the way to its cluster.
type target struct {
	wire.Mapping
	cluster *frames.Cluster
}

// targets is where a source writes to, in the order of the agent's answer.
type targets []target

// best is the target on the first of the tags that there is, else the first.
func (ts targets) best(tags []wire.NodeTag) target {
	for _, tag := range tags {
		for _, t := range ts {
			if t.NodeTag == tag {
				return t
			}
		}
	}
	return ts[0]
}

func (ts targets) on(tag wire.NodeTag) (target, bool) {
	i := slices.IndexFunc(ts, func(t target) bool { return t.NodeTag == tag })
	if i < 0 {
		return target{}, false
	}
	return ts[i], true
}

// sourceRoute is what is known of one source.
type sourceRoute struct {
	turn chan struct{} // holds one token; who has it may resolve

	mu      sync.Mutex
	targets targets // nil when it was never resolved
	fresh   bool
	doubts  uint64                  // how often it was doubted
	changes map[wire.NodeTag]change // newest that was heard of
	former  []former
}

// change is what an event said of a mapping.
type change struct {
	index   uint64
	deleted bool
}

// former is a cluster that the source was moved away from.
type former struct {
	tag     wire.NodeTag
	cluster *frames.Cluster
	until   time.Time
	from    time.Time // not asked before, because it could not be reached
}

// route returns where the source writes to, asking the agent when that is not
// known or may have changed.
func (db *FrameDB) route(ctx context.Context, source wire.SourceID) (targets, error) {
	if err := source.Validate(); err != nil {
		return nil, wire.InField("source", err)
	}
	r := db.routeOf(source)
	if ts := r.current(); ts != nil {
		return ts, nil
	}
	select {
	case <-r.turn:
		defer func() { r.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if ts := r.current(); ts != nil {
		return ts, nil
	}
	return db.resolve(ctx, source, r)
}

// routeOf returns what is known of a source, if only that it is asked for.
func (db *FrameDB) routeOf(source wire.SourceID) *sourceRoute {
	db.mu.Lock()
	defer db.mu.Unlock()
	r := db.routes[source]
	if r == nil {
		r = &sourceRoute{turn: make(chan struct{}, 1), changes: map[wire.NodeTag]change{}}
		r.turn <- struct{}{}
		db.routes[source] = r
	}
	return r
}

func (r *sourceRoute) current() targets {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.fresh {
		return nil
	}
	return r.targets
}

// resolve asks the agent. If it cannot be asked, what was known before serves
// on and is asked for again by the next call.
func (db *FrameDB) resolve(ctx context.Context, source wire.SourceID, r *sourceRoute) (targets, error) {
	doubts := r.doubtsNow()
	routes, err := db.client.Source(ctx, source)
	if err == nil && len(routes.Routes) == 0 {
		err = wire.Errorf(wire.CodeNotFound, "source %q has no mapping", source)
	}
	if errors.Is(err, wire.ErrNotFound) {
		r.set(nil, doubts)
		return nil, err
	}
	if err != nil {
		if old := r.known(); old != nil && ctx.Err() == nil {
			db.log.Warn("cannot resolve the source; its last known route serves on", "source", source, "err", err)
			return old, nil
		}
		return nil, err
	}
	ts := make(targets, len(routes.Routes))
	for i, route := range routes.Routes {
		cluster, err := db.clusterOf(route)
		if err != nil {
			return nil, err
		}
		ts[i] = target{Mapping: route.Mapping, cluster: cluster}
	}
	r.set(ts, doubts)
	return ts, nil
}

func (db *FrameDB) clusterOf(route wire.Route) (*frames.Cluster, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.clusters == nil {
		return nil, errDBClosed()
	}
	c := db.clusters[route.Cluster]
	if c == nil {
		c = frames.New(frames.Config{
			Password: db.password, Sentinels: db.sentinels, RetryFor: db.cfg.RetryFor, Logger: db.log,
		}, route.Cluster, route.Members)
		db.clusters[route.Cluster] = c
	} else {
		c.SetMembers(route.Members)
	}
	return c, nil
}

func (r *sourceRoute) known() targets {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.targets
}

// set takes what the agent answered to a question that was asked after so many
// doubts. An answer that is older than a doubt, or than an event that was heard
// already (it may come from an agent that is behind), serves for now and is
// asked for again.
func (r *sourceRoute) set(ts targets, doubts uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.former = slices.DeleteFunc(r.former, func(f former) bool { return now.After(f.until) })
	for _, old := range r.targets {
		if next, ok := ts.on(old.NodeTag); !ok || next.cluster != old.cluster {
			r.former = append([]former{{tag: old.NodeTag, cluster: old.cluster, until: now.Add(leftBehind)}}, r.former...)
		}
	}
	r.targets, r.fresh = ts, ts != nil && doubts == r.doubts
	for tag, c := range r.changes {
		if t, ok := ts.on(tag); ok && t.ModifyIndex < c.index || !ok && !c.deleted {
			r.fresh = false
		}
	}
	if r.fresh {
		clear(r.changes)
	}
}

// formers are the clusters, newest first, on which frames of the target's tag
// may be left, without the one that serves it now.
func (r *sourceRoute) formers(now target) []*frames.Cluster {
	r.mu.Lock()
	defer r.mu.Unlock()
	var cs []*frames.Cluster
	at := time.Now()
	for _, f := range r.former {
		if f.tag == now.NodeTag && f.cluster != now.cluster && !slices.Contains(cs, f.cluster) && at.Before(f.until) && !at.Before(f.from) {
			cs = append(cs, f.cluster)
		}
	}
	return cs
}

// spare leaves a former cluster alone for a while, so that one that is dead
// does not hold up every read that misses something.
func (r *sourceRoute) spare(c *frames.Cluster) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.former {
		if r.former[i].cluster == c {
			r.former[i].from = time.Now().Add(spareFor)
		}
	}
}

// leave forgets a former cluster.
func (r *sourceRoute) leave(c *frames.Cluster) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.former = slices.DeleteFunc(r.former, func(f former) bool { return f.cluster == c })
}

func (r *sourceRoute) doubtsNow() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.doubts
}

// doubt makes the next call resolve the source anew.
func (r *sourceRoute) doubt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.doubts++
	r.fresh = false
}

// doubtOf is for a route that failed a call.
func (db *FrameDB) doubtOf(source wire.SourceID) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if r := db.routes[source]; r != nil {
		r.doubt()
	}
}
