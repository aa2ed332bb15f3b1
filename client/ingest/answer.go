package ingest

import (
	"github.com/framedb/framedb/client/wire"
)

// Answer is what became of a batch of frames, in their order.
type Answer struct {
	Results []Result `json:"results"`
	// Failed is how many of them have an error.
	Failed int `json:"failed"`
}

// Line is one line of the answer to a stream (NDJSON): the result of the next
// frame, or, as the last line, End. Without that the answer was cut: repeat
// what has no result.
type Line struct {
	Result
	End *End `json:"end,omitempty"`
}

// End ends the answer to a stream.
type End struct {
	Frames int `json:"frames"` // that have a result
	Failed int `json:"failed"` // of those, with an error
	// Error is why the stream was not read to its end; nil when it was.
	Error *wire.Error `json:"error,omitempty"`
}
