package raftstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

const (
	// MaxEntry bounds one encoded command, in bytes. Raft sends entries whole
	// and in order, so a large one holds up all others behind it: 64 entries
	// of 1 MiB at once were seen to take 4.5 s each.
	MaxEntry = 512 << 10
	// maxProposals bounds the proposals that Raft has not answered; further
	// ones wait for their turn until their context ends.
	maxProposals = 1024
	// enqueueTimeout bounds how long Raft may take to look at a proposal.
	enqueueTimeout = 5 * time.Second
	// drainTimeout bounds how long Close waits for proposals under way.
	drainTimeout = 2 * time.Second
	// retryAfter is the advice to callers while there is no leader. An election
	// is over after one to two seconds; lower: callers go on sooner then;
	// higher: fewer ask in vain.
	retryAfter = 200 * time.Millisecond
)

// Propose has the command applied, by the leader if that is another node, and
// returns its result; a refused command
// gives its *wire.Error. With an ID the command is applied at most once.
//
// Errors besides the command's own:
//
//	ErrInvalidArgument  the ID or the command cannot be encoded
//	ErrTooLarge         the encoded command is above MaxEntry
//	ErrNoLeader         there is no leader, it cannot be reached, or this node
//	                    is closing; nothing was changed
//	ErrDiskFull         no space is left for the log; nothing was changed
//	ErrTimeout          ctx ended before Raft was asked; nothing was changed
//	ErrOutcomeUnknown   leadership was lost, the leader gave no answer, the log
//	                    failed, the store was closed, or ctx ended while Raft
//	                    was at it: the command may still be applied; repeat it
//	                    with the same ID, here or at another node
//
// The last two match ctx's error as well when it was ctx that ended.
func (s *Store) Propose(ctx context.Context, id wire.RequestID, cmd state.Command) (state.Result, error) {
	entry, err := s.encode(id, cmd)
	if err != nil {
		return state.Result{}, err
	}
	res, err := s.apply(ctx, entry)
	if err != nil {
		return state.Result{}, fmt.Errorf("propose %s: %w", cmd.Type(), err)
	}
	if res.Err != nil {
		return res, res.Err
	}
	return res, nil
}

func (s *Store) encode(id wire.RequestID, cmd state.Command) ([]byte, error) {
	if err := id.Validate(); err != nil {
		return nil, err
	}
	entry, err := state.Encode(cmd, id, s.cfg.hooks.now())
	if err != nil {
		return nil, wire.Errorf(wire.CodeInvalidArgument, "%s cannot be encoded: %v", cmd.Type(), err)
	}
	if len(entry) > MaxEntry {
		return nil, wire.Errorf(wire.CodeTooLarge, "%s has %d bytes: at most %d are allowed in one command", cmd.Type(), len(entry), MaxEntry)
	}
	return entry, nil
}

// apply has an encoded command applied: here if this node leads, else by the
// leader.
func (s *Store) apply(ctx context.Context, entry []byte) (state.Result, error) {
	start := time.Now()
	do := s.forward
	if s.isLeader() {
		do = s.applyHere
	}
	res, err := do(ctx, entry)
	s.metrics.proposed(time.Since(start), err)
	return res, err
}

// applyHere has this node's Raft apply it. Errors: ErrNoLeader when this node
// does not lead.
func (s *Store) applyHere(ctx context.Context, entry []byte) (res state.Result, err error) {
	var applied state.Result
	err = s.ask(ctx, func() error {
		f := s.raft.Apply(entry, enqueueTimeout)
		if err := f.Error(); err != nil {
			return s.failure(err, f.Index() != 0)
		}
		applied = f.Response().(state.Result)
		return nil
	})
	if err != nil {
		return state.Result{}, err
	}
	return applied, nil
}

// ask runs f, which asks Raft and waits for its answer, and gives up waiting
// when ctx ends or Raft has stopped. What f wrote may be read only when ask
// returned no error.
func (s *Store) ask(ctx context.Context, f func() error) error {
	if full := s.logs.full.Load(); full != nil && !s.hasLeader() {
		return full // Raft waits for space and would not answer
	}
	if err := s.takeSlot(ctx); err != nil {
		return err
	}
	answer := make(chan error, 1)
	go func() {
		defer func() { <-s.slots }()
		answer <- f()
	}()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", wire.Errorf(wire.CodeOutcomeUnknown, "it may still be applied; repeat it with the same request ID"), ctx.Err())
	case <-s.stopped:
		return wire.Errorf(wire.CodeOutcomeUnknown, "the agent is stopping; repeat it with the same request ID")
	}
}

func (s *Store) takeSlot(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", wire.Errorf(wire.CodeTimeout, "nothing was changed"), err)
	}
	select {
	case <-s.closing:
		return noLeader("the agent is stopping; nothing was changed")
	default:
	}
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-s.closing:
		return noLeader("the agent is stopping; nothing was changed")
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", wire.Errorf(wire.CodeTimeout, "%d others were waiting; nothing was changed", maxProposals), ctx.Err())
	}
}

// drain waits until Raft has answered all proposals, at most drainTimeout. It
// keeps the slots, so that there are no further ones.
func (s *Store) drain() {
	timeout := time.After(drainTimeout)
	for range maxProposals {
		select {
		case s.slots <- struct{}{}:
		case <-timeout:
			return
		}
	}
}

// failure is what to tell of an error of Raft's. An entry that was given an
// index was begun, whatever the error; one without was not.
func (s *Store) failure(err error, begun bool) error {
	switch full := s.logs.full.Load(); {
	case errors.Is(err, wire.ErrDiskFull):
		return err // the log took nothing of it
	case begun:
		return wire.Errorf(wire.CodeOutcomeUnknown, "%v; repeat it with the same request ID", err)
	case full != nil:
		return full // which is why there is no leader
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return noLeader(fmt.Sprintf("Raft was busy for %v; nothing was changed", enqueueTimeout))
	}
	return noLeader(fmt.Sprintf("%v; nothing was changed", err))
}

func noLeader(why string) error {
	e := wire.Errorf(wire.CodeNoLeader, "%s", why)
	e.RetryAfter = retryAfter
	return e
}
