package raftstore

import (
	"testing"

	"github.com/hashicorp/raft"
)

// TestAReadWaitsForCommandsOnly: View's index never reaches an entry of Raft's
// own, which are committed all the same.
func TestAReadWaitsForCommandsOnly(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	s := opened(t, ctx, testConfig(t.TempDir()))
	last := propose(t, ctx, s, "", create("a")).Index
	for range 3 {
		if err := s.raft.Barrier(enqueueTimeout).Error(); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.lastCommand(s.raft.CommitIndex()); err != nil || got != last {
		t.Errorf("waits for %d, %v; the last command is at %d of %d", got, err, last, s.raft.CommitIndex())
	}
	// What is committed and not applied yet has to be waited for.
	ahead := &raft.Log{Index: s.raft.LastIndex() + 2, Type: raft.LogCommand}
	for _, l := range []*raft.Log{{Index: ahead.Index - 1, Type: raft.LogNoop}, ahead, {Index: ahead.Index + 1, Type: raft.LogBarrier}} {
		if err := s.logs.StoreLog(l); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.lastCommand(ahead.Index + 1); err != nil || got != ahead.Index {
		t.Errorf("waits for %d, %v; the command that is not applied yet is at %d", got, err, ahead.Index)
	}
}
