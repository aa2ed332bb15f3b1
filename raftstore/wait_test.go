package raftstore

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// clusterCount reads how many clusters there are, with the table's index.
func clusterCount(v *state.View) (int, uint64) {
	return len(v.Clusters()), v.TableIndex(wire.TableClusters)
}

func TestABlockingQueryWaitsForWhatItReads(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	s := opened(t, ctx, testConfig(t.TempDir()))
	n, index, err := Query(ctx, s, 0, time.Minute, clusterCount)
	if n != 0 || index != 1 || err != nil {
		t.Fatalf("empty table: %d at %d, %v", n, index, err)
	}

	type answer struct {
		n     int
		index uint64
		err   error
	}
	looked := make(chan struct{}, 16)
	answers := make(chan answer, 1)
	go func() {
		n, index, err := Query(ctx, s, index, time.Minute, func(v *state.View) (int, uint64) {
			defer func() { looked <- struct{}{} }()
			return clusterCount(v)
		})
		answers <- answer{n, index, err}
	}()
	<-looked
	propose(t, ctx, s, "", state.RegisterNode{Node: wire.Node{Name: "n1"}}) // another table
	select {
	case a := <-answers:
		t.Fatalf("a change elsewhere ended the wait: %+v", a)
	default:
	}
	made := propose(t, ctx, s, "", create("a"))
	if a := <-answers; a.n != 1 || a.index != made.Index || a.err != nil {
		t.Errorf("after the change: %+v, want index %d", a, made.Index)
	}
}

func TestABlockingQueryEnds(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	s := opened(t, ctx, testConfig(t.TempDir()))
	made := propose(t, ctx, s, "", create("a"))
	quick := func(what string, after uint64, wait time.Duration) {
		t.Helper()
		start := time.Now()
		n, index, err := Query(ctx, s, after, wait, clusterCount)
		if n != 1 || index != made.Index || err != nil {
			t.Errorf("%s: %d at %d, %v", what, n, index, err)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: took %v", what, took)
		}
	}
	quick("no index", 0, time.Minute)
	quick("older index", made.Index-1, time.Minute)
	quick("index went backwards", made.Index+100, time.Minute)
	quick("no wait", made.Index, 0)
	quick("wait passes", made.Index, 20*time.Millisecond)

	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	n, index, err := Query(short, s, made.Index, time.Minute, clusterCount)
	if n != 1 || index != made.Index || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("context ends: %d at %d, %v", n, index, err)
	}
}

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
