package raftstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/client/wire"
)

// TestAContextThatEndsMidwayLeavesItOpen holds a proposal up in the log.
func TestAContextThatEndsMidwayLeavesItOpen(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	s := opened(t, ctx, testConfig(t.TempDir()))
	reached, release := make(chan struct{}), make(chan struct{})
	s.logs.write = func(write func() error) error {
		reached <- struct{}{}
		<-release
		return write()
	}
	short, cancel := context.WithCancel(ctx)
	failed := make(chan error, 1)
	go func() {
		_, err := s.Propose(short, "req", create("a"))
		failed <- err
	}()
	<-reached
	cancel()
	err := <-failed
	if !errors.Is(err, wire.ErrOutcomeUnknown) || !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "same request ID") {
		t.Errorf("got %v", err)
	}
	if wire.CodeOf(err) != wire.CodeOutcomeUnknown {
		t.Errorf("its code is %s", wire.CodeOf(err))
	}
	close(release)
	go func() { <-reached }() // of the repetition
	first := propose(t, ctx, s, "req", create("a"))
	if first.Index >= s.raft.LastIndex() {
		t.Error("the repetition was what created it")
	}
}

func TestWhatRaftsErrorsMean(t *testing.T) {
	t.Parallel()
	full := diskFull("dir", syscall.ENOSPC)
	cases := []struct {
		err   error
		begun bool
		full  *wire.Error
		want  *wire.Error
	}{
		{raft.ErrNotLeader, false, nil, wire.ErrNoLeader},
		{raft.ErrLeadershipTransferInProgress, false, nil, wire.ErrNoLeader},
		{raft.ErrEnqueueTimeout, false, nil, wire.ErrNoLeader},
		{raft.ErrRaftShutdown, false, nil, wire.ErrNoLeader},
		{raft.ErrRaftShutdown, true, nil, wire.ErrOutcomeUnknown},
		{raft.ErrLeadershipLost, true, nil, wire.ErrOutcomeUnknown},
		{raft.ErrAbortedByRestore, true, nil, wire.ErrOutcomeUnknown},
		{syscall.EIO, true, nil, wire.ErrOutcomeUnknown},
		{errStopping, true, nil, wire.ErrOutcomeUnknown},
		// One entry found no space; others were in the log before it.
		{full, true, full, wire.ErrDiskFull},
		{raft.ErrLeadershipLost, true, full, wire.ErrOutcomeUnknown},
		{raft.ErrNotLeader, false, full, wire.ErrDiskFull},
	}
	for _, c := range cases {
		s := &Store{logs: openLog(t, t.TempDir())}
		s.logs.full.Store(c.full)
		err := s.failure(c.err, c.begun)
		if !errors.Is(err, c.want) {
			t.Errorf("%v (begun %v, full %v) became %v, want %s", c.err, c.begun, c.full != nil, err, c.want.Code)
		}
		if errors.Is(err, wire.ErrNoLeader) && wire.AsError(err).RetryAfter != retryAfter {
			t.Errorf("%v: no advice when to retry", c.err)
		}
		closeLog(t, s.logs)
	}
}

// TestProposalsWaitForTheirTurn fills all slots behind a log that stands still.
func TestProposalsWaitForTheirTurn(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	s := opened(t, ctx, testConfig(t.TempDir()))
	propose(t, ctx, s, "", create("a"))
	for range cap(s.slots) {
		s.slots <- struct{}{}
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := s.Propose(short, "", create("b")); !errors.Is(err, wire.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("all slots taken: %v", err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := s.Propose(ctx, "", create("c"))
		done <- err
	}()
	for range cap(s.slots) {
		<-s.slots
	}
	if err := <-done; err != nil {
		t.Errorf("a slot came free: %v", err)
	}
	if got := fmt.Sprint(len(s.View().Clusters())); got != "2" {
		t.Errorf("%s clusters", got)
	}
}
