package raftstore

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/client/wire"
)

// large is a mapping of some 4 KiB.
func large(i int) (wire.SourceID, []byte) {
	return wire.SourceID(fmt.Sprint("s", i)), []byte(`{"x":"` + strings.Repeat("x", 4000) + `"}`)
}

func TestALogOfManyBytesIsCompacted(t *testing.T) {
	t.Parallel()
	ctx, dir := within(t), t.TempDir()
	s := open(t, ctx, testConfig(dir))
	propose(t, ctx, s, "", create("a"))
	for i := range 20 {
		m := mapping("")
		m.Source, m.Metadata = large(i)
		propose(t, ctx, s, "", m)
	}
	grown := s.logs.growth.bytes.Load()
	if grown < 20*4000 {
		t.Errorf("the log has grown by %d bytes", grown)
	}
	closeStore(t, s)
	s = open(t, ctx, testConfig(dir))
	if again := s.logs.growth.bytes.Load(); again < grown {
		t.Errorf("after a restart it has grown by %d bytes, before by %d", again, grown)
	}
	s.logs.growth.trail = 5 * 5000
	s.logs.growth.add(maxGrowth - int(grown)) // as if it had been more
	waitFor(t, ctx, "a snapshot is taken", func() bool { return s.logs.growth.bytes.Load() < maxGrowth/2 })
	waitFor(t, ctx, "the log is cut", func() bool {
		first, last := bounds(t, s.logs)
		return last-first < 10
	})
	waitFor(t, ctx, "later snapshots keep as much as ever", func() bool {
		return s.raft.ReloadableConfig().TrailingLogs == trailingLogs
	})
	closeStore(t, s)
	s = opened(t, ctx, testConfig(dir))
	if n := s.View().CountMappings(); n != 20 {
		t.Errorf("%d mappings came back", n)
	}
}

// TestGrowthBelowTheLimitIsLeftAlone also when the limit is a large snapshot's.
func TestGrowthBelowTheLimitIsLeftAlone(t *testing.T) {
	t.Parallel()
	g := newGrowth()
	due := func() bool {
		select {
		case <-g.due:
			return true
		default:
			return false
		}
	}
	g.add(maxGrowth - 1)
	if due() {
		t.Error("a snapshot is due too early")
	}
	g.add(1)
	if !due() {
		t.Error("no snapshot is due")
	}
	g.snapshot(maxGrowth, 3*maxGrowth)
	g.add(2 * maxGrowth)
	if due() {
		t.Error("a snapshot is due that is larger than the log")
	}
	g.add(maxGrowth)
	if !due() {
		t.Error("no second snapshot is due")
	}
}

func TestTheNewestEntriesAreCountedByTheirBytes(t *testing.T) {
	s := openLog(t, t.TempDir())
	defer closeLog(t, s)
	one := len(encodeEntry(nil, &raft.Log{Data: make([]byte, 1000)}))
	for i := uint64(1); i <= 10; i++ {
		if err := s.StoreLog(&raft.Log{Index: i, Term: 1, Data: bytes.Repeat([]byte("x"), 1000)}); err != nil {
			t.Fatal(err)
		}
	}
	for given, want := range map[int]uint64{0: 0, one - 1: 0, one: 1, 3*one + 5: 3, 100 * one: 10} {
		if n := s.log.Newest(given); n != want {
			t.Errorf("%d bytes are %d entries, want %d", given, n, want)
		}
	}
	if n := s.log.Size(4); n != 7*one {
		t.Errorf("entries 4 to 10 are %d bytes, want %d", n, 7*one)
	}
}
