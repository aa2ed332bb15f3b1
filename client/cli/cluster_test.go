package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/framedb/framedb/client/wire"
)

func TestCreateSendsWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.answer("POST /v1/clusters", cluster("cameras", wire.PhaseReady))
	o := stage{api: f}.run(t, "cluster", "create", "cameras", "--replicas", "5", "--metrics", "--backup", "--max-memory", "1.5GiB",
		"--max-memory-policy", "allkeys-lru", "--down-after", "5s", "--failover-timeout", "1m", "--parallel-syncs", "2")
	want := `POST /v1/clusters?wait=0s {"name":"cameras","node_tag":"node-1","replicas":5,"quorum":3,"enable_metrics":true,"backup":true,` +
		`"max_memory":1610612736,"max_memory_policy":"allkeys-lru","down_after_ms":5000,"failover_timeout_ms":60000,"parallel_syncs":2}`
	if got := f.asked("POST"); o.code != 0 || len(got) != 1 || got[0] != want {
		t.Errorf("exit %d %s\n got %v\nwant %s", o.code, o.stderr, got, want)
	}
}

func TestCreateFollowsTheClusterUntilItIsReady(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.answer("POST /v1/clusters", cluster("cameras", wire.PhaseCreating))
	other, _ := json.Marshal(cluster("others", wire.PhaseReady))
	behind := cluster("cameras", wire.PhaseReady) // ready as it was before the newest change
	behind.Status.ObservedGeneration, behind.Status.Master = 1, "cameras-redis-node-7"
	old, _ := json.Marshal(behind)
	ready, _ := json.Marshal(cluster("cameras", wire.PhaseReady))
	f.events(wire.Event{Index: 11, Table: wire.TableClusters, Op: wire.OpPut, Key: "others", After: other},
		wire.Event{Index: 12, Table: wire.TableClusters, Op: wire.OpPut, Key: "cameras", After: old},
		wire.Event{Index: 13, Table: wire.TableClusters, Op: wire.OpPut, Key: "cameras", After: ready})
	o := stage{api: f, terminal: true}.run(t, "cluster", "create", "cameras", "--node-tag", "node-1")
	if o.code != 0 || !strings.Contains(o.stdout, "ready  3/3      cameras-redis-node-0  node1") {
		t.Errorf("exit %d: %s%s", o.code, o.stdout, o.stderr)
	}
	if !strings.Contains(o.stderr, "creating cameras [==========                    ] 1/3 members ready") {
		t.Errorf("no progress on a terminal: %q", o.stderr)
	}
	if got := f.asked("GET /v1/events"); len(got) != 1 || got[0] != "GET /v1/events?index=9&table=clusters" {
		t.Errorf("asked %v", got)
	}
}

func TestCreateSaysWhenItIsNotReadyInTime(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.answer("POST /v1/clusters", cluster("cameras", wire.PhaseCreating))
	f.events()
	o := stage{api: f}.run(t, "cluster", "create", "cameras", "--node-tag", "node-1", "--wait", "100ms", "-o", "json")
	var printed wire.Cluster
	if err := json.Unmarshal([]byte(o.stdout), &printed); err != nil || printed.Status.Phase != wire.PhaseCreating {
		t.Errorf("printed %q: %v", o.stdout, err)
	}
	if o.code != exitUnavailable || !strings.Contains(o.stderr, "cluster cameras is creating") {
		t.Errorf("exit %d: %s", o.code, o.stderr)
	}
	removing, _ := json.Marshal(cluster("cameras", wire.PhaseRemoving))
	f.events(wire.Event{Index: 12, Table: wire.TableClusters, Op: wire.OpPut, Key: "cameras", After: removing})
	if o := (stage{api: f}).run(t, "cluster", "create", "cameras", "--node-tag", "node-1"); o.code != exitConflict {
		t.Errorf("removed meanwhile: exit %d: %s", o.code, o.stderr)
	}
	f.events(wire.Event{Index: 12, Table: wire.TableClusters, Op: wire.OpDelete, Key: "cameras"})
	if o := (stage{api: f}).run(t, "cluster", "create", "cameras", "--node-tag", "node-1"); o.code != exitConflict {
		t.Errorf("gone meanwhile: exit %d: %s", o.code, o.stderr)
	}
}

func TestRemovingAsksAPersonOnly(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		stage   stage
		args    []string
		removes bool
	}{
		{stage{}, nil, true},
		{stage{terminal: true, stdin: "y\n"}, nil, true},
		{stage{terminal: true, stdin: "YES\n"}, nil, true},
		{stage{terminal: true, stdin: "n\n"}, nil, false},
		{stage{terminal: true, stdin: "\n"}, nil, false},
		{stage{terminal: true, stdin: ""}, nil, false},
		{stage{terminal: true}, []string{"--yes"}, true},
	} {
		f := newFakeAPI(t)
		f.answer("DELETE /v1/clusters/cameras", wire.RemovedCluster{})
		f.refuse("GET /v1/clusters/cameras", wire.CodeNotFound)
		tc.stage.api = f
		o := tc.stage.run(t, append([]string{"cluster", "remove", "cameras"}, tc.args...)...)
		if removed := len(f.asked("DELETE")) == 1; removed != tc.removes || (o.code == 0) != tc.removes {
			t.Errorf("%+v %v: removed %v, exit %d, %s", tc.stage, tc.args, removed, o.code, o.stderr)
		}
	}
}

func TestOneFailedRemovalDoesNotStopTheRest(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.answer("DELETE /v1/clusters/b", wire.RemovedCluster{})
	o := stage{api: f}.run(t, "cluster", "remove", "a", "b", "c")
	if o.code != exitNotFound || o.stdout != "b is removed\n" || strings.Count(o.stderr, "is unknown") != 2 || !strings.Contains(o.stderr, "\nc: ") {
		t.Errorf("exit %d: %s%s", o.code, o.stdout, o.stderr)
	}
}

func TestAClusterThatIsStillBeingRemovedIsNotRemoved(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.answer("DELETE /v1/clusters/cameras", wire.RemovedCluster{Moved: []wire.Mapping{{Source: "cam-1", NodeTag: "node-1", Cluster: "scans"}}})
	for name, tc := range map[string]struct {
		left  wire.Phase // "" for none
		code  int
		state string
	}{
		"gone":           {"", 0, "removed"},
		"going":          {wire.PhaseRemoving, exitUnavailable, "removing"},
		"made anew":      {wire.PhaseCreating, 0, "removed"},
		"cannot be seen": {"?", exitFailed, "removing"},
	} {
		switch tc.left {
		case "":
			f.refuse("GET /v1/clusters/cameras", wire.CodeNotFound)
		case "?":
			f.refuse("GET /v1/clusters/cameras", wire.CodeInternal)
		default:
			f.answer("GET /v1/clusters/cameras", cluster("cameras", tc.left))
		}
		o := stage{api: f}.run(t, "cluster", "remove", "cameras", "--wait", "4s", "-o", "json")
		var printed []removed
		if err := json.Unmarshal([]byte(o.stdout), &printed); err != nil || len(printed) != 1 || printed[0].State != tc.state || len(printed[0].Moved) != 1 {
			t.Errorf("%s: printed %s: %v", name, o.stdout, err)
		}
		if o.code != tc.code || (tc.code == exitUnavailable) != strings.Contains(o.stderr, "is being removed and goes on") {
			t.Errorf("%s: exit %d: %s", name, o.code, o.stderr)
		}
	}
}
