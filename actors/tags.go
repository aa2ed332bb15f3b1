package actors

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/framedb/framedb/actors/instance"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

// tags knows which cluster serves each tag of this node, and lets only that
// one move the tag's socket. Safe for concurrent use.
type tags struct {
	driver deploy.Driver

	mu      sync.Mutex
	serving map[wire.NodeTag]wire.ClusterName // guarded by mu
	// moving is held by whoever moves the tag's socket.
	moving map[wire.NodeTag]chan struct{} // guarded by mu
}

var _ instance.Tags = (*tags)(nil)

func newTags(driver deploy.Driver) *tags {
	return &tags{
		driver: driver, serving: map[wire.NodeTag]wire.ClusterName{},
		moving: map[wire.NodeTag]chan struct{}{},
	}
}

// assign replaces the choice. It returns the clusters that begin to serve a
// tag, and the tags that nobody serves any more.
func (t *tags) assign(chosen map[wire.NodeTag]wire.ClusterName) (begun []wire.ClusterName, bare []wire.NodeTag) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for tag := range t.serving {
		if _, ok := chosen[tag]; !ok {
			chosen[tag] = ""
		}
	}
	for _, tag := range slices.Sorted(maps.Keys(chosen)) {
		before, known := t.serving[tag]
		now := chosen[tag]
		switch {
		case known && before == now:
		case now == "":
			bare = append(bare, tag)
		default:
			begun = append(begun, now)
		}
		t.serving[tag] = now
	}
	return begun, bare
}

// Serves implements instance.Tags.
func (t *tags) Serves(tag wire.NodeTag, cluster wire.ClusterName) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, known := t.serving[tag]
	return known && now == cluster
}

// Point implements instance.Tags.
func (t *tags) Point(ctx context.Context, tag wire.NodeTag, cluster wire.ClusterName, member wire.FrameDBID) error {
	moving := t.lock(tag)
	select {
	case moving <- struct{}{}:
		defer func() { <-moving }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if !t.Serves(tag, cluster) {
		return nil
	}
	return t.driver.ServeTag(ctx, tag, member)
}

func (t *tags) lock(tag wire.NodeTag) chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.moving[tag] == nil {
		t.moving[tag] = make(chan struct{}, 1)
	}
	return t.moving[tag]
}

// clearTag removes the socket of a tag that nobody serves, and tries again
// until that is done, someone serves it, or ctx ends.
func (a *Actors) clearTag(ctx context.Context, tag wire.NodeTag) {
	pause := backoff.NewExponentialBackOff()
	pause.MaxInterval = 30 * time.Second
	for a.tags.Serves(tag, "") {
		err := a.tags.Point(ctx, tag, "", "")
		if err == nil || ctx.Err() != nil {
			return
		}
		a.log.Warn("the socket of a node tag could not be removed, will retry", "tag", tag, "err", err)
		select {
		case <-time.After(pause.NextBackOff()):
		case <-ctx.Done():
		}
	}
}
