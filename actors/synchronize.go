package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
	"github.com/framedb/framedb/raftstore/state"
)

// Synchronize lists the clusters that are found in the deployment. With adopt
// those that the store does not know are imported, and each of this node's
// clusters is observed anew and its report stored before it returns.
//
// Errors: ErrUnavailable (the deployment or a cluster could not be observed),
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

// SynchronizeCluster does that for one. Errors: ErrNotFound (neither the store
// nor the deployment has it), ErrUnavailable (it could not be observed, or is
// another node's), the store's, ctx's.
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
	if err := a.look(ctx); err != nil {
		return err
	}
	if _, ok := a.records.get(name); !ok {
		return wire.Errorf(wire.CodeUnavailable, "cluster %q is not this node's", name)
	}
	return a.rounds(ctx, name)
}

// adopt imports a cluster that the store does not know, and waits until this
// node's state has it.
func (a *Actors) adopt(ctx context.Context, f deploy.Found) error {
	if _, known := a.cfg.Store.View().Cluster(f.Name); known {
		return nil
	}
	_, err := a.cfg.Store.Propose(ctx, "", state.ImportCluster{Name: f.Name, Spec: f.Spec})
	if err != nil && !errors.Is(err, wire.ErrAlreadyExists) {
		return fmt.Errorf("adopt cluster %s: %w", f.Name, err)
	}
	for {
		view := a.cfg.Store.View()
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
			problems = append(problems, err)
		case <-a.stopped:
			return wire.Errorf(wire.CodeUnavailable, "the agent is stopping")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return errors.Join(problems...)
}

// Degraded lists what is wrong on this node, one sentence each, by cluster.
func (a *Actors) Degraded() []string {
	rows, _ := ownedBy(a.cfg.Store.View(), a.cfg.Node)
	wrong := []string{}
	for name, row := range rows {
		reasons := a.crashes.reasons(name)
		if len(reasons) == 0 && row.Status.Phase == wire.PhaseDegraded {
			reasons = []string{row.Status.Reason}
		}
		for _, reason := range reasons {
			wrong = append(wrong, fmt.Sprintf("cluster %s: %s", name, reason))
		}
	}
	slices.Sort(wrong)
	return wrong
}
