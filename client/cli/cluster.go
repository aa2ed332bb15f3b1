package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/wire"
)

func (a *app) clusterCommand() *cobra.Command {
	return group("cluster", "Create, look at, change, scale and remove in-memory clusters",
		a.clusterCreate(), a.clusterList(), a.clusterInfo(), a.clusterUpdate(), a.clusterScale(), a.clusterRemove(), a.clusterSync(), a.clusterSweep())
}

func (a *app) clusterList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List all clusters",
		Args:    cobra.NoArgs,
		RunE: a.run(func(ctx context.Context, s *session, _ []string) error {
			clusters, err := s.client.Clusters(ctx)
			if err != nil {
				return err
			}
			return s.print(notNil(clusters), func() { s.clusterTable(clusters) })
		}),
	}
}

// notNil makes an empty list print as [] in JSON.
func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (a *app) clusterRemove() *cobra.Command {
	var yes bool
	var wait time.Duration
	cmd := &cobra.Command{
		Use:     "remove NAME...",
		Aliases: []string{"rm", "delete"},
		Short:   "Remove clusters with their data",
		Long: `Remove clusters with their data. Sources that wrote there move to the least
loaded other cluster on the node tag. On a terminal you are asked first. One
that cannot be removed does not stop the rest.

Removing goes on when --wait is over; the exit code is 5 then.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeClusters(-1),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			question := fmt.Sprintf("Remove %s with all data?", join(args))
			if !yes {
				if err := s.confirm(ctx, question); err != nil {
					return err
				}
			}
			return s.removeClusters(ctx, args, wait)
		}),
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().DurationVar(&wait, "wait", defaultWait, "how long to wait until nothing of one runs")
	return cmd
}

// removed is what cluster remove prints of one cluster.
type removed struct {
	Name wire.ClusterName `json:"name"`
	// State is "removed", or "removing" when something of it may still run.
	State string `json:"state"`
	wire.RemovedCluster
}

const (
	stateRemoved  = "removed"
	stateRemoving = "removing"
)

func (s *session) removeClusters(ctx context.Context, names []string, wait time.Duration) error {
	var gone []removed
	var failed error
	bar := s.progress("removing")
	for i, name := range names {
		bar.set(i, len(names), name)
		answer, err := s.removeCluster(ctx, wire.ClusterName(name), wait)
		if err != nil && len(names) > 1 {
			err = fmt.Errorf("%s: %w", name, err)
		}
		failed = errors.Join(failed, err)
		if answer.State != "" {
			gone = append(gone, answer)
		}
	}
	bar.finish()
	printed := s.print(notNil(gone), func() { s.printRemoved(gone) })
	return errors.Join(failed, printed)
}

// removeCluster returns what was done also with an error, once it is begun.
func (s *session) removeCluster(ctx context.Context, name wire.ClusterName, wait time.Duration) (removed, error) {
	answer, err := s.client.RemoveCluster(ctx, name, wait)
	if err != nil {
		return removed{}, err
	}
	r := removed{name, stateRemoving, answer}
	// The agent gives the same answer when it is gone and when the wait is over.
	left, err := s.client.Cluster(ctx, name)
	switch {
	case errors.Is(err, wire.ErrNotFound), err == nil && left.Status.Phase != wire.PhaseRemoving: // or made anew
		r.State = stateRemoved
		return r, nil
	case err != nil:
		return r, fmt.Errorf("whether it is gone by now: %w", err)
	}
	return r, wire.Errorf(wire.CodeTimeout, "cluster %s is being removed and goes on; see framedb cluster info %s", name, name)
}

func (s *session) printRemoved(gone []removed) {
	for _, r := range gone {
		if r.State == stateRemoved {
			fmt.Fprintf(s.out, "%s is removed\n", r.Name)
		} else {
			fmt.Fprintf(s.out, "%s is being removed\n", r.Name)
		}
		for _, m := range r.Moved {
			fmt.Fprintf(s.out, "  source %s on %s writes to %s now\n", m.Source, m.NodeTag, m.Cluster)
		}
		for _, m := range r.Unmapped {
			fmt.Fprintf(s.out, "  source %s on %s has no cluster any more\n", m.Source, m.NodeTag)
		}
	}
}

func (a *app) clusterSync() *cobra.Command {
	var adopt bool
	cmd := &cobra.Command{
		Use:   "sync [NAME]",
		Short: "Compare the stored state with what runs",
		Long: `Without a name, list the clusters found in the deployment; with --adopt also
bring the stored state in line with them. With a name, do that for one cluster.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeClusters(1),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			if len(args) == 1 {
				cluster, err := s.client.SyncCluster(ctx, wire.ClusterName(args[0]))
				if err != nil {
					return err
				}
				return s.print(cluster, func() { s.clusterTable([]wire.Cluster{cluster}) })
			}
			names, err := s.client.Synchronize(ctx, adopt)
			if err != nil {
				return err
			}
			return s.print(notNil(names), func() {
				for _, n := range names {
					fmt.Fprintln(s.out, n)
				}
			})
		}),
	}
	cmd.Flags().BoolVar(&adopt, "adopt", false, "bring the stored state in line with what runs")
	return cmd
}

// clusterDetails is what cluster info prints.
type clusterDetails struct {
	Cluster wire.Cluster    `json:"cluster"`
	Members []wire.Resolved `json:"members"`
	// Topology is what Sentinel says now; absent when no Sentinel answers.
	Topology *wire.Topology `json:"topology,omitempty"`
}

func (a *app) clusterInfo() *cobra.Command {
	return &cobra.Command{
		Use:               "info NAME",
		Short:             "Show a cluster, its members, and what Sentinel says now",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeClusters(1),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			name := wire.ClusterName(args[0])
			cluster, err := s.client.Cluster(ctx, name)
			if err != nil {
				return err
			}
			members, err := s.client.Instances(ctx, client.InstanceQuery{Cluster: name})
			if err != nil {
				return err
			}
			d := clusterDetails{Cluster: cluster, Members: notNil(members)}
			topology, unseen := s.client.Topology(ctx, name)
			if unseen == nil {
				d.Topology = &topology
			}
			return s.print(d, func() { s.printDetails(&d, unseen) })
		}),
	}
}

func (s *session) printDetails(d *clusterDetails, unseen error) {
	c := &d.Cluster
	t := newTable(s.out)
	t.row("Cluster", c.Name)
	t.row("Node tag", c.NodeTag)
	t.row("Phase", c.Status.Phase)
	if c.Status.Reason != "" {
		t.row("Reason", c.Status.Reason)
	}
	t.row("Members", fmt.Sprintf("%d of %d ready, quorum %d", c.Status.ReadyMembers, c.Replicas, c.Quorum))
	t.row("Memory", memoryLine(c))
	t.row("Backup", onOff(c.Backup))
	t.row("Metrics", onOff(c.EnableMetrics))
	t.row("Failover", fmt.Sprintf("down after %v, timeout %v, %d at once", millis(c.DownAfter), millis(c.FailoverTimeout), c.ParallelSyncs))
	if len(c.Settings) > 0 {
		t.row("Settings", settingsLine(c.Settings))
	}
	if len(c.Metadata) > 0 {
		t.row("Metadata", string(c.Metadata))
	}
	t.row("Owner", c.Status.Owner)
	t.row("Password", "that of the deployment: the agent's password_file, <data dir>/password unless it says otherwise")
	if d.Topology != nil {
		t.row("Sentinel", fmt.Sprintf("master %s, %s", hostPort(d.Topology.Master), plural(len(d.Topology.Replicas), "replica")))
	} else {
		t.row("Sentinel", unseen)
	}
	t.flush()
	fmt.Fprintln(s.out)
	s.instanceTable(d.Members)
}

func memoryLine(c *wire.Cluster) string {
	if c.MaxMemory == 0 {
		return "no bound, " + c.MaxMemoryPolicy
	}
	return formatBytes(c.MaxMemory) + " each, " + c.MaxMemoryPolicy
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
