package raftstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// readyPoll is how often WaitReady looks whether there is a leader.
const readyPoll = 5 * time.Millisecond

// catchUpTimeout bounds one try of WaitReady's: another agent may lead by then.
const catchUpTimeout = 5 * time.Second

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
		err := s.tryReady(ctx)
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

func (s *Store) tryReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	return s.CatchUp(ctx)
}
