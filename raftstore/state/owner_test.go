package state_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// register adds nodes that carry node-1.
func register(t *testing.T, l *log, names ...wire.NodeName) {
	t.Helper()
	for _, name := range names {
		must(t, l.do(t, state.RegisterNode{Node: wire.Node{Name: name, Tags: []wire.NodeTag{"node-1"}}}))
	}
}

// owned has clusters a and b on node-1, which n1 owns, and idle n2.
func owned(t *testing.T) *log {
	t.Helper()
	l := newLog()
	register(t, l, "n1", "n2")
	must(t, l.do(t, create("a", "b")))
	for _, name := range []wire.ClusterName{"a", "b"} {
		must(t, l.do(t, state.AssignOwner{Item: state.Item{Cluster: name}, Owner: "n1"}))
	}
	return l
}

// leftovers are what a node has to clean up, as text.
func leftovers(l *log, node wire.NodeName) string {
	text := ""
	for _, left := range l.View().LeftoversOn(node) {
		text += fmt.Sprintf("%s@%d ", left.Cluster, left.Epoch)
	}
	return text
}

func TestANewOwnerFencesTheFormer(t *testing.T) {
	l := owned(t)
	must(t, l.do(t, state.ReportCluster{Name: "a", Status: wire.ClusterStatus{Phase: wire.PhaseReady, ReadyMembers: 3, Owner: "n1", OwnerEpoch: 1}}))
	row := value[wire.Cluster](t, l.do(t, state.AssignOwner{Item: state.Item{Cluster: "a"}, Owner: "n2", Epoch: 1}))
	want := wire.ClusterStatus{Phase: wire.PhaseDegraded, Reason: "n2 takes over from n1", ReadyMembers: 3, Owner: "n2", OwnerEpoch: 2}
	if row.Status != want {
		t.Errorf("status %+v, want %+v", row.Status, want)
	}
	before := l.tables(t)
	must(t, l.do(t, state.AssignOwner{Item: state.Item{Cluster: "a"}, Owner: "n2", Epoch: 1}))
	must(t, l.do(t, state.AssignOwner{Item: state.Item{Cluster: "a"}, Owner: "n2", Epoch: 2}))
	if l.tables(t) != before {
		t.Error("a repeated assignment changed something")
	}
	if r := l.do(t, state.AssignOwner{Item: state.Item{Cluster: "a"}, Owner: "n1", Epoch: 1}); r.Err == nil || r.Err.Code != wire.CodeConflict {
		t.Errorf("two who decide at once were both heard: %v", r.Err)
	}
	if got := l.View().ClustersOwnedBy("n2"); len(got) != 1 || got[0].Name != "a" {
		t.Errorf("n2 owns %v", got)
	}
}

func TestLeftoversAreForgottenWhenCleanedUp(t *testing.T) {
	l := owned(t)
	must(t, l.do(t, state.AssignOwner{Item: state.Item{Cluster: "a"}, Owner: "n2", Epoch: 1}))
	must(t, l.do(t, state.AssignOwner{Item: state.Item{Cluster: "b"}, Owner: "n2", Epoch: 1}))
	must(t, l.do(t, state.RemoveCluster{Name: "a"}))
	must(t, l.do(t, state.PurgeCluster{Name: "a", Epoch: 2}))
	var snapshot bytes.Buffer
	if _, err := l.Snapshot().WriteTo(&snapshot); err != nil {
		t.Fatal(err)
	}
	if err := l.Restore(&snapshot); err != nil {
		t.Fatal(err)
	}
	if got := leftovers(l, "n1"); got != "a@1 b@1 " {
		t.Errorf("n1 has to clean up %q", got)
	}
	must(t, l.do(t, state.ForgetLeftover{Leftover: state.Leftover{Item: state.Item{Cluster: "b"}, Node: "n1", Epoch: 7}}))
	must(t, l.do(t, state.ForgetLeftover{Leftover: state.Leftover{Item: state.Item{Cluster: "a"}, Node: "n1", Epoch: 1}}))
	if got := leftovers(l, "n1"); got != "b@1 " {
		t.Errorf("n1 has to clean up %q", got)
	}
	must(t, l.do(t, state.RemoveNode{Name: "n1"}))
	if got := leftovers(l, "n1"); got != "" {
		t.Errorf("a removed node has to clean up %q", got)
	}
}

func TestUnattended(t *testing.T) {
	l := owned(t)
	for phase, want := range map[wire.Phase]wire.Phase{wire.PhaseCreating: wire.PhaseCreating, wire.PhaseReady: wire.PhaseDegraded} {
		must(t, l.do(t, state.ReportCluster{Name: "a", Status: wire.ClusterStatus{Phase: phase, Owner: "n1", OwnerEpoch: 1}}))
		must(t, l.do(t, state.ReportUnattended{Item: state.Item{Cluster: "a"}, Epoch: 1, Reason: "nobody is there"}))
		row, _ := l.View().Cluster("a")
		if s := row.Status; s.Phase != want || s.Reason != "nobody is there" || s.Owner != "n1" || s.OwnerEpoch != 1 {
			t.Errorf("%s became %+v", phase, s)
		}
	}
	before := l.View().TableIndex(wire.TableClusters)
	must(t, l.do(t, state.ReportUnattended{Item: state.Item{Cluster: "a"}, Epoch: 1, Reason: "nobody is there"}))
	if l.View().TableIndex(wire.TableClusters) != before {
		t.Error("the same reason changed something")
	}
}

func TestDraining(t *testing.T) {
	l := owned(t)
	must(t, l.do(t, state.AssignOwner{Item: state.Item{Cluster: "b"}, Owner: "n2", Epoch: 1}))
	if n := value[wire.Node](t, l.do(t, state.DrainNode{Name: "n1", Draining: true})); !n.Draining {
		t.Error("n1 does not drain")
	}
	again := value[wire.Node](t, l.do(t, state.RegisterNode{Node: wire.Node{Name: "n1", Tags: []wire.NodeTag{"node-1"}, DataID: "d"}}))
	if !again.Draining || again.DataID != "d" {
		t.Errorf("registered as %+v", again)
	}
	for _, source := range []wire.SourceID{"s1", "s2"} {
		if m := value[wire.Mapping](t, l.do(t, state.CreateMapping{Source: source, NodeTag: "node-1"})); m.Cluster != "b" {
			t.Errorf("%s goes to %q, whose owner drains", source, m.Cluster)
		}
	}
	if r := l.do(t, state.AssignOwner{Item: state.Item{Cluster: "b"}, Owner: "n1", Epoch: 2}); r.Err == nil || r.Err.Field != "owner" {
		t.Errorf("a draining node got a cluster: %v", r.Err)
	}
	must(t, l.do(t, state.DrainNode{Name: "n2", Draining: true}))
	if m := value[wire.Mapping](t, l.do(t, state.CreateMapping{Source: "s3", NodeTag: "node-1"})); m.Cluster != "a" {
		t.Errorf("where all drain, s3 goes to %q, want the least loaded", m.Cluster)
	}
	if n := value[wire.Node](t, l.do(t, state.RegisterNode{Node: wire.Node{Name: "n3", Draining: true}})); n.Draining {
		t.Error("an agent drained its own node")
	}
}

func TestRemoveNode(t *testing.T) {
	l := owned(t)
	if r := l.do(t, state.RemoveNode{Name: "n1"}); r.Err == nil || r.Err.Code != wire.CodeConflict {
		t.Errorf("a node that owns clusters was removed: %v", r.Err)
	}
	if n := value[wire.Node](t, l.do(t, state.RemoveNode{Name: "n2"})); n.Name != "n2" {
		t.Errorf("removed %+v", n)
	}
	if _, ok := l.View().Node("n2"); ok {
		t.Error("n2 is still there")
	}
}

func TestAClusterInRemovalNeedsNoTagToBeEnded(t *testing.T) {
	l := owned(t)
	must(t, l.do(t, state.RegisterNode{Node: wire.Node{Name: "n3"}}))
	must(t, l.do(t, state.RemoveCluster{Name: "a"}))
	row := value[wire.Cluster](t, l.do(t, state.AssignOwner{Item: state.Item{Cluster: "a"}, Owner: "n3", Epoch: 1}))
	if row.Status.Owner != "n3" || row.Status.Phase != wire.PhaseRemoving {
		t.Errorf("%+v", row.Status)
	}
}

func TestAnImportedClusterStaysWhereItIs(t *testing.T) {
	l := owned(t)
	row := value[wire.Cluster](t, l.do(t, state.ImportCluster{Name: "found", Spec: spec("node-1"), Owner: "n2"}))
	if row.Status.Owner != "n2" || row.Status.OwnerEpoch != 1 || row.Status.Phase != wire.PhaseCreating {
		t.Errorf("%+v", row.Status)
	}
}
