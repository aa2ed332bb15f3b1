package state

import (
	"context"
	"encoding/json"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/framedb/framedb/client/wire"
)

// What is remembered of changes for subscribers that are behind; those further
// behind start over with a reset. A change keeps both rows in memory.
const (
	historySize  = 16384
	historyBytes = 16 << 20
)

// history is the last changes, in memory only. It never blocks Apply: a
// subscriber that falls out of it is told to start over.
type history struct {
	mu      sync.Mutex
	commits []commit      // guarded by mu, by index
	changes int           // guarded by mu: sum over commits
	bytes   int           // guarded by mu: sum over commits
	floor   uint64        // guarded by mu: changes up to here are forgotten
	wake    chan struct{} // guarded by mu: closed and replaced at every change
}

type commit struct {
	index   uint64
	changes []change
	bytes   int
}

type change struct {
	table         wire.Table
	key           string
	before, after any // rows, nil when there is none
}

func newHistory() *history { return &history{wake: make(chan struct{})} }

func (h *history) add(c commit) {
	if c.changes = inOrder(c.changes); len(c.changes) == 0 {
		return
	}
	for _, ch := range c.changes {
		c.bytes += rowSize(ch.before) + rowSize(ch.after)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.commits = append(h.commits, c)
	h.changes += len(c.changes)
	h.bytes += c.bytes
	for (h.changes > historySize || h.bytes > historyBytes) && len(h.commits) > 1 {
		first := h.commits[0]
		h.floor = first.index
		h.changes -= len(first.changes)
		h.bytes -= first.bytes
		h.commits[0] = commit{} // the slice stays until it grows
		h.commits = h.commits[1:]
	}
	h.broadcastLocked()
}

// reset forgets everything; subscribers start over from a state at index.
func (h *history) reset(index uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.commits, h.changes, h.bytes, h.floor = nil, 0, 0, index
	h.broadcastLocked()
}

func (h *history) broadcastLocked() {
	close(h.wake)
	h.wake = make(chan struct{})
}

// after returns the first commit behind index, or a channel that closes at the
// next change, or lost when commits behind index are forgotten.
func (h *history) after(index uint64) (c commit, wake <-chan struct{}, lost bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if index < h.floor {
		return commit{}, nil, true
	}
	i, _ := slices.BinarySearchFunc(h.commits, index+1, func(c commit, at uint64) int {
		return int(int64(c.index) - int64(at))
	})
	if i == len(h.commits) {
		return commit{}, h.wake, false
	}
	return h.commits[i], nil, false
}

// inOrder sorts the changes of one command by table and key, and makes one of
// those of one row.
func inOrder(changes []change) []change {
	slices.SortStableFunc(changes, func(a, b change) int {
		if d := slices.Index(wire.Tables, a.table) - slices.Index(wire.Tables, b.table); d != 0 {
			return d
		}
		return strings.Compare(a.key, b.key)
	})
	kept := changes[:0]
	for _, c := range changes {
		if last := len(kept) - 1; last >= 0 && kept[last].table == c.table && kept[last].key == c.key {
			kept[last].after = c.after
			continue
		}
		kept = append(kept, c)
	}
	return slices.DeleteFunc(kept, func(c change) bool { return c.before == nil && c.after == nil })
}

// rowSize is about how many bytes a row takes, apart from what all rows take.
func rowSize(row any) int {
	const fields = 256
	switch r := row.(type) {
	case nil:
		return 0
	case *wire.Mapping:
		return fields + len(r.Metadata)
	case *wire.PersistentInstance:
		return 2*fields + len(r.Parameters.PD) + len(r.Parameters.TiKV) + len(r.Parameters.TiDB)
	}
	return 2 * fields
}

// rowKey is the key by which an event names a row.
func rowKey(row any) string {
	switch r := row.(type) {
	case *wire.Node:
		return string(r.Name)
	case *wire.Cluster:
		return string(r.Name)
	case *wire.Instance:
		return string(r.ID)
	case *wire.PersistentInstance:
		return string(r.ID)
	case *wire.Ingestion:
		return string(r.Source)
	case *wire.Mapping:
		return string(r.Source) + "/" + string(r.NodeTag)
	}
	return ""
}

// rowName is the row's primary key, in the parts that its index is made of.
func rowName(row any) []any {
	if m, ok := row.(*wire.Mapping); ok {
		return []any{string(m.Source), string(m.NodeTag)}
	}
	return []any{rowKey(row)}
}

// Subscribe streams the changes of the tables (all, when none is named) from
// those after index on. When they are not remembered any more, or index is 0,
// or lies ahead of this state, the stream begins with an OpReset event and the
// rows of now.
func (s *State) Subscribe(index uint64, tables ...wire.Table) *Subscription {
	if len(tables) == 0 {
		tables = wire.Tables
	}
	return &Subscription{state: s, tables: tables, index: index, reset: index == 0 || index > s.View().Index()}
}

// Subscription is one reader of the changes; for one goroutine.
type Subscription struct {
	state  *State
	tables []wire.Table
	index  uint64 // everything up to here was delivered
	reset  bool
}

// Next returns the next events, all of one index, or ctx's error.
func (s *Subscription) Next(ctx context.Context) ([]wire.Event, error) {
	events, err := s.NextSeq(ctx)
	if err != nil {
		return nil, err
	}
	return slices.Collect(events), nil
}

// NextSeq is Next for a reader who takes its time: events, at least one, that
// are made when they are asked for, so that a reset costs a row at a time. They
// stay those of their index however long that takes, and can be asked for again.
func (s *Subscription) NextSeq(ctx context.Context) (iter.Seq[wire.Event], error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if s.reset {
			return s.startOver(), nil
		}
		c, wake, lost := s.state.events.after(s.index)
		switch {
		case lost:
			s.reset = true
		case wake != nil:
			select {
			case <-wake:
			case <-ctx.Done():
			}
		default:
			s.index = c.index
			if slices.ContainsFunc(c.changes, s.wants) {
				return s.events(c), nil
			}
		}
	}
}

func (s *Subscription) wants(ch change) bool { return slices.Contains(s.tables, ch.table) }

func (s *Subscription) events(c commit) iter.Seq[wire.Event] {
	return func(yield func(wire.Event) bool) {
		for _, ch := range c.changes {
			if !s.wants(ch) {
				continue
			}
			e := wire.Event{Index: c.index, Table: ch.table, Op: wire.OpPut, Key: ch.key, Before: encode(ch.before), After: encode(ch.after)}
			if ch.after == nil {
				e.Op = wire.OpDelete
			}
			if !yield(e) {
				return
			}
		}
	}
}

// startOver is a reset and all rows of the subscribed tables.
func (s *Subscription) startOver() iter.Seq[wire.Event] {
	v := s.state.View()
	index := v.Index()
	s.reset, s.index = false, index
	return func(yield func(wire.Event) bool) {
		if !yield(wire.Event{Index: index, Op: wire.OpReset}) {
			return
		}
		for _, table := range wire.Tables {
			if !slices.Contains(s.tables, table) {
				continue
			}
			for row := range v.allRows(string(table)) {
				if !yield(wire.Event{Index: index, Table: table, Op: wire.OpPut, Key: rowKey(row), After: encode(row)}) {
					return
				}
			}
		}
	}
}

func encode(row any) json.RawMessage {
	if row == nil {
		return nil
	}
	b, err := json.Marshal(row)
	must(err)
	return b
}
