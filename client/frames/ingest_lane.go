package frames

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"
)

// FrameToken names a frame and its bytes, so that it is stored once.
type FrameToken [16]byte

func (t FrameToken) key() string {
	return FrameTokenPrefix + base64.RawURLEncoding.EncodeToString(t[:])
}

// LaneSeq is a place in the order of a lane: epochs first. Each frame of a lane
// has a greater one than those before it; a place is never used for another.
type LaneSeq struct{ Epoch, N uint64 }

// After reports whether s comes after o.
func (s LaneSeq) After(o LaneSeq) bool {
	return s.Epoch > o.Epoch || s.Epoch == o.Epoch && s.N > o.N
}

func (s LaneSeq) String() string {
	return strconv.FormatUint(s.Epoch, 10) + "." + strconv.FormatUint(s.N, 10)
}

// parseLaneSeq reads what String gives; anything else is the zero place.
func parseLaneSeq(text string) LaneSeq {
	a, b, _ := strings.Cut(text, ".")
	epoch, err := strconv.ParseUint(a, 10, 64)
	n, err2 := strconv.ParseUint(b, 10, 64)
	if err != nil || err2 != nil {
		return LaneSeq{}
	}
	return LaneSeq{epoch, n}
}

// Lane is frames that one writer stores in order. A lane has one writer, which
// waits for one StoreOnce before the next.
type Lane struct {
	ID     string // of the writer; at most 200 bytes
	Frames []LaneFrame
}

// LaneFrame is one frame of a lane.
type LaneFrame struct {
	Seq   LaneSeq
	Frame string // P__n
	Token FrameToken
	// Pairs are the data and the count; they appear in one step.
	Pairs []Pair
	TTL   time.Duration // 0 is for ever
}

// Stored is what became of a LaneFrame.
type Stored struct {
	// Frame is the key that it was stored under; of a duplicate, the first one's.
	Frame     string
	Duplicate bool
}
