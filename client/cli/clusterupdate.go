package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/wire"
)

// settings are --set flags: parameters of redis.conf.
type settings struct{ set, unset []string }

func (o *settings) addSet(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&o.set, "set", nil, "PARAMETER=VALUE of redis.conf, such as maxmemory-policy=allkeys-lru or hz=20 (repeatable)")
	must(cmd.RegisterFlagCompletionFunc("set", func(_ *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var fit []cobra.Completion
		for _, name := range wire.SettableParameters() {
			if strings.HasPrefix(name, toComplete) {
				fit = append(fit, name+"=")
			}
		}
		return fit, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}))
}

// update is what they ask for; errors name the flag.
func (o *settings) update(cmd *cobra.Command) (wire.UpdateCluster, error) {
	asked := wire.RedisSettings{}
	for _, s := range o.set {
		name, value, found := strings.Cut(s, "=")
		if !found || name == "" {
			return wire.UpdateCluster{}, usagef(cmd, "--set %s: give PARAMETER=VALUE", quoted(s))
		}
		asked[name] = value
	}
	u, err := wire.RedisUpdate(asked)
	if err != nil {
		return u, usagef(cmd, "--set %v", err)
	}
	for _, name := range o.unset {
		if _, both := asked[name]; both || name == "" {
			return u, usagef(cmd, "--unset %s: give the name of a parameter that is not set", quoted(name))
		}
		if u.Settings == nil {
			u.Settings = map[string]*string{}
		}
		u.Settings[name] = nil
	}
	return u, nil
}

// updateOptions are the flags of cluster update.
type updateOptions struct {
	settings
	metrics, backup   bool
	maxMemory         byteSize
	policy            string
	downAfter, failTO time.Duration
	parallelSyncs     int
	metadata          string
	wait              time.Duration
}

func (a *app) clusterUpdate() *cobra.Command {
	var o updateOptions
	cmd := &cobra.Command{
		Use:   "update NAME",
		Short: "Change the settings of a cluster while it runs",
		Long: `Change the settings of a cluster while it runs; what is not given stays as it is.

--set takes parameters of redis.conf, for all members. --unset takes one back:
FrameDB does not say any more what it is, and members keep what they have until
they are started anew.`,
		Example:           "  framedb cluster update cameras --set maxmemory-policy=allkeys-lru --set hz=20\n  framedb cluster update cameras --max-memory 8GiB",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeClusters(1),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			u, err := o.update(s.cmd)
			if err != nil {
				return err
			}
			if reflect.ValueOf(u).IsZero() {
				return usagef(s.cmd, "give what to change")
			}
			cluster, err := s.client.UpdateCluster(ctx, wire.ClusterName(args[0]), u, 0)
			if err != nil {
				return err
			}
			return s.printReached(ctx, "changing", cluster, o.wait)
		}),
	}
	f := cmd.Flags()
	o.addSet(cmd)
	f.StringSliceVar(&o.unset, "unset", nil, "parameters of redis.conf to say nothing of any more")
	f.BoolVar(&o.metrics, "metrics", false, "export metrics of Redis")
	f.BoolVar(&o.backup, "backup", false, "keep an append-only file on disk")
	f.Var(&o.maxMemory, "max-memory", "bound of one member, such as 4GiB; 0 for none")
	f.StringVar(&o.policy, "max-memory-policy", "", "what a full member drops: "+strings.Join(wire.MemoryPolicies, ", "))
	f.DurationVar(&o.downAfter, "down-after", 0, "silence after which a member is held for down")
	f.DurationVar(&o.failTO, "failover-timeout", 0, "Sentinel's failover-timeout")
	f.IntVar(&o.parallelSyncs, "parallel-syncs", 0, "replicas that copy from a new master at once")
	f.StringVar(&o.metadata, "metadata", "", "a JSON object that is kept beside the cluster")
	f.DurationVar(&o.wait, "wait", defaultWait, "how long to wait until it is done")
	must(cmd.RegisterFlagCompletionFunc("max-memory-policy", cobra.FixedCompletions(wire.MemoryPolicies, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// update is what was given. A flag goes before the same parameter by --set.
func (o *updateOptions) update(cmd *cobra.Command) (wire.UpdateCluster, error) {
	u, err := o.settings.update(cmd)
	if err != nil {
		return u, err
	}
	downAfter, failTO, maxMemory := o.downAfter.Milliseconds(), o.failTO.Milliseconds(), int64(o.maxMemory)
	for name, apply := range map[string]func(){
		"metrics": func() { u.EnableMetrics = &o.metrics }, "backup": func() { u.Backup = &o.backup },
		"max-memory": func() { u.MaxMemory = &maxMemory }, "max-memory-policy": func() { u.MaxMemoryPolicy = &o.policy },
		"down-after": func() { u.DownAfter = &downAfter }, "failover-timeout": func() { u.FailoverTimeout = &failTO },
		"parallel-syncs": func() { u.ParallelSyncs = &o.parallelSyncs }, "metadata": func() { u.Metadata = json.RawMessage(o.metadata) },
	} {
		if cmd.Flags().Changed(name) {
			apply()
		}
	}
	if len(u.Metadata) > 0 && !json.Valid(u.Metadata) {
		return u, usagef(cmd, "--metadata is no JSON object")
	}
	return u, nil
}

// settingsLine is "hz=20, timeout=5".
func settingsLine(s wire.RedisSettings) string {
	var parts []string
	for _, name := range wire.SettableParameters() {
		if value, set := s[name]; set {
			parts = append(parts, fmt.Sprintf("%s=%s", name, value))
		}
	}
	return strings.Join(parts, ", ")
}
