package raftstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// TestReopeningNeverLosesAnAcknowledgedWrite goes through random writes,
// retries, snapshots, restarts and crashes beside a model of what must be
// there.
func TestReopeningNeverLosesAnAcknowledgedWrite(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	lives := 0
	rapid.Check(t, func(t *rapid.T) {
		lives++
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // of each, not of all
		defer cancel()
		m := &model{ctx: ctx, root: filepath.Join(root, fmt.Sprint(lives)), want: map[wire.SourceID]bool{}, done: map[wire.RequestID]uint64{}}
		m.start(t, m.dir())
		defer func() { closeStore(t, m.store) }()
		propose(t, ctx, m.store, "", create("a", "b"))
		steps := map[string]func(*rapid.T){
			"map": m.mapSource, "unmap": m.unmapSource, "retry": m.retry,
			"snapshot": m.snapshot, "restart": m.restart, "crash": m.crash,
		}
		names := rapid.SampledFrom(slices.Sorted(maps.Keys(steps)))
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			steps[names.Draw(t, "step")](t)
			m.check(t)
		}
	})
}

type model struct {
	ctx   context.Context
	root  string
	life  int
	store *Store
	want  map[wire.SourceID]bool
	done  map[wire.RequestID]uint64 // index by request
	last  state.Command
	id    wire.RequestID
}

func (m *model) dir() string { return filepath.Join(m.root, fmt.Sprint(m.life)) }

func (m *model) start(t tester, dir string) { m.store = open(t, m.ctx, testConfig(dir)) }

func (m *model) request(t *rapid.T, cmd state.Command) {
	m.id, m.last = wire.RequestID(fmt.Sprint("r", len(m.done))), cmd
	m.done[m.id] = propose(t, m.ctx, m.store, m.id, cmd).Index
}

var sources = rapid.SampledFrom([]wire.SourceID{"s1", "s2", "s3", "s4", "s5"})

func (m *model) mapSource(t *rapid.T) {
	s := sources.Draw(t, "source")
	if m.want[s] {
		if _, err := m.store.Propose(m.ctx, "", mapping(s)); !errors.Is(err, wire.ErrAlreadyExists) {
			t.Fatalf("%s twice: %v", s, err)
		}
		return
	}
	m.request(t, mapping(s))
	m.want[s] = true
}

func (m *model) unmapSource(t *rapid.T) {
	s := sources.Draw(t, "source")
	if m.want[s] {
		m.request(t, state.RemoveMapping{Source: s, NodeTag: "node-1"})
		delete(m.want, s)
	}
}

// retry repeats the last request, which must change nothing.
func (m *model) retry(t *rapid.T) {
	if m.last == nil {
		return
	}
	if res := propose(t, m.ctx, m.store, m.id, m.last); res.Index != m.done[m.id] {
		t.Fatalf("%s was applied at %d and again at %d", m.id, m.done[m.id], res.Index)
	}
}

func (m *model) snapshot(t *rapid.T) { snapshotNow(t, m.store) }

func (m *model) restart(t *rapid.T) {
	closeStore(t, m.store)
	m.start(t, m.dir())
}

// crash goes on with what is in the files at this moment, as after a kill -9.
func (m *model) crash(t *rapid.T) {
	from := m.dir()
	m.life++
	if err := os.CopyFS(m.dir(), os.DirFS(from)); err != nil {
		t.Fatalf("copy: %v", err)
	}
	closeStore(t, m.store)
	m.start(t, m.dir())
}

func (m *model) check(t *rapid.T) {
	got := map[wire.SourceID]bool{}
	for _, row := range m.store.View().Mappings() {
		got[row.Source] = true
	}
	if fmt.Sprint(got) != fmt.Sprint(m.want) {
		t.Fatalf("mapped are %v, acknowledged %v", got, m.want)
	}
}
