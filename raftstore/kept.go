package raftstore

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/framedb/framedb/client/wire"
)

// keptFormat is the format of kept and of all that is in Dir.
const keptFormat = 1

// kept is what a node has to remember beside its log's entries, and is kept with
// them, as JSON. It never changes: there is another one then.
type kept struct {
	Format int           `json:"format"` // keptFormat
	Node   wire.NodeName `json:"node"`
	// ID names Dir: it is made with it.
	ID string `json:"id"`
	// Belongs says which cluster the node belongs to.
	Belongs record `json:"belongs"`
	// Stable is what Raft keeps of its term and vote, under its own keys; numbers
	// are 8 bytes big endian.
	Stable map[string][]byte `json:"stable,omitempty"`
	// First are the first entries of a cluster of one, encoded, until they are
	// in the log.
	First [][]byte `json:"first,omitempty"`
}

func newKept(node wire.NodeName) *kept { return &kept{Format: keptFormat, Node: node, ID: rand.Text()} }

func (k *kept) clone() *kept {
	next := *k
	next.Stable = maps.Clone(k.Stable)
	next.First = slices.Clip(k.First)
	return &next
}

func (k *kept) set(key string, value []byte) {
	if k.Stable == nil {
		k.Stable = map[string][]byte{}
	}
	k.Stable[key] = clone(value)
}

// encode is decodeKept's.
func (k *kept) encode() ([]byte, error) { return json.Marshal(k) }

func decodeKept(b []byte) (*kept, error) {
	k := new(kept)
	if err := json.Unmarshal(b, k); err != nil {
		return nil, fmt.Errorf("what is kept beside the log: %w", err)
	}
	if k.Format != keptFormat {
		return nil, fmt.Errorf("the log has format %d; this agent knows %d: upgrade it", k.Format, keptFormat)
	}
	return k, nil
}

// keep changes what is kept.
func (s *logStore) keep(change func(*kept)) error {
	if s.founding != nil {
		change(s.founding)
		return nil
	}
	s.keeping.Lock()
	defer s.keeping.Unlock()
	next := s.kept.Load().clone()
	change(next)
	b, err := next.encode()
	if err != nil {
		return err
	}
	if err := s.do(func() error { return s.log.Keep(b) }); err != nil {
		return err
	}
	s.kept.Store(next)
	return nil
}

// atomically has all that f writes be on disk, or nothing.
func (s *logStore) atomically(f func(*logStore) error) error {
	next := s.kept.Load().clone()
	s.founding = next
	err := f(s)
	s.founding = nil
	if err != nil {
		return err
	}
	if err := s.keep(func(k *kept) { *k = *next }); err != nil {
		return err
	}
	return s.finishFounding()
}

// finishFounding puts the first entries into the log, if they are not.
func (s *logStore) finishFounding() error {
	first := s.kept.Load().First
	if len(first) == 0 {
		return nil
	}
	err := s.do(func() error {
		if !s.isEmpty() {
			return nil
		}
		_, err := s.log.Append(1, len(first), func(b []byte, i int) []byte { return append(b, first[i]...) })
		return err
	})
	if err != nil {
		return err
	}
	return s.keep(func(k *kept) { k.First = nil })
}

// record reads what putRecord wrote; nothing at first.
func (s *logStore) record() record { return s.kept.Load().Belongs }

func (s *logStore) putRecord(r record) error { return s.keep(func(k *kept) { k.Belongs = r }) }

// forgetVotes drops term and vote. Only a founder does, before anything of its
// cluster is there: Raft founds nothing on a node that has a term, which this
// one may have of a founding that is over.
func (s *logStore) forgetVotes() error { return s.keep(func(k *kept) { k.Stable = nil }) }
