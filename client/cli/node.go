package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/wire"
)

func (a *app) nodeCommand() *cobra.Command {
	return group("node", "Look at nodes, label, drain and remove them",
		a.nodeList(), a.nodeLabel(), a.nodeDrain(), a.nodeRemove())
}

// nodeRow is what node list prints of one node: its registration, and what
// gossip and Raft know of its agent.
type nodeRow struct {
	wire.Node
	Alive  bool `json:"alive"`
	Voter  bool `json:"voter"`
	Leader bool `json:"leader"`
	Owned  int  `json:"owned"`
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
			status, err := s.client.Status(ctx)
			if err != nil {
				return err
			}
			rows := nodeRows(nodes, status.Members)
			return s.print(rows, func() { s.nodeTable(rows) })
		}),
	}
}

// nodeRows joins both by name: an agent that has just come is a member before
// it is registered, and one that left is registered only.
func nodeRows(nodes []wire.Node, members []wire.Member) []nodeRow {
	byName := map[wire.NodeName]nodeRow{}
	for _, n := range nodes {
		byName[n.Name] = nodeRow{Node: n}
	}
	for _, m := range members {
		row, registered := byName[m.Name]
		if !registered && !m.Alive && !m.Voter {
			continue // forgotten, but gossip remembers it for a while
		}
		if !registered {
			row.Node = wire.Node{Name: m.Name, Address: m.Address, Tags: notNil(m.Tags), Draining: m.Draining, Version: m.Version}
		}
		row.Alive, row.Voter, row.Leader, row.Owned = m.Alive, m.Voter, m.Leader, m.Owned
		byName[m.Name] = row
	}
	rows := []nodeRow{}
	for _, row := range byName {
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b nodeRow) int { return cmp.Compare(a.Name, b.Name) })
	return rows
}

func (s *session) nodeTable(rows []nodeRow) {
	t := newTable(s.out, "NODE", "ADDRESS", "TAGS", "LABEL", "STATE", "RAFT", "OWNED", "VERSION")
	for _, r := range rows {
		t.row(r.Name, r.Address, join(r.Tags), r.Label, nodeState(r.Alive, r.Draining), raftWord(r.Leader, r.Voter), r.Owned, r.Version)
	}
	t.flush()
}

func nodeState(alive, draining bool) string {
	switch {
	case !alive:
		return "dead"
	case draining:
		return "draining"
	}
	return "alive"
}

func raftWord(leader, voter bool) string {
	switch {
	case leader:
		return "leader"
	case voter:
		return "voter"
	}
	return "reader"
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
			return s.print(node, func() {
				fmt.Fprintf(s.out, "%s carries %s\n", node.Name, cmp.Or(join(tagsOf(&node)), "no tag"))
			})
		}),
	}
	cmd.Flags().BoolVar(&remove, "remove", false, "take the label away")
	return cmd
}

// tagsOf are the configured tags and the label.
func tagsOf(n *wire.Node) []wire.NodeTag {
	if n.Label == "" || slices.Contains(n.Tags, n.Label) {
		return n.Tags
	}
	return append(slices.Clone(n.Tags), n.Label)
}

func (a *app) nodeRemove() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:     "remove NODE",
		Aliases: []string{"rm"},
		Short:   "Forget a node that is gone for good",
		Long: `Forget a node that is gone for good, in Raft and in the store. Its agent must
have ended. Should it come back it registers again. On a terminal you are asked
first.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeNodes,
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			if !yes {
				if err := s.confirm(ctx, fmt.Sprintf("Forget node %s?", args[0])); err != nil {
					return err
				}
			}
			node, err := s.client.RemoveNode(ctx, wire.NodeName(args[0]))
			if err != nil {
				return err
			}
			return s.print(node, func() { fmt.Fprintf(s.out, "%s is forgotten\n", node.Name) })
		}),
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}
