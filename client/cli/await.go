package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/wire"
)

// errNotYet is returned when a cluster is not what was asked for in time; it
// goes on becoming that.
var errNotYet = wire.Errorf(wire.CodeTimeout, "it is not ready yet and goes on; see framedb cluster info")

// reached reports whether the owner brought the newest spec about.
func reached(c *wire.Cluster) bool {
	return c.Status.Phase == wire.PhaseReady && c.Status.ObservedGeneration >= c.Generation
}

// awaitCluster follows the cluster until it is ready, it is gone, or wait is
// over, and returns it as last seen. seen hears of every state on the way.
//
// Errors: errNotYet, ErrConflict (it was removed meanwhile), Watch's.
func awaitCluster(ctx context.Context, c *client.Client, now wire.Cluster, wait time.Duration, seen func(*wire.Cluster)) (wire.Cluster, error) {
	seen(&now)
	if reached(&now) {
		return now, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, wait, errNotYet)
	defer cancel()
	for e, err := range c.Watch(ctx, max(now.ModifyIndex, 1)-1, wire.TableClusters) {
		switch {
		case errors.Is(context.Cause(ctx), errNotYet):
			return now, fmt.Errorf("cluster %s is %s: %w", now.Name, now.Status.Phase, errNotYet)
		case err != nil:
			return now, err
		case e.Key != string(now.Name):
			continue
		case e.Op == wire.OpDelete:
			return now, wire.Errorf(wire.CodeConflict, "cluster %s was removed meanwhile", now.Name)
		}
		var next wire.Cluster
		if err := json.Unmarshal(e.After, &next); err != nil {
			return now, fmt.Errorf("reading cluster %s: %w", now.Name, err)
		}
		if now = next; now.Status.Phase == wire.PhaseRemoving {
			return now, wire.Errorf(wire.CodeConflict, "cluster %s is being removed", now.Name)
		}
		seen(&now)
		if reached(&now) {
			return now, nil
		}
	}
	return now, ctx.Err()
}
