package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
)

// leftBehind is how long frames are looked for where the source wrote before
// it was moved: as long as tokens are remembered, and far longer than frames
// live.
const leftBehind = 10 * time.Minute

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
}

// route returns where the source writes to, asking the agent when that is not
// known or may have changed.
func (db *FrameDB) route(ctx context.Context, source wire.SourceID) (targets, error) {
	r, err := db.routeOf(source)
	if err != nil {
		return nil, err
	}
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

func (db *FrameDB) routeOf(source wire.SourceID) (*sourceRoute, error) {
	if err := source.Validate(); err != nil {
		return nil, wire.InField("source", err)
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	r := db.routes[source]
	if r == nil {
		r = &sourceRoute{turn: make(chan struct{}, 1), changes: map[wire.NodeTag]change{}}
		r.turn <- struct{}{}
		db.routes[source] = r
	}
	return r, nil
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
	routes, err := db.client.Source(ctx, source)
	if err == nil && len(routes.Routes) == 0 {
		err = wire.Errorf(wire.CodeNotFound, "source %q has no mapping", source)
	}
	if errors.Is(err, wire.ErrNotFound) {
		r.set(nil, false)
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
	r.set(ts, true)
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

// set takes what the agent answered. An answer that is older than an event
// that was heard already (it may come from an agent that is behind) serves for
// now and is asked for again.
func (r *sourceRoute) set(ts targets, fresh bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.former = slices.DeleteFunc(r.former, func(f former) bool { return now.After(f.until) })
	for _, old := range r.targets {
		if next, ok := ts.on(old.NodeTag); !ok || next.cluster != old.cluster {
			r.former = append([]former{{old.NodeTag, old.cluster, now.Add(leftBehind)}}, r.former...)
		}
	}
	r.targets, r.fresh = ts, fresh
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
	for _, f := range r.former {
		if f.tag == now.NodeTag && f.cluster != now.cluster && !slices.Contains(cs, f.cluster) && time.Now().Before(f.until) {
			cs = append(cs, f.cluster)
		}
	}
	return cs
}

// doubt makes the next call resolve the source anew.
func (r *sourceRoute) doubt() {
	r.mu.Lock()
	defer r.mu.Unlock()
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

// follow listens to the agent's changes until Close.
func (db *FrameDB) follow(index uint64) {
	for event, err := range db.client.Watch(db.ctx, index, wire.TableMappings, wire.TableInstances, wire.TableClusters) {
		if err != nil {
			if db.ctx.Err() == nil {
				db.log.Error("changes are not followed any more; routes are resolved anew on failure only", "err", err)
			}
			return
		}
		db.hear(event)
	}
}

func (db *FrameDB) hear(e wire.Event) {
	switch {
	case e.Op == wire.OpReset:
		db.doubtAll(func(*sourceRoute) bool { return true })
	case e.Table == wire.TableMappings:
		source, tag, _ := strings.Cut(e.Key, "/")
		db.mu.Lock()
		r := db.routes[wire.SourceID(source)]
		db.mu.Unlock()
		if r != nil {
			r.hear(wire.NodeTag(tag), change{index: e.Index, deleted: e.Op == wire.OpDelete})
		}
	case e.Table == wire.TableInstances:
		db.doubtAll(func(r *sourceRoute) bool { return r.uses(clusterOfInstance(e)) })
	case e.Table == wire.TableClusters && e.Op == wire.OpDelete:
		db.forget(wire.ClusterName(e.Key))
	}
}

func (r *sourceRoute) hear(tag wire.NodeTag, c change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t, ok := r.targets.on(tag); ok && t.ModifyIndex >= c.index {
		return // the answer had it already
	}
	r.changes[tag] = c
	r.fresh = false
}

func clusterOfInstance(e wire.Event) wire.ClusterName {
	row := e.After
	if row == nil {
		row = e.Before
	}
	var i wire.Instance
	if json.Unmarshal(row, &i) != nil {
		return ""
	}
	return i.Cluster
}

func (r *sourceRoute) uses(name wire.ClusterName) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.targets, func(t target) bool { return t.Cluster == name })
}

func (db *FrameDB) doubtAll(which func(*sourceRoute) bool) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, r := range db.routes {
		if which(r) {
			r.doubt()
		}
	}
}

// forget closes the data path to a cluster that was removed: calls that wait
// for its master end and go where the source is now.
func (db *FrameDB) forget(name wire.ClusterName) {
	db.doubtAll(func(r *sourceRoute) bool { return r.uses(name) })
	db.mu.Lock()
	c := db.clusters[name]
	delete(db.clusters, name)
	db.mu.Unlock()
	if c != nil {
		c.Close()
	}
}

// maxMoves bounds how often one call follows its source to another cluster.
const maxMoves = 5

// following runs f with the targets of the source, again when f failed for want
// of a master and the source has moved meanwhile. f must be safe to repeat
// after ErrUnavailable, as everything in package frames is.
func (db *FrameDB) following(ctx context.Context, source wire.SourceID, f func(targets) error) error {
	for range maxMoves {
		ts, err := db.route(ctx, source)
		if err != nil {
			return err
		}
		err = f(ts)
		if !unreachable(err) || ctx.Err() != nil {
			return err
		}
		db.doubtOf(source)
		next, routeErr := db.route(ctx, source)
		if routeErr != nil || slices.EqualFunc(ts, next, sameTarget) {
			return err
		}
	}
	return wire.Errorf(wire.CodeUnavailable, "source %q moves faster than it can be followed", source)
}

func sameTarget(a, b target) bool { return a.NodeTag == b.NodeTag && a.cluster == b.cluster }

// unreachable reports whether err says that nothing was done for want of a
// master.
func unreachable(err error) bool {
	var e *wire.Error
	return errors.As(err, &e) && e.Code == wire.CodeUnavailable && e.Field == ""
}

// onTarget says where it failed.
func onTarget(t target, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cluster %q on node tag %q: %w", t.Cluster, t.NodeTag, err)
}
