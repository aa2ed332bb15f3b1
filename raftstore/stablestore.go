package raftstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// diskFullRetry is how long to wait before a term is stored again.
const diskFullRetry = 250 * time.Millisecond

// Set stores a stable value.
func (s *logStore) Set(key, value []byte) error {
	return s.keep(func(k *kept) { k.set(string(key), value) })
}

// Get returns nil for a key that is not there.
func (s *logStore) Get(key []byte) ([]byte, error) {
	return clone(s.kept.Load().Stable[string(key)]), nil
}

// SetUint64 stores a term. Raft panics when it cannot, which would end the
// agent with all its reads; so while the disk is full this waits for space
// and takes Raft out of play meanwhile. After stop it drops the term: votes
// and entries are refused from then on, so that nothing is ever done in a term
// that was not stored.
func (s *logStore) SetUint64(key []byte, value uint64) error {
	for {
		err := s.Set(key, binary.BigEndian.AppendUint64(nil, value))
		if errors.Is(err, errStopping) {
			return nil
		}
		if !errors.Is(err, wire.ErrDiskFull) {
			return err
		}
		select {
		case <-s.stopping:
		case <-time.After(diskFullRetry):
		}
	}
}

// GetUint64 returns 0 for a key that is not there.
func (s *logStore) GetUint64(key []byte) (uint64, error) {
	b, err := s.Get(key)
	if err != nil || b == nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("%s: value of %q has %d bytes, not 8", s.dir, key, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}
