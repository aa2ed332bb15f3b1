package instance

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
	"github.com/framedb/framedb/raftstore/state"
)

// hands is the lease, the driver, the tags and the store of one worker.
type hands struct {
	deploy.Driver
	*state.State
	t       *testing.T
	index   uint64
	lapsed  bool
	applies func()
	pointed int
}

func (h *hands) do(cmd state.Command) {
	h.t.Helper()
	entry, err := state.Encode(cmd, "", now)
	if err != nil {
		h.t.Fatal(err)
	}
	h.index++
	if res := h.State.Apply(h.index, entry); res.Err != nil {
		h.t.Fatal(res.Err)
	}
}

func (h *hands) Propose(context.Context, wire.RequestID, state.Command) (state.Result, error) {
	h.t.Error("something was proposed")
	return state.Result{}, nil
}

func (h *hands) Apply(context.Context, wire.ClusterName, wire.ClusterSpec) error {
	h.applies()
	return nil
}

func (h *hands) Observe(context.Context, wire.ClusterName) (deploy.Deployment, error) {
	h.applies()
	return deploy.Deployment{}, nil
}

func (h *hands) Serves(wire.NodeTag, wire.ClusterName) bool { return true }
func (h *hands) Point(context.Context, wire.NodeTag, wire.ClusterName, wire.FrameDBID) error {
	h.pointed++
	return nil
}

func (h *hands) Stands() bool { return !h.lapsed }
func (h *hands) Hold(ctx context.Context) (context.Context, func(), error) {
	held, cancel := context.WithCancel(ctx)
	return held, cancel, nil
}

// atWork is a worker of n1, which owns x in epoch 1.
func atWork(t *testing.T) (*hands, *worker) {
	t.Helper()
	h := &hands{State: state.New(), t: t, applies: func() {}}
	for _, name := range []wire.NodeName{"n1", "n2"} {
		h.do(state.RegisterNode{Node: wire.Node{Name: name, Tags: []wire.NodeTag{"tag"}}})
	}
	h.do(state.CreateClusters{Names: []wire.ClusterName{"x"}, Spec: wire.ClusterSpec{NodeTag: "tag", Replicas: 1, Quorum: 1}})
	h.do(state.AssignOwner{Item: state.Item{Cluster: "x"}, Owner: "n1"})
	return h, &worker{now: time.Now, cfg: Config{
		Cluster: "x", Node: "n1", Epoch: 1, Store: h, Driver: h, Tags: h, Lease: h,
		Record: NewRecord("", NewTurn()), Logger: slog.New(slog.DiscardHandler), Timing: DefaultTiming(),
	}}
}

// A process that is stopped for long in the middle of a round knows nothing of
// it; no timer of its own need have run before it goes on.
func TestEachStepIsAskedFor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		given func(h *hands, cancel func())
		want  int
	}{
		{"all is well", func(*hands, func()) {}, 1},
		{"the lease lapses", func(h *hands, _ func()) { h.lapsed = true }, 0},
		{"another owns it", func(h *hands, _ func()) {
			h.do(state.AssignOwner{Item: state.Item{Cluster: "x"}, Owner: "n2", Epoch: 1})
		}, 0},
		{"it owns it anew", func(h *hands, _ func()) {
			h.do(state.AssignOwner{Item: state.Item{Cluster: "x"}, Owner: "n2", Epoch: 1})
			h.do(state.AssignOwner{Item: state.Item{Cluster: "x"}, Owner: "n1", Epoch: 2})
		}, 0},
		{"the round is over", func(_ *hands, cancel func()) { cancel() }, 0},
	} {
		h, w := atWork(t)
		ctx, cancel := context.WithCancel(t.Context())
		h.applies = func() { c.given(h, cancel) }
		plan := Plan{Actions: []Action{Apply{}, ServeTag{Tag: "tag", Member: "x-redis-node-0"}}}
		w.act(ctx, &Input{}, &plan)
		if h.pointed != c.want {
			t.Errorf("%s: the second step was done %d times, want %d", c.name, h.pointed, c.want)
		}
		cancel()
	}
}

// TestARoundEndsWithItsEpoch: nothing is done or reported of a look that was
// begun as the owner.
func TestARoundEndsWithItsEpoch(t *testing.T) {
	t.Parallel()
	h, w := atWork(t)
	ctx, cancel := context.WithCancel(t.Context())
	looks := 0
	h.applies = func() {
		looks++
		h.do(state.AssignOwner{Item: state.Item{Cluster: "x"}, Owner: "n2", Epoch: 1})
		cancel() // as the node actor does
	}
	if res := w.round(ctx); res.err == nil || looks != 1 {
		t.Errorf("the round came to %+v after %d calls of the driver", res, looks)
	}
	if res := w.round(t.Context()); !res.gone || looks != 1 {
		t.Errorf("the next round came to %+v after %d calls of the driver", res, looks)
	}
}
