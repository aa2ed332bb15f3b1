package actors_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
	"github.com/framedb/framedb/raftstore/state"
)

func TestACrashHarmsNobodyElse(t *testing.T) {
	t.Parallel()
	d := newFaulty()
	b := newBed(t, d)
	var sick atomic.Bool
	sick.Store(true)
	d.onObserve("alpha", func() error {
		if sick.Load() {
			panic("a fault of ours")
		}
		return nil
	})
	b.start()
	b.create("alpha", spec(1))
	b.create("beta", spec(1))
	eventually(t, 10*time.Second, func() error {
		reason := b.store.cluster("alpha").Status.Reason
		if !strings.Contains(reason, "crashed 4 times") || !strings.Contains(reason, "a fault of ours") {
			return fmt.Errorf("reason %q", reason)
		}
		return nil
	})
	eventually(t, 10*time.Second, func() error {
		wrong := b.Degraded()
		if len(wrong) != 1 || !strings.HasPrefix(wrong[0], "cluster alpha: its instance actor crashed 4 times") {
			return fmt.Errorf("degraded: %q", wrong)
		}
		return nil
	})
	before := d.observed("beta")
	eventually(t, 10*time.Second, func() error {
		if n := d.observed("beta"); n < before+3 {
			return fmt.Errorf("beta was looked at %d times more", n-before)
		}
		return nil
	})

	sick.Store(false)
	eventually(t, 10*time.Second, func() error {
		if wrong := b.Degraded(); len(wrong) != 0 {
			return fmt.Errorf("still degraded: %q", wrong)
		}
		if reason := b.store.cluster("alpha").Status.Reason; strings.Contains(reason, "crashed") {
			return fmt.Errorf("reason %q", reason)
		}
		return nil
	})
}

func TestAHangingDriverStopsOnlyItsCluster(t *testing.T) {
	t.Parallel()
	d := newFaulty()
	b := newBed(t, d)
	d.onApply("alpha", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	b.start()
	b.create("alpha", spec(1))
	b.create("beta", spec(1))
	eventually(t, 10*time.Second, func() error {
		if n := d.observed("beta"); n < 3 {
			return fmt.Errorf("beta was looked at %d times", n)
		}
		return nil
	})
	if n := d.observed("alpha"); n != 1 {
		t.Errorf("alpha was looked at %d times while its driver hangs, want 1", n)
	}
	b.stop() // within 10 s, or the test fails
}

func TestATimedOutRoundIsReported(t *testing.T) {
	t.Parallel()
	d := newFaulty()
	b := newBed(t, d)
	b.timing.Round = 50 * time.Millisecond
	d.onApply("alpha", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	b.start()
	b.create("alpha", spec(1))
	eventually(t, 10*time.Second, func() error {
		if reason := b.store.cluster("alpha").Status.Reason; !strings.Contains(reason, "deadline") {
			return fmt.Errorf("reason %q", reason)
		}
		return nil
	})
}

func TestAFailedLookIsToldAndActsNot(t *testing.T) {
	t.Parallel()
	d := newFaulty()
	b := newBed(t, d)
	d.onObserve("alpha", func() error { return errors.New("no access") })
	d.onApply("alpha", func(context.Context) error { t.Error("Apply was called blindly"); return nil })
	b.start()
	b.create("alpha", spec(1))
	eventually(t, 10*time.Second, func() error {
		if got, want := b.store.cluster("alpha").Status.Reason, "the members could not be seen: no access"; got != want {
			return fmt.Errorf("reason %q, want %q", got, want)
		}
		return nil
	})
	if err := b.SynchronizeCluster(t.Context(), "alpha"); !errors.Is(err, wire.ErrUnavailable) {
		t.Errorf("synchronize: %v, want ErrUnavailable", err)
	}
}

func TestOneJobAtATime(t *testing.T) {
	t.Parallel()
	d := newFaulty()
	b := newBed(t, d)
	// The old job ends late, whatever its context says, while the cluster is
	// made anew under its name.
	hold := make(chan struct{})
	var first atomic.Bool
	d.onApply("alpha", func(context.Context) error {
		if first.CompareAndSwap(false, true) {
			<-hold
		}
		return nil
	})
	b.start()
	b.create("alpha", spec(1))
	eventually(t, 10*time.Second, func() error {
		if !first.Load() {
			return errors.New("Apply was not called")
		}
		return nil
	})
	b.store.must(t, state.RemoveCluster{Name: "alpha"}, state.PurgeCluster{Name: "alpha"})
	b.create("alpha", spec(1))
	if _, err := b.Synchronize(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	seen := d.observed("alpha")
	close(hold)
	eventually(t, 10*time.Second, func() error {
		if d.observed("alpha") < seen+3 {
			return errors.New("the new cluster is not looked at")
		}
		return nil
	})
	if n := d.mostAtOnce(); n != 1 {
		t.Errorf("%d jobs of one cluster ran at once", n)
	}
}

func TestOnlyOwnClustersAreTouched(t *testing.T) {
	t.Parallel()
	d := newFaulty()
	b := newBed(t, d).start()
	other := spec(1)
	other.NodeTag = "elsewhere"
	b.create("foreign", other)
	b.store.must(t, state.RegisterNode{Node: wire.Node{Name: "node-2", Tags: []wire.NodeTag{tag}}})
	b.store.must(t, state.ImportCluster{Name: "taken", Spec: spec(1), Owner: "node-2"})
	b.create("mine", spec(1))
	b.owned("mine", node)
	if _, err := b.Synchronize(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if row := b.store.cluster("mine"); row.Status.Owner != node || row.Status.OwnerEpoch != 1 {
		t.Errorf("mine is owned by %q in epoch %d", row.Status.Owner, row.Status.OwnerEpoch)
	}
	if n := d.observed("foreign"); n != 0 {
		t.Errorf("a cluster on another tag was looked at %d times", n)
	}
	if row := b.store.cluster("taken"); row.Status.Owner != "node-2" {
		t.Errorf("another node's cluster was taken: %+v", row.Status)
	}
	if err := b.SynchronizeCluster(t.Context(), "taken"); !errors.Is(err, wire.ErrUnavailable) || !strings.Contains(err.Error(), `"node-2"`) {
		t.Errorf("synchronize another node's cluster: %v, want ErrUnavailable with the owner", err)
	}
	if n := d.observed("taken"); n != 0 {
		t.Errorf("another node's cluster was looked at %d times", n)
	}
	b.store.must(t, state.LabelNode{Name: node, Label: "elsewhere"})
	if err := b.SynchronizeCluster(t.Context(), "foreign"); err != nil {
		t.Errorf("after the node was labelled: %v", err)
	}
}

func TestSynchronizeForgivesAClusterThatGoes(t *testing.T) {
	t.Parallel()
	d := newFaulty()
	b := newBed(t, d)
	b.timing.Ready, b.timing.Unready, b.timing.Acted = time.Hour, time.Hour, time.Hour
	hold := make(chan struct{})
	d.onObserve("beta", func() error { <-hold; return nil })
	b.start()
	b.create("alpha", spec(1))
	b.create("beta", spec(1))
	looked := func(name wire.ClusterName, n int) {
		t.Helper()
		eventually(t, 10*time.Second, func() error {
			if d.observed(name) < n {
				return fmt.Errorf("%s was looked at %d times, want %d", name, d.observed(name), n)
			}
			return nil
		})
	}
	looked("beta", 1)
	looked("alpha", 1)
	seen := d.observed("alpha")
	said := make(chan error, 1)
	go func() {
		_, err := b.Synchronize(context.Background(), true)
		said <- err
	}()
	looked("alpha", seen+1) // for Synchronize, which waits for beta as well
	b.store.must(t, state.RemoveCluster{Name: "beta"}, state.PurgeCluster{Name: "beta"})
	if err := <-said; err != nil {
		t.Errorf("synchronize: %v", err)
	}
	close(hold)
}

// late lists a cluster that is removed in the meantime.
type late struct{ *faulty }

func (late) List(context.Context) ([]deploy.Found, error) {
	return []deploy.Found{{Name: "ghost", Spec: spec(1)}}, nil
}

func TestSynchronizeDoesNotBringBackWhatIsGone(t *testing.T) {
	t.Parallel()
	b := newBed(t, late{newFaulty()}).start()
	if _, err := b.Synchronize(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if row := b.store.cluster("ghost"); row.Name != "" {
		t.Errorf("a cluster that is gone was imported: %+v", row)
	}
}

func TestSynchronizeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	d := newFaulty()
	b := newBed(t, d)
	d.onApply("alpha", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	b.start()
	b.create("alpha", spec(1))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := b.SynchronizeCluster(ctx, "alpha"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	b.stop()
	if err := b.SynchronizeCluster(t.Context(), "alpha"); !errors.Is(err, wire.ErrUnavailable) {
		t.Errorf("after the end: %v, want ErrUnavailable", err)
	}
}

func TestSilentStoreIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, newFaulty())
		b.store.fail(errors.New("no leader"))
		b.start()
		b.store.must(t, state.CreateClusters{Names: []wire.ClusterName{"alpha"}, Spec: spec(1)})
		<-time.After(time.Minute) // of the bubble's clock
		if row := b.store.cluster("alpha"); row.Status.Owner != node || row.Status.Reason != "" {
			t.Fatalf("a report was stored without a leader: %+v", row.Status)
		}
		if wrong := b.Degraded(); len(wrong) != 1 || !strings.Contains(wrong[0], "alpha: its state cannot be stored") || !strings.Contains(wrong[0], "no leader") {
			t.Errorf("degraded: %q", wrong)
		}
		b.store.fail(nil)
		<-time.After(time.Minute)
		if b.store.cluster("alpha").Status.Reason == "" {
			t.Error("no report was stored after the leader came back")
		}
		if wrong := b.Degraded(); len(wrong) != 0 {
			t.Errorf("degraded: %q", wrong)
		}
		b.stop()
	})
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	b := newBed(t, newFaulty()).start()
	b.create("alpha", spec(1))
	if err := b.SynchronizeCluster(t.Context(), "alpha"); err != nil {
		t.Fatal(err)
	}
	families, err := b.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range families {
		names = append(names, f.GetName())
	}
	for _, want := range []string{"framedb_reconcile_rounds_total", "framedb_reconcile_duration_seconds", "framedb_actor_restarts_total"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not among %v", want, names)
		}
	}
	b.stop()
	if families, _ := b.registry.Gather(); len(families) != 0 {
		t.Errorf("%d metrics are left after the end", len(families))
	}
}
