package client

import (
	"context"
	"iter"
	"net/http"

	"github.com/framedb/framedb/client/wire"
)

const sourcesPath = "/v1/sources"

// sourcePage is how many sources are asked for at once. There may be a million
// of them; a page of this size is about 300 KB.
const sourcePage = 1000

// Source returns where a source writes to and how to reach it.
//
// Errors: ErrNotFound (it has no mapping), ErrInvalidArgument.
func (c *Client) Source(ctx context.Context, source wire.SourceID) (wire.SourceRoutes, error) {
	return ask[wire.SourceRoutes](ctx, c, newRequest(http.MethodGet, sourcesPath).at(source))
}

// Sources yields the sources whose ID begins with prefix, in order, a page at
// a time: what changes meanwhile may or may not be seen. After an error it
// yields nothing more.
func (c *Client) Sources(ctx context.Context, prefix string) iter.Seq2[wire.Source, error] {
	return func(yield func(wire.Source, error) bool) {
		after := ""
		for {
			r := newRequest(http.MethodGet, sourcesPath).
				with("prefix", prefix).with("after", after).withInt("limit", sourcePage)
			page, err := ask[[]wire.Source](ctx, c, r)
			if err != nil {
				yield(wire.Source{}, err)
				return
			}
			for _, s := range page {
				if !yield(s, nil) {
					return
				}
				after = string(s.Source)
			}
			if len(page) < sourcePage {
				return
			}
		}
	}
}

// CreateMapping makes a source write to a cluster on a node tag: the one that
// is named, else the one with the fewest sources.
//
// Errors: ErrAlreadyExists (the source has a mapping on the tag), ErrNoCluster
// (no cluster on the tag), ErrNotFound (no such cluster), ErrInvalidArgument
// with the field named, ErrOutcomeUnknown.
func (c *Client) CreateMapping(ctx context.Context, source wire.SourceID, m wire.CreateMapping) (wire.Mapping, error) {
	r := newRequest(http.MethodPost, sourcesPath).at(source).sub("mappings").json(m)
	return ask[wire.Mapping](ctx, c, r)
}

// UpdateMapping moves a source on one node tag to another cluster, or replaces
// the mapping's metadata.
//
// Errors: ErrNotFound (no such mapping or cluster), ErrConflict (the cluster
// is on another tag or is being removed), ErrInvalidArgument with the field
// named, ErrOutcomeUnknown.
func (c *Client) UpdateMapping(ctx context.Context, source wire.SourceID, tag wire.NodeTag, m wire.UpdateMapping) (wire.Mapping, error) {
	r := newRequest(http.MethodPatch, sourcesPath).at(source).sub("mappings").at(tag).json(m)
	return ask[wire.Mapping](ctx, c, r)
}

// RemoveMapping ends a source's writing on a node tag and returns the mapping
// that was. Frames that were written stay.
//
// Errors: ErrNotFound, ErrInvalidArgument, ErrOutcomeUnknown.
func (c *Client) RemoveMapping(ctx context.Context, source wire.SourceID, tag wire.NodeTag) (wire.Mapping, error) {
	r := newRequest(http.MethodDelete, sourcesPath).at(source).sub("mappings").at(tag)
	return ask[wire.Mapping](ctx, c, r)
}
