package wal

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// state is what a log holds: entries from first on.
type state struct {
	first   uint64
	entries [][]byte
	kept    string
}

func (s state) next() uint64 { return s.first + uint64(len(s.entries)) }

// is reports whether both hold the same; where an empty one goes on is not seen.
func (s state) is(other state) bool {
	return s.kept == other.kept && slices.EqualFunc(s.entries, other.entries, bytes.Equal) && (len(s.entries) == 0 || s.first == other.first)
}

// modelSegment is small, so that there are many.
const modelSegment = 256

// model is a log beside what it may hold: the last of could, when all went well.
type model struct {
	disk  *fakeDisk
	log   *Log
	could []state
	n     int // makes entries differ
}

// TestNothingAcknowledgedIsLost: through writes that fail and crashes in which
// any part of what was not synced is lost, the log holds what calls that
// returned had put there, and of the one that did not all or nothing.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{disk: newFakeDisk(t), could: []state{{first: 1}}}
		if err := create(m.disk, nil, modelSegment); err != nil {
			t.Fatal(err)
		}
		m.open(t)
		steps := map[string]func(*rapid.T){
			"append": m.append, "append more": m.append, "jump": m.jump, "keep": m.keep, "cut": m.cut, "drop": m.drop,
			"fault": m.fault, "crash": m.crash, "crash soon": m.crashSoon, "reopen": m.reopen,
		}
		names := rapid.SampledFrom(slices.Sorted(maps.Keys(steps)))
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			steps[names.Draw(t, "step")](t)
			if m.disk.dead {
				m.crash(t)
			}
			m.check(t)
		}
	})
}

func (m *model) open(t *rapid.T) {
	var err error
	if m.log, err = open(m.disk, modelSegment); err != nil {
		t.Fatalf("open: %v", err)
	}
}

// now is the one state that the log may be in.
func (m *model) now() state { return m.could[len(m.could)-1] }

// after notes the outcome of what leads from one state to the next.
func (m *model) after(t *rapid.T, err error, next state) {
	switch {
	case err == nil && next.is(m.now()): // nothing was written
	case err == nil:
		m.could = []state{next}
	case errors.Is(err, errFull) || errors.Is(err, errDead):
		// In memory it is as the log says; on disk it may be either.
		m.could = append([]state{next}, m.could...)
		m.could = append(m.could, m.seen(t))
	default:
		t.Fatal(err)
	}
}

func (m *model) append(t *rapid.T) { m.appendAt(t, m.now().next()) }

// jump begins an empty log anew, anywhere.
func (m *model) jump(t *rapid.T) {
	if len(m.now().entries) == 0 {
		m.appendAt(t, rapid.Uint64Range(1, 50).Draw(t, "first"))
	}
}

func (m *model) appendAt(t *rapid.T, first uint64) {
	var add [][]byte
	for range rapid.IntRange(1, 4).Draw(t, "entries") {
		m.n++
		add = append(add, bytes.Repeat([]byte{byte(m.n)}, rapid.IntRange(1, 60).Draw(t, "size")))
	}
	s := m.now()
	if len(s.entries) == 0 {
		s.first = first
	}
	s.entries = append(slices.Clip(s.entries), add...)
	_, err := m.log.Append(first, len(add), func(b []byte, i int) []byte { return append(b, add[i]...) })
	m.after(t, err, s)
}

func (m *model) cut(t *rapid.T) {
	s := m.now()
	from := rapid.Uint64Range(s.first, s.next()).Draw(t, "from")
	s.entries = s.entries[:from-s.first]
	m.after(t, m.log.Cut(from), s)
}

func (m *model) drop(t *rapid.T) {
	s := m.now()
	before := rapid.Uint64Range(s.first, s.next()).Draw(t, "before")
	first := s.first
	s.first, s.entries = before, s.entries[before-first:]
	err := m.log.Drop(before)
	m.after(t, err, s)
	if err == nil && before > first && len(s.entries) == 0 && len(m.log.segments) > 1 {
		t.Fatalf("%d segments are left without entries", len(m.log.segments))
	}
}

func (m *model) keep(t *rapid.T) {
	s := m.now()
	s.kept = rapid.StringN(1, 60, 60).Draw(t, "kept")
	m.after(t, m.log.Keep([]byte(s.kept)), s)
}

// fault has one of the next steps of the disk, and some behind it, fail.
func (m *model) fault(t *rapid.T) {
	m.disk.steps = rapid.IntRange(0, 4).Draw(t, "after")
	m.disk.dies, m.disk.fails = false, rapid.IntRange(1, 4).Draw(t, "fails")
}

// crashSoon has one of the next steps of the disk be the last.
func (m *model) crashSoon(t *rapid.T) {
	m.disk.steps, m.disk.dies = rapid.IntRange(0, 6).Draw(t, "after"), true
}

func (m *model) crash(t *rapid.T) {
	m.disk = m.disk.crash()
	m.found(t)
}

func (m *model) reopen(t *rapid.T) {
	m.disk.steps = -1
	if err := m.log.Close(); err != nil {
		t.Fatal(err)
	}
	m.found(t)
}

// found opens what a former life left.
func (m *model) found(t *rapid.T) {
	m.open(t)
	seen := m.seen(t)
	if !slices.ContainsFunc(m.could, seen.is) {
		t.Fatalf("found %v, want one of %v", seen, m.could)
	}
	m.could = []state{seen}
}

// seen reads all of the log.
func (m *model) seen(t *rapid.T) state {
	s := state{first: m.log.First(), kept: string(m.log.Kept())}
	if s.first == 0 {
		s.first = m.log.next
		return s
	}
	for i := s.first; i <= m.log.Last(); i++ {
		b, err := m.log.Read(i)
		if err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		s.entries = append(s.entries, b)
	}
	return s
}

func (m *model) check(t *rapid.T) {
	if seen := m.seen(t); !seen.is(m.now()) {
		t.Fatalf("the log holds %v, want %v", seen, m.now())
	}
	for _, i := range []uint64{m.log.first - 1, m.log.next} {
		if _, err := m.log.Read(i); !errors.Is(err, ErrNotFound) {
			t.Fatalf("entry %d, outside of the log: %v", i, err)
		}
	}
}

func (s state) String() string {
	return fmt.Sprintf("%d..%d %q %x", s.first, s.next()-1, s.kept, bytes.Join(s.entries, []byte("-")))
}
