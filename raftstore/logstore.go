package raftstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/wal"
)

// errStopping answers writes after stop.
var errStopping = errors.New("the Raft log is closing")

// logDir is the directory of the log's segments in Dir.
const logDir = "log"

// logStore is Raft's LogStore and StableStore in Dir. Every write is on disk (fsync) when it returns.
type logStore struct {
	dir  string
	lock *os.File // dir itself
	log  *wal.Log

	keeping sync.Mutex // held while kept is replaced
	kept    *atomic.Pointer[kept]
	// founding collects what is written in atomically; nil outside of it.
	founding *kept

	// write runs one write: as it is, but in tests that inject faults.
	write func(func() error) error
	// written is told how long each write took, fsync included.
	written func(time.Duration)

	recent   recent
	growth   *growth
	full     *atomic.Pointer[wire.Error] // why the last write found no space
	stopping chan struct{}
	stopOnce sync.Once
}

var (
	_ raft.LogStore          = (*logStore)(nil)
	_ raft.StableStore       = (*logStore)(nil)
	_ raft.MonotonicLogStore = (*logStore)(nil)
)

// do runs one write and remembers whether there was space for it.
func (s *logStore) do(write func() error) error {
	select {
	case <-s.stopping:
		return errStopping
	default:
	}
	start := time.Now()
	err := whyNotWritten(s.dir, s.write(write))
	s.written(time.Since(start))
	var known *wire.Error
	switch {
	case err == nil:
		s.full.Store(nil)
	case errors.Is(err, wire.ErrDiskFull) && errors.As(err, &known):
		s.full.Store(known)
	}
	return err
}

// stop makes the store refuse all writes from now on, so that a Raft which
// waits for disk space can end. See SetUint64 about terms.
func (s *logStore) stop() { s.stopOnce.Do(func() { close(s.stopping) }) }

// node is the name of the node that dir belongs to.
func (s *logStore) node() wire.NodeName { return s.kept.Load().Node }

func (s *logStore) close() error { return errors.Join(s.log.Close(), unlockDir(s.lock)) }

// IsMonotonic has Raft delete the log when a snapshot takes its place.
func (s *logStore) IsMonotonic() bool { return true }

// FirstIndex returns 0 for an empty log.
func (s *logStore) FirstIndex() (uint64, error) { return s.log.First(), nil }

// LastIndex returns 0 for an empty log.
func (s *logStore) LastIndex() (uint64, error) { return s.log.Last(), nil }

// isEmpty reports whether there is no entry.
func (s *logStore) isEmpty() bool { return s.log.Last() == 0 }

// GetLog returns raft.ErrLogNotFound when there is no such entry.
func (s *logStore) GetLog(index uint64, l *raft.Log) error {
	if s.recent.get(index, l) {
		return nil
	}
	b, err := s.log.Read(index)
	if errors.Is(err, wal.ErrNotFound) {
		return raft.ErrLogNotFound
	}
	if err == nil {
		err = decodeEntry(index, b, l)
	}
	if err != nil {
		return fmt.Errorf("the log in %s, index %d: %w", s.dir, index, err)
	}
	return nil
}

// StoreLog stores one entry.
func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs stores entries that follow each other, all or none. A gap before
// them means that a snapshot took the place of what was there, and that Raft
// ended before it deleted the rest: that is done here.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	switch {
	case len(logs) == 0:
		return nil
	case s.founding != nil:
		for _, l := range logs {
			s.founding.First = append(s.founding.First, encodeEntry(nil, l))
		}
		return nil
	}
	var size int
	err := s.do(func() (err error) {
		first := logs[0].Index
		if last := s.log.Last(); last != 0 && last+1 < first {
			if err := s.log.Drop(first); err != nil {
				return err
			}
		}
		size, err = s.log.Append(first, len(logs), func(b []byte, i int) []byte { return encodeEntry(b, logs[i]) })
		return err
	})
	if err == nil {
		s.recent.add(logs)
		s.growth.add(size)
	}
	return err
}

// DeleteRange deletes the entries min to max, both included, which are at one
// end of the log: those that a snapshot covers, or those whose place another
// leader's take.
func (s *logStore) DeleteRange(minIndex, maxIndex uint64) error {
	return s.do(func() error {
		first, last := s.log.First(), s.log.Last()
		switch {
		case last == 0 || minIndex > last || maxIndex < first:
			return nil
		case minIndex <= first:
			after := min(maxIndex, last) + 1
			s.recent.drop(after)
			return s.log.Drop(after)
		case maxIndex >= last:
			s.recent.cut(minIndex)
			return s.log.Cut(minIndex)
		}
		return fmt.Errorf("entries %d to %d are in the middle of %d to %d", minIndex, maxIndex, first, last)
	})
}

// openLogStore opens or makes the log in dir, which must exist. Without node it
// opens whosever there is.
//
// Errors: ErrConflict (another process has dir, or it belongs to another node),
// ErrDiskFull, or a damaged file.
func openLogStore(dir string, node wire.NodeName, written func(time.Duration)) (_ *logStore, err error) {
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s := &logStore{
		dir: dir, lock: lock, kept: new(atomic.Pointer[kept]),
		write: func(write func() error) error { return write() }, written: written,
		growth: newGrowth(), full: new(atomic.Pointer[wire.Error]), stopping: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			err = errors.Join(whyNotWritten(dir, err), unlockDir(lock))
		}
	}()
	path := filepath.Join(dir, logDir)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := makeLog(dir, node); err != nil {
			return nil, err
		}
	}
	if s.log, err = wal.Open(path); err != nil {
		if errors.Is(err, wal.ErrDamaged) {
			err = damaged(dir, fmt.Errorf("%s: %w", path, err))
		}
		return nil, err
	}
	if err := s.claim(node); err != nil {
		return nil, errors.Join(err, s.log.Close())
	}
	return s, nil
}

// makeLog makes an empty log of the node's.
func makeLog(dir string, node wire.NodeName) error {
	if err := checkNew(dir); err != nil {
		return err
	}
	b, err := newKept(node).encode()
	if err != nil {
		return err
	}
	// Under another name first: what is called log is whole.
	tmp := filepath.Join(dir, logDir+tmpSuffix)
	if err := wal.Create(tmp, b); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, logDir)); err != nil {
		return err
	}
	return syncDir(dir)
}

// claim reads what is kept beside the log, and refuses another node's.
func (s *logStore) claim(node wire.NodeName) error {
	k, err := decodeKept(s.log.Kept())
	if err != nil {
		return err
	}
	s.kept.Store(k)
	if node != "" && k.Node != node {
		return wire.Errorf(wire.CodeConflict, "%s belongs to node %q, not %q: start with that node name, or give this node a data directory of its own", s.dir, k.Node, node)
	}
	return s.finishFounding()
}
