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

// errNotYet is returned when something is not what was asked for in time; it
// goes on becoming that.
var errNotYet = wire.Errorf(wire.CodeTimeout, "it is not ready yet and goes on")

// rowState is what await has to know of a row.
type rowState struct {
	kind    string // "cluster", as in "framedb cluster info"
	key     string
	phase   wire.Phase
	index   uint64
	reached bool // the owner brought the newest spec about
}

func clusterState(c *wire.Cluster) rowState {
	reached := c.Status.Phase == wire.PhaseReady && c.Status.ObservedGeneration >= c.Generation
	return rowState{"cluster", string(c.Name), c.Status.Phase, c.ModifyIndex, reached}
}

func storageState(p *wire.PersistentInstance) rowState {
	reached := p.Status.Phase == wire.PhaseReady && p.Status.ObservedGeneration >= p.Generation
	return rowState{"storage", string(p.ID), p.Status.Phase, p.ModifyIndex, reached}
}

// await follows a row until it is what was asked for, it is gone, or wait is
// over, and returns it as last seen. seen hears of every state on the way.
//
// Errors: errNotYet, ErrConflict (it was removed meanwhile), Watch's.
func await[T any](ctx context.Context, c *client.Client, table wire.Table, now T, state func(*T) rowState, wait time.Duration, seen func(*T)) (T, error) {
	seen(&now)
	at := state(&now)
	if at.reached {
		return now, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, wait, errNotYet)
	defer cancel()
	for e, err := range c.Watch(ctx, max(at.index, 1)-1, table) {
		switch {
		case errors.Is(context.Cause(ctx), errNotYet):
			return now, fmt.Errorf("%s %s is %s: %w; see framedb %s info", at.kind, at.key, at.phase, errNotYet, at.kind)
		case err != nil:
			return now, err
		case e.Key != at.key:
			continue
		case e.Op == wire.OpDelete:
			return now, wire.Errorf(wire.CodeConflict, "%s %s was removed meanwhile", at.kind, at.key)
		}
		var next T
		if err := json.Unmarshal(e.After, &next); err != nil {
			return now, fmt.Errorf("reading %s %s: %w", at.kind, at.key, err)
		}
		now = next
		if at = state(&now); at.phase == wire.PhaseRemoving {
			return now, wire.Errorf(wire.CodeConflict, "%s %s is being removed", at.kind, at.key)
		}
		seen(&now)
		if at.reached {
			return now, nil
		}
	}
	return now, ctx.Err()
}
