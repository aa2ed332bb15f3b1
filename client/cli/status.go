package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/wire"
)

// statusRows is how many rows of a kind fit on the status screen.
const statusRows = 20

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
			if s.json() {
				return s.print(status, nil)
			}
			addr, err := s.client.Addr(ctx)
			if err != nil {
				return err
			}
			raft, err := s.client.Raft(ctx)
			if err != nil {
				return err
			}
			s.printStatus(&status, raft.Term, addr, time.Now())
			return nil
		}),
	}
}

const noLeader = "NO LEADER: nothing can be changed just now"

func (s *session) printStatus(st *wire.Status, term uint64, addr string, now time.Time) {
	fmt.Fprintf(s.out, "FrameDB %s, %s driver, answered by %s at %s\n", st.Version, st.Driver, st.Node, addr)
	leader := "leader " + string(st.Leader)
	if st.Leader == "" {
		leader = noLeader
	}
	fmt.Fprintf(s.out, "up %s, %s, term %d, index %d\n\n", age(now.Sub(st.StartedAt)), leader, term, st.Index)
	s.memberTable(st.Members)
	if len(st.Clusters) > 0 {
		fmt.Fprintln(s.out)
		s.clusterTable(worstFirst(st.Clusters, clusterUrgency))
		s.noteMore(len(st.Clusters), "framedb cluster list")
	}
	if len(st.Storage) > 0 {
		fmt.Fprintln(s.out)
		s.storageTable(worstFirst(st.Storage, storageUrgency))
		s.noteMore(len(st.Storage), "framedb storage list")
	}
	fmt.Fprintf(s.out, "\n%s, %s, %s, %s, %s\n", nodeCount(st.Members), plural(len(st.Clusters), "cluster"), plural(len(st.Storage), "persistent FrameDB"), plural(st.Sources, "source"), plural(st.Mappings, "mapping"))
	wrong := append(versionsDiffer(st.Members), st.Degraded...)
	if len(wrong) == 0 {
		fmt.Fprintln(s.out, "nothing is degraded")
		return
	}
	fmt.Fprintln(s.out, "DEGRADED")
	for _, reason := range wrong {
		fmt.Fprintln(s.out, "  "+reason)
	}
}

func (s *session) memberTable(members []wire.Member) {
	t := newTable(s.out, "NODE", "ADDRESS", "TAGS", "STATE", "RAFT", "OWNED", "VERSION")
	for _, m := range worstFirst(members, memberUrgency) {
		t.row(m.Name, m.Address, join(m.Tags), nodeState(m.Alive, m.Draining), raftWord(m.Leader, m.Voter), m.Owned, m.Version)
	}
	t.flush()
	s.noteMore(len(members), "framedb node list")
}

func (s *session) noteMore(n int, command string) {
	if more := n - statusRows; more > 0 {
		fmt.Fprintf(s.out, "and %d more; see %s\n", more, command)
	}
}

// nodeCount is "5 nodes (4 alive, 3 voters)".
func nodeCount(members []wire.Member) string {
	alive, voters := 0, 0
	for _, m := range members {
		if m.Alive {
			alive++
		}
		if m.Voter {
			voters++
		}
	}
	return fmt.Sprintf("%s (%d alive, %s)", plural(len(members), "node"), alive, plural(voters, "voter"))
}

// versionsDiffer says which versions run beside each other, as they do while
// an upgrade is under way.
func versionsDiffer(members []wire.Member) []string {
	nodes := map[string]int{}
	for _, m := range members {
		if m.Alive {
			nodes[m.Version]++
		}
	}
	if len(nodes) < 2 {
		return nil
	}
	var each []string
	for version, n := range nodes {
		each = append(each, fmt.Sprintf("%s on %s", version, plural(n, "node")))
	}
	slices.Sort(each)
	return []string{"versions differ: " + strings.Join(each, ", ")}
}

// worstFirst cuts the list to what fits on the screen, and keeps those that
// need a look.
func worstFirst[T any](all []T, urgency func(*T) int) []T {
	if len(all) <= statusRows {
		return all
	}
	sorted := slices.Clone(all)
	slices.SortStableFunc(sorted, func(a, b T) int { return urgency(&b) - urgency(&a) })
	return sorted[:statusRows]
}

func clusterUrgency(c *wire.Cluster) int {
	return slices.Index([]wire.Phase{wire.PhaseReady, wire.PhaseRemoving, wire.PhaseCreating, wire.PhaseDegraded}, c.Status.Phase)
}

func memberUrgency(m *wire.Member) int {
	return slices.Index([]string{"reader", "voter", "leader", "draining", "dead"}, memberWord(m))
}

// memberWord is what is most worth knowing of a member.
func memberWord(m *wire.Member) string {
	if state := nodeState(m.Alive, m.Draining); state != "alive" {
		return state
	}
	return raftWord(m.Leader, m.Voter)
}

func (s *session) clusterTable(clusters []wire.Cluster) {
	t := newTable(s.out, "CLUSTER", "NODE TAG", "PHASE", "MEMBERS", "MASTER", "OWNER", "REASON")
	for _, c := range clusters {
		t.row(c.Name, c.NodeTag, c.Status.Phase, fmt.Sprintf("%d/%d", c.Status.ReadyMembers, c.Replicas), c.Status.Master, c.Status.Owner, c.Status.Reason)
	}
	t.flush()
}
