package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/wire"
)

func (a *app) nodeCommand() *cobra.Command {
	return group("node", "Look at nodes and label them", a.nodeList(), a.nodeLabel())
}

func (a *app) nodeList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the nodes that run an agent",
		Args:    cobra.NoArgs,
		RunE: a.run(func(ctx context.Context, s *session, _ []string) error {
			nodes, err := s.client.Nodes(ctx)
			if err != nil {
				return err
			}
			return s.print(notNil(nodes), func() { s.nodeTable(nodes) })
		}),
	}
}

func (a *app) nodeLabel() *cobra.Command {
	var remove bool
	cmd := &cobra.Command{
		Use:               "label NODE TAG | label NODE --remove",
		Short:             "Give a node one more node tag, in place of its former label",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: a.completeNodes,
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			if remove == (len(args) == 2) {
				return usagef(s.cmd, "give a tag or --remove")
			}
			label := wire.NodeTag("")
			if !remove {
				label = wire.NodeTag(args[1])
				if err := label.Validate(); err != nil {
					return err
				}
			}
			node, err := s.client.LabelNode(ctx, wire.NodeName(args[0]), label)
			if err != nil {
				return err
			}
			return s.print(node, func() { s.nodeTable([]wire.Node{node}) })
		}),
	}
	cmd.Flags().BoolVar(&remove, "remove", false, "take the label away")
	return cmd
}

func (s *session) nodeTable(nodes []wire.Node) {
	t := newTable(s.out, "NODE", "ADDRESS", "TAGS", "LABEL", "DRIVER", "VERSION")
	for _, n := range nodes {
		t.row(n.Name, n.Address, join(n.Tags), n.Label, n.Driver, n.Version)
	}
	t.flush()
}
