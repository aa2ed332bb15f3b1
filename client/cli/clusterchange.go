package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/wire"
)

// createOptions are the flags of cluster create.
type createOptions struct {
	spec              wire.ClusterSpec
	settings          settings
	maxMemory         byteSize
	downAfter, failTO time.Duration
	wait              time.Duration
}

func (a *app) clusterCreate() *cobra.Command {
	var o createOptions
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a cluster and wait until it is ready",
		Long: `Create a cluster: one Redis master, its replicas, and a Sentinel beside each.

Without --node-tag it goes to the first tag of the node that is asked. Creating
goes on when --wait is over; the exit code is 5 then.`,
		Example: "  framedb cluster create cameras --node-tag node-1 --replicas 3 --max-memory 4GiB",
		Args:    cobra.ExactArgs(1),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			return s.createCluster(ctx, wire.ClusterName(args[0]), o)
		}),
	}
	f := cmd.Flags()
	f.StringVar((*string)(&o.spec.NodeTag), "node-tag", "", "where it runs: on the node that carries this tag")
	f.IntVar(&o.spec.Replicas, "replicas", 1, "Redis members in all, the master among them")
	f.IntVar(&o.spec.Quorum, "quorum", 0, "Sentinels that must agree that the master is down (default: a majority)")
	f.BoolVar(&o.spec.EnableMetrics, "metrics", false, "export metrics of Redis (the process driver exports none)")
	f.BoolVar(&o.spec.Backup, "backup", false, "keep an append-only file on disk")
	f.Var(&o.maxMemory, "max-memory", "bound of one member, such as 4GiB (default: none)")
	f.StringVar(&o.spec.MaxMemoryPolicy, "max-memory-policy", "", "what a full member drops: "+strings.Join(wire.MemoryPolicies, ", ")+" (default noeviction: it refuses writes)")
	f.DurationVar(&o.downAfter, "down-after", 0, "silence after which a member is held for down (default 1m0s)")
	f.DurationVar(&o.failTO, "failover-timeout", 0, "Sentinel's failover-timeout (default 18s)")
	f.IntVar(&o.spec.ParallelSyncs, "parallel-syncs", 0, "replicas that copy from a new master at once (default 1)")
	o.settings.addSet(cmd)
	f.DurationVar(&o.wait, "wait", defaultWait, "how long to wait until it is ready")
	must(cmd.RegisterFlagCompletionFunc("node-tag", a.completeTags))
	must(cmd.RegisterFlagCompletionFunc("max-memory-policy", cobra.FixedCompletions(wire.MemoryPolicies, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

func (s *session) createCluster(ctx context.Context, name wire.ClusterName, o createOptions) error {
	spec := o.spec
	spec.MaxMemory = int64(o.maxMemory)
	spec.DownAfter, spec.FailoverTimeout = o.downAfter.Milliseconds(), o.failTO.Milliseconds()
	u, err := o.settings.update(s.cmd)
	if err != nil {
		return err
	}
	o.take(&spec, &u)
	if spec.Quorum == 0 {
		spec.Quorum = max(spec.Replicas, 0)/2 + 1
	}
	if spec.NodeTag == "" {
		tag, err := s.ownTag(ctx)
		if err != nil {
			return err
		}
		spec.NodeTag = tag
	}
	cluster, err := s.client.CreateCluster(ctx, wire.CreateCluster{Name: name, ClusterSpec: spec}, 0)
	if err != nil {
		return err
	}
	return s.printReached(ctx, "creating", cluster, o.wait)
}

// take adds what --set says; a flag goes before it.
func (o *createOptions) take(spec *wire.ClusterSpec, u *wire.UpdateCluster) {
	if u.MaxMemory != nil && o.maxMemory == 0 {
		spec.MaxMemory = *u.MaxMemory
	}
	if u.MaxMemoryPolicy != nil && spec.MaxMemoryPolicy == "" {
		spec.MaxMemoryPolicy = *u.MaxMemoryPolicy
	}
	if u.Backup != nil && !spec.Backup {
		spec.Backup = *u.Backup
	}
	for name, value := range u.Settings {
		if spec.Settings == nil {
			spec.Settings = wire.RedisSettings{}
		}
		spec.Settings[name] = *value
	}
}

// ownTag is the first tag of the node that is asked.
func (s *session) ownTag(ctx context.Context) (wire.NodeTag, error) {
	status, err := s.client.Status(ctx)
	if err != nil {
		return "", err
	}
	for _, m := range status.Members {
		if m.Name == status.Node && len(m.Tags) > 0 {
			return m.Tags[0], nil
		}
	}
	return "", usagef(s.cmd, "node %s has no tag: give --node-tag", status.Node)
}

// printReached waits until the cluster is what was asked for, and prints it.
func (s *session) printReached(ctx context.Context, what string, c wire.Cluster, wait time.Duration) error {
	bar := s.progress(what + " " + string(c.Name))
	cluster, err := await(ctx, s.client, wire.TableClusters, c, clusterState, wait, func(c *wire.Cluster) {
		bar.set(c.Status.ReadyMembers, c.Replicas, "members ready")
	})
	bar.finish()
	if err != nil && !errors.Is(err, errNotYet) {
		return err
	}
	printed := s.print(cluster, func() { s.clusterTable([]wire.Cluster{cluster}) })
	return errors.Join(err, printed)
}

func (a *app) clusterScale() *cobra.Command {
	var replicas, quorum int
	var wait time.Duration
	cmd := &cobra.Command{
		Use:               "scale NAME --replicas N",
		Short:             "Change how many members a cluster has",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeClusters(1),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			var update wire.UpdateCluster
			if s.cmd.Flags().Changed("replicas") {
				update.Replicas = &replicas
			}
			if s.cmd.Flags().Changed("quorum") {
				update.Quorum = &quorum
			}
			if update.Replicas == nil && update.Quorum == nil {
				return usagef(s.cmd, "give --replicas, --quorum or both")
			}
			cluster, err := s.client.UpdateCluster(ctx, wire.ClusterName(args[0]), update, 0)
			if err != nil {
				return err
			}
			return s.printReached(ctx, "scaling", cluster, wait)
		}),
	}
	cmd.Flags().IntVar(&replicas, "replicas", 0, "Redis members in all, the master among them")
	cmd.Flags().IntVar(&quorum, "quorum", 0, "Sentinels that must agree that the master is down (default: as it is)")
	cmd.Flags().DurationVar(&wait, "wait", defaultWait, "how long to wait until it is done")
	return cmd
}
