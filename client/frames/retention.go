package frames

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/framedb/framedb/client/internal/resp"
	"github.com/framedb/framedb/client/wire"
)

// Retention bounds the frames of a source on one cluster; zero bounds nothing.
// The oldest go first, whatever their counts and leases. Frames have no time
// in them, so their age is how long a Sweeper has seen them, at most one round
// less than it is; it begins anew with another Sweeper. Among those that it saw
// first in the same round, the writer's counters and numbers tell.
type Retention struct {
	Age    time.Duration
	Bytes  int64
	Frames int64
}

// Kept is what a source has after a round.
type Kept struct {
	Frames, Bytes int64
	// Retired frames were unlinked by this round.
	Retired, RetiredBytes int64
	// Untracked frames were too many to be remembered, and wait for others to
	// go: a Sweeper remembers 250,000. Their bytes count.
	Untracked int64
}

// maxTracked bounds what a Sweeper remembers of frames, some 20 MB.
const maxTracked = 250_000

// retireAtOnce are the frames that go in one step.
const retireAtOnce = 64

// sourceFrames is what is known of the frames of a source with a retention.
type sourceFrames struct {
	keep Retention
	seen map[wire.FrameKey]*seenFrame
	bits map[string]int // of each size in seenFrame.sizes
	kept Kept           // of this round
}

type seenFrame struct {
	since time.Time // when the round ended that saw it first
	// In this round:
	round bool
	bytes int64
	sizes uint64 // a scan may show a key twice
}

// beginKept begins a round of those sources that have a retention now.
func (r *round) beginKept() {
	r.tracked = 0
	for source := range r.kept {
		if r.rules[source].Keep == (Retention{}) {
			delete(r.kept, source)
		}
	}
	for source, rule := range r.rules {
		if rule.Keep == (Retention{}) {
			continue
		}
		if r.kept[source] == nil {
			r.kept[source] = &sourceFrames{seen: map[wire.FrameKey]*seenFrame{}, bits: map[string]int{}}
		}
		sf := r.kept[source]
		sf.keep, sf.kept = rule.Keep, Kept{}
		for _, f := range sf.seen {
			*f = seenFrame{since: f.since}
		}
		r.tracked += len(sf.seen)
	}
}

func (r *round) noteCount(frame wire.FrameKey) {
	if sf := r.kept[frame.Source()]; sf != nil && r.note(sf, frame) == nil {
		sf.kept.Untracked++
	}
}

func (r *round) noteData(frame wire.FrameKey, size string, bytes int64) {
	sf := r.kept[frame.Source()]
	if sf == nil {
		return
	}
	f := r.note(sf, frame)
	if f == nil {
		sf.kept.Bytes += bytes
		return
	}
	bit, known := sf.bits[size]
	if !known {
		bit = len(sf.bits)
		sf.bits[size] = bit
	}
	if mask := uint64(1) << (bit % 64); f.sizes&mask == 0 {
		f.sizes |= mask
		f.bytes += bytes
		sf.kept.Bytes += bytes
	}
}

// note remembers a frame; nil when there are too many.
func (r *round) note(sf *sourceFrames, frame wire.FrameKey) *seenFrame {
	f := sf.seen[frame]
	if f == nil {
		if r.tracked >= maxTracked {
			return nil
		}
		r.tracked++
		f = &seenFrame{}
		sf.seen[frame] = f
	}
	if !f.round {
		f.round = true
		sf.kept.Frames++
	}
	return f
}

// retire unlinks the frames that are too old, or too many, and reports what
// each source with a retention has.
func (r *round) retire(ctx context.Context) error {
	for source, sf := range r.kept {
		err := r.retireOf(ctx, sf)
		r.done.Sources[source] = sf.kept
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *round) retireOf(ctx context.Context, sf *sourceFrames) error {
	now := r.cfg.Now()
	for frame, f := range sf.seen {
		if !f.round {
			delete(sf.seen, frame)
		} else if f.since.IsZero() {
			f.since = now
		}
	}
	for part := range slices.Chunk(sf.excess(now), retireAtOnce) {
		var keys []string
		for _, frame := range part {
			keys = append(append(keys, frame.Count()), r.dataKeys(frame)...)
		}
		if r.cfg.DryRun {
			sf.kept.Retired += int64(len(part))
			continue
		}
		if err := r.c.unlink(ctx, keys); err != nil {
			return err
		}
		for _, frame := range part {
			sf.kept.Retired++
			sf.kept.RetiredBytes += sf.seen[frame].bytes
			sf.kept.Frames--
			sf.kept.Bytes -= sf.seen[frame].bytes
			delete(sf.seen, frame)
		}
		if err := sleep(ctx, r.cfg.Pause); err != nil {
			return err
		}
	}
	return nil
}

// excess are the frames that have to go, the oldest first.
func (sf *sourceFrames) excess(now time.Time) []wire.FrameKey {
	frames := make([]wire.FrameKey, 0, len(sf.seen))
	for frame := range sf.seen {
		frames = append(frames, frame)
	}
	slices.SortFunc(frames, func(a, b wire.FrameKey) int {
		return cmp.Or(sf.seen[a].since.Compare(sf.seen[b].since), compareWritten(a, b))
	})
	left, bytes, n := sf.kept.Frames, sf.kept.Bytes, 0
	for _, frame := range frames {
		f := sf.seen[frame]
		old := sf.keep.Age > 0 && now.Sub(f.since) >= sf.keep.Age
		many := sf.keep.Frames > 0 && left > sf.keep.Frames
		large := sf.keep.Bytes > 0 && bytes > sf.keep.Bytes
		if !old && !many && !large {
			break
		}
		left, bytes, n = left-1, bytes-f.bytes, n+1
	}
	return frames[:n]
}

// compareWritten orders the frames of one source as a writer counts.
func compareWritten(a, b wire.FrameKey) int {
	return cmp.Or(compareCounters(a.Prefix, b.Prefix), cmp.Compare(a.Number, b.Number))
}

func compareCounters(a, b string) int {
	if a == b {
		return 0
	}
	as, bs := strings.Split(a, "?"), strings.Split(b, "?")
	for i := 1; i < min(len(as), len(bs)); i++ {
		x, _ := strconv.ParseUint(as[i], 10, 64)
		y, _ := strconv.ParseUint(bs[i], 10, 64)
		if x != y {
			return cmp.Compare(x, y)
		}
	}
	return strings.Compare(a, b)
}

// unlink unlinks keys, in one step.
func (c *Cluster) unlink(ctx context.Context, keys []string) error {
	return c.counted(ctx, true, func(cn *conn) error {
		reply, err := cn.Do(append([]string{"UNLINK"}, keys...)...)
		if _, isNumber := reply.(int64); err == nil && !isNumber {
			return resp.ErrProtocol
		}
		return err
	})
}
