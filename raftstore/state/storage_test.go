package state_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

func TestStorageLife(t *testing.T) {
	l := populated(t)
	row, _ := l.View().Persistent("disk")
	if row.StorageSize != wire.DefaultStorageSize || row.Replicas != (wire.StorageReplicas{PD: 1, TiKV: 1, TiDB: 1}) || row.Generation != 1 || row.Status.Phase != wire.PhaseCreating {
		t.Errorf("created as %+v", row)
	}
	must(t, l.do(t, state.AssignOwner{Item: state.Item{Storage: "disk"}, Owner: "n1"}))
	if owned := l.View().StorageOwnedBy("n1"); len(owned) != 1 || owned[0].ID != "disk" {
		t.Errorf("n1 owns %v", owned)
	}
	must(t, l.do(t, state.ReportStorage{ID: "disk", Status: wire.StorageStatus{Phase: wire.PhaseReady, ObservedGeneration: 1, Owner: "n1", OwnerEpoch: 1, LastBackupAt: time.Unix(7, 0).UTC()}}))
	if r := l.do(t, state.RemoveNode{Name: "n1"}); r.Err == nil || r.Err.Code != wire.CodeConflict {
		t.Errorf("a node that owns a persistent FrameDB was removed: %v", r.Err)
	}
	must(t, l.do(t, state.ReportUnattended{Item: state.Item{Storage: "disk"}, Epoch: 1, Reason: "gone"}))
	if row, _ := l.View().Persistent("disk"); row.Status.Phase != wire.PhaseDegraded || row.Status.Reason != "gone" {
		t.Errorf("nobody attends to %+v", row.Status)
	}
	must(t, l.do(t, state.RemoveStorage{ID: "disk"}))
	if r := l.do(t, state.UpdateStorage{ID: "disk"}); r.Err == nil || r.Err.Code != wire.CodeConflict {
		t.Errorf("one that is being removed was updated: %v", r.Err)
	}
	must(t, l.do(t, state.ReportStorage{ID: "disk", Status: wire.StorageStatus{Phase: wire.PhaseReady, Owner: "n1", OwnerEpoch: 1}}))
	if row, _ := l.View().Persistent("disk"); row.Status.Phase != wire.PhaseRemoving {
		t.Error("a report ended the removal")
	}
	if r := l.do(t, state.PurgeStorage{ID: "disk", Epoch: 2}); r.Err == nil || r.Err.Code != wire.CodeConflict {
		t.Errorf("purged in another epoch: %v", r.Err)
	}
	must(t, l.do(t, state.PurgeStorage{ID: "disk", Epoch: 1}))
	if _, ok := l.View().Persistent("disk"); ok {
		t.Error("it is still there")
	}
	if _, ok := l.View().Secret("disk"); ok {
		t.Error("its password is still there")
	}
}

// TestStorageTakeover: a former owner may have something of it, also after it
// was removed.
func TestStorageTakeover(t *testing.T) {
	l := populated(t)
	must(t, l.do(t, state.RegisterNode{Node: wire.Node{Name: "n2", Tags: []wire.NodeTag{"node-1"}}}))
	disk := state.Item{Storage: "disk"}
	must(t, l.do(t, state.AssignOwner{Item: disk, Owner: "n1"}))
	row := value[wire.PersistentInstance](t, l.do(t, state.AssignOwner{Item: disk, Owner: "n2", Epoch: 1}))
	if row.Status.Owner != "n2" || row.Status.OwnerEpoch != 2 {
		t.Errorf("owned as %+v", row.Status)
	}
	same(t, "leftovers", l.View().LeftoversOn("n1"), []state.Leftover{{Item: disk, Node: "n1", Epoch: 1}})
	must(t, l.do(t, state.ForgetLeftover{Leftover: state.Leftover{Item: disk, Node: "n1", Epoch: 1}}))
	if left := l.View().LeftoversOn("n1"); len(left) != 0 {
		t.Errorf("still left: %v", left)
	}
}

// TestStoragePassword: the former one is known until the owner has seen to the
// new one, and none is in what anybody is shown.
func TestStoragePassword(t *testing.T) {
	l := populated(t)
	sub := l.Subscribe(l.View().Index(), wire.TablePersistent)
	change := func(to string) wire.PersistentInstance {
		return value[wire.PersistentInstance](t, l.do(t, state.UpdateStorage{ID: "disk", UpdateStorage: wire.UpdateStorage{Password: &to}}))
	}
	if row := change("secret"); row.Generation != 1 {
		t.Error("the same password is a change")
	}
	change("second")
	if row := change("third"); row.Generation != 3 {
		t.Errorf("generation %d", row.Generation)
	}
	want := state.Secret{ID: "disk", Password: "third", Former: "secret", Changing: true}
	if s, _ := l.View().Secret("disk"); *s != want {
		t.Errorf("got %+v, want %+v", *s, want)
	}
	report := func(generation uint64) {
		must(t, l.do(t, state.ReportStorage{ID: "disk", Status: wire.StorageStatus{ObservedGeneration: generation}}))
	}
	report(2)
	if s, _ := l.View().Secret("disk"); *s != want {
		t.Errorf("forgotten too soon: %+v", *s)
	}
	report(3)
	if s, _ := l.View().Secret("disk"); *s != (state.Secret{ID: "disk", Password: "third"}) {
		t.Errorf("the former password is kept: %+v", *s)
	}
	for range 2 {
		events, err := sub.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			for _, secret := range []string{"secret", "second", "third"} {
				if strings.Contains(string(e.After)+string(e.Before), secret) {
					t.Errorf("an event tells a password: %s", e.After)
				}
			}
		}
	}
}

func TestIngestionKeepsItsTarget(t *testing.T) {
	l := populated(t)
	row := value[wire.Ingestion](t, l.do(t, state.PutIngestion{Source: "s1", Spec: wire.IngestionSpec{Target: "disk", Ack: wire.AckDurable}}))
	if row.CreateIndex == 0 || row.CreateIndex != row.ModifyIndex {
		t.Errorf("created as %+v", row)
	}
	again := value[wire.Ingestion](t, l.do(t, state.PutIngestion{Source: "s1", Spec: wire.IngestionSpec{Target: "disk", RefCount: 2}}))
	if again.CreateIndex != row.CreateIndex || again.ModifyIndex <= row.ModifyIndex || again.Ack != "" {
		t.Errorf("changed to %+v", again)
	}
	if r := l.do(t, state.RemoveStorage{ID: "disk"}); r.Err == nil || r.Err.Code != wire.CodeConflict {
		t.Errorf("the target was removed: %v", r.Err)
	}
	must(t, l.do(t, state.DeleteIngestion{Source: "s1"}))
	must(t, l.do(t, state.RemoveStorage{ID: "disk"}))
	if r := l.do(t, state.PutIngestion{Source: "s1", Spec: wire.IngestionSpec{Target: "disk"}}); r.Err == nil || r.Err.Field != "target" {
		t.Errorf("one that is being removed is a target: %v", r.Err)
	}
}

// TestPartsOfStorageStay: a change of one kind of server leaves the others.
func TestPartsOfStorageStay(t *testing.T) {
	l := populated(t)
	change := func(u wire.UpdateStorage) wire.PersistentInstance {
		t.Helper()
		return value[wire.PersistentInstance](t, l.do(t, state.UpdateStorage{ID: "disk", UpdateStorage: u}))
	}
	change(wire.UpdateStorage{Replicas: &wire.StorageReplicas{PD: 3, TiKV: 3}, Parameters: &wire.StorageParameters{TiKV: json.RawMessage(`{"a":1}`), TiDB: json.RawMessage(`{"b":1}`)}})
	row := change(wire.UpdateStorage{Replicas: &wire.StorageReplicas{TiKV: 5}, Parameters: &wire.StorageParameters{TiKV: json.RawMessage(`{}`), PD: json.RawMessage(`{"c":1}`)}})
	want := wire.StorageParameters{PD: json.RawMessage(`{"c":1}`), TiDB: json.RawMessage(`{"b":1}`)}
	if row.Replicas != (wire.StorageReplicas{PD: 3, TiKV: 5, TiDB: 1}) || !reflect.DeepEqual(row.Parameters, want) || row.Generation != 3 {
		t.Errorf("changed to %+v", row)
	}
}

// TestSettingsAreMerged: what is not named stays, and null takes one away.
func TestSettingsAreMerged(t *testing.T) {
	l := populated(t)
	change := func(u wire.UpdateCluster) wire.Cluster {
		t.Helper()
		return value[wire.Cluster](t, l.do(t, state.UpdateCluster{Name: "a", UpdateCluster: u}))
	}
	str := func(s string) *string { return &s }
	before, _ := l.View().Cluster("a")
	if row := change(wire.UpdateCluster{Settings: map[string]*string{"hz": nil}}); row.Generation != 1 || row.Settings != nil {
		t.Errorf("nothing was set: %+v", row)
	}
	change(wire.UpdateCluster{Settings: map[string]*string{"hz": str("20"), "timeout": str("5")}})
	row := change(wire.UpdateCluster{Settings: map[string]*string{"hz": nil, "loglevel": str("debug")}})
	if want := (wire.RedisSettings{"timeout": "5", "loglevel": "debug"}); !reflect.DeepEqual(row.Settings, want) || row.Generation != 3 {
		t.Errorf("set %+v in generation %d", row.Settings, row.Generation)
	}
	if row := change(wire.UpdateCluster{Settings: map[string]*string{"timeout": str("5")}, Metadata: json.RawMessage(`{ "n": 1 }`)}); row.Generation != 3 || string(row.Metadata) != `{"n":1}` {
		t.Errorf("metadata is no part of the spec: %+v", row)
	}
	if row := change(wire.UpdateCluster{Settings: map[string]*string{"timeout": nil, "loglevel": nil}}); row.Settings != nil {
		t.Errorf("left are %v", row.Settings)
	}
	if before.Settings != nil || before.Metadata != nil {
		t.Error("a row of an old view was changed")
	}
}
