package raftstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

const (
	// MaxWait caps the wait of a blocking query.
	MaxWait = 10 * time.Minute
	// readyPoll is how often WaitReady looks whether there is a leader.
	readyPoll = 5 * time.Millisecond
)

// Query is a blocking query: it runs f on views until f's index differs from
// after, and returns f's last result and index. It returns at once when after
// is 0, wait is not above 0, or f's index lies below after, as it may when the
// state was lost: the caller goes on from the index that it gets. Otherwise it
// returns after wait, MaxWait at most, with what there is, or when ctx ends,
// with what there is and ctx's error.
//
// f takes its index from the view, usually TableIndex or a row's ModifyIndex,
// and may run many times; it is watched what f asks the view for. An index of 0
// is given as 1, so that a caller who hands it back waits.
func Query[R any](ctx context.Context, s Viewer, after uint64, wait time.Duration, f func(*state.View) (R, uint64)) (R, uint64, error) {
	waiting, cancel := context.WithTimeout(ctx, min(wait, MaxWait))
	defer cancel()
	for {
		v := s.View()
		r, index := f(v)
		index = max(index, 1)
		if after == 0 || index != after || wait <= 0 {
			return r, index, nil
		}
		if err := v.Changed(waiting); err != nil {
			return r, index, ctx.Err()
		}
	}
}

// WaitForIndex returns once View contains the command that was applied at
// index, or ctx's error.
func (s *Store) WaitForIndex(ctx context.Context, index uint64) error {
	for {
		v := s.View()
		v.WatchIndex()
		if v.Index() >= index {
			return nil
		}
		if err := v.Changed(ctx); err != nil {
			return err
		}
	}
}

// WaitReady returns once there is a leader and this node has applied what was
// committed when it was called.
//
// Errors: ErrDiskFull (no leader can be, see Propose), or ErrNoLeader together
// with ctx's error.
func (s *Store) WaitReady(ctx context.Context) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		err := s.barrier(ctx)
		if err == nil || errors.Is(err, wire.ErrDiskFull) {
			return err
		}
		select {
		case <-tick.C:
		case <-s.closing:
			return err
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", noLeader("this node is not ready"), ctx.Err())
		}
	}
}

// barrier returns nil when this node is the leader and has applied all that
// was committed before.
func (s *Store) barrier(ctx context.Context) error {
	return s.ask(ctx, func() error {
		if err := s.raft.Barrier(enqueueTimeout).Error(); err != nil {
			return s.failure(err, false) // a barrier changes nothing
		}
		return nil
	})
}
