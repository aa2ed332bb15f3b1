package refcount

import (
	"context"
	"errors"
	"fmt"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
)

const (
	// namesAtOnce bounds the names of keys of one step: about half a millisecond.
	namesAtOnce = 500
	// entriesAtOnce bounds the batches that are held in memory.
	entriesAtOnce = 16
)

// deletes unlinks what old clients left to be unlinked.
func (s *Service) deletes(ctx context.Context) (more bool, err error) {
	d, err := s.cfg.Frames.DeleteWaiting(ctx, namesAtOnce)
	if err != nil {
		return false, err
	}
	s.metrics.unlinked.WithLabelValues("del_queue").Add(float64(d.Unlinked))
	s.poison("del_queue", d.SetAside, nil)
	return d.Taken == namesAtOnce, nil
}

// batches settles what waits in a queue of decrement batches.
func (s *Service) batches(ctx context.Context, q frames.Queue) (more bool, err error) {
	entries, err := s.cfg.Frames.Waiting(ctx, q, entriesAtOnce)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if err := s.batch(ctx, q, e); err != nil {
			return false, err
		}
	}
	return len(entries) > 0, nil
}

func (s *Service) batch(ctx context.Context, q frames.Queue, e frames.Entry) error {
	if e.Err != nil {
		return s.setAside(ctx, q, e, e.Err)
	}
	settled, err := s.cfg.Frames.Settle(ctx, q, e, nil)
	if errors.Is(err, wire.ErrInvalidArgument) { // it never will be
		return s.setAside(ctx, q, e, err)
	}
	if err != nil || !settled.Done {
		return err
	}
	for _, r := range settled.Results {
		switch {
		case r.Missing:
			s.metrics.missing.Inc()
		case r.Remaining == 0:
			s.metrics.ended.WithLabelValues("queue").Inc()
			s.metrics.unlinked.WithLabelValues("queue").Add(float64(r.Deleted + 1))
		}
		if !r.Missing {
			s.metrics.decremented.Inc()
		}
	}
	return nil
}

func (s *Service) setAside(ctx context.Context, q frames.Queue, e frames.Entry, reason error) error {
	done, err := s.cfg.Frames.SetAside(ctx, q, e, reason)
	if done {
		s.poison(q.Key, 1, reason)
	}
	return err
}

func (s *Service) poison(queue string, n int64, reason error) {
	if n == 0 {
		return
	}
	s.metrics.poison.WithLabelValues(queue).Add(float64(n))
	s.log.Error("what waits in a queue is of no use and was set aside", "queue", queue, "entries", n, "in", frames.PoisonKey, "err", reason)
}

// leases gives back what lapsed leases held.
func (s *Service) leases(ctx context.Context) (more bool, err error) {
	back, err := s.cfg.Frames.LapseLease(ctx)
	if err != nil || back.Lease == "" {
		return false, err
	}
	s.metrics.lapsedFrames.Add(float64(back.Frames))
	s.metrics.unlinked.WithLabelValues("lease").Add(float64(back.Deleted))
	if back.Held == 0 {
		s.metrics.lapsed.Inc()
		s.log.Info("a lease lapsed and gave back what it held", "lease", back.Lease)
	}
	return true, nil
}

// sweep looks at all keys once.
func (s *Service) sweep(ctx context.Context) (more bool, err error) {
	swept, err := s.cfg.Sweeper.Round(ctx, s.cfg.Sources())
	s.metrics.sweep(swept)
	if err != nil {
		return false, fmt.Errorf("sweep: %w", err)
	}
	if swept.Unlinked > 0 {
		s.log.Info("what was left over of frames was unlinked", "keys", swept.Unlinked, "found", swept.Found)
	}
	if swept.More {
		s.log.Warn("more is left over than one round can remember: the next ones go on")
	}
	return false, nil
}
