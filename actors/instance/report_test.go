package instance

import (
	"errors"
	"slices"
	"testing"

	"github.com/framedb/framedb/client/wire"
)

func TestPhaseFollows(t *testing.T) {
	t.Parallel()
	sick := func(in *Input) { in.Seen.Members[1].stop() }
	for _, c := range []struct {
		name  string
		old   wire.Phase
		given func(*Input)
		want  wire.Phase
	}{
		{"created and well", wire.PhaseCreating, nil, wire.PhaseReady},
		{"creating until all was well once", wire.PhaseCreating, sick, wire.PhaseCreating},
		{"creating while nothing can be seen", wire.PhaseCreating, func(in *Input) { in.Seen = Observation{Err: errCould} }, wire.PhaseCreating},
		{"ready, then not", wire.PhaseReady, sick, wire.PhaseDegraded},
		{"ready, then unseen", wire.PhaseReady, func(in *Input) { in.Seen = Observation{Err: errCould} }, wire.PhaseDegraded},
		{"well again", wire.PhaseDegraded, nil, wire.PhaseReady},
		{"still not", wire.PhaseDegraded, sick, wire.PhaseDegraded},
		{"being removed", wire.PhaseRemoving, sick, wire.PhaseRemoving},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := well(3)
			in.Cluster.Status.Phase = c.old
			if c.given != nil {
				c.given(in)
			}
			if got := MakePlan(*in).Report.Status.Phase; got != c.want {
				t.Errorf("phase %s, want %s", got, c.want)
			}
		})
	}
}

func TestReportOfMembers(t *testing.T) {
	t.Parallel()
	in := well(4)
	in.Seen.Members[1].Info.Syncing = true
	in.Seen.Members[2].InfoErr = errCould
	in.Seen.Members[3].stop()
	r := MakePlan(*in).Report
	want := []struct {
		role   wire.Role
		health wire.Health
		reason string
	}{
		{wire.RoleMaster, wire.HealthHealthy, ""},
		{wire.RoleReplica, wire.HealthSyncing, "it copies from the master"},
		{wire.RoleUnknown, wire.HealthUnreachable, "could not see"},
		{wire.RoleUnknown, wire.HealthStopped, "killed"},
	}
	for i, row := range r.Instances {
		if row.Role != want[i].role || row.Health != want[i].health || row.Reason != want[i].reason {
			t.Errorf("member %d is %s, %s, %q; want %v", i, row.Role, row.Health, row.Reason, want[i])
		}
	}
	full := wire.Instance{
		ID: "x-redis-node-0", Kind: wire.KindMemory, Cluster: "x", NodeTag: "tag", Node: "node-1", Role: wire.RoleMaster,
		Health: wire.HealthHealthy, Host: "h", Port: 6000, SentinelPort: 7000, Socket: "/s",
	}
	if r.Instances[0] != full {
		t.Errorf("row %+v, want %+v", r.Instances[0], full)
	}
	if r.Status.ReadyMembers != 1 || r.Status.Master != "x-redis-node-0" {
		t.Errorf("status %+v", r.Status)
	}
}

func TestReportThatSaysNothingNewDiffersNot(t *testing.T) {
	t.Parallel()
	in := well(3)
	r := MakePlan(*in).Report
	in.Stored = slices.Clone(r.Instances)
	in.Stored[1].ModifyIndex = 77
	if r.Differs(in) {
		t.Error("the same report differs")
	}
	in.Stored[1].Port++
	if !r.Differs(in) {
		t.Error("a member that moved goes unreported")
	}
	in.Stored = r.Instances
	in.Cluster.Status.Reason = "was sick"
	if !r.Differs(in) {
		t.Error("a cluster that is well again goes unreported")
	}
}

func TestUnseenKeepsWhatWasSeen(t *testing.T) {
	t.Parallel()
	in := well(2)
	in.Stored = MakePlan(*in).Report.Instances
	in.Seen = Observation{Err: errCould}
	r := MakePlan(*in).Report
	if !slices.Equal(r.Instances, in.Stored) || r.Status.Master != "x-redis-node-0" || r.Status.ReadyMembers != 2 {
		t.Errorf("a failed look changed the report: %+v", r)
	}
}

func TestObservedGeneration(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		given func(*Input)
		want  uint64
	}{
		{"applied and nothing differs", func(in *Input) { in.Past.Applied = 2 }, 2},
		{"not applied", func(*Input) {}, 1},
		{"a Redis differs", func(in *Input) { in.Past.Applied, in.Cluster.MaxMemory = 2, 1<<20 }, 1},
		{"a Sentinel differs", func(in *Input) { in.Past.Applied, in.Cluster.DownAfter = 2, 1000 }, 1},
		{"a member has not left", func(in *Input) { shrink(in, 2); demoted(in); in.Past.Applied = 2 }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := well(3)
			in.Cluster.Generation = 2
			c.given(in)
			if got := MakePlan(*in).Report.Status.ObservedGeneration; got != c.want {
				t.Errorf("observed generation %d, want %d", got, c.want)
			}
		})
	}
}

func TestBlame(t *testing.T) {
	t.Parallel()
	failure := wire.Errorf(wire.CodeUnavailable, "redis-server is not installed")
	r := MakePlan(*well(3)).Report
	r.Blame(SentinelReset{Member: "x-redis-node-1"}, errors.New("refused"))
	if want := "could not reset the Sentinel of x-redis-node-1: refused"; r.Status.Reason != want || r.Status.Phase != wire.PhaseDegraded {
		t.Errorf("%s: %q, want degraded: %q", r.Status.Phase, r.Status.Reason, want)
	}
	r.Blame(Apply{}, failure)
	if r.Status.Reason != failure.Message {
		t.Errorf("reason %q, want the driver's", r.Status.Reason)
	}
	r.Blame(ConfigSet{}, errors.New("refused"))
	if r.Status.Reason != failure.Message {
		t.Errorf("reason %q, want the driver's still", r.Status.Reason)
	}
}
