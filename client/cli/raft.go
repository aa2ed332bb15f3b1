package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/wire"
)

func (a *app) raftCommand() *cobra.Command {
	return group("raft", "Look at Raft, move its lead, recover it", a.raftStatus(), a.raftTransfer())
}

func (a *app) raftStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show who leads, who votes, and how far the agent that is asked is",
		Args:  cobra.NoArgs,
		RunE: a.run(func(ctx context.Context, s *session, _ []string) error {
			status, err := s.client.Raft(ctx)
			if err != nil {
				return err
			}
			return s.print(status, func() { s.printRaft(&status) })
		}),
	}
}

func (s *session) printRaft(st *wire.RaftStatus) {
	leader := "leader " + string(st.Leader)
	switch {
	case st.Leader == "":
		leader = noLeader
	case st.Leader != st.Node:
		leader += fmt.Sprintf(", heard of %v ago", millis(st.LastContact))
	}
	fmt.Fprintf(s.out, "%s, term %d; answered by %s, index %d\n\n", leader, st.Term, st.Node, st.Index)
	t := newTable(s.out, "NODE", "RAFT ADDRESS", "RAFT", "STATE")
	for _, r := range st.Servers {
		t.row(r.Name, r.Address, raftWord(r.Leader, r.Voter), nodeState(r.Alive, false))
	}
	t.flush()
}

func (a *app) raftTransfer() *cobra.Command {
	return &cobra.Command{
		Use:               "transfer [NODE]",
		Short:             "Have another voter lead: the one given, or the one that is most up to date",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeNodes,
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			var to wire.NodeName
			if len(args) == 1 {
				to = wire.NodeName(args[0])
			}
			status, err := s.client.TransferLeadership(ctx, to)
			if err != nil {
				return err
			}
			return s.print(status, func() { fmt.Fprintf(s.out, "%s leads, term %d\n", status.Leader, status.Term) })
		}),
	}
}
