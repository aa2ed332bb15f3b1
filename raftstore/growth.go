package raftstore

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// maxGrowth is how many bytes of entries there are between snapshots, about;
	// Raft counts entries alone, of up to MaxEntry. Lower: a restart replays
	// less (32 MiB in half a second) and the log stays small; higher: the whole
	// state is written less often. A last snapshot that is larger counts in its
	// place, so that no more is written in snapshots than in entries.
	maxGrowth = 32 << 20
	// trailingBytes is what trailingLogs come to at most.
	trailingBytes = 32 << 20
	// compactRetry is the pause after a snapshot that failed.
	compactRetry = 5 * time.Second
)

// growth is how far the log has grown since the last snapshot.
type growth struct {
	bytes atomic.Int64
	limit atomic.Int64  // from which on a snapshot is due
	due   chan struct{} // holds one token when bytes has reached limit
	trail int           // how many bytes of entries stay behind a snapshot
}

func newGrowth() *growth {
	g := &growth{due: make(chan struct{}, 1), trail: trailingBytes}
	g.limit.Store(maxGrowth)
	return g
}

func (g *growth) add(bytes int) {
	if g.bytes.Add(int64(bytes)) >= g.limit.Load() {
		select {
		case g.due <- struct{}{}:
		default:
		}
	}
}

// snapshot notes one that covers that many bytes.
func (g *growth) snapshot(covers, size int64) {
	g.limit.Store(max(maxGrowth, size))
	g.bytes.Add(-covers)
}

// grown sets growth to what is behind the last snapshot, of which the newest is
// the first.
func (s *logStore) grown(shots []*raft.SnapshotMeta) {
	var last raft.SnapshotMeta
	if len(shots) > 0 {
		last = *shots[0]
	}
	s.growth.snapshot(0, last.Size)
	s.growth.add(s.log.Size(last.Index + 1))
}

// compact takes a snapshot whenever the log has grown by too many bytes, until
// Close begins.
func (s *Store) compact() {
	for {
		select {
		case <-s.closing:
			return
		case <-s.logs.growth.due:
		}
		if err := s.compactOnce(); err != nil {
			if !errors.Is(err, raft.ErrNothingNewToSnapshot) { // it is not replayed yet
				s.cfg.Logger.Warn("the Raft log could not be compacted", "err", err)
			}
			select {
			case <-s.closing:
			case <-time.After(compactRetry):
			}
		}
		s.logs.growth.add(0)
	}
}

func (s *Store) compactOnce() error {
	keep := s.logs.log.Newest(s.logs.growth.trail)
	if err := s.reload(func(c *raft.ReloadableConfig) { c.TrailingLogs = min(keep, trailingLogs) }); err != nil {
		return err
	}
	err := s.raft.Snapshot().Error()
	if errors.Is(err, raft.ErrRaftShutdown) {
		return nil
	}
	return errors.Join(err, s.reload(func(c *raft.ReloadableConfig) { c.TrailingLogs = trailingLogs }))
}

// reload changes Raft's settings while it runs.
func (s *Store) reload(set func(*raft.ReloadableConfig)) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	c := s.raft.ReloadableConfig()
	set(&c)
	if err := s.raft.ReloadConfig(c); err != nil {
		return fmt.Errorf("set Raft up: %w", err)
	}
	return nil
}
