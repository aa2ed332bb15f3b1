package client

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/framedb/framedb/client/wire"
)

// This file goes through an agent for frames, which costs a copy and a hop.
// It is for where Redis cannot be reached directly; use FrameDB where it can.

const framesPath = "/v1/frames"

// ListFrames returns frames of a source, at most about limit (1..MaxPage), and
// the cursor to go on with, empty at the end. An empty tag takes the source's
// first mapping.
//
// Errors: ErrNotFound (no such mapping), ErrUnavailable (Redis does not
// answer), ErrInvalidArgument.
func (c *Client) ListFrames(ctx context.Context, source wire.SourceID, tag wire.NodeTag, cursor string, limit int) (wire.FramePage, error) {
	r := newRequest(http.MethodGet, framesPath).at(source).
		with("node_tag", string(tag)).with("cursor", cursor).withInt("limit", int64(limit))
	return ask[wire.FramePage](ctx, c, r)
}

// ReadFrame returns the bytes of one data key.
//
// Errors: ErrNotFound (no such mapping or key), ErrUnavailable (Redis does not
// answer), ErrInvalidArgument.
func (c *Client) ReadFrame(ctx context.Context, source wire.SourceID, tag wire.NodeTag, key string) ([]byte, error) {
	r := newRequest(http.MethodGet, framesPath).at(source).key(key).with("node_tag", string(tag))
	return c.send(ctx, r)
}

// WriteFrame stores one size of a frame and its count in one step. It is not
// repeated after a try that may have been carried out: that might bring back a
// frame which its readers have counted down meanwhile.
//
// Errors: ErrNotFound (no such mapping), ErrUnavailable (not stored),
// ErrOutcomeUnknown, ErrTooLarge, ErrOverloaded (maxmemory is reached).
func (c *Client) WriteFrame(ctx context.Context, frame wire.FrameKey, size string, tag wire.NodeTag, count int64, data []byte) (wire.PutFrame, error) {
	r := newRequest(http.MethodPut, framesPath).at(frame.Source()).key(frame.String()).key(size).
		with("node_tag", string(tag)).withInt("count", count).raw(data)
	r.once = true
	return ask[wire.PutFrame](ctx, c, r)
}

// DecrementFrames drops uses of a source's frames in one atomic step. Repeat
// it WithRequestID to make sure of it after ErrOutcomeUnknown.
//
// Errors: ErrNotFound (no such mapping), ErrUnavailable (not applied),
// ErrOutcomeUnknown, ErrInvalidArgument with the field named.
func (c *Client) DecrementFrames(ctx context.Context, source wire.SourceID, d wire.DecrementFrames) ([]wire.Decremented, error) {
	return c.decrement(ctx, newRequest(http.MethodPost, framesPath).at(source).sub("decr").text(d.AppendJSON(nil)))
}

// decrement asks what is answered with wire.DecrementResults.
func (c *Client) decrement(ctx context.Context, r request) ([]wire.Decremented, error) {
	body, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	res, plain := wire.ReadDecrementResults(body)
	if !plain {
		if err := json.Unmarshal(body, &res); err != nil {
			return nil, wire.Errorf(wire.CodeInternal, "cannot read the answer to %s %s: %v", r.method, r.path, err)
		}
	}
	return res.Results, nil
}

// RetainFrames adds uses to frames of a source in one atomic step, for a
// consumer that came late: only to counts above zero. Repeat it WithRequestID
// to make sure of it after ErrOutcomeUnknown.
//
// Errors: those of DecrementFrames, ErrOverloaded (maxmemory is reached).
func (c *Client) RetainFrames(ctx context.Context, source wire.SourceID, in wire.RetainFrames) ([]wire.Used, error) {
	res, err := ask[wire.UseResults](ctx, c, newRequest(http.MethodPost, framesPath).at(source).sub("retain").json(in))
	return res.Results, err
}

// key appends a Redis key or a part of one, which follows no name's rule.
func (r request) key(key string) request {
	if key == "" || strings.Trim(key, ".") == "" {
		return r.fail(wire.InField("key", wire.Errorf(wire.CodeInvalidArgument, "%q is no key of a frame", key)))
	}
	return r.sub(key)
}
