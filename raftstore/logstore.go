package raftstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	bolt "go.etcd.io/bbolt"

	"github.com/framedb/framedb/client/wire"
)

// errStopping answers writes after stop.
var errStopping = errors.New("the Raft log is closing")

// logStore is Raft's LogStore and StableStore on one bbolt file. Every write
// is on disk (fsync) when it returns.
type logStore struct {
	id   string // what names the file
	node wire.NodeName
	db   *bolt.DB
	// update runs one write transaction: db.Update, but in tests that inject
	// faults and in atomically.
	update func(func(*bolt.Tx) error) error
	// written is told how long each write took, fsync included.
	written func(time.Duration)

	growth   *growth
	full     *atomic.Pointer[wire.Error] // why the last write found no space
	stopping chan struct{}
	stopOnce *sync.Once
}

var (
	_ raft.LogStore          = (*logStore)(nil)
	_ raft.StableStore       = (*logStore)(nil)
	_ raft.MonotonicLogStore = (*logStore)(nil)
)

// write runs one transaction and remembers whether there was space for it.
func (s *logStore) write(fn func(*bolt.Tx) error) error {
	select {
	case <-s.stopping:
		return errStopping
	default:
	}
	start := time.Now()
	err := whyNotWritten(s.db, s.update(fn))
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

// atomically runs f on a store all of whose writes are one transaction.
func (s *logStore) atomically(f func(*logStore) error) error {
	return s.write(func(tx *bolt.Tx) error {
		within := *s
		within.update = func(fn func(*bolt.Tx) error) error { return fn(tx) }
		within.written = func(time.Duration) {}
		return f(&within)
	})
}

// stop makes the store refuse all writes from now on, so that a Raft which
// waits for disk space can end. See SetUint64 about terms.
func (s *logStore) stop() { s.stopOnce.Do(func() { close(s.stopping) }) }

func (s *logStore) close() error { return s.db.Close() }

// IsMonotonic has Raft delete the log when a snapshot takes its place.
func (s *logStore) IsMonotonic() bool { return true }

// FirstIndex returns 0 for an empty log.
func (s *logStore) FirstIndex() (uint64, error) { return s.edge((*bolt.Cursor).First) }

// isEmpty reports whether there is no entry; not when that cannot be read.
func (s *logStore) isEmpty() bool {
	last, err := s.LastIndex()
	return err == nil && last == 0
}

// LastIndex returns 0 for an empty log.
func (s *logStore) LastIndex() (uint64, error) { return s.edge((*bolt.Cursor).Last) }

func (s *logStore) edge(seek func(*bolt.Cursor) (key, value []byte)) (index uint64, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		index = keyIndex(seek(tx.Bucket(bucketLogs).Cursor()))
		return nil
	})
	return index, err
}

// keyIndex is the index of a cursor's entry, 0 for none.
func keyIndex(key, _ []byte) uint64 {
	if key == nil {
		return 0
	}
	return binary.BigEndian.Uint64(key)
}

// GetLog returns raft.ErrLogNotFound when there is no such entry.
func (s *logStore) GetLog(index uint64, l *raft.Log) error {
	return s.db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketLogs).Get(indexKey(index))
		if b == nil {
			return raft.ErrLogNotFound
		}
		if err := decodeEntry(index, b, l); err != nil {
			return fmt.Errorf("%s, index %d: %w", s.db.Path(), index, err)
		}
		return nil
	})
}

// StoreLog stores one entry.
func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs stores entries that follow each other, all or none. A gap before
// them means that a snapshot took the place of what was there, and that Raft
// ended before it deleted the rest: that is done here.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	grown := 0
	err := s.write(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketLogs)
		b.FillPercent = 0.95 // indexes only grow: leave no room for others between
		if last := keyIndex(b.Cursor().Last()); last != 0 && last+1 < logs[0].Index {
			if err := deleteRange(b, keyIndex(b.Cursor().First()), last); err != nil {
				return err
			}
		}
		for _, l := range logs {
			entry := encodeEntry(l)
			if err := b.Put(indexKey(l.Index), entry); err != nil {
				return err
			}
			grown += len(entry)
		}
		return nil
	})
	if err == nil {
		s.growth.add(grown)
	}
	return err
}

// deletePiece is how many entries one transaction deletes behind a snapshot, so
// that new ones get their turn in between.
const deletePiece = 4096

// DeleteRange deletes the entries min to max, both included. The old end of the
// log goes in pieces, oldest first, so that what is left after a kill has no
// gap; the new end, which another leader's takes the place of, at once.
func (s *logStore) DeleteRange(minIndex, maxIndex uint64) error {
	for more := true; more; {
		err := s.write(func(tx *bolt.Tx) error {
			b := tx.Bucket(bucketLogs)
			first, last := keyIndex(b.Cursor().First()), keyIndex(b.Cursor().Last())
			upTo := min(maxIndex, last)
			more = minIndex <= first && upTo < last && upTo-first >= deletePiece
			if more {
				upTo = first + deletePiece - 1
			}
			return deleteRange(b, max(minIndex, first), upTo)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// deleteRange deletes entries that are there, all of them: the log has no gaps.
// It goes by key: a cursor walks over the pages that it has emptied again and
// again.
func deleteRange(b *bolt.Bucket, first, last uint64) error {
	for i := first; i <= last && i != 0; i++ {
		if err := b.Delete(indexKey(i)); err != nil {
			return err
		}
	}
	return nil
}
