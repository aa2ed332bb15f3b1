package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
)

const ingestPath = "/v1/ingest"

// IngestOptions say how frames are taken in.
type IngestOptions struct {
	// Level is what an acknowledgement means; the zero level is what the source
	// is configured to.
	Level ingest.Level
}

// Ingest gives frames of a source to an agent, that of this machine before
// others, and returns what became of each, in their order. It tries again, as
// long as Config.RetryFor says, what failed for a reason that passes; all tries
// of a frame have one ID, so that it is stored and counted once. A frame with
// neither key nor ID gets an ID here.
//
// One bad frame does not keep the others: its Result has the error.
//
// Errors: ErrNotFound (Field "source"), ErrInvalidArgument, ErrUnavailable,
// ErrOutcomeUnknown: what has no result then may have been stored, and may be
// repeated with the same keys or IDs.
func (c *Client) Ingest(ctx context.Context, source wire.SourceID, frames []ingest.Frame, opts IngestOptions) ([]ingest.Result, error) {
	if err := opts.Level.Validate(); err != nil {
		return nil, wire.InField("level", err)
	}
	call := newIngestCall(frames)
	for i := range call.frames {
		if err := call.frames[i].Check(source); err != nil {
			call.results[i] = ingest.Result{Error: wire.AsError(err)}
			if call.frames[i].Key != (wire.FrameKey{}) {
				call.results[i].Frame = call.frames[i].Key.String()
			}
			continue
		}
		call.todo = append(call.todo, i)
	}
	pauses := newPauses(c.cfg.RetryFor, maxPause)
	for len(call.todo) > 0 {
		r := newRequest(http.MethodPost, ingestPath).at(source).with("ack", opts.Level.String())
		r.open, r.media, r.ownIDs = call.body, wire.ContentFrames, true
		body, err := c.send(ctx, r)
		if err != nil {
			return call.results, err
		}
		again, err := call.take(body)
		if err != nil {
			return call.results, err
		}
		if call.todo = again; len(again) > 0 && !pauses.next(ctx, 1, 0) {
			break // their results say why
		}
	}
	return call.results, nil
}

// IngestStatus tells what the agent that answers has in hand of frames on their
// way in: of one source, or of all.
func (c *Client) IngestStatus(ctx context.Context, source wire.SourceID) (wire.IngestStatus, error) {
	return ask[wire.IngestStatus](ctx, c, newRequest(http.MethodGet, ingestPath).with("source", string(source)))
}

// ingestCall is one Ingest.
type ingestCall struct {
	frames  []ingest.Frame
	results []ingest.Result
	todo    []int // of the frames, those that are to be sent
}

func newIngestCall(frames []ingest.Frame) *ingestCall {
	call := &ingestCall{frames: make([]ingest.Frame, len(frames)), results: make([]ingest.Result, len(frames))}
	for i, f := range frames {
		if f.Key == (wire.FrameKey{}) && f.ID == "" {
			f.ID = NewRequestID()
		}
		call.frames[i] = f
	}
	return call
}

// body is a stream of what is to be sent, and how many bytes it has.
func (call *ingestCall) body() (io.Reader, int64) {
	var parts []io.Reader
	n := int64(0)
	add := func(b []byte) {
		parts = append(parts, bytes.NewReader(b))
		n += int64(len(b))
	}
	for _, i := range call.todo {
		f := &call.frames[i]
		add(f.Append(nil))
		for _, s := range f.Sizes {
			add(s.Data)
		}
	}
	return io.MultiReader(parts...), n
}

// take reads an answer, and returns what is to be sent again. An answer that
// was cut leaves the frames behind it for another try.
func (call *ingestCall) take(body []byte) (again []int, err error) {
	todo := call.todo
	lines := bufio.NewScanner(bytes.NewReader(body))
	lines.Buffer(nil, ingest.MaxHead+4096)
	for lines.Scan() {
		var l ingest.Line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return nil, wire.Errorf(wire.CodeInternal, "cannot read the answer to the frames: %v", err)
		}
		switch {
		case l.End != nil && l.End.Error != nil && !passes(l.End.Error):
			return nil, l.End.Error
		case l.End != nil:
		case len(todo) == 0:
			return nil, wire.Errorf(wire.CodeInternal, "the agent answered to more frames than were sent")
		default:
			i := todo[0]
			todo = todo[1:]
			if call.results[i] = l.Result; l.Error != nil && passes(l.Error) {
				again = append(again, i)
			}
		}
	}
	for _, i := range todo {
		call.results[i] = ingest.Result{Error: wire.Errorf(wire.CodeOutcomeUnknown, "the agent did not say what became of the frame: repeat it, nothing is stored twice")}
	}
	return append(again, todo...), nil
}

// passes reports whether the reason of a failure may be over soon.
func passes(err error) bool {
	return errors.Is(err, wire.ErrOverloaded) || errors.Is(err, wire.ErrUnavailable) || errors.Is(err, wire.ErrOutcomeUnknown) || errors.Is(err, wire.ErrDiskFull)
}

// sendTime is how much longer a call may take for each byte that it sends, when
// the slowest sender that agents bear with is meant.
const sendTime = time.Second / (64 << 10)
