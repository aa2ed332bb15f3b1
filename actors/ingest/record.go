package ingest

import (
	"encoding/binary"
	"time"

	"github.com/framedb/framedb/actors/ingest/spool"
	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
)

// A record of a spool is one frame for one target; integers are big endian:
//
//	0   1  version, 1
//	1   1  0
//	2   2  replicas that must have it
//	4   8  epoch, and
//	12  8  place in the lane
//	20 16  token
//	36     the frame with its key, count and life, as in a stream of frames
//	       (client/ingest), in the sizes that the target gets
const (
	recordVersion = 1
	recordHead    = 36
)

// payload is the entry as a record.
func (e *entry) payload() spool.Payload {
	b := make([]byte, 0, 512)
	b = append(b, recordVersion, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(e.level.Replicas))
	b = binary.BigEndian.AppendUint64(b, e.seq.Epoch)
	b = binary.BigEndian.AppendUint64(b, e.seq.N)
	b = append(b, e.token[:]...)
	f := ingest.Frame{Key: e.key, Count: &e.count, TTL: e.ttl, Sizes: e.sizes}
	p := spool.Payload{f.Append(b)}
	for _, s := range e.sizes {
		p = append(p, s.Data)
	}
	return p
}

// parseRecord reads a record as an entry without a call. Its data lie in b.
//
// Errors: ErrMalformed, ErrInvalidArgument.
func parseRecord(b []byte, source wire.SourceID, storage bool) (*entry, error) {
	if len(b) < recordHead || b[0] != recordVersion {
		return nil, wire.Errorf(wire.CodeMalformed, "a record of %d bytes is of no version that is known", len(b))
	}
	f, err := ingest.Unmarshal(b[recordHead:])
	if err != nil {
		return nil, err
	}
	if f.Count == nil || f.Key == (wire.FrameKey{}) {
		return nil, wire.Errorf(wire.CodeMalformed, "the record's frame has no key or count")
	}
	if err := f.Check(source); err != nil {
		return nil, err
	}
	e := &entry{
		level: ingest.Level{Replicas: int(binary.BigEndian.Uint16(b[2:]))},
		seq:   frames.LaneSeq{Epoch: binary.BigEndian.Uint64(b[4:]), N: binary.BigEndian.Uint64(b[12:])},
		token: frames.FrameToken(b[20:recordHead]),
		key:   f.Key, sizes: f.Sizes, count: *f.Count, ttl: f.TTL,
	}
	e.complete(storage)
	return e, nil
}

// expired reports whether a frame that was spooled at that time has lived long
// enough, and takes the time that it waited from its life.
func (e *entry) expired(since time.Duration) bool {
	if e.ttl == 0 {
		return false
	}
	e.ttl = (e.ttl - max(since, 0)).Truncate(time.Millisecond)
	return e.ttl <= 0
}
