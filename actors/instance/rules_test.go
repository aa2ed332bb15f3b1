package instance

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/framedb/framedb/client/sentinel"
	"github.com/framedb/framedb/client/wire"
)

// anyInput is a cluster in which anything may be wrong.
func anyInput(t *rapid.T) *Input {
	in := well(rapid.IntRange(1, 5).Draw(t, "members"))
	n := len(in.Seen.Members)
	promote(in, rapid.IntRange(0, n-1).Draw(t, "master"))
	if want := rapid.IntRange(1, n).Draw(t, "replicas"); want < n {
		shrink(in, want)
	}
	if rapid.Bool().Draw(t, "demoted") {
		demoted(in)
	}
	in.Serves = rapid.Bool().Draw(t, "serves")
	in.Seen.FilesLost = rapid.Bool().Draw(t, "files lost")
	for i := range in.Seen.Members {
		spoil(t, &in.Seen.Members[i], n)
	}
	if rapid.IntRange(0, 9).Draw(t, "blind") == 0 {
		in.Seen.Err = errCould
	}
	return in
}

func spoil(t *rapid.T, m *Member, n int) {
	often := func(what string) bool { return rapid.IntRange(0, 4).Draw(t, what) == 0 }
	if often("dead") {
		m.stop()
	} else if often("silent") {
		m.InfoErr = errCould
	}
	m.Redis.NeedsRestart = m.Redis.Running && often("needs a restart")
	if often("role") {
		m.Info.Role = wire.RoleMaster
	}
	m.Info.Offset = int64(rapid.SampledFrom([]int{0, neverSynced, 900, 1000}).Draw(t, "offset"))
	m.Info.LinkUp = !often("unlinked")
	m.Info.Syncing = often("syncing")
	if often("another master") {
		m.Says.Master = redisAt(rapid.IntRange(0, n).Draw(t, "named"))
		m.Says.Epoch = uint64(rapid.IntRange(2, 4).Draw(t, "epoch"))
	}
	if often("stale") {
		m.Says.Others++
	}
	if often("silent Sentinel") {
		m.Says = sentinel.Report{Err: errCould}
	}
	if often("dead Sentinel") {
		m.Sentinel.Running, m.Says = false, sentinel.Report{Err: errNotRunning}
	}
}

// TestRules checks what must hold whatever is seen.
func TestRules(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := anyInput(t)
		plan := MakePlan(*in)
		p := planner{Input: *in}
		p.master, p.agreed = in.Seen.agreed(in.Cluster.Quorum)
		if in.Seen.Err != nil && len(plan.Actions) > 0 {
			t.Fatalf("%s, though nothing could be seen", brief(plan.Actions))
		}
		for _, a := range plan.Actions {
			checkRule(t, &p, a)
		}
	})
}

func checkRule(t *rapid.T, p *planner, a Action) {
	named := p.Seen.at(p.master)
	switch a := a.(type) {
	case Failover:
		if !p.agreed || named == nil || named.Redis.Running && !p.leaves(named) && !named.Redis.NeedsRestart {
			t.Fatalf("a failover away from a master that may be well")
		}
		if named.Redis.Running != (a.Pause == named.redis()) {
			t.Fatalf("a failover with %v held", a.Pause)
		}
		checkHeirs(t, p, a)
	case Apply:
		stays := p.agreed && named != nil && named.Answers() && named.Ordinal < a.Spec.Replicas
		if a.Spec.Replicas < p.present() && !stays {
			t.Fatalf("members are ended while the master is unknown or among them")
		}
	case Restart:
		if m := p.Seen.at(p.master); m == nil || !m.Answers() || m.Info.Role != wire.RoleMaster || m.ID == a.Member {
			t.Fatalf("%s is restarted, and no other is known to be master", a.Member)
		}
	case SentinelReset:
		for i := range p.Seen.Members {
			if m := &p.Seen.Members[i]; !m.Answers() || m.Says.Err != nil || m.redis() != p.master && !m.inSync(p.master) {
				t.Fatalf("a Sentinel is reset while %s is not well", m.ID)
			}
		}
	case ConfigSet:
		if m := p.Seen.at(a.Redis); m == nil || !m.Answers() {
			t.Fatalf("a member is set up that was not seen")
		}
	case SentinelSet:
		if m := p.Seen.ordinal(a.Sentinel.Port - 7000); m.Says.Err != nil {
			t.Fatalf("a Sentinel is set up that was not seen")
		}
	case ServeTag:
		if named == nil || !named.Answers() || named.Info.Role != wire.RoleMaster || named.ID != a.Member {
			t.Fatalf("the tag leads to a member that does not say it is master")
		}
	}
}

// checkHeirs: whoever the asked Sentinels may choose stays, and has as much as
// anyone.
func checkHeirs(t *rapid.T, p *planner, f Failover) {
	most := int64(-1)
	for i := range p.Seen.Members {
		if m := &p.Seen.Members[i]; m.Answers() && m.follows(p.master) && !m.Info.Syncing && m.Info.Offset != neverSynced {
			most = max(most, m.Info.Offset)
		}
	}
	for i := range p.Seen.Members {
		if m := &p.Seen.Members[i]; slices.Contains(f.Sentinels, m.sentinel()) {
			for _, replica := range choice(&m.Says) {
				heir := p.Seen.at(replica.Endpoint)
				if heir == nil || p.leaves(heir) || !heir.Answers() || f.Pause.Port == 0 && heir.Info.Offset < most {
					t.Fatalf("%s may become master", address(replica.Endpoint))
				}
			}
		}
	}
}
