package cli

import (
	"context"
	"errors"
	"net"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client"
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
			if errors.Is(err, wire.ErrNotFound) {
				return s.orCluster(ctx, args[0], err)
			}
			if err != nil {
				return err
			}
			return s.print(found, func() { s.instanceTable([]wire.Resolved{found}) })
		}),
	}
}

// orCluster tells who took a cluster's name for an ID which IDs it has.
func (s *session) orCluster(ctx context.Context, name string, unknown error) error {
	members, err := s.client.Instances(ctx, client.InstanceQuery{Cluster: wire.ClusterName(name)})
	if err != nil || len(members) == 0 {
		return unknown
	}
	var ids []wire.FrameDBID
	for _, m := range members {
		ids = append(ids, m.ID)
	}
	return wire.Errorf(wire.CodeNotFound, "%s is a cluster: its FrameDB IDs are %s", name, join(ids))
}

func (s *session) instanceTable(instances []wire.Resolved) {
	t := newTable(s.out, "FRAMEDB ID", "ROLE", "HEALTH", "URL", "SOCKET", "NODE", "REASON")
	for _, i := range instances {
		t.row(i.ID, i.Role, i.Health, i.URL, i.Socket, i.Node, i.Reason)
	}
	t.flush()
}

func hostPort(e wire.Endpoint) string { return net.JoinHostPort(e.Host, strconv.Itoa(e.Port)) }
