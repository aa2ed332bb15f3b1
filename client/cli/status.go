package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/wire"
)

// statusClusters is how many clusters fit on the status screen.
const statusClusters = 20

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show all of FrameDB on one screen, and what is wrong with it",
		Args:  cobra.NoArgs,
		RunE: a.run(func(ctx context.Context, s *session, _ []string) error {
			status, err := s.client.Status(ctx)
			if err != nil {
				return err
			}
			addr, err := s.client.Addr(ctx)
			if err != nil {
				return err
			}
			return s.print(status, func() { s.printStatus(&status, addr, time.Now()) })
		}),
	}
}

func (s *session) printStatus(st *wire.Status, addr string, now time.Time) {
	fmt.Fprintf(s.out, "FrameDB %s, %s driver, answered by %s at %s\n", st.Version, st.Driver, st.Node, addr)
	leader := "leader " + string(st.Leader)
	if st.Leader == "" {
		leader = "NO LEADER: nothing can be changed just now"
	}
	fmt.Fprintf(s.out, "up %s, %s, index %d\n\n", age(now.Sub(st.StartedAt)), leader, st.Index)

	t := newTable(s.out, "NODE", "ADDRESS", "TAGS", "STATE", "RAFT", "VERSION")
	for _, m := range st.Members {
		t.row(m.Name, m.Address, join(m.Tags), aliveWord(m.Alive), raftWord(&m), m.Version)
	}
	t.flush()

	if len(st.Clusters) > 0 {
		fmt.Fprintln(s.out)
		s.clusterTable(worstFirst(st.Clusters))
		if more := len(st.Clusters) - statusClusters; more > 0 {
			fmt.Fprintf(s.out, "and %d more; see framedb cluster list\n", more)
		}
	}
	if len(st.Storage) > 0 {
		fmt.Fprintln(s.out)
		t := newTable(s.out, "STORAGE", "NODE TAG", "PHASE", "SIZE", "URL")
		for _, p := range st.Storage {
			t.row(p.ID, p.NodeTag, p.Phase, p.StorageSize, p.URL)
		}
		t.flush()
	}
	fmt.Fprintf(s.out, "\n%s, %s, %s\n", plural(len(st.Clusters), "cluster"), plural(st.Sources, "source"), plural(st.Mappings, "mapping"))
	if len(st.Degraded) == 0 {
		fmt.Fprintln(s.out, "nothing is degraded")
		return
	}
	fmt.Fprintln(s.out, "DEGRADED")
	for _, reason := range st.Degraded {
		fmt.Fprintln(s.out, "  "+reason)
	}
}

func aliveWord(alive bool) string {
	if alive {
		return "alive"
	}
	return "dead"
}

func raftWord(m *wire.Member) string {
	switch {
	case m.Leader:
		return "leader"
	case m.Voter:
		return "voter"
	}
	return "reader"
}

// worstFirst cuts the list to what fits on the screen, and keeps those that
// need a look.
func worstFirst(clusters []wire.Cluster) []wire.Cluster {
	if len(clusters) <= statusClusters {
		return clusters
	}
	sorted := slices.Clone(clusters)
	slices.SortStableFunc(sorted, func(a, b wire.Cluster) int {
		return urgency(b.Status.Phase) - urgency(a.Status.Phase)
	})
	return sorted[:statusClusters]
}

func urgency(p wire.Phase) int {
	return slices.Index([]wire.Phase{wire.PhaseReady, wire.PhaseRemoving, wire.PhaseCreating, wire.PhaseDegraded}, p)
}

func (s *session) clusterTable(clusters []wire.Cluster) {
	t := newTable(s.out, "CLUSTER", "NODE TAG", "PHASE", "MEMBERS", "MASTER", "REASON")
	for _, c := range clusters {
		t.row(c.Name, c.NodeTag, c.Status.Phase, fmt.Sprintf("%d/%d", c.Status.ReadyMembers, c.Replicas), c.Status.Master, c.Status.Reason)
	}
	t.flush()
}
