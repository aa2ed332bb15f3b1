package actors

import (
	"context"
	"errors"
	"time"

	"github.com/framedb/framedb/raftstore/state"
)

// ownersPoll is how often a node looks whether it leads, and the leader who
// lives; changes of the store are seen at once.
const ownersPoll = time.Second

// assigner names the owners while this node leads Raft. What it decides on a
// state that is out of date is refused, by the epoch.
type assigner struct {
	*Actors
	term  uint64 // in which unfit was noted
	unfit map[tenure]time.Time
}

// run looks at every change until ctx ends.
func (a *assigner) run(ctx context.Context) {
	for ctx.Err() == nil {
		view := a.cfg.Store.View()
		a.look(ctx, view)
		pause, cancel := context.WithTimeout(ctx, ownersPoll)
		_ = view.Changed(pause) // one that was asked nothing waits for the pause
		cancel()
	}
}

// look plans and proposes, if this node leads.
func (a *assigner) look(ctx context.Context, view *state.View) {
	leads, term := a.cfg.Leader()
	if !leads {
		a.unfit = nil
		return
	}
	if term != a.term {
		a.term, a.unfit = term, nil // another leader may not have seen what we saw
	}
	plan := planOwners(owners{
		now: time.Now(), items: a.bindings().all(view), nodes: view.Nodes(), alive: a.cfg.Alive(),
		unfit: a.unfit, grace: a.cfg.Ownership.Grace,
	})
	a.unfit = plan.unfit
	for _, cmd := range plan.assign {
		a.log.Info("an item gets an owner", "item", cmd.Item.String(), "owner", cmd.Owner, "epoch", cmd.Epoch+1)
		a.propose(ctx, cmd.Item, cmd)
	}
	for _, cmd := range plan.unattended {
		a.log.Warn("nobody works on an item", "item", cmd.Item.String(), "reason", cmd.Reason)
		a.propose(ctx, cmd.Item, cmd)
	}
}

// propose does not insist: the next look decides anew.
func (a *assigner) propose(ctx context.Context, item state.Item, cmd state.Command) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if _, err := a.cfg.Store.Propose(ctx, "", cmd); err != nil && !errors.Is(err, context.Canceled) {
		a.log.Warn("an owner could not be named, will look again", "item", item.String(), "err", err)
	}
}
