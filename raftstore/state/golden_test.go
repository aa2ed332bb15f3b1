package state_test

import (
	"encoding/json"
	"os"
	"reflect"
	"testing"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// TestSnapshotsOfVersion1AreRead restores a snapshot that was written by the
// first version of the format. Agents have such files on disk: never change
// testdata/snapshot-v1.jsonl, and give a new format a file of its own.
func TestSnapshotsOfVersion1AreRead(t *testing.T) {
	f, err := os.Open("testdata/snapshot-v1.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l := newLog()
	if err := l.Restore(f); err != nil {
		t.Fatal(err)
	}
	v := l.View()
	same(t, "nodes", v.Nodes(), []wire.Node{{
		Name: "n1", Address: "10.0.0.1:5000", Socket: "/run/framedb/agent.sock", SocketDir: "/run/framedb",
		Tags: []wire.NodeTag{"node-1", "node-a"}, Label: "edge", Version: "1.0.0", Driver: "process", CreateIndex: 1, ModifyIndex: 2,
	}})
	spec := wire.ClusterSpec{
		NodeTag: "node-1", Replicas: 3, Quorum: 2, EnableMetrics: true, Backup: true, MaxMemory: 1 << 30,
		MaxMemoryPolicy: "allkeys-lru", DownAfter: 60_000, FailoverTimeout: 18_000, ParallelSyncs: 1,
	}
	same(t, "clusters", v.Clusters(), []wire.Cluster{
		{Name: "a", ClusterSpec: spec, Generation: 1, CreateIndex: 3, ModifyIndex: 4, Status: wire.ClusterStatus{
			Phase: wire.PhaseDegraded, Reason: "one member is syncing", ObservedGeneration: 1, ReadyMembers: 2,
			Master: "a-redis-node-0", Owner: "n1", OwnerEpoch: 4,
		}},
		{Name: "b", ClusterSpec: spec, Generation: 1, CreateIndex: 3, ModifyIndex: 8, Status: wire.ClusterStatus{Phase: wire.PhaseRemoving}},
	})
	same(t, "instances", v.Instances(), []wire.Instance{
		{ID: "a-redis-node-0", Kind: wire.KindMemory, Cluster: "a", NodeTag: "node-1", Node: "n1", Role: wire.RoleMaster, Health: wire.HealthHealthy,
			Host: "10.0.0.1", Port: 6379, SentinelPort: 26379, Socket: "/run/framedb/a-0.sock", ModifyIndex: 4},
		{ID: "a-redis-node-1", Kind: wire.KindMemory, Cluster: "a", NodeTag: "node-1", Node: "n1", Role: wire.RoleReplica, Health: wire.HealthSyncing,
			Reason: "copies from the master", Host: "10.0.0.1", Port: 6380, ModifyIndex: 4},
	})
	same(t, "persistent instances", v.PersistentInstances(), []wire.PersistentInstance{{
		// No agent of that time could make one: what else it says is not read.
		ID: "disk-1", StorageSpec: wire.StorageSpec{NodeTag: "node-1", StorageSize: "10Gi"}, CreateIndex: 5, ModifyIndex: 5,
	}})
	same(t, "mappings", v.Mappings(), []wire.Mapping{
		{Source: "camera-001", NodeTag: "node-1", Cluster: "a", Metadata: json.RawMessage(`{"sizes":["608x608"],"ref_count":2}`), CreateIndex: 6, ModifyIndex: 6},
		{Source: "camera-002", NodeTag: "node-1", Cluster: "a", CreateIndex: 7, ModifyIndex: 8},
	})
	checkDerived(t, l)
}

// TestSnapshotsWithOwnersAreRead restores one that was written when nodes began
// to drain and clusters to change hands.
func TestSnapshotsWithOwnersAreRead(t *testing.T) {
	f, err := os.Open("testdata/snapshot-v1-owners.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l := newLog()
	if err := l.Restore(f); err != nil {
		t.Fatal(err)
	}
	same(t, "nodes", l.View().Nodes(), []wire.Node{
		{Name: "n1", Tags: []wire.NodeTag{"node-1"}, DataID: "d1", Draining: true, CreateIndex: 1, ModifyIndex: 6},
		{Name: "n2", Tags: []wire.NodeTag{"node-1"}, DataID: "d2", CreateIndex: 2, ModifyIndex: 2},
	})
	same(t, "leftovers", l.View().LeftoversOn("n1"), []state.Leftover{{Item: state.Item{Cluster: "a"}, Node: "n1", Epoch: 1}})
	if c := l.View().ClustersOwnedBy("n2"); len(c) != 1 || c[0].Name != "a" || c[0].Status.OwnerEpoch != 2 {
		t.Errorf("n2 owns %v", c)
	}
}

// same compares rows with what they were when the snapshot was written.
func same[T any](t *testing.T, what string, got []*T, want []T) {
	t.Helper()
	rows := make([]T, len(got))
	for i, row := range got {
		rows[i] = *row
	}
	if !reflect.DeepEqual(rows, want) {
		t.Errorf("%s are\n%+v, want\n%+v", what, rows, want)
	}
}

// checkDerived looks at what is not in the snapshot as a row.
func checkDerived(t *testing.T, l *log) {
	t.Helper()
	v := l.View()
	if v.Index() != 8 || v.TableIndex(wire.TablePersistent) != 5 || v.TableIndex(wire.TableMappings) != 8 {
		t.Errorf("indexes are %d, %d, %d", v.Index(), v.TableIndex(wire.TablePersistent), v.TableIndex(wire.TableMappings))
	}
	if v.CountMappings() != 2 || v.CountSources() != 2 || v.CountMappingsTo("a") != 2 || v.CountMappingsTo("b") != 0 {
		t.Error("counts are wrong")
	}
	if c, ok := v.LeastLoaded("node-1"); !ok || c.Name != "a" {
		t.Error("a cluster that is being removed takes sources")
	}
	l.index = v.Index()
	if r := must(t, l.request(t, "req-2", state.RemoveCluster{Name: "b"})); r.Index != 8 {
		t.Error("a request ID is forgotten")
	}
}
