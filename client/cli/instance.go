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
		Long:              "A FrameDB ID in, its URL out. The name of a cluster stands for its master.",
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
	t := newTable(s.out, "FRAMEDB ID", "ENGINE", "ROLE", "HEALTH", "URL", "SOCKET", "NODE", "REASON")
	for _, i := range instances {
		t.row(i.ID, engineCell(&i), i.Role, i.Health, i.URL, i.Socket, i.Node, i.Reason)
	}
	t.flush()
}

// engineCell is what holds the data.
func engineCell(r *wire.Resolved) string {
	if r.Kind == wire.KindMemory {
		return "redis"
	}
	return string(r.Engine)
}

func hostPort(e wire.Endpoint) string { return net.JoinHostPort(e.Host, strconv.Itoa(e.Port)) }
