package raftstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/framedb/framedb/client/wire"
)

// CatchUp returns once View contains everything that was acknowledged, by any
// node, before CatchUp was called: a read after it is linearizable. The leader
// confirms with a majority that it still leads; nothing is written.
//
// Errors: ErrNoLeader (ask again later), ErrTimeout (ctx ended first).
func (s *Store) CatchUp(ctx context.Context) error {
	index, err := s.readIndex(ctx)
	if err == nil {
		err = s.WaitForIndex(ctx, index)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", wire.Errorf(wire.CodeTimeout, "this node could not catch up"), ctx.Err())
	case errors.Is(err, wire.ErrOutcomeUnknown):
		return noLeader("the leader gave no answer") // a read changes nothing
	}
	return err
}

func (s *Store) readIndex(ctx context.Context) (uint64, error) {
	if s.isLeader() {
		return s.readIndexHere(ctx)
	}
	var reply ReadIndexReply
	if err := s.askLeader(ctx, "ReadIndex", struct{}{}, &reply); err != nil {
		return 0, err
	}
	return reply.Index, reply.Failure.err()
}

// readIndexHere is reads.index, for as long as ctx lets it wait.
func (s *Store) readIndexHere(ctx context.Context) (uint64, error) {
	var index uint64
	err := s.ask(ctx, func() (err error) {
		index, err = s.reads.index()
		return err
	})
	if err != nil {
		return 0, err
	}
	return index, nil
}
