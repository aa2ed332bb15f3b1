package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
)

// OutputSerializer turns outputs into what is stored. It must not change the
// map that it is given.
type OutputSerializer func(outputs map[string][]byte) (map[string][]byte, error)

// SetOutputSerializer sets what PushSync does to outputs before it stores them;
// nil stores them as they are.
func (db *FrameDB) SetOutputSerializer(f OutputSerializer) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.serializer = f
}

// PushSync stores outputs, by key, where the source writes to on this node: all
// of them or none. Counts are the caller's to write; see PutFrame.
//
// Errors: the serializer's, with nothing stored; else as
// [frames.Cluster.Put].
func (db *FrameDB) PushSync(ctx context.Context, source wire.SourceID, outputs map[string][]byte) error {
	if err := db.live(); err != nil {
		return err
	}
	db.mu.Lock()
	serialize := db.serializer
	db.mu.Unlock()
	if serialize != nil {
		var err error
		if outputs, err = serialize(outputs); err != nil {
			return err
		}
	}
	pairs := make([]frames.Pair, 0, len(outputs))
	for _, key := range slices.Sorted(maps.Keys(outputs)) {
		pairs = append(pairs, frames.Pair{Key: key, Value: outputs[key]})
	}
	return db.following(ctx, source, func(ts targets) error {
		t := ts.best(db.tags)
		return onTarget(t, t.cluster.Put(ctx, pairs, frames.PutOptions{}))
	})
}

// frameMetadata is what writers read from a mapping's metadata.
type frameMetadata struct {
	Sizes    []string `json:"sizes"`
	RefCount *int64   `json:"ref_count"`
}

func metadataOf(t target) (frameMetadata, error) {
	var m frameMetadata
	if err := readMetadata(t, &m); err != nil {
		return m, err
	}
	if m.RefCount != nil && *m.RefCount < 0 {
		return m, useless(t, fmt.Errorf("ref_count: %d is negative", *m.RefCount))
	}
	return m, checkSizes(t, m.Sizes)
}

// sizesOf reads no more of the metadata than who counts down needs.
func sizesOf(t target) ([]string, error) {
	var m struct {
		Sizes []string `json:"sizes"`
	}
	if err := readMetadata(t, &m); err != nil {
		return nil, err
	}
	return m.Sizes, checkSizes(t, m.Sizes)
}

func readMetadata(t target, into any) error {
	if len(t.Metadata) == 0 {
		return nil
	}
	return useless(t, json.Unmarshal(t.Metadata, into))
}

func checkSizes(t target, sizes []string) error {
	if err := frames.CheckSizes(sizes...); err != nil {
		return useless(t, fmt.Errorf("sizes: %w", err))
	}
	return nil
}

// useless is the one error of metadata that do not say what they should.
func useless(t target, err error) error {
	if err == nil {
		return nil
	}
	return wire.InField("metadata", wire.Errorf(wire.CodeConflict, "that of node tag %q is not as writers need it: %v", t.NodeTag, err))
}

// PutFrame stores one frame, given by its sizes, on every node tag that its
// source writes to: on each in one step, in the sizes and with the count that
// the tag's metadata ask for ("sizes", default all that are given; "ref_count",
// default 1). A tag with ref_count 0 has no reader and gets nothing.
//
// It returns the mappings of the tags that have the frame now. When only some
// failed, the error tells which, and errors.Is finds each one's code.
//
// Errors: ErrInvalidArgument (a size is not allowed, see [frames.CheckSizes], or
// one that the metadata ask for is not given; nothing was stored), ErrConflict
// (the metadata are of no use; nothing was stored); else as
// [frames.Cluster.Put] for each tag.
func (db *FrameDB) PutFrame(ctx context.Context, frame wire.FrameKey, sizes map[string][]byte, opts frames.PutOptions) ([]wire.Mapping, error) {
	if err := db.live(); err != nil {
		return nil, err
	}
	if err := frames.CheckSizes(slices.Collect(maps.Keys(sizes))...); err != nil {
		return nil, wire.InField("sizes", err)
	}
	put := &framePut{frame: frame, sizes: sizes, opts: opts, failed: map[wire.NodeTag]error{}}
	err := db.following(ctx, frame.Source(), func(ts targets) error { return put.run(ctx, ts) })
	return put.done, errors.Join(append(slices.Collect(maps.Values(put.failed)), err)...)
}

// framePut is one PutFrame, over as many attempts as its source moves.
type framePut struct {
	frame  wire.FrameKey
	sizes  map[string][]byte
	opts   frames.PutOptions
	done   []wire.Mapping
	failed map[wire.NodeTag]error // for good: they are not tried again
}

// run puts the frame on each tag that neither has it nor failed for good, and
// returns the error of one that has no master now.
func (p *framePut) run(ctx context.Context, ts targets) error {
	todo := make([][]frames.Pair, len(ts))
	for i, t := range ts {
		var err error
		if todo[i], err = framePairs(t, p.frame, p.sizes); err != nil {
			return err
		}
	}
	var again error
	for i, t := range ts {
		if p.settled(t.NodeTag) || len(todo[i]) == 0 {
			continue
		}
		switch err := t.cluster.Put(ctx, todo[i], p.opts); {
		case err == nil:
			p.done = append(p.done, t.Mapping)
		case unreachable(err):
			again = onTarget(t, err)
		default:
			p.failed[t.NodeTag] = onTarget(t, err)
		}
	}
	return again
}

func (p *framePut) settled(tag wire.NodeTag) bool {
	_, failed := p.failed[tag]
	return failed || slices.ContainsFunc(p.done, func(m wire.Mapping) bool { return m.NodeTag == tag })
}

// framePairs is what one node tag gets; nothing when it has no reader.
func framePairs(t target, frame wire.FrameKey, sizes map[string][]byte) ([]frames.Pair, error) {
	meta, err := metadataOf(t)
	if err != nil {
		return nil, err
	}
	count := int64(1)
	if meta.RefCount != nil {
		count = *meta.RefCount
	}
	if count == 0 {
		return nil, nil
	}
	wanted := meta.Sizes
	if len(wanted) == 0 {
		wanted = slices.Sorted(maps.Keys(sizes))
	}
	pairs := []frames.Pair{{Key: frame.Count(), Value: strconv.AppendInt(nil, count, 10)}}
	for _, size := range wanted {
		data, given := sizes[size]
		if !given {
			return nil, wire.InField("sizes", wire.Errorf(wire.CodeInvalidArgument, "node tag %q wants %q, which is not given", t.NodeTag, size))
		}
		pairs = append(pairs, frames.Pair{Key: frame.Data(size), Value: data})
	}
	return pairs, nil
}
