package actors_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/framedb/framedb/actors/instance"
	"github.com/framedb/framedb/actors/refcount"
	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// TestOwnersKeepCountsInOrder has two clusters of one node have their queues
// read, their sources' sizes learned, their leaks swept and their retention
// kept, each with metrics of its own; and nothing is done any more once a
// cluster is being removed.
func TestOwnersKeepCountsInOrder(t *testing.T) {
	t.Parallel()
	b := newBed(t, newMachine(t))
	const soon = 20 * time.Millisecond
	b.counts = &instance.Counts{
		Registerer: b.registry, Sweep: frames.SweepConfig{Grace: time.Millisecond},
		Timing: refcount.Timing{Queues: soon, Leases: soon, Sizes: soon, Sweep: soon, MaxBackoff: 100 * time.Millisecond},
	}
	b.start()
	for _, name := range []wire.ClusterName{"alpha", "beta"} {
		b.create(name, spec(1))
		source := wire.SourceID("cam-" + name)
		b.store.must(t, state.CreateMapping{Source: source, NodeTag: tag, Cluster: name, Metadata: json.RawMessage(`{"sizes":["8x8"]}`)})
		b.store.must(t, state.PutIngestion{Source: source, Spec: wire.IngestionSpec{Retention: wire.Retention{Frames: 2}}})
	}
	for _, name := range []wire.ClusterName{"alpha", "beta"} {
		rdb := b.at(b.member(b.ready(name).Status.Master))
		frame := func(n uint64) wire.FrameKey { return wire.NewFrameKey(wire.SourceID("cam-"+name), 1, 1, n) }
		keys := func(n uint64) []string { return []string{frame(n).Data("8x8"), frame(n).Count()} }
		eventually(t, 20*time.Second, func() error {
			return wantNumber("sizes are known", rdb.SCard(t.Context(), "framedb:sizes:cam-"+string(name)).Val(), 1)
		})
		rdb.MSet(t.Context(), keys(5)[0], "x", keys(5)[1], 1)
		rdb.LPush(t.Context(), refcount.ListKey, fmt.Sprintf(`{"decrements":[{"key":%q,"by":1}]}`, keys(5)[1]))
		rdb.Set(t.Context(), frame(6).Data("8x8"), "leak", 0)
		eventually(t, 20*time.Second, func() error {
			return wantNumber("keys are left of a frame that a queue counted down, and of a leak", rdb.Exists(t.Context(), append(keys(5), keys(6)...)...).Val(), 0)
		})
		for n := range uint64(4) {
			rdb.MSet(t.Context(), keys(10 + n)[0], "x", keys(10 + n)[1], 1)
		}
		eventually(t, 20*time.Second, func() error {
			return wantNumber("keys are left beyond the retention", rdb.Exists(t.Context(), append(keys(10), keys(11)...)...).Val(), 0)
		})
		if err := wantNumber("keys are kept", rdb.Exists(t.Context(), append(keys(12), keys(13)...)...).Val(), 4); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"alpha", "beta"} {
		if got := b.countsMetrics(name); got == 0 {
			t.Errorf("there are no metrics of %s", name)
		}
	}
	b.store.must(t, state.RemoveCluster{Name: "beta"})
	eventually(t, 20*time.Second, func() error { return wantNumber("metrics of what is removed", int64(b.countsMetrics("beta")), 0) })
	if b.countsMetrics("alpha") == 0 {
		t.Error("the metrics of the other cluster went with them")
	}
}

func wantNumber(what string, got, want int64) error {
	if got != want {
		return fmt.Errorf("%s: %d, want %d", what, got, want)
	}
	return nil
}

// countsMetrics is how many there are of a cluster's counts.
func (b *bed) countsMetrics(cluster string) (n int) {
	b.t.Helper()
	families, err := b.registry.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "framedb_refcount_") {
			continue
		}
		for _, m := range family.Metric {
			for _, l := range m.Label {
				if l.GetName() == "cluster" && l.GetValue() == cluster {
					n++
				}
			}
		}
	}
	return n
}
