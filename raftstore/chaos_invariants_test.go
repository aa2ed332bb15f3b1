package raftstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// watch is what one reader of the changes saw, through restarts of its node.
type watch struct {
	name string

	mu    sync.Mutex
	steps [][]wire.Event // guarded by mu: what each Next returned
}

// last is the index up to which everything was seen, 0 for nothing.
func (w *watch) last() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.steps) == 0 {
		return 0
	}
	return w.steps[len(w.steps)-1][0].Index
}

// follow goes on from where it was until ctx ends. As agents do, it waits until
// the store is ready, and has what was seen elsewhere.
func (w *watch) follow(ctx context.Context, s *Store) {
	if w.last() > 0 && (s.WaitReady(ctx) != nil || s.WaitForIndex(ctx, w.last()) != nil) {
		return
	}
	sub := s.Subscribe(w.last())
	for {
		events, err := sub.Next(ctx)
		if err != nil {
			return
		}
		w.mu.Lock()
		w.steps = append(w.steps, events)
		w.mu.Unlock()
	}
}

// wander is a watch that moves from node to node.
func (c *chaos) wander() *watch {
	w := &watch{name: "wanderer"}
	c.watching.Go(func() {
		for i := 0; c.ctx.Err() == nil; i++ {
			nodes := c.all()
			ctx, cancel := context.WithTimeout(c.ctx, 300*time.Millisecond)
			if s := nodes[i%len(nodes)].store(); s != nil {
				w.follow(ctx, s)
			} else {
				c.pass(time.Millisecond)
			}
			cancel()
		}
	})
	return w
}

// request is what one client was told of one request ID.
type request struct {
	id        wire.RequestID
	answered  bool // result is the answer, refusals included
	result    state.Result
	uncertain bool // it may have been done; when neither, it was not
}

// past is what really happened: the committed commands, applied one after the
// other to a state of its own.
type past struct {
	state   *state.State
	events  [][]wire.Event // by the indexes that changed something
	applied map[uint64]state.Result
	changes map[wire.RequestID][]uint64 // the indexes at which it changed something
}

// replay applies all that is committed.
func replay(t *testing.T, committed []entry) *past {
	t.Helper()
	h := &past{state: state.New(), applied: map[uint64]state.Result{}, changes: map[wire.RequestID][]uint64{}}
	for i, e := range committed {
		if e.Index == 0 {
			t.Fatalf("nobody has entry %d of %d", i+1, len(committed))
		}
		if e.Type == raft.LogCommand {
			h.apply(t, e)
		}
	}
	return h
}

func (h *past) apply(t *testing.T, l entry) {
	t.Helper()
	env, err := state.Decode(l.Data)
	if err != nil {
		t.Fatalf("entry %d: %v", l.Index, err)
	}
	before := max(h.state.View().Index(), 1) // 0 would be all rows
	h.applied[l.Index] = h.state.Apply(l.Index, l.Data)
	for _, table := range wire.Tables {
		if h.state.View().TableIndex(table) != l.Index {
			continue
		}
		events, err := h.state.Subscribe(before).Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		h.events = append(h.events, events)
		h.changes[env.RequestID] = append(h.changes[env.RequestID], l.Index)
		return
	}
}

// check holds after every run: there was one leader in each term, logs and
// states agree, every acknowledged request was done once, every refused one not
// at all, and all watches saw what happened, in order, without gap or repeat.
func (c *chaos) check(requests []request, watches ...*watch) {
	c.t.Helper()
	last := c.converged()
	var end position // any node that still has it says what is committed
	for _, n := range c.all() {
		watches = append(watches, n.watch)
		for _, e := range c.readLog(n) {
			c.messages.tap.holds(n.name, e)
			if e.Index == last {
				end = position{last, e.Term}
			}
		}
	}
	committed := c.messages.tap.upTo(end)
	h := replay(c.t, committed)
	for _, broken := range c.messages.tap.violations() {
		c.t.Error(broken)
	}
	c.checkLogs(committed)
	c.checkStates(h)
	h.checkRequests(c.t, requests)
	for _, w := range watches {
		if seen := h.state.View().Index(); len(h.events) > 0 {
			seen = h.events[len(h.events)-1][0].Index
			c.until(w.name+" sees the last change", func() bool { return w.last() >= seen })
		}
		h.checkWatch(c.t, w, true)
	}
	for _, w := range c.past {
		h.checkWatch(c.t, w, false)
	}
	c.t.Logf("%d entries, %d changes, %d requests, %d terms with a leader", last, len(h.events), len(requests), c.messages.tap.terms())
}

// converged waits until all nodes have applied the same, and returns the index.
func (c *chaos) converged() (last uint64) {
	c.t.Helper()
	c.heal()
	c.until("all nodes have applied the same", func() bool {
		last = 0
		for _, n := range c.all() {
			at := n.store().View().Index()
			if last == 0 {
				last = at
			}
			if at != last {
				return false
			}
		}
		return true
	})
	return last
}

// readLog is what is in a node's log; the first entry is left out, since what
// was before it is not known.
func (c *chaos) readLog(n *node) (entries []entry) {
	c.t.Helper()
	logs := n.store().logs
	first, err := logs.FirstIndex()
	if err != nil {
		c.t.Fatal(err)
	}
	last, err := logs.LastIndex()
	if err != nil {
		c.t.Fatal(err)
	}
	before := uint64(0)
	for index := first; index <= last && index > 0; index++ {
		var l raft.Log
		switch err := logs.GetLog(index, &l); {
		case errors.Is(err, raft.ErrLogNotFound): // a snapshot takes its place just now
			before = 0
			continue
		case err != nil:
			c.t.Fatalf("%s: %v", n.name, err)
		}
		if before > 0 || index == 1 {
			entries = append(entries, entry{l, before})
		}
		before = l.Term
	}
	return entries
}

// checkLogs: what a node has applied is what is committed.
func (c *chaos) checkLogs(committed []entry) {
	c.t.Helper()
	for _, n := range c.all() {
		for _, e := range c.readLog(n) {
			if i := int(e.Index) - 1; i < len(committed) && e.Term != committed[i].Term {
				c.t.Errorf("%s has entry %d of term %d, committed is that of term %d", n.name, e.Index, e.Term, committed[i].Term)
			}
		}
	}
}

func (c *chaos) checkStates(h *past) {
	c.t.Helper()
	want := dump(c.t, h.state)
	for _, n := range c.all() {
		if got := dump(c.t, n.store().state); !bytes.Equal(got, want) {
			c.t.Errorf("%s has another state than the log gives:\n%s", n.name, difference(got, want))
		}
	}
}

// difference is the first lines that differ.
func difference(got, want []byte) string {
	a, b := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return a[i] + "\nwant\n" + b[i]
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(a), len(b))
}

func dump(t *testing.T, s *state.State) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := s.Snapshot().WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (h *past) checkRequests(t *testing.T, requests []request) {
	t.Helper()
	for _, r := range requests {
		done := h.changes[r.id]
		switch {
		case len(done) > 1:
			t.Errorf("request %s was done %d times, at %v", r.id, len(done), done)
		case r.answered && r.result.Err != nil && len(done) > 0:
			t.Errorf("request %s was refused (%v) and done at %v", r.id, r.result.Err, done)
		case r.answered && r.result.Err == nil && !bytes.Equal(r.result.Value, h.applied[r.result.Index].Value):
			t.Errorf("request %s was answered %s at index %d, where the result is %s", r.id, r.result.Value, r.result.Index, h.applied[r.result.Index].Value)
		case r.answered && len(done) == 1 && done[0] != r.result.Index:
			t.Errorf("request %s was answered for index %d and done at %d", r.id, r.result.Index, done[0])
		case !r.answered && !r.uncertain && len(done) > 0:
			t.Errorf("nothing was to be changed by request %s, and it was done at %v", r.id, done)
		}
	}
}

// checkWatch compares what a watch saw with what happened; to the end if all.
func (h *past) checkWatch(t *testing.T, w *watch, all bool) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	next, last, resets := 0, uint64(0), 0
	for i, step := range w.steps {
		switch {
		case step[0].Op == wire.OpReset:
			resets++
			if step[0].Index < last {
				t.Errorf("the watch of %s went back from %d to %d", w.name, last, step[0].Index)
			}
			var rows map[string]string
			rows, next = h.rows(step[0].Index)
			if got := rowsOf(step[1:]); !reflect.DeepEqual(got, rows) {
				t.Errorf("the watch of %s began anew at %d with %v, want %v", w.name, step[0].Index, got, rows)
			}
		case next == len(h.events) || !reflect.DeepEqual(step, h.events[next]):
			want := "nothing"
			if next < len(h.events) {
				want = fmt.Sprintf("%+v", h.events[next])
			}
			t.Errorf("step %d of the watch of %s is %+v, want %s", i, w.name, step, want)
			return
		default:
			next++
		}
		last = step[0].Index
	}
	if all && next != len(h.events) {
		t.Errorf("the watch of %s saw %d of %d changes", w.name, next, len(h.events))
	}
	t.Logf("watch of %s: %d steps, %d resets", w.name, len(w.steps), resets)
}

// rows are all that there were at an index, and the next change behind it.
func (h *past) rows(index uint64) (rows map[string]string, next int) {
	rows = map[string]string{}
	for next < len(h.events) && h.events[next][0].Index <= index {
		addRows(rows, h.events[next])
		next++
	}
	return rows, next
}

func rowsOf(events []wire.Event) map[string]string {
	rows := map[string]string{}
	addRows(rows, events)
	return rows
}

func addRows(rows map[string]string, events []wire.Event) {
	for _, e := range events {
		key := string(e.Table) + " " + e.Key
		if e.Op == wire.OpDelete {
			delete(rows, key)
		} else {
			rows[key] = string(e.After)
		}
	}
}
