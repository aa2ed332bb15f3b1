package cli

import (
	"context"
	"errors"
	"os"
	"strconv"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
)

// frameStore is where a source's frames are, on one node tag.
type frameStore interface {
	// put stores one frame in some sizes, with its count, all or none.
	put(ctx context.Context, frame wire.FrameKey, images []picture, count int64) error
	// get returns ErrNotFound for a key that is not there.
	get(ctx context.Context, key string) ([]byte, error)
	decrement(ctx context.Context, batch []wire.Decrement) ([]wire.Decremented, error)
	list(ctx context.Context, cursor string, limit int) ([]wire.FrameInfo, string, error)
	// remove drops one key and reports whether it was there.
	remove(ctx context.Context, key string) (found bool, err error)
}

// picture is a frame in one size.
type picture struct {
	size string
	data []byte
}

// openFrames goes to Redis directly where it may: with the password of the
// environment, or with the one that the agent of this machine gives. Else the
// agent is asked to stand in between. Call the returned function at the end.
func (s *session) openFrames(ctx context.Context, m wire.Mapping) (frameStore, func(), error) {
	cfg := s.config()
	cfg.NodeTags = []wire.NodeTag{m.NodeTag}
	if os.Getenv(client.EnvPasswordFile) == "" {
		password, err := s.client.Credentials(ctx)
		if errors.Is(err, wire.ErrForbidden) {
			return &routedFrames{s.client, m}, func() {}, nil
		}
		if err != nil {
			return nil, nil, err
		}
		cfg.Password = password
	}
	db, err := client.Open(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	cluster, _, err := db.Cluster(ctx, m.Source)
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return &directFrames{cluster, m.Source}, func() { db.Close() }, nil
}

// directFrames is the data path.
type directFrames struct {
	cluster *frames.Cluster
	source  wire.SourceID
}

var _ frameStore = (*directFrames)(nil)

func (d *directFrames) put(ctx context.Context, frame wire.FrameKey, images []picture, count int64) error {
	pairs := []frames.Pair{{Key: frame.Count(), Value: strconv.AppendInt(nil, count, 10)}}
	for _, i := range images {
		pairs = append(pairs, frames.Pair{Key: frame.Data(i.size), Value: i.data})
	}
	return d.cluster.Put(ctx, pairs, frames.PutOptions{})
}

func (d *directFrames) get(ctx context.Context, key string) ([]byte, error) {
	batch, err := d.cluster.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	if batch.Frames[0].Missing {
		return nil, wire.Errorf(wire.CodeNotFound, "there is no key %s", key)
	}
	return batch.Frames[0].Data, nil // not released: the caller keeps it
}

func (d *directFrames) decrement(ctx context.Context, batch []wire.Decrement) ([]wire.Decremented, error) {
	return d.cluster.Decrement(ctx, client.NewRequestID(), batch)
}

func (d *directFrames) list(ctx context.Context, cursor string, limit int) ([]wire.FrameInfo, string, error) {
	return d.cluster.List(ctx, d.source, cursor, limit)
}

func (d *directFrames) remove(ctx context.Context, key string) (bool, error) {
	redis, err := d.cluster.Redis(ctx)
	if err != nil {
		return false, err
	}
	n, err := redis.Unlink(ctx, key).Result()
	if err != nil {
		return false, wire.Errorf(wire.CodeUnavailable, "dropping %s: %v", key, err)
	}
	return n == 1, nil
}

// routedFrames goes through the agent.
type routedFrames struct {
	client  *client.Client
	mapping wire.Mapping
}

var _ frameStore = (*routedFrames)(nil)

func (r *routedFrames) put(ctx context.Context, frame wire.FrameKey, images []picture, count int64) error {
	if len(images) != 1 {
		return wire.Errorf(wire.CodeInvalidArgument, "several sizes are stored in one step only by direct access to Redis: run this on a node, or set %s", client.EnvPasswordFile)
	}
	_, err := r.client.WriteFrame(ctx, frame, images[0].size, r.mapping.NodeTag, count, images[0].data)
	return err
}

func (r *routedFrames) get(ctx context.Context, key string) ([]byte, error) {
	return r.client.ReadFrame(ctx, r.mapping.Source, r.mapping.NodeTag, key)
}

func (r *routedFrames) decrement(ctx context.Context, batch []wire.Decrement) ([]wire.Decremented, error) {
	return r.client.DecrementFrames(ctx, r.mapping.Source, wire.DecrementFrames{NodeTag: r.mapping.NodeTag, Decrements: batch})
}

func (r *routedFrames) list(ctx context.Context, cursor string, limit int) ([]wire.FrameInfo, string, error) {
	page, err := r.client.ListFrames(ctx, r.mapping.Source, r.mapping.NodeTag, cursor, limit)
	return page.Frames, page.Next, err
}

func (r *routedFrames) remove(context.Context, string) (bool, error) {
	return false, wire.Errorf(wire.CodeForbidden, "keys are dropped only by direct access to Redis: run this on a node, or set %s", client.EnvPasswordFile)
}
