package actors_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/framedb/framedb/actors"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

const second = wire.NodeName("node-2")

// pair is two agents on one tag, of which the first is to own what is created.
func pair(t *testing.T) (b1, b2 *bed, d1, d2 *faulty) {
	t.Helper()
	s, r := newStore(), newRing()
	d1, d2 = newFaulty(), newFaulty()
	return r.join(t, s, node, d1), r.join(t, s, second, d2), d1, d2
}

// TestAnOwnerIsNamedAtOnce: no tick has to pass.
func TestAnOwnerIsNamedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, newFaulty()).start()
		synctest.Wait()
		began := time.Now()
		b.create("alpha", spec(1))
		synctest.Wait()
		if s := b.store.cluster("alpha").Status; s.Owner != node || s.OwnerEpoch != 1 || s.Reason == "" {
			t.Errorf("a moment later it is %+v, want reported by %s", s, node)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("that took %v", took)
		}
		b.stop()
	})
}

// TestSynchronizeWaitsForAnOwner, but not for a leader that does not come.
func TestSynchronizeWaitsForAnOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, newFaulty())
		b.ring.elect(second)
		b.start()
		b.create("alpha", spec(1))
		time.AfterFunc(500*time.Millisecond, func() { b.ring.elect(node) })
		if err := b.SynchronizeCluster(t.Context(), "alpha"); err != nil {
			t.Errorf("with a leader after half a second: %v", err)
		}
		b.ring.elect(second)
		<-time.After(time.Minute)
		b.create("beta", spec(1))
		began := time.Now()
		err := b.SynchronizeCluster(t.Context(), "beta")
		if took := time.Since(began); !errors.Is(err, wire.ErrUnavailable) || took != 2*time.Second {
			t.Errorf("without a leader: %v after %v, want ErrUnavailable after 2 s", err, took)
		}
		b.stop()
	})
}

// TestOnlyWhatCanStayIsImported: its data is on this node, which has to carry
// its tag.
func TestOnlyWhatCanStayIsImported(t *testing.T) {
	t.Parallel()
	d := newFaulty()
	b := newBed(t, d).start()
	other := spec(1)
	other.NodeTag = "elsewhere"
	for name, s := range map[wire.ClusterName]wire.ClusterSpec{"here": spec(1), "there": other} {
		if err := d.Apply(t.Context(), name, s); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Synchronize(t.Context(), true); !errors.Is(err, wire.ErrConflict) {
		t.Errorf("synchronize: %v, want ErrConflict", err)
	}
	if here, there := b.store.cluster("here"), b.store.cluster("there"); here.Status.Owner != node || there.Name != "" {
		t.Errorf("imported %+v and %+v", here, there)
	}
}

// TestTwoNodesNeverActAtOnce cuts the owner off from the leader: it does not
// know that another takes over, and goes on running.
func TestTwoNodesNeverActAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b1, b2, d1, d2 := pair(t)
		b1.start()
		b2.start()
		b1.create("alpha", spec(1))
		b1.owned("alpha", node)
		d1.onApply("alpha", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		<-time.After(10 * time.Second) // in the middle of a round

		b1.replica.cut(true)
		b1.ring.elect(second)
		b1.ring.set(node, false)
		cut := time.Now()
		<-time.After(29 * time.Second)
		b1.owned("alpha", node)
		_, last := d1.span("alpha")
		if last.Sub(cut) > 5*time.Second {
			t.Errorf("the former owner acts %v after it was cut off", last.Sub(cut))
		}
		<-time.After(3 * time.Second)
		if s := b1.store.cluster("alpha").Status; s.Owner != second || s.OwnerEpoch != 2 {
			t.Fatalf("after %v it is %+v", time.Since(cut), s)
		}
		if got := d2.observed("alpha"); got > 0 {
			t.Errorf("the new owner acts %v after the former was cut off", time.Since(cut))
		}
		<-time.After(20 * time.Second)
		first, _ := d2.span("alpha")
		if after := first.Sub(cut); after < 45*time.Second || after > 47*time.Second {
			t.Errorf("the new owner begins after %v, want 45 s", after)
		}
		if _, now := d1.span("alpha"); now != last || d1.has() != "[alpha]" {
			t.Errorf("the former owner acted on what it cannot be certain of: it has %s", d1.has())
		}

		b1.ring.set(node, true)
		b1.replica.cut(false)
		<-time.After(10 * time.Second)
		if d1.has() != "[]" || d2.has() != "[alpha]" {
			t.Errorf("the former owner has %s, the new one %s", d1.has(), d2.has())
		}
		if s := b1.store.cluster("alpha").Status; s.Owner != second || s.OwnerEpoch != 2 {
			t.Errorf("it went back: %+v", s)
		}
		if left := b1.store.View().LeftoversOn(node); len(left) > 0 {
			t.Errorf("%d leftovers are stored", len(left))
		}
		b1.stop()
		b2.stop()
	})
}

func TestANewLeaderMeasuresGraceAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b1, b2, _, _ := pair(t)
		b1.create("alpha", spec(1))
		b1.store.must(t, state.AssignOwner{Item: state.Item{Cluster: "alpha"}, Owner: node})
		b1.ring.set(node, false)
		b1.ring.elect(second)
		b2.start()
		<-time.After(20 * time.Second)
		b1.ring.elect(second)
		<-time.After(25 * time.Second)
		b1.owned("alpha", node)
		<-time.After(10 * time.Second)
		b1.owned("alpha", second)
		b2.stop()
	})
}

func TestAClusterThatNobodyCanTakeSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b1, b2, _, _ := pair(t)
		b1.store.must(t, state.DrainNode{Name: second, Draining: true})
		b1.create("alpha", spec(1))
		b1.start()
		b2.start()
		b1.owned("alpha", node)
		b1.stop()
		b1.ring.elect(second)
		b1.ring.set(node, false)
		<-time.After(time.Minute)
		want := "its owner node-1 is gone, and every other live node that carries node-1 is draining"
		if s := b1.store.cluster("alpha").Status; s.Owner != node || s.Reason != want {
			t.Errorf("status %+v, want %q", s, want)
		}
		b1.store.must(t, state.DrainNode{Name: second})
		<-time.After(time.Second)
		b1.owned("alpha", second)
		b2.stop()
	})
}

// TestOnlyWhatIsCertainlyNotOursIsEnded: what the store does not know may be
// somebody's only copy.
func TestOnlyWhatIsCertainlyNotOursIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b1, b2, d1, _ := pair(t)
		for _, name := range []wire.ClusterName{"alpha", "gone", "theirs", "unknown"} {
			if err := d1.Apply(t.Context(), name, spec(1)); err != nil {
				t.Fatal(err)
			}
		}
		b1.create("alpha", spec(1))
		b1.create("gone", spec(1))
		b1.store.must(t,
			state.AssignOwner{Item: state.Item{Cluster: "alpha"}, Owner: node}, state.AssignOwner{Item: state.Item{Cluster: "alpha"}, Owner: second, Epoch: 1},
			state.AssignOwner{Item: state.Item{Cluster: "gone"}, Owner: node}, state.AssignOwner{Item: state.Item{Cluster: "gone"}, Owner: second, Epoch: 1},
			state.RemoveCluster{Name: "gone"}, state.PurgeCluster{Name: "gone", Epoch: 2},
			state.ImportCluster{Name: "theirs", Spec: spec(1), Owner: second})
		b1.replica.cut(true)
		b1.start()
		b2.start()
		<-time.After(time.Minute)
		if got := d1.has(); got != "[alpha gone theirs unknown]" {
			t.Errorf("cut off from the leader it ended some: %s are left", got)
		}
		b1.replica.cut(false)
		<-time.After(10 * time.Second)
		if got := d1.has(); got != "[theirs unknown]" {
			t.Errorf("%s are left, want what it never owned", got)
		}
		b1.stop()
		b2.stop()
	})
}

// TestAnOwnerAnewCleansUpFirst: what it had of the cluster is older than what
// was there in between.
func TestAnOwnerAnewCleansUpFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b1, _, d1, _ := pair(t)
		b1.create("alpha", spec(1))
		b1.store.must(t,
			state.AssignOwner{Item: state.Item{Cluster: "alpha"}, Owner: node}, state.AssignOwner{Item: state.Item{Cluster: "alpha"}, Owner: second, Epoch: 1},
			state.AssignOwner{Item: state.Item{Cluster: "alpha"}, Owner: node, Epoch: 2})
		if err := d1.Apply(t.Context(), "alpha", spec(3)); err != nil {
			t.Fatal(err)
		}
		d1.removesWith(errors.New("no access"))
		b1.start()
		<-time.After(time.Minute)
		if n := d1.observed("alpha"); n > 0 {
			t.Errorf("it was looked at %d times before what is old was gone", n)
		}
		d1.removesWith(nil)
		<-time.After(time.Minute)
		if d1.observed("alpha") == 0 || len(b1.store.View().LeftoversOn(node)) > 0 {
			t.Errorf("it was looked at %d times after that", d1.observed("alpha"))
		}
		b1.stop()
	})
}

// TestAnotherNodeTakesOver has real Redis on two nodes, and the owner's agent
// end while its Redis runs on.
func TestAnotherNodeTakesOver(t *testing.T) {
	t.Parallel()
	s, r := newStore(), newRing()
	m1, m2 := newMachine(t), newMachineOf(t, second)
	b1, b2 := r.join(t, s, node, m1), r.join(t, s, second, m2)
	short := actors.Ownership{Lease: 300 * time.Millisecond, Step: 300 * time.Millisecond, Grace: time.Second}
	b1.owning, b2.owning = short, short
	b1.start()
	b2.start()
	b1.create("alpha", spec(2))
	if row := b1.ready("alpha"); row.Status.Owner != node {
		t.Fatalf("alpha is owned by %q", row.Status.Owner)
	}
	b1.expectTag(m1, "alpha")
	b2.expectNoTag(m2)

	b1.stop()
	r.elect(second)
	r.set(node, false)
	b2.owned("alpha", second)
	row := b2.ready("alpha")
	if row.Status.OwnerEpoch != 2 || b2.member(row.Status.Master).Node != second {
		t.Errorf("after the take-over: %+v", row.Status)
	}
	b2.expectTag(m2, "alpha")
	if len(m1.processes()) != 4 {
		t.Errorf("%d processes run on the node without an agent, want 4", len(m1.processes()))
	}

	b1.start()
	r.set(node, true)
	eventually(t, 10*time.Second, func() error {
		if left := m1.processes(); len(left) > 0 {
			return fmt.Errorf("processes %v still run on the former owner", left)
		}
		return nil
	})
	b1.expectNoTag(m1)
	b2.expectTag(m2, "alpha")
	if now := b2.ready("alpha"); now.Status.Owner != second || len(m2.processes()) != 4 {
		t.Errorf("%d processes, %+v", len(m2.processes()), now.Status)
	}
}

func (b *bed) expectNoTag(m *machine) {
	b.t.Helper()
	eventually(b.t, 10*time.Second, func() error {
		if to, err := os.Readlink(b.tagSocket(m)); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("the tag leads to %q (%v)", to, err)
		}
		return nil
	})
}
