package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/framedb/framedb/client/wire"
)

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
	routes := slices.Collect(maps.Values(db.routes))
	db.mu.Unlock()
	if c == nil {
		return
	}
	c.Close()
	for _, r := range routes {
		r.leave(c)
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
