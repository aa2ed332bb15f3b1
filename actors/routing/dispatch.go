package routing

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// Store is what a dispatcher follows.
type Store interface {
	View() *state.View
	Subscribe(index uint64, tables ...wire.Table) *state.Subscription
}

// Dispatch follows the mappings and puts each change into the outboxes of the
// clusters on which the source's writers may listen, until ctx ends; then it
// returns ctx's error. One call serves a whole node.
func Dispatch(ctx context.Context, store Store, boxes Outboxes, log *slog.Logger) error {
	sub := store.Subscribe(store.View().Index(), wire.TableClusters, wire.TableMappings)
	for {
		events, err := sub.NextSeq(ctx)
		if err != nil {
			return err
		}
		if len(boxes.AllOutboxes()) > 0 { // else nobody hears of it, and events cost to be made
			dispatch(store, boxes, slices.Collect(events), log)
		}
	}
}

func dispatch(store Store, boxes Outboxes, events []wire.Event, log *slog.Logger) {
	if events[0].Op == wire.OpReset {
		for _, box := range boxes.AllOutboxes() {
			box.Refresh()
		}
	}
	for _, e := range events {
		if e.Table == wire.TableMappings && events[0].Op != wire.OpReset {
			if err := deliver(store.View(), boxes, e); err != nil {
				log.Error("an event of the mappings cannot be read", "key", e.Key, "err", err)
			}
		}
	}
	// The event by which a cluster begins to be removed is of the same index as
	// the moves of its sources: close behind them.
	for _, e := range events {
		if e.Table == wire.TableClusters && removing(e) {
			if box, ok := boxes.Outbox(wire.ClusterName(e.Key)); ok {
				box.Close()
			}
		}
	}
}

func deliver(v *state.View, boxes Outboxes, e wire.Event) error {
	change, clusters, ok, err := changeOf(e)
	if err != nil || !ok {
		return err
	}
	for _, name := range listeners(v, change.Source, clusters) {
		if box, ok := boxes.Outbox(name); ok {
			box.Add(change)
		}
	}
	return nil
}

func removing(e wire.Event) bool {
	var row wire.Cluster
	return len(e.After) > 0 && json.Unmarshal(e.After, &row) == nil && row.Status.Phase == wire.PhaseRemoving
}
