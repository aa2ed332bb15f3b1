package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/wire"
)

// drainPause is how often a node that drains is looked at: who votes is told by
// no event.
const drainPause = 500 * time.Millisecond

func (a *app) nodeDrain() *cobra.Command {
	var undo bool
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "drain NODE",
		Short: "Have a node take no further work and give away what it can",
		Long: `Have a node take no further work, and wait until it has no vote in Raft and no
FrameDB that another agent could have. Frames do not move: those that stay on the
node are listed. To move a source, framedb source reassign it first.

Draining goes on when --wait is over; the exit code is 5 then.`,
		Example:           "  framedb node drain node-3 && framedb node drain node-3 --undo",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeNodes,
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			node, err := s.client.DrainNode(ctx, wire.NodeName(args[0]), !undo)
			if err != nil {
				return err
			}
			if undo {
				return s.print(node, func() { fmt.Fprintf(s.out, "%s takes work again\n", node.Name) })
			}
			voter, err := s.awaitDrained(ctx, node.Name, wait)
			if err != nil {
				return err
			}
			return s.printDrained(ctx, node, voter)
		}),
	}
	cmd.Flags().BoolVar(&undo, "undo", false, "end it: the node takes work again")
	cmd.Flags().DurationVar(&wait, "wait", defaultWait, "how long to wait until it is drained")
	return cmd
}

// awaitDrained returns whether the node keeps its vote, or an ErrTimeout that
// says what it still has when wait is over.
func (s *session) awaitDrained(ctx context.Context, name wire.NodeName, wait time.Duration) (voter bool, err error) {
	over := time.After(wait)
	tick := time.NewTicker(drainPause)
	defer tick.Stop()
	for {
		status, err := s.client.Status(ctx)
		if err != nil {
			return false, err
		}
		has := leftOn(&status, name)
		if has == "" {
			return memberNamed(&status, name).Voter, nil
		}
		select {
		case <-tick.C:
		case <-over:
			return false, wire.Errorf(wire.CodeTimeout, "%s is draining and goes on: it still has %s; see framedb node list", name, has)
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// leftOn says what a node that drains has yet to give away, "" when there is
// nothing that another node could take.
func leftOn(st *wire.Status, name wire.NodeName) string {
	// others reports whether a node that takes work has what is asked for.
	others := func(has func(*wire.Member) bool) bool {
		return slices.ContainsFunc(st.Members, func(m wire.Member) bool {
			return m.Name != name && m.Alive && !m.Draining && has(&m)
		})
	}
	var has []string
	me := memberNamed(st, name)
	if me.Leader && others(func(m *wire.Member) bool { return m.Voter }) {
		has = append(has, "the lead")
	}
	if me.Voter && others(func(m *wire.Member) bool { return !m.Voter }) {
		has = append(has, "a vote")
	}
	movable := 0
	for _, c := range st.Clusters {
		if c.Status.Owner == name && others(func(m *wire.Member) bool { return slices.Contains(m.Tags, c.NodeTag) }) {
			movable++
		}
	}
	if movable > 0 {
		has = append(has, plural(movable, "FrameDB")+" that another agent can look after")
	}
	return strings.Join(has, " and ")
}

// memberNamed is zero for a node that gossip does not know.
func memberNamed(st *wire.Status, name wire.NodeName) wire.Member {
	for _, m := range st.Members {
		if m.Name == name {
			return m
		}
	}
	return wire.Member{}
}

// drained is what node drain prints.
type drained struct {
	wire.Node
	// Voter says that it keeps its vote, as no other agent can have it.
	Voter bool `json:"voter"`
	// Stays are the FrameDBs whose frames are on the node.
	Stays []wire.Resolved `json:"stays"`
}

func (s *session) printDrained(ctx context.Context, node wire.Node, voter bool) error {
	instances, err := s.client.Instances(ctx, client.InstanceQuery{})
	if err != nil {
		return err
	}
	d := drained{node, voter, []wire.Resolved{}}
	for _, i := range instances {
		if i.Node == node.Name {
			d.Stays = append(d.Stays, i)
		}
	}
	return s.print(d, func() {
		fmt.Fprintf(s.out, "%s is drained\n", node.Name)
		if voter {
			fmt.Fprintln(s.out, "it keeps its vote in Raft: there is no other agent to have it")
		}
		if len(d.Stays) > 0 {
			fmt.Fprintln(s.out, "\nthe frames of these stay on it:")
			s.instanceTable(d.Stays)
		}
	})
}
