package raftstore

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/peer"
)

// checkTimeout bounds the check of one key's history.
const checkTimeout = 30 * time.Second

// register is one mapping as a sequential object: its state is rowOf, the input
// and output of a step are the same op.
var register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(before, _, output any) (bool, any) {
		o := output.(op)
		after, result, code := o.step(before.(string))
		switch o.outcome {
		case wasDone:
			return code == "" && result == o.row, after
		case wasRefused:
			return string(code) == o.row, after
		}
		return true, after // nobody was told
	},
	DescribeOperation: func(_, output any) string { return output.(op).String() },
}

// step is the row after the op, its result, and the code it is refused with.
func (o op) step(row string) (after, result string, code wire.Code) {
	cluster, value, exists := strings.Cut(row, "/")
	switch {
	case o.kind == "read":
		return row, row, ""
	case o.kind == "create" && exists:
		return row, "", wire.CodeAlreadyExists
	case o.kind != "create" && !exists:
		return row, "", wire.CodeNotFound
	case o.kind == "remove":
		return "", row, ""
	}
	if o.kind != "metadata" {
		cluster = string(o.to)
	}
	if o.kind != "reassign" {
		value = o.value
	}
	after = cluster + "/" + value
	return after, after, ""
}

// history is the operations on one key; those of which nobody knows the outcome
// may take effect at any time after.
func history(ops []op, key wire.SourceID) (h []porcupine.Operation) {
	for _, o := range ops {
		if o.key != key || o.outcome == wasUndone {
			continue
		}
		end := o.end.Nanoseconds()
		if o.outcome == wasUnknown {
			end = math.MaxInt64
		}
		h = append(h, porcupine.Operation{ClientId: o.client, Input: o, Call: o.call.Nanoseconds(), Output: o, Return: end})
	}
	return h
}

// isLinearizable checks each key, and returns the history of one that is not.
func isLinearizable(t *testing.T, ops []op) (wrong []porcupine.Operation) {
	t.Helper()
	counts := map[outcome]int{}
	for _, o := range ops {
		counts[o.outcome]++
	}
	t.Logf("operations by outcome: %v", counts)
	for i := range keys {
		h := history(ops, wire.SourceID(fmt.Sprint("s", i)))
		switch porcupine.CheckOperationsTimeout(register, h, checkTimeout) {
		case porcupine.Illegal:
			return h
		case porcupine.Unknown:
			t.Fatalf("the history of %d operations on s%d could not be checked within %v", len(h), i, checkTimeout)
		}
	}
	return nil
}

// tell is a history in the order of its ends.
func tell(h []porcupine.Operation) string {
	slices.SortFunc(h, func(a, b porcupine.Operation) int { return int(a.Return>>1 - b.Return>>1) })
	var b strings.Builder
	for _, o := range h {
		fmt.Fprintln(&b, o.Output)
	}
	return b.String()
}

// finish stops the clients, heals the cluster and checks all.
func (w *clients) finish(watches ...*watch) {
	w.chaos.t.Helper()
	w.stop()
	if wrong := isLinearizable(w.chaos.t, w.ops); wrong != nil {
		w.chaos.t.Errorf("not linearizable:\n%s", tell(wrong))
	}
	w.chaos.check(w.requests, watches...)
}

// linearizableClients is how many clients a run has.
const linearizableClients = 10

func TestHistoriesAreLinearizable(t *testing.T) {
	t.Parallel()
	faults := map[string]func(*chaos){
		"the leader is killed": func(c *chaos) {
			leader := c.leader()
			leader.kill()
			c.pass(3 * time.Second)
			leader.start()
		},
		"the leader is stopped": func(c *chaos) {
			leader := c.leader()
			leader.hold()
			c.pass(4 * time.Second)
			leader.release()
		},
		"the leader is cut off": func(c *chaos) {
			c.net.Isolate(string(c.leader().name))
			c.pass(4 * time.Second)
			c.net.Heal()
		},
		"the leader hears nothing": func(c *chaos) {
			leader := c.leader()
			for _, n := range c.followers() {
				c.net.Cut(string(n.name), string(leader.name))
			}
			c.pass(4 * time.Second)
			c.net.Heal()
		},
		"the leader is not heard": func(c *chaos) {
			leader := c.leader()
			for _, n := range c.followers() {
				c.net.Cut(string(leader.name), string(n.name))
			}
			c.pass(4 * time.Second)
			c.net.Heal()
		},
		"the leader is replaced": func(c *chaos) { c.replace(c.leader()) },
		"a follower is replaced": func(c *chaos) { c.replace(c.followers()[0]) },
		"clocks jump": func(c *chaos) {
			c.messages.set(messageFaults{dropAnswer: 0.1}) // what is retried is remembered nevertheless
			for i, n := range c.all() {
				n.skew.Store(int64([]time.Duration{time.Hour, -time.Hour, 24 * time.Hour}[i%3]))
				c.pass(time.Second)
			}
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newChaos(t, 3, false)
			w, roving := c.work(linearizableClients), c.wander()
			w.loaded()
			fault(c)
			c.pass(2 * time.Second)
			w.finish(roving)
		})
	}
}

// TestReadsOfADeposedLeaderAreCaught puts bugs into reads: they trust a leader
// that does not know that it is none any more.
func TestReadsOfADeposedLeaderAreCaught(t *testing.T) {
	t.Parallel()
	for name, read := range map[string]struct {
		catchUp func(*Store, context.Context) error
		caught  bool
	}{
		"local":                 {func(*Store, context.Context) error { return nil }, true},
		"of who says it leads":  {leads, true},
		"of whom Raft confirms": {func(s *Store, _ context.Context) error { return s.raft.VerifyLeader().Error() }, true},
		"linearizable":          {(*Store).CatchUp, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 10 { // the old leader must not notice too early
				ops, staged := readOfDeposed(t, read.catchUp)
				if !staged {
					continue
				}
				if caught := isLinearizable(t, ops) != nil; caught != read.caught {
					t.Errorf("caught is %v, want %v:\n%s", caught, read.caught, tell(history(ops, "s0")))
				}
				return
			}
			t.Fatal("the leader always noticed in time that it was deposed")
		})
	}
}

func leads(s *Store, ctx context.Context) error {
	if !s.isLeader() {
		return errDown
	}
	return s.WaitForIndex(ctx, s.View().Index())
}

// readOfDeposed is a history in which the last operation is a read at a leader
// in whose place another one has written. The old one hears nothing of it, but
// during the read an answer to a heartbeat of before.
func readOfDeposed(t *testing.T, catchUp func(*Store, context.Context) error) (ops []op, staged bool) {
	t.Helper()
	c := newChaos(t, 3, false)
	w := c.clients()
	w.catchUp = catchUp
	old, followers := c.leader(), c.followers()
	elected, third := followers[0], followers[1]
	w.once(old, op{id: "before", kind: "create", to: "a", value: "1"})
	for _, n := range followers {
		if err := n.store().CatchUp(c.ctx); err != nil {
			t.Fatal(err)
		}
		c.net.Cut(string(n.name), string(old.name))
	}
	c.pass(heartbeatTimeout / 5) // a heartbeat is under way, the lease is not over
	standForElection(t, old, third, elected)
	c.until("the other one leads", func() bool { return elected.store().isLeader() })
	w.once(elected, op{id: "after", kind: "metadata", value: "2"})
	if !old.store().isLeader() {
		return nil, false
	}
	heal := time.AfterFunc(20*time.Millisecond, func() {
		c.net.HealHost(string(old.name))
		c.net.Cut(string(elected.name), string(old.name))
	})
	defer heal.Stop()
	w.once(old, op{kind: "read"})
	return w.ops, true
}

// standForElection has the elected follower stand for election at once, as a leader
// does that hands over.
func standForElection(t *testing.T, old, by, elected *node) {
	t.Helper()
	here := by.store().transport
	req := raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
		ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(old.name), Addr: []byte(peer.Address(old.name, old.peer().Addr)),
	}}
	to := peer.Address(elected.name, elected.peer().Addr)
	if err := here.TimeoutNow(raft.ServerID(elected.name), to, &req, new(raft.TimeoutNowResponse)); err != nil {
		t.Fatal(err)
	}
}

// once is one try of an operation on s0 at one node.
func (w *clients) once(at *node, o op) {
	w.chaos.t.Helper()
	o.key, o.outcome, o.tries, o.call = "s0", wasUndone, 1, time.Since(w.start)
	told := request{id: o.id}
	if o.kind == "read" {
		_ = w.read(w.chaos.ctx, at, &o)
	} else if err := w.write(w.chaos.ctx, at, o, &told); err != nil {
		w.chaos.t.Fatal(err)
	}
	w.note(o, told)
}
