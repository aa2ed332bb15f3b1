package raftstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// retainSnapshots is how many snapshots stay: the newest, and one more in case
// the newest turns out to be damaged.
const retainSnapshots = 2

// snapshotDir is Raft's name for the directory of its snapshots.
const snapshotDir = "snapshots"

// tmpSuffix ends the name of a snapshot that is being written.
const tmpSuffix = ".tmp"

// snapshots is Raft's store of snapshot files, which leaves a half-written
// snapshot behind when the disk is full or the process is killed: one more at
// each try, until there is no space for anything. This one removes them.
type snapshots struct {
	*raft.FileSnapshotStore
	dir    string
	growth *growth
}

// openSnapshots makes the directory snapshots in dir.
func openSnapshots(logs *logStore, log hclog.Logger) (*snapshots, error) {
	dir := logs.dir
	store, err := raft.NewFileSnapshotStoreWithLogger(dir, retainSnapshots, log)
	if err != nil {
		return nil, fmt.Errorf("snapshots in %s: %w", dir, whyNotWritten(dir, err))
	}
	if err := syncDir(dir); err != nil {
		return nil, fmt.Errorf("snapshots in %s: %w", dir, whyNotWritten(dir, err))
	}
	s := &snapshots{FileSnapshotStore: store, dir: filepath.Join(dir, snapshotDir), growth: logs.growth}
	return s, s.removeUnfinished("*")
}

// removeUnfinished removes the unfinished snapshots whose names match.
func (s *snapshots) removeUnfinished(pattern string) error {
	left, err := filepath.Glob(filepath.Join(s.dir, pattern+tmpSuffix))
	if err != nil {
		return fmt.Errorf("unfinished snapshots: %w", err)
	}
	for _, path := range left {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("unfinished snapshot: %w", err)
		}
	}
	return nil
}

// Create is FileSnapshotStore's.
func (s *snapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, trans raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.FileSnapshotStore.Create(version, index, term, configuration, configurationIndex, trans)
	if err != nil {
		return nil, errors.Join(err, s.removeUnfinished(fmt.Sprintf("%d-%d-*", term, index)))
	}
	return &snapshotSink{
		SnapshotSink: sink, unfinished: filepath.Join(s.dir, sink.ID()+tmpSuffix),
		growth: s.growth, covers: s.growth.bytes.Load(),
	}, nil
}

// snapshotSink removes what a failed Close or Cancel leaves.
type snapshotSink struct {
	raft.SnapshotSink
	unfinished   string
	growth       *growth
	covers, size int64 // bytes: of the log, of the snapshot
}

func (s *snapshotSink) Write(b []byte) (int, error) {
	n, err := s.SnapshotSink.Write(b)
	s.size += int64(n)
	return n, err
}

// Close makes the snapshot count; on an error there is nothing of it.
func (s *snapshotSink) Close() error {
	if err := s.SnapshotSink.Close(); err != nil {
		return errors.Join(err, os.RemoveAll(s.unfinished))
	}
	s.growth.snapshot(s.covers, s.size)
	return nil
}

// Cancel drops the snapshot.
func (s *snapshotSink) Cancel() error {
	return errors.Join(s.SnapshotSink.Cancel(), os.RemoveAll(s.unfinished))
}
