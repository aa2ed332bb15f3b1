package demo

import (
	"context"
	"slices"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/wire"
)

// page is how many frames are listed or removed in one step.
const page = 1000

// leftOver counts the keys of this run that are still there.
func (j *job) leftOver(ctx context.Context) (keys int, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpWait)
	defer cancel()
	err = j.frames(ctx, func(_ wire.FrameKey, f *wire.FrameInfo) {
		if keys += len(f.Sizes); f.Count >= 0 {
			keys++
		}
	})
	return keys, err
}

// removeFrames takes away what a run that went wrong left, as far as a count
// is there to be dropped.
func (j *job) removeFrames(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpWait)
	defer cancel()
	var batch []wire.Decrement
	err := j.frames(ctx, func(key wire.FrameKey, _ *wire.FrameInfo) {
		batch = append(batch, wire.Decrement{Key: key.Count(), By: wire.MaxDecrementBy, Sizes: j.material.sizes()})
	})
	if err != nil {
		return err
	}
	to, err := j.paths[0](ctx)
	if err != nil {
		return err
	}
	for some := range slices.Chunk(batch, page) {
		if _, err := to.Decrement(ctx, client.NewRequestID(), some); err != nil {
			return err
		}
	}
	return nil
}

// frames calls f once for each frame of this run that is there; a cursor may
// bring one twice.
func (j *job) frames(ctx context.Context, f func(wire.FrameKey, *wire.FrameInfo)) error {
	from, err := j.paths[0](ctx)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for cursor := ""; ; {
		found, next, err := from.List(ctx, j.Source, cursor, page)
		if err != nil {
			return err
		}
		for _, info := range found {
			k, ok := wire.ParseFrame(info.Frame)
			if ok && k.Prefix == j.prefix.Prefix && !seen[info.Frame] {
				seen[info.Frame] = true
				f(k, &info)
			}
		}
		if cursor = next; cursor == "" {
			return nil
		}
	}
}
