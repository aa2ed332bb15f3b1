package wire

import (
	"strconv"
	"strings"
)

// The key protocol of frames, as existing writers and readers use it. With
// P = <source>?<update counter>?<restart counter> and frame number n:
//
//	P__n__<WxH>   the data of one size
//	ref__P__n     the count of uses that are left
const (
	keySeparator = "__"
	countPrefix  = "ref" + keySeparator
)

// ObjectPrefix, before the key of an object in memory, is the Redis key of what
// is known of it. An object may have any key, also one of the form above: what
// sweeps frames passes over those of which there is this.
const ObjectPrefix = "framedb:object:"

// FrameKey names one frame of a source.
type FrameKey struct {
	// Prefix is P: the source and its two counters.
	Prefix string
	Number uint64
}

// NewFrameKey builds the key of frame n of a source.
func NewFrameKey(source SourceID, updates, restarts, n uint64) FrameKey {
	return FrameKey{
		Prefix: string(source) + "?" + strconv.FormatUint(updates, 10) + "?" + strconv.FormatUint(restarts, 10),
		Number: n,
	}
}

func (k FrameKey) String() string { return k.Prefix + keySeparator + strconv.FormatUint(k.Number, 10) }

// Source is the source that the frame belongs to.
func (k FrameKey) Source() SourceID {
	s, _, _ := strings.Cut(k.Prefix, "?")
	return SourceID(s)
}

// Count is the Redis key of the frame's count.
func (k FrameKey) Count() string { return countPrefix + k.String() }

// Data is the Redis key of the frame in one size, "<W>x<H>".
func (k FrameKey) Data(size string) string { return k.String() + keySeparator + size }

// ParseCountKey takes ref__P__n apart; ok is false for any other key.
func ParseCountKey(key string) (FrameKey, bool) {
	rest, found := strings.CutPrefix(key, countPrefix)
	if !found {
		return FrameKey{}, false
	}
	return parseFrameKey(rest)
}

// ParseDataKey takes P__n__<size> apart; ok is false for any other key.
func ParseDataKey(key string) (k FrameKey, size string, ok bool) {
	head, size, found := cutLast(key, keySeparator)
	if !found || size == "" {
		return FrameKey{}, "", false
	}
	k, ok = parseFrameKey(head)
	return k, size, ok
}

// ParseFrame takes P__n apart; ok is false for anything else.
func ParseFrame(frame string) (FrameKey, bool) { return parseFrameKey(frame) }

func parseFrameKey(s string) (FrameKey, bool) {
	prefix, number, found := cutLast(s, keySeparator)
	n, err := strconv.ParseUint(number, 10, 64)
	if !found || err != nil || strconv.FormatUint(n, 10) != number || strings.Count(prefix, "?") != 2 {
		return FrameKey{}, false
	}
	k := FrameKey{Prefix: prefix, Number: n}
	return k, k.Source().Validate() == nil
}

// Decrement drops uses of one frame.
type Decrement struct {
	// Key is the count key, ref__P__n.
	Key string `json:"key"`
	// By is how many uses are dropped (1..MaxDecrementBy).
	By int64 `json:"by"`
	// Sizes are the sizes whose data goes with the count at zero.
	Sizes []string `json:"sizes"`
}

// MaxDecrementBy bounds Decrement.By.
const MaxDecrementBy = 1 << 31

// Decremented is what became of one Decrement.
type Decremented struct {
	Key string `json:"key"`
	// Missing is true when there was no count: it was at zero before, or the
	// frame never was. Nothing was created.
	Missing bool `json:"missing,omitempty"`
	// Remaining is the count now, 0 when the frame is gone.
	Remaining int64 `json:"remaining"`
	// Deleted counts the data keys that were unlinked.
	Deleted int64 `json:"deleted"`
}

// DecrementFrames is the body of POST /v1/frames/{source}/decr; its token is
// the Idempotency-Key.
type DecrementFrames struct {
	NodeTag    NodeTag     `json:"node_tag,omitempty"`
	Decrements []Decrement `json:"decrements"`
}

// FrameInfo is one frame as GET /v1/frames/{source} lists it.
type FrameInfo struct {
	Frame string `json:"frame"` // P__n
	// Count is what is left; -1 when the count key is missing.
	Count int64 `json:"count"`
	// Sizes are the bytes of each size that is there.
	Sizes map[string]int64 `json:"sizes"`
}

// FramePage is the answer of GET /v1/frames/{source}.
type FramePage struct {
	Frames []FrameInfo `json:"frames"`
	// Next is given back as ?cursor= to go on; empty at the end.
	Next string `json:"next,omitempty"`
}

// PutFrame is the answer of PUT /v1/frames/{source}/{frame}.
type PutFrame struct {
	Keys  []string    `json:"keys"`
	Node  NodeTag     `json:"node_tag"`
	To    ClusterName `json:"cluster"`
	Count int64       `json:"count"`
}
