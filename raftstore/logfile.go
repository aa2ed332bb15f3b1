package raftstore

import (
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/framedb/framedb/client/wire"
)

// raft.db is a bbolt file with three buckets:
//
//	logs    index (8 bytes big endian) → entry, see encodeEntry; without gaps
//	stable  what Raft keeps of its term and vote, under Raft's own keys;
//	        numbers as 8 bytes big endian
//	framedb format → "1"; node → the name of the node that the file belongs to;
//	        id → what names this file, made with it;
//	        cluster → where the node belongs, a record as JSON
const logFormat = "1"

var (
	bucketLogs   = []byte("logs")
	bucketStable = []byte("stable")
	bucketOwn    = []byte("framedb")
	keyFormat    = []byte("format")
	keyNode      = []byte("node")
	keyID        = []byte("id")
	keyCluster   = []byte("cluster")
)

// lockTimeout is how long to wait for another process to let go of raft.db:
// one try of bbolt's, which has the next one 50 ms later.
const lockTimeout = 50 * time.Millisecond

// openLogStore opens or makes dir/raft.db, which dir must exist for. Without
// node it opens whosever there is.
//
// Errors: ErrConflict (another process has it, or another node's name is in
// it), ErrDiskFull, or a damaged file.
func openLogStore(dir string, node wire.NodeName, written func(time.Duration)) (*logStore, error) {
	path := filepath.Join(dir, "raft.db")
	if err := inspect(path); err != nil {
		return nil, err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{
		Timeout: lockTimeout,
		// The list of free pages is rebuilt at Open instead of being written
		// at each commit.
		NoFreelistSync: true,
		FreelistType:   bolt.FreelistMapType,
		NoStatistics:   true,
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, wire.Errorf(wire.CodeConflict, "%s is in use by another agent: stop that one, or give this one a data directory of its own", path)
	case isDiskFull(err):
		return nil, diskFull(path, err)
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	s := &logStore{
		db: db, update: db.Update, written: written, growth: newGrowth(),
		full: new(atomic.Pointer[wire.Error]), stopping: make(chan struct{}), stopOnce: new(sync.Once),
	}
	if err := s.claim(node); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// claim makes the buckets and ties the file to the node.
func (s *logStore) claim(node wire.NodeName) error {
	return s.write(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{bucketLogs, bucketStable, bucketOwn} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		own := tx.Bucket(bucketOwn)
		if node == "" {
			node = wire.NodeName(own.Get(keyNode))
		}
		s.node = node
		if f := own.Get(keyFormat); f != nil && string(f) != logFormat {
			return fmt.Errorf("%s has format %q; this agent knows %q: upgrade it", s.db.Path(), f, logFormat)
		}
		if n := own.Get(keyNode); n != nil && string(n) != string(node) {
			return wire.Errorf(wire.CodeConflict, "%s belongs to node %q, not %q: start with that node name, or give this node a data directory of its own", s.db.Path(), n, node)
		}
		if err := own.Put(keyFormat, []byte(logFormat)); err != nil {
			return err
		}
		id := clone(own.Get(keyID))
		if id == nil {
			id = []byte(rand.Text())
		}
		s.id = string(id)
		return errors.Join(own.Put(keyNode, []byte(node)), own.Put(keyID, id))
	})
}
