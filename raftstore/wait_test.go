package raftstore

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

func TestWaitForIndexSeesAlsoRefusedCommands(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	s := opened(t, ctx, testConfig(t.TempDir()))
	next := s.raft.LastIndex() + 1
	done := make(chan error, 1)
	go func() { done <- s.WaitForIndex(ctx, next) }()
	if _, err := s.Propose(ctx, "", state.RemoveCluster{Name: "x"}); !errors.Is(err, wire.ErrNotFound) {
		t.Fatal(err)
	}
	if err := <-done; err != nil || s.View().Index() != next {
		t.Errorf("%v; index is %d, want %d", err, s.View().Index(), next)
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if err := s.WaitForIndex(short, next+1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an index that does not come: %v", err)
	}
}
