package actors

import (
	"maps"
	"slices"
	"testing"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

func cluster(name wire.ClusterName, phase wire.Phase, owner wire.NodeName) *wire.Cluster {
	return &wire.Cluster{
		Name: name, ClusterSpec: wire.ClusterSpec{NodeTag: "a"},
		Status: wire.ClusterStatus{Phase: phase, Owner: owner},
	}
}

func TestMayWork(t *testing.T) {
	t.Parallel()
	configured := &wire.Node{Name: "me", Tags: []wire.NodeTag{"a", "b"}}
	labelled := &wire.Node{Name: "me", Label: "a"}
	bare := &wire.Node{Name: "me", Tags: []wire.NodeTag{"b"}}
	for _, c := range []struct {
		name  string
		node  *wire.Node
		phase wire.Phase
		want  bool
	}{
		{"with the tag", configured, wire.PhaseReady, true},
		{"by label", labelled, wire.PhaseReady, true},
		{"without the tag", bare, wire.PhaseReady, false},
		{"to end it", bare, wire.PhaseRemoving, true},
	} {
		i := bindings{}.cluster(cluster("x", c.phase, "me"))
		if got := mayWork(c.node, &i); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestAChildIsOfOneEpoch: when ownership went to another and came back between
// two looks, the actor is of a time before.
func TestAChildIsOfOneEpoch(t *testing.T) {
	t.Parallel()
	k := &child{item: item{created: 3, epoch: 1}}
	for _, c := range []struct {
		created, epoch uint64
		want           bool
	}{{3, 1, true}, {3, 3, false}, {9, 1, false}} {
		if got := k.worksOn(item{created: c.created, epoch: c.epoch}); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestServing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		clusters []*wire.Cluster
		want     wire.ClusterName
	}{
		{"nobody", nil, ""},
		{"not one that never was ready", []*wire.Cluster{cluster("x", wire.PhaseCreating, "")}, ""},
		{"not one that is going", []*wire.Cluster{cluster("x", wire.PhaseRemoving, "")}, ""},
		{"the first by name", []*wire.Cluster{cluster("y", wire.PhaseReady, ""), cluster("x", wire.PhaseReady, "")}, "x"},
		{"a degraded one keeps it", []*wire.Cluster{cluster("x", wire.PhaseDegraded, ""), cluster("y", wire.PhaseReady, "")}, "x"},
		{"the next when the first goes", []*wire.Cluster{cluster("x", wire.PhaseRemoving, ""), cluster("y", wire.PhaseReady, "")}, "y"},
	} {
		items := map[state.Item]item{}
		for _, i := range (bindings{}).items(c.clusters, nil) {
			items[i.Item] = i
		}
		// A persistent FrameDB serves no tag, whatever its name.
		items[state.Item{Storage: "a"}] = item{Item: state.Item{Storage: "a"}, tag: "a", phase: wire.PhaseReady}
		want := map[wire.NodeTag]wire.ClusterName{"a": c.want, "b": ""}
		if got := serving(items, []wire.NodeTag{"a", "b"}); !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", c.name, got, want)
		}
	}
}

func TestAssign(t *testing.T) {
	t.Parallel()
	type chosen = map[wire.NodeTag]wire.ClusterName
	tags := newTags(nil)
	for _, c := range []struct {
		name   string
		chosen chosen
		begun  []wire.ClusterName
		bare   []wire.NodeTag
	}{
		{"at first nobody serves", chosen{"a": ""}, nil, []wire.NodeTag{"a"}},
		{"still nobody", chosen{"a": ""}, nil, nil},
		{"x begins", chosen{"a": "x"}, []wire.ClusterName{"x"}, nil},
		{"x goes on", chosen{"a": "x"}, nil, nil},
		{"y takes over", chosen{"a": "y"}, []wire.ClusterName{"y"}, nil},
		{"the node loses the tag", chosen{}, nil, []wire.NodeTag{"a"}},
	} {
		begun, bare := tags.assign(c.chosen)
		if !slices.Equal(begun, c.begun) || !slices.Equal(bare, c.bare) {
			t.Errorf("%s: begun %v, bare %v; want %v, %v", c.name, begun, bare, c.begun, c.bare)
		}
	}
}
