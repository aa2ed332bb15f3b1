package cli

import (
	"context"
	"net"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/wire"
)

func (a *app) resolveCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "resolve ID",
		Short:             "A FrameDB ID in, its URL out",
		Example:           "  framedb resolve cameras-redis-node-0\n  framedb resolve cameras-redis-node-0 -o json",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeInstances,
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			found, err := s.client.Resolve(ctx, wire.FrameDBID(args[0]))
			if err != nil {
				return err
			}
			return s.print(found, func() { s.instanceTable([]wire.Resolved{found}) })
		}),
	}
}

func (s *session) instanceTable(instances []wire.Resolved) {
	t := newTable(s.out, "FRAMEDB ID", "ROLE", "HEALTH", "URL", "SOCKET", "NODE", "REASON")
	for _, i := range instances {
		t.row(i.ID, i.Role, i.Health, i.URL, i.Socket, i.Node, i.Reason)
	}
	t.flush()
}

func hostPort(e wire.Endpoint) string { return net.JoinHostPort(e.Host, strconv.Itoa(e.Port)) }
