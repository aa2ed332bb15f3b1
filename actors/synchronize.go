package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
	"github.com/framedb/framedb/raftstore/state"
)

// Synchronize lists the clusters that are found in the deployment. With adopt
// those that the store does not know are imported, and each of this node's
// clusters is observed anew and its report stored before it returns. What is
// bound to this node stays here; but one whose tag the node does not carry is
// not imported, and one that is to be cleaned up is none.
//
// Errors: ErrConflict (the tag, see above), ErrUnavailable (the deployment or a cluster could not be observed),
// the store's, ctx's. The names are right also when an error tells that
// something after the listing failed.
func (a *Actors) Synchronize(ctx context.Context, adopt bool) ([]wire.ClusterName, error) {
	found, err := a.cfg.Driver.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: list the deployed clusters: %w", wire.ErrUnavailable, err)
	}
	names := make([]wire.ClusterName, len(found))
	for i, f := range found {
		names[i] = f.Name
	}
	if !adopt {
		return names, nil
	}
	var problems []error
	for _, f := range found {
		problems = append(problems, a.adopt(ctx, f))
	}
	if err := a.look(ctx); err != nil {
		return names, err
	}
	problems = append(problems, a.rounds(ctx, ""))
	return names, errors.Join(problems...)
}

// SynchronizeCluster does that for one; a cluster without an owner is waited
// for, for ownerWait. Errors: ErrNotFound (neither the store nor the deployment
// has it), ErrUnavailable (it could not be observed, or is another node's, which
// is named), the store's, ctx's.
func (a *Actors) SynchronizeCluster(ctx context.Context, name wire.ClusterName) error {
	if _, known := a.cfg.Store.View().Cluster(name); !known {
		found, err := a.cfg.Driver.List(ctx)
		if err != nil {
			return fmt.Errorf("%w: list the deployed clusters: %w", wire.ErrUnavailable, err)
		}
		i := slices.IndexFunc(found, func(f deploy.Found) bool { return f.Name == name })
		if i < 0 {
			return wire.Errorf(wire.CodeNotFound, "cluster %q is neither stored nor deployed", name)
		}
		if err := a.adopt(ctx, found[i]); err != nil {
			return err
		}
	}
	if err := a.awaitOwner(ctx, name); err != nil {
		return err
	}
	if err := a.look(ctx); err != nil {
		return err
	}
	if _, ok := a.records.get(name); !ok {
		return a.notOurs(name)
	}
	err := a.rounds(ctx, name)
	if errors.Is(err, wire.ErrNotFound) { // it went while it was waited for
		return a.notOurs(name)
	}
	return err
}

// ownerWait is how long a cluster that was just made may be without an owner:
// the leader needs milliseconds.
const ownerWait = 2 * time.Second

func (a *Actors) awaitOwner(ctx context.Context, name wire.ClusterName) error {
	limited, cancel := context.WithTimeout(ctx, ownerWait)
	defer cancel()
	for {
		view := a.cfg.Store.View()
		row, known := view.Cluster(name)
		if !known || row.Status.Owner != "" {
			return nil
		}
		if view.Changed(limited) != nil {
			return ctx.Err() // nil when only the wait is over
		}
	}
}

// notOurs says whom to ask of a cluster that this node does not work on.
func (a *Actors) notOurs(name wire.ClusterName) error {
	row, known := a.cfg.Store.View().Cluster(name)
	switch {
	case !known:
		return wire.Errorf(wire.CodeNotFound, "cluster %q is unknown", name)
	case row.Status.Owner == "":
		return wire.Errorf(wire.CodeUnavailable, "cluster %q has no owner yet: %s", name, row.Status.Reason)
	case row.Status.Owner == a.cfg.Node:
		return wire.Errorf(wire.CodeUnavailable, "cluster %q is this node's, which does not work on it now: it does not carry %s, or cleans up first", name, row.NodeTag)
	}
	return wire.Errorf(wire.CodeUnavailable, "cluster %q is owned by node %q: ask the agent there", name, row.Status.Owner)
}

// adopt imports a cluster that the store does not know and that is still there,
// and waits until this node's state has it.
func (a *Actors) adopt(ctx context.Context, f deploy.Found) error {
	view := a.cfg.Store.View()
	if _, known := view.Cluster(f.Name); known {
		return nil
	}
	// It may have been removed, from the store last, since it was listed.
	if now, err := a.cfg.Driver.Observe(ctx, f.Name); err != nil {
		return fmt.Errorf("%w: observe cluster %s: %w", wire.ErrUnavailable, f.Name, err)
	} else if !now.Exists {
		return nil
	}
	cmd := state.ImportCluster{Name: f.Name, Spec: f.Spec}
	if a.cfg.Driver.NodeBound() {
		if left := view.LeftoversOn(a.cfg.Node); slices.ContainsFunc(left, func(l *state.Leftover) bool { return l.Item == state.Item{Cluster: f.Name} }) {
			return nil
		}
		cmd.Owner = a.cfg.Node // its data is nowhere else
	}
	_, err := a.cfg.Store.Propose(ctx, "", cmd)
	if err != nil && !errors.Is(err, wire.ErrAlreadyExists) {
		return fmt.Errorf("adopt cluster %s: %w", f.Name, err)
	}
	for {
		view = a.cfg.Store.View()
		if _, known := view.Cluster(f.Name); known {
			return nil
		}
		if err := view.Changed(ctx); err != nil {
			return err
		}
	}
}

// look has the node actor see what is in the store now.
func (a *Actors) look(ctx context.Context) error {
	asked := look{done: make(chan struct{})}
	select {
	case a.looks <- asked:
	case <-a.stopped:
		return wire.Errorf(wire.CodeUnavailable, "the agent is stopping")
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-asked.done:
		return nil
	case <-a.stopped:
		return wire.Errorf(wire.CodeUnavailable, "the agent is stopping")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rounds has one fresh round run in the cluster, or in all when name is empty,
// and waits for them.
func (a *Actors) rounds(ctx context.Context, name wire.ClusterName) error {
	var waiting []<-chan error
	for cluster, record := range a.records.all() {
		if name == "" || cluster == name {
			waiting = append(waiting, record.Round())
		}
	}
	var problems []error
	for _, round := range waiting {
		select {
		case err := <-round:
			if name != "" || !errors.Is(err, wire.ErrNotFound) { // of all, one that went meanwhile is none
				problems = append(problems, err)
			}
		case <-a.stopped:
			return wire.Errorf(wire.CodeUnavailable, "the agent is stopping")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return errors.Join(problems...)
}

// Degraded lists what is wrong on this node, one sentence each, by cluster; also
// what the store cannot be told of.
func (a *Actors) Degraded() []string {
	wrong := []string{}
	add := func(what string, item state.Item, phase wire.Phase, reported string, untold error) {
		reasons := a.crashes.reasons(item)
		if len(reasons) == 0 && phase == wire.PhaseDegraded {
			reasons = []string{reported}
		}
		if untold != nil {
			reasons = append(reasons, fmt.Sprintf("its state cannot be stored, what is shown may be old: %v", untold))
		}
		for _, reason := range reasons {
			wrong = append(wrong, what+": "+reason)
		}
	}
	view := a.cfg.Store.View()
	for _, row := range view.ClustersOwnedBy(a.cfg.Node) {
		var untold error
		if rec, ok := a.records.get(row.Name); ok {
			untold = rec.Untold()
		}
		add(fmt.Sprintf("cluster %s", row.Name), state.Item{Cluster: row.Name}, row.Status.Phase, row.Status.Reason, untold)
	}
	for _, row := range view.StorageOwnedBy(a.cfg.Node) {
		var untold error
		if rec, ok := a.records.getStorage(row.ID); ok {
			untold = rec.Untold()
		}
		add(fmt.Sprintf("persistent FrameDB %s", row.ID), state.Item{Storage: row.ID}, row.Status.Phase, row.Status.Reason, untold)
	}
	slices.Sort(wrong)
	return wrong
}
