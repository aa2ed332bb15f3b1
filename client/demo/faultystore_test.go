package demo

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
)

// faultyStore keeps frames in a map and can lose, change or keep some, which
// Redis cannot be made to do.
type faultyStore struct {
	mu     sync.Mutex
	data   map[string][]byte // guarded by mu
	onGet  func(key string, value []byte) []byte
	onPut  func(n int) error // before the n-th Put is carried out
	onDecr func(n int) error // after the n-th Decrement was carried out
	puts   int               // guarded by mu
	decrs  int               // guarded by mu
	tokens map[wire.RequestID][]wire.Decremented
	seen   wire.FrameKey // guarded by mu: some frame that was written
}

var _ store = (*faultyStore)(nil)

func newFaultyStore() *faultyStore {
	return &faultyStore{data: map[string][]byte{}, tokens: map[wire.RequestID][]wire.Decremented{}}
}

func (s *faultyStore) Put(_ context.Context, pairs []frames.Pair, _ frames.PutOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.puts++
	if s.onPut != nil {
		if err := s.onPut(s.puts); err != nil {
			return err
		}
	}
	s.seen, _ = wire.ParseCountKey(pairs[0].Key)
	for _, p := range pairs {
		s.data[p.Key] = bytes.Clone(p.Value)
	}
	return nil
}

func (s *faultyStore) Get(_ context.Context, keys ...string) (*frames.Batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch := &frames.Batch{}
	for _, k := range keys {
		value := bytes.Clone(s.data[k])
		if s.onGet != nil {
			value = s.onGet(k, value)
		}
		batch.Frames = append(batch.Frames, frames.Frame{Key: k, Data: value, Missing: value == nil})
	}
	return batch, nil
}

func (s *faultyStore) Decrement(_ context.Context, token wire.RequestID, batch []wire.Decrement) ([]wire.Decremented, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	results, known := s.tokens[token]
	if !known {
		for _, d := range batch {
			results = append(results, s.decrementLocked(d))
		}
		s.tokens[token] = results
	}
	if s.decrs++; s.onDecr != nil {
		if err := s.onDecr(s.decrs); err != nil {
			return nil, err
		}
	}
	return results, nil
}

func (s *faultyStore) decrementLocked(d wire.Decrement) wire.Decremented {
	count, there := s.data[d.Key]
	if !there {
		return wire.Decremented{Key: d.Key, Missing: true}
	}
	n, _ := strconv.ParseInt(string(count), 10, 64)
	if n -= d.By; n > 0 {
		s.data[d.Key] = strconv.AppendInt(nil, n, 10)
		return wire.Decremented{Key: d.Key, Remaining: n}
	}
	frame, _ := wire.ParseCountKey(d.Key)
	delete(s.data, d.Key)
	for _, size := range d.Sizes {
		delete(s.data, frame.Data(size))
	}
	return wire.Decremented{Key: d.Key}
}

func (s *faultyStore) List(_ context.Context, source wire.SourceID, _ string, _ int) ([]wire.FrameInfo, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := map[string]*wire.FrameInfo{}
	info := func(k wire.FrameKey) *wire.FrameInfo {
		if found[k.String()] == nil {
			found[k.String()] = &wire.FrameInfo{Frame: k.String(), Count: -1, Sizes: map[string]int64{}}
		}
		return found[k.String()]
	}
	for key, value := range s.data {
		if k, ok := wire.ParseCountKey(key); ok && k.Source() == source {
			info(k).Count, _ = strconv.ParseInt(string(value), 10, 64)
		} else if k, size, ok := wire.ParseDataKey(key); ok && k.Source() == source {
			info(k).Sizes[size] = int64(len(value))
		}
	}
	var all []wire.FrameInfo
	for _, name := range slices.Sorted(maps.Keys(found)) {
		all = append(all, *found[name], *found[name]) // as a cursor may
	}
	return all, "", nil
}
