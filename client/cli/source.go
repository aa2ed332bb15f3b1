package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/wire"
)

func (a *app) sourceCommand() *cobra.Command {
	return group("source", "Say where sources write to",
		a.sourceMap(), a.sourceUnmap(), a.sourceShow(), a.sourceList(), a.sourceWatch(), a.sourceReassign(), a.sourceMetadata())
}

func (a *app) sourceMap() *cobra.Command {
	var tag, cluster string
	var metadata metadataFlags
	cmd := &cobra.Command{
		Use:   "map SOURCE",
		Short: "Make a source write to a cluster",
		Long: `Make a source write to a cluster: the least loaded one on the node tag, or the
one given. Without --node-tag it is the cluster's tag, else the first tag of the
node that is asked.`,
		Example:           "  framedb source map camera-001 --node-tag node-1 --sizes 1920x1080,608x608 --ref-count 2",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			object, err := metadata.merge(s.cmd, nil)
			if err != nil {
				return err
			}
			m := wire.CreateMapping{NodeTag: wire.NodeTag(tag), Cluster: wire.ClusterName(cluster), Metadata: object}
			if m.NodeTag == "" {
				if m.NodeTag, err = s.tagFor(ctx, m.Cluster); err != nil {
					return err
				}
			}
			mapping, err := s.client.CreateMapping(ctx, wire.SourceID(args[0]), m)
			if err != nil {
				return err
			}
			return s.print(mapping, func() { s.mappingTable([]wire.Mapping{mapping}) })
		}),
	}
	cmd.Flags().StringVar(&tag, "node-tag", "", "the node tag on which it writes")
	cmd.Flags().StringVar(&cluster, "cluster", "", "the cluster (default: the least loaded one on the tag)")
	metadata.add(cmd)
	must(cmd.RegisterFlagCompletionFunc("node-tag", a.completeTags))
	must(cmd.RegisterFlagCompletionFunc("cluster", a.completeClusters(-1)))
	return cmd
}

// tagFor is the tag of the cluster, else that of the node that is asked.
func (s *session) tagFor(ctx context.Context, name wire.ClusterName) (wire.NodeTag, error) {
	if name == "" {
		return s.ownTag(ctx)
	}
	cluster, err := s.client.Cluster(ctx, name)
	return cluster.NodeTag, err
}

func (a *app) sourceUnmap() *cobra.Command {
	var tag string
	cmd := &cobra.Command{
		Use:               "unmap SOURCE",
		Short:             "End a source's writing on a node tag",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeSources(nil),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			m, err := s.mapping(ctx, wire.SourceID(args[0]), wire.NodeTag(tag))
			if err != nil {
				return err
			}
			if m, err = s.client.RemoveMapping(ctx, m.Source, m.NodeTag); err != nil {
				return err
			}
			return s.print(m, func() {
				fmt.Fprintf(s.out, "%s does not write to %s on %s any more\n", m.Source, m.Cluster, m.NodeTag)
			})
		}),
	}
	a.addTagFlag(cmd, &tag)
	return cmd
}

func (a *app) addTagFlag(cmd *cobra.Command, tag *string) {
	cmd.Flags().StringVar(tag, "node-tag", "", "which of the source's mappings, if it has several")
	must(cmd.RegisterFlagCompletionFunc("node-tag", a.completeTags))
}

// mapping is the source's mapping on the tag, or its only one.
func (s *session) mapping(ctx context.Context, source wire.SourceID, tag wire.NodeTag) (wire.Mapping, error) {
	routes, err := s.client.Source(ctx, source)
	if err != nil {
		return wire.Mapping{}, err
	}
	var tags []wire.NodeTag
	for _, r := range routes.Routes {
		if r.NodeTag == tag || tag == "" && len(routes.Routes) == 1 {
			return r.Mapping, nil
		}
		tags = append(tags, r.NodeTag)
	}
	if tag == "" {
		return wire.Mapping{}, usagef(s.cmd, "source %s writes on %s: say which by --node-tag", source, join(tags))
	}
	return wire.Mapping{}, wire.Errorf(wire.CodeNotFound, "source %s has no mapping on %s, only on %s", source, tag, join(tags))
}

func (a *app) sourceShow() *cobra.Command {
	return &cobra.Command{
		Use:               "show SOURCE",
		Short:             "Show where a source writes to and how to reach it",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeSources(nil),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			routes, err := s.client.Source(ctx, wire.SourceID(args[0]))
			if err != nil {
				return err
			}
			return s.print(routes, func() { s.printRoutes(routes.Routes) })
		}),
	}
}

func (s *session) printRoutes(routes []wire.Route) {
	t := newTable(s.out, "NODE TAG", "CLUSTER", "MASTER", "SOCKET", "METADATA")
	for _, r := range routes {
		address, socket := "", ""
		for _, m := range r.Members {
			if m.Role == wire.RoleMaster {
				address, socket = hostPort(wire.Endpoint{Host: m.Host, Port: m.Port}), m.Socket
			}
		}
		t.row(r.NodeTag, r.Cluster, address, socket, string(r.Metadata))
	}
	t.flush()
}

func (a *app) sourceList() *cobra.Command {
	var prefix string
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List sources",
		Args:    cobra.NoArgs,
		RunE: a.run(func(ctx context.Context, s *session, _ []string) error {
			sources := []wire.Source{}
			for source, err := range s.client.Sources(ctx, prefix) {
				if err != nil {
					return err
				}
				sources = append(sources, source)
			}
			return s.print(sources, func() {
				var all []wire.Mapping
				for _, source := range sources {
					all = append(all, source.Mappings...)
				}
				s.mappingTable(all)
			})
		}),
	}
	cmd.Flags().StringVar(&prefix, "prefix", "", "only those that begin with this")
	return cmd
}

func (s *session) mappingTable(mappings []wire.Mapping) {
	t := newTable(s.out, "SOURCE", "NODE TAG", "CLUSTER", "METADATA")
	for _, m := range mappings {
		t.row(m.Source, m.NodeTag, m.Cluster, string(m.Metadata))
	}
	t.flush()
}

func (a *app) sourceReassign() *cobra.Command {
	var tag string
	cmd := &cobra.Command{
		Use:               "reassign SOURCE CLUSTER",
		Short:             "Make a source write to another cluster on the same node tag",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeSources(a.completeClusters(1)),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			m, err := s.mapping(ctx, wire.SourceID(args[0]), wire.NodeTag(tag))
			if err != nil {
				return err
			}
			update := wire.UpdateMapping{Cluster: wire.ClusterName(args[1])}
			if m, err = s.client.UpdateMapping(ctx, m.Source, m.NodeTag, update); err != nil {
				return err
			}
			return s.print(m, func() { s.mappingTable([]wire.Mapping{m}) })
		}),
	}
	a.addTagFlag(cmd, &tag)
	return cmd
}

func (a *app) sourceWatch() *cobra.Command {
	return &cobra.Command{
		Use:   "watch SOURCE",
		Short: "Follow the changes of a source's mappings until interrupted",
		Long: `Follow the changes of a source's mappings until interrupted: what there is
first, then one line for each change. With -o json each line is an event.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeSources(nil),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			source := wire.SourceID(args[0])
			if err := source.Validate(); err != nil {
				return err
			}
			return s.follow(ctx, 0, []wire.Table{wire.TableMappings}, func(e wire.Event) error {
				if e.Op != wire.OpReset && !strings.HasPrefix(e.Key, string(source)+"/") {
					return nil
				}
				return s.printMapping(e)
			})
		}),
	}
}

func (s *session) printMapping(e wire.Event) error {
	if e.Op == wire.OpReset {
		if s.json() {
			return s.printLine(e, "")
		}
		return nil // for people the rows that follow say it all
	}
	source, tag, _ := strings.Cut(e.Key, "/")
	if e.Op == wire.OpDelete {
		return s.printLine(e, "%d  %s on %s writes nowhere", e.Index, source, tag)
	}
	var m wire.Mapping
	if err := json.Unmarshal(e.After, &m); err != nil {
		return fmt.Errorf("reading an event: %w", err)
	}
	return s.printLine(e, "%d  %s on %s writes to %s  %s", e.Index, source, tag, m.Cluster, m.Metadata)
}
