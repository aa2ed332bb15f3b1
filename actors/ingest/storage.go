package ingest

import (
	"bytes"
	"context"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// Storage stores frames as objects of a FrameDB on disk, one for each size,
// under the key that it would have in memory: P__n__<WxH>. There are no counts.
type Storage struct{ store *objects.Store }

var _ Destination = (*Storage)(nil)

// NewStorage makes the destination.
func NewStorage(s *objects.Store) *Storage { return &Storage{s} }

// Store implements Destination. Each object is whole in one commit; the sizes
// of a frame become visible one after the other, in their order. A frame that
// is there with the same bytes is a duplicate; there is no memory of those that
// were deleted meanwhile.
func (s *Storage) Store(ctx context.Context, lane frames.Lane, _ frames.PutOptions) ([]frames.Stored, error) {
	stored := make([]frames.Stored, len(lane.Frames))
	for i, f := range lane.Frames {
		stored[i] = frames.Stored{Frame: f.Frame, Duplicate: true}
		for _, p := range f.Pairs {
			fresh, err := s.put(ctx, objects.Key(p.Key), p.Value, objects.PutOptions{TTL: f.TTL})
			if err != nil {
				return stored, err
			}
			if fresh {
				stored[i].Duplicate = false
			}
		}
	}
	return stored, nil
}

// put stores an object unless it is there with the same bytes.
func (s *Storage) put(ctx context.Context, key objects.Key, data []byte, opts objects.PutOptions) (fresh bool, err error) {
	size, sum := int64(len(data)), objects.SumOf(data)
	opts.Size, opts.Checksum = &size, &sum
	opts.IfAbsent = true
	_, err = s.store.Put(ctx, key, bytes.NewReader(data), opts)
	if wire.CodeOf(err) != wire.CodePrecondition {
		return err == nil, err
	}
	info, err := s.store.Stat(ctx, key)
	if err == nil && info.Sum == sum {
		return false, nil
	}
	opts.IfAbsent = false
	_, err = s.store.Put(ctx, key, bytes.NewReader(data), opts)
	return err == nil, err
}

// checkObjects reports whether the pairs have keys that objects may have.
func checkObjects(pairs []frames.Pair) error {
	for _, p := range pairs {
		if err := objects.Key(p.Key).Validate(); err != nil {
			return wire.InField("frame", err)
		}
	}
	return nil
}
