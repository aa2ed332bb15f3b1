package raftstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

const (
	// clientPace is how often each client begins an operation, unless the one
	// before takes longer.
	clientPace = 40 * time.Millisecond
	// tryTimeout bounds one try at one node; patience all tries of some
	// operations. The others have one try, so that more of them remain unknown.
	tryTimeout = time.Second
	patience   = 8 * time.Second
	// retryPause is between tries.
	retryPause = 20 * time.Millisecond
	// keys is how many mappings the clients work on; fewer contend more.
	keys = 6
)

// op is what one client did to one mapping, and what it was told.
type op struct {
	client int
	id     wire.RequestID
	kind   string // read, create, metadata, reassign or remove
	key    wire.SourceID
	to     wire.ClusterName // of create and reassign
	value  string           // of create and metadata; no two are the same

	call, end time.Duration // since the clients began; end is meaningless while the outcome is not known
	outcome   outcome
	row       string // what was read, or is the result
	tries     int
}

// outcome is what the client knows in the end.
type outcome string

const (
	wasDone    outcome = "done"
	wasRefused outcome = "refused"
	wasUnknown outcome = "unknown"
	wasUndone  outcome = "undone" // by every try; for reads: not read
)

const chaosTag = wire.NodeTag("node-1")

func (o op) String() string {
	return fmt.Sprintf("%9.3fms %9.3fms client %d %-8s %s to %s/%s: %s %q (%s, %d tries)",
		float64(o.call.Microseconds())/1000, float64(o.end.Microseconds())/1000, o.client, o.kind, o.key, o.to, o.value, o.outcome, o.row, o.id, o.tries)
}

func (o op) command() state.Command {
	metadata := json.RawMessage(fmt.Sprintf(`{"v":%q}`, o.value))
	switch o.kind {
	case "create":
		return state.CreateMapping{Source: o.key, NodeTag: chaosTag, Cluster: o.to, Metadata: metadata}
	case "metadata":
		return state.UpdateMetadata{Source: o.key, NodeTag: chaosTag, Metadata: metadata}
	case "reassign":
		return state.ReassignSource{Source: o.key, NodeTag: chaosTag, Cluster: o.to}
	}
	return state.RemoveMapping{Source: o.key, NodeTag: chaosTag}
}

// rowOf is a mapping as an op has it: "cluster/value", empty for none.
func rowOf(m *wire.Mapping) string {
	var v struct{ V string }
	_ = json.Unmarshal(m.Metadata, &v)
	return string(m.Cluster) + "/" + v.V
}

// clients work on a cluster until they are stopped.
type clients struct {
	chaos     *chaos
	catchUp   func(*Store, context.Context) error // before each read
	start     time.Time
	completed atomic.Int64
	stopping  chan struct{}
	working   sync.WaitGroup

	mu       sync.Mutex
	ops      []op      // guarded by mu
	requests []request // guarded by mu
}

// clients returns clients that have not begun.
func (c *chaos) clients() *clients {
	c.t.Helper()
	propose(c.t, c.ctx, c.leader().store(), "", create("a", "b"))
	return &clients{chaos: c, catchUp: (*Store).CatchUp, start: time.Now(), stopping: make(chan struct{})}
}

// work starts n clients.
func (c *chaos) work(n int) *clients {
	c.t.Helper()
	w := c.clients()
	for i := range n {
		r := rand.New(rand.NewPCG(c.rand.Uint64(), c.rand.Uint64()))
		w.working.Go(func() { w.run(i, r) })
	}
	return w
}

func (w *clients) run(client int, r *rand.Rand) {
	tick := time.NewTicker(clientPace)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-w.stopping:
			return
		case <-w.chaos.ctx.Done():
			return
		case <-tick.C:
		}
		o := op{
			client: client, id: wire.RequestID(fmt.Sprintf("c%d-%d", client, i)), key: wire.SourceID(fmt.Sprint("s", r.IntN(keys))),
			kind:  []string{"read", "read", "read", "create", "create", "metadata", "metadata", "reassign", "remove"}[r.IntN(9)],
			value: fmt.Sprintf("%d.%d", client, i), to: []wire.ClusterName{"a", "b"}[r.IntN(2)],
		}
		w.do(o, r)
	}
}

// do does one operation, at as many nodes as it takes, under one request ID.
func (w *clients) do(o op, r *rand.Rand) {
	ctx, cancel := context.WithTimeout(w.chaos.ctx, patience)
	defer cancel()
	o.outcome = wasUndone
	told := request{id: o.id}
	o.call = time.Since(w.start)
	patient := r.IntN(2) == 0
	for ctx.Err() == nil && !told.answered && (patient || o.tries == 0) {
		nodes := w.chaos.all()
		at := nodes[r.IntN(len(nodes))]
		o.tries++
		var err error
		if o.kind == "read" {
			if err = w.read(ctx, at, &o); err == nil {
				break
			}
		} else {
			err = w.write(ctx, at, o, &told)
		}
		if !told.answered {
			w.chaos.pass(retryPause)
		}
		told.uncertain = told.uncertain || isUncertain(err)
	}
	w.note(o, told)
}

// note ends an operation; what a read was told is in it already.
func (w *clients) note(o op, told request) {
	o.end = time.Since(w.start)
	switch {
	case o.kind == "read":
	case told.answered && told.result.Err == nil:
		var m wire.Mapping
		_ = json.Unmarshal(told.result.Value, &m)
		o.outcome, o.row = wasDone, rowOf(&m)
	case told.answered:
		o.outcome, o.row = wasRefused, string(told.result.Err.Code)
	case told.uncertain:
		o.outcome = wasUnknown
	}
	if o.outcome == wasDone || o.outcome == wasRefused {
		w.completed.Add(1)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ops = append(w.ops, o)
	if o.kind != "read" {
		w.requests = append(w.requests, told)
	}
}

func (w *clients) write(ctx context.Context, at *node, o op, told *request) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	var answer state.Result
	err := at.ask(ctx, func(ctx context.Context, s *Store) (err error) {
		answer, err = s.Propose(ctx, o.id, o.command())
		return err
	})
	var refusal *wire.Error
	switch {
	case err == nil:
		told.answered, told.result = true, answer
	case errors.As(err, &refusal) && isRefusal(refusal.Code):
		answer.Err = refusal
		told.answered, told.result = true, answer
	}
	return err
}

// isRefusal reports whether a code is an answer of the command's own.
func isRefusal(c wire.Code) bool { return c == wire.CodeAlreadyExists || c == wire.CodeNotFound }

func (w *clients) read(ctx context.Context, at *node, o *op) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	var row string
	err := at.ask(ctx, func(ctx context.Context, s *Store) error {
		if err := w.catchUp(s, ctx); err != nil {
			return err
		}
		if m, ok := s.View().Mapping(o.key, chaosTag); ok {
			row = rowOf(m)
		}
		return nil
	})
	if err == nil {
		o.outcome, o.row = wasDone, row
	}
	return err
}

// minLoad is how many operations a second there must be before a fault for the
// run to count.
const minLoad = 50

// loaded waits until the clients are at work, so that a fault meets them there.
func (w *clients) loaded() {
	w.chaos.t.Helper()
	for range 10 {
		before := w.completed.Load()
		w.chaos.pass(time.Second)
		if rate := w.completed.Load() - before; rate > minLoad {
			w.chaos.t.Logf("%d operations in the second before the fault", rate)
			return
		}
	}
	w.chaos.t.Fatalf("the run does not count: never above %d operations a second", minLoad)
}

// stop waits for the operations under way.
func (w *clients) stop() {
	close(w.stopping)
	w.working.Wait()
}

func removal(source wire.SourceID) state.RemoveMapping {
	return state.RemoveMapping{Source: source, NodeTag: chaosTag}
}
