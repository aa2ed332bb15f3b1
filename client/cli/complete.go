package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client"
)

const (
	// completionTimeout bounds asking the agent: a shell that hangs is worse
	// than one that does not know.
	completionTimeout = time.Second
	// completionMax bounds how many sources are offered.
	completionMax = 100
)

type completion = func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective)

// complete asks an agent for names; what goes wrong offers nothing.
func (a *app) complete(toComplete string, names func(ctx context.Context, c *client.Client) ([]string, error)) ([]cobra.Completion, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(context.Background(), completionTimeout)
	defer cancel()
	cfg := a.config()
	cfg.RetryFor = -1
	c, err := client.New(cfg)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer c.Close()
	all, err := names(ctx, c)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var fit []cobra.Completion
	for _, n := range all {
		if strings.HasPrefix(n, toComplete) {
			fit = append(fit, n)
		}
	}
	return fit, cobra.ShellCompDirectiveNoFileComp
}

// completeClusters completes up to n arguments, any number when n is negative.
func (a *app) completeClusters(n int) completion {
	return func(_ *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if n >= 0 && len(args) >= n {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.complete(toComplete, clusterNames)
	}
}

func clusterNames(ctx context.Context, c *client.Client) ([]string, error) {
	clusters, err := c.Clusters(ctx)
	var names []string
	for _, cluster := range clusters {
		names = append(names, string(cluster.Name))
	}
	return names, err
}

// completeSources completes the first argument with sources and hands the
// second one to next.
func (a *app) completeSources(next completion) completion {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			if next == nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return next(cmd, args[1:], toComplete)
		}
		return a.complete(toComplete, func(ctx context.Context, c *client.Client) ([]string, error) {
			var names []string
			for s, err := range c.Sources(ctx, toComplete) {
				if err != nil {
					return nil, err
				}
				if names = append(names, string(s.Source)); len(names) == completionMax {
					break
				}
			}
			return names, nil
		})
	}
}

// completeFiles leaves it to the shell.
func completeFiles(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

func (a *app) completeInstances(_ *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.complete(toComplete, func(ctx context.Context, c *client.Client) ([]string, error) {
		instances, err := c.Instances(ctx, client.InstanceQuery{})
		var names []string
		for _, i := range instances {
			names = append(names, string(i.ID))
		}
		return names, err
	})
}

func (a *app) completeNodes(_ *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.complete(toComplete, func(ctx context.Context, c *client.Client) ([]string, error) {
		nodes, err := c.Nodes(ctx)
		var names []string
		for _, n := range nodes {
			names = append(names, string(n.Name))
		}
		return names, err
	})
}

func (a *app) completeTags(_ *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.complete(toComplete, func(ctx context.Context, c *client.Client) ([]string, error) {
		nodes, err := c.Nodes(ctx)
		var tags []string
		for _, n := range nodes {
			tags = append(tags, strings.Split(join(append(n.Tags, n.Label)), ",")...)
		}
		return tags, err
	})
}

// completeStorage completes up to n arguments with persistent FrameDBs, any
// number when n is negative.
func (a *app) completeStorage(n int) completion {
	return func(_ *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if n >= 0 && len(args) >= n {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.complete(toComplete, func(ctx context.Context, c *client.Client) ([]string, error) {
			all, err := c.PersistentInstances(ctx)
			var ids []string
			for _, p := range all {
				ids = append(ids, string(p.ID))
			}
			return ids, err
		})
	}
}

func (a *app) completeIngestions(_ *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.complete(toComplete, func(ctx context.Context, c *client.Client) ([]string, error) {
		all, err := c.Ingestions(ctx)
		var sources []string
		for _, in := range all {
			sources = append(sources, string(in.Source))
		}
		return sources, err
	})
}
