package raftstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	bolt "go.etcd.io/bbolt"
)

// retainSnapshots is how many snapshots stay: the newest, and one more in case
// the newest turns out to be damaged.
const retainSnapshots = 2

// tmpSuffix ends the name of a snapshot that is being written.
const tmpSuffix = ".tmp"

// snapshots is Raft's store of snapshot files, which leaves a half-written
// snapshot behind when the disk is full or the process is killed: one more at
// each try, until there is no space for anything. This one removes them.
type snapshots struct {
	*raft.FileSnapshotStore
	dir string
}

// openSnapshots makes the directory snapshots beside db, which the caller has
// locked.
func openSnapshots(db *bolt.DB, log hclog.Logger) (*snapshots, error) {
	dir := filepath.Dir(db.Path())
	store, err := raft.NewFileSnapshotStoreWithLogger(dir, retainSnapshots, log)
	if err != nil {
		return nil, fmt.Errorf("snapshots in %s: %w", dir, whyNotWritten(db, err))
	}
	s := &snapshots{FileSnapshotStore: store, dir: filepath.Join(dir, "snapshots")}
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
	return snapshotSink{sink, filepath.Join(s.dir, sink.ID()+tmpSuffix)}, nil
}

// snapshotSink removes what a failed Close or Cancel leaves.
type snapshotSink struct {
	raft.SnapshotSink
	unfinished string
}

// Close makes the snapshot count; on an error there is nothing of it.
func (s snapshotSink) Close() error {
	if err := s.SnapshotSink.Close(); err != nil {
		return errors.Join(err, os.RemoveAll(s.unfinished))
	}
	return nil
}

// Cancel drops the snapshot.
func (s snapshotSink) Cancel() error {
	return errors.Join(s.SnapshotSink.Cancel(), os.RemoveAll(s.unfinished))
}
