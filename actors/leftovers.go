package actors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/framedb/framedb/raftstore/state"
)

const (
	// storeTimeout bounds one proposal that is made again when it failed.
	storeTimeout = 10 * time.Second
	// cleanUpAgain is the pause after something could not be cleaned up.
	cleanUpAgain = 5 * time.Second
)

// cleanUp ends what this node has of items that others own by now, or that were
// removed while it was gone, until ctx ends. Two masters would exist under one
// name otherwise.
func (a *Actors) cleanUp(ctx context.Context) {
	for ctx.Err() == nil {
		view := a.cfg.Store.View()
		var problems []error
		for _, l := range view.LeftoversOn(a.cfg.Node) {
			problems = append(problems, a.cleanUpOne(ctx, *l))
		}
		if err := errors.Join(problems...); err != nil && ctx.Err() == nil {
			a.log.Warn("could not clean up, will retry", "err", err)
			again, cancel := context.WithTimeout(ctx, cleanUpAgain)
			<-again.Done()
			cancel()
			continue
		}
		_ = view.Changed(ctx)
	}
}

// cleanUpOne waits for the item's last job on this node. That the store has the
// leftover, and that the lease stands, is what says for certain that nothing of
// the item belongs here: the node does not begin to work on an item anew before
// it has cleaned up.
func (a *Actors) cleanUpOne(ctx context.Context, l state.Leftover) error {
	release, err := a.records.turn(l.Item).Take(ctx)
	if err != nil {
		return err
	}
	defer release()
	if a.bindings().leaves(l.Item) {
		if err := a.remove(ctx, l); err != nil {
			return fmt.Errorf("end %v, which this node does not own any more: %w", l.Item, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	_, err = a.cfg.Store.Propose(ctx, "", state.ForgetLeftover{Leftover: l})
	return err
}

func (a *Actors) remove(ctx context.Context, l state.Leftover) error {
	held, release, err := a.lease.Hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	for _, now := range a.cfg.Store.View().LeftoversOn(a.cfg.Node) {
		if *now == l {
			a.log.Info("end what is left of an item that this node owned", "item", l.Item.String(), "epoch", l.Epoch)
			if l.Storage != "" {
				return a.cfg.Storage.Driver.RemoveStorage(held, l.Storage)
			}
			return a.cfg.Driver.Remove(held, l.Cluster)
		}
	}
	return nil // another has cleaned up, or the node was removed
}
