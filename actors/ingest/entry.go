package ingest

import (
	"strconv"
	"time"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
)

// entry is one frame on its way to one target.
type entry struct {
	call  *call
	frame int // of the call
	level ingest.Level
	at    time.Time
	seq   frames.LaneSeq
	key   wire.FrameKey
	token frames.FrameToken
	sizes []ingest.Size
	count int64
	ttl   time.Duration
	pairs []frames.Pair
	bytes int64

	held  int  // guarded by lane.mu: holds of the call's item
	tried bool // guarded by lane.mu: a write may have succeeded
	over  bool // guarded by lane.mu: it is written, spooled or failed
}

// complete makes the pairs.
func (e *entry) complete(storage bool) {
	if !storage {
		e.pairs = append(e.pairs, frames.Pair{Key: e.key.Count(), Value: strconv.AppendInt(nil, e.count, 10)})
	}
	for _, s := range e.sizes {
		e.pairs = append(e.pairs, frames.Pair{Key: e.key.Data(s.Name), Value: s.Data})
		e.bytes += int64(len(s.Data))
	}
}

func (e *entry) laneFrame() frames.LaneFrame {
	return frames.LaneFrame{Seq: e.seq, Frame: e.key.String(), Token: e.token, Pairs: e.pairs, TTL: e.ttl}
}

// acked reports whether the producer was told that it is taken: then it must
// not fail.
func (e *entry) acked() bool { return e.level.Promise == ingest.Received }
