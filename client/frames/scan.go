package frames

import (
	"context"
	"strconv"
	"strings"

	"github.com/framedb/framedb/client/internal/resp"
	"github.com/framedb/framedb/client/wire"
)

// sweepCount is how many keys one step looks at: about 0.3 ms of the master's
// time for SCAN, MGET and EXISTS each.
const sweepCount = "300"

// scan looks at all keys, over one connection: a cursor means nothing to another
// server, so a scan that cannot end there begins anew.
func (r *round) scan(ctx context.Context) error {
	return r.c.do(ctx, true, func(cn *conn) error {
		r.begin()
		for cursor := "0"; ; {
			end := cn.Within(ctx, stall)
			next, err := r.step(cn, cursor)
			if !end() {
				cn.spoiled = true
				if err == nil {
					err = ctx.Err()
				}
			}
			if err != nil {
				return err
			}
			if cursor = next; cursor == "0" {
				return nil
			}
			if err := sleep(ctx, r.cfg.Pause); err != nil {
				return err
			}
		}
	})
}

// step looks at the keys of one SCAN and returns the cursor of the next.
func (r *round) step(cn *conn, cursor string) (next string, err error) {
	reply, err := cn.Do("SCAN", cursor, "COUNT", sweepCount, "TYPE", "string")
	if err != nil {
		return "", err
	}
	parts, _ := reply.([]any)
	if len(parts) != 2 {
		return "", resp.ErrProtocol
	}
	next, _ = parts[0].(string)
	keys, _ := parts[1].([]any)
	var some keysOfFrames
	for _, k := range keys {
		r.done.Keys++
		if key, ok := k.(string); ok {
			some.add(key)
		}
	}
	if next == "" {
		return "", resp.ErrProtocol
	}
	return next, r.look(cn, &some)
}

// keysOfFrames are those of one step.
type keysOfFrames struct {
	data   []dataKey
	counts []wire.FrameKey
}

type dataKey struct {
	frame wire.FrameKey
	size  string
}

func (k *keysOfFrames) add(key string) {
	if frame, ok := wire.ParseCountKey(key); ok && numbered(frame) {
		k.counts = append(k.counts, frame)
	} else if frame, size, ok := wire.ParseDataKey(key); ok && numbered(frame) && isSize(size) {
		k.data = append(k.data, dataKey{frame, size})
	}
}

// numbered reports whether the two counters in a frame's prefix are numbers, as
// those of each writer are. Who unlinks looks closer than who reads.
func numbered(frame wire.FrameKey) bool {
	_, counters, _ := strings.Cut(frame.Prefix, "?")
	updates, restarts, _ := strings.Cut(counters, "?")
	_, one := plainNumber(updates)
	_, two := plainNumber(restarts)
	return one && two
}

// look asks for the counts of the step's frames, for the data of its counts,
// and for what retention wants to know, in one round trip.
func (r *round) look(cn *conn, some *keysOfFrames) error {
	for _, d := range some.data {
		r.learn(d.frame.Source(), d.size)
	}
	frames := make([]wire.FrameKey, 0, len(some.counts)+len(some.data))
	frames = append(frames, some.counts...)
	for _, d := range some.data {
		frames = append(frames, d.frame)
	}
	if len(frames) == 0 {
		return nil
	}
	n := 1 + len(some.counts)
	cn.Begin(1 + len(frames))
	cn.Arg("MGET")
	for _, f := range frames {
		cn.Arg(f.Count())
	}
	for _, f := range some.counts {
		cn.Command(append([]string{"EXISTS"}, r.orItself(f)...)...)
	}
	for _, d := range some.data {
		if r.kept[d.frame.Source()] != nil {
			cn.Command("STRLEN", d.frame.Data(d.size))
			n++
		}
	}
	replies, err := cn.replies(n)
	if err != nil && resp.CodeOf(err) != "WRONGTYPE" { // a key that changed its kind since
		return err
	}
	values, _ := replies[0].([]any)
	if len(values) != len(frames) {
		return resp.ErrProtocol
	}
	doubts := r.judgeCounts(some.counts, values, replies[1:])
	doubts = append(doubts, r.judgeData(some.data, values[len(some.counts):], replies[1+len(some.counts):])...)
	return r.settle(cn, doubts)
}

// orItself are the frame's data keys, or, when no size is known, one that there
// cannot be.
func (r *round) orItself(frame wire.FrameKey) []string {
	if keys := r.dataKeys(frame); len(keys) > 0 {
		return keys
	}
	return []string{frame.Data(allSizes)}
}

// doubt is half a frame: the other half is missing, or of no use. It may be an
// object that has such a key.
type doubt struct {
	key  string
	note func() // takes it for a frame
}

func (r *round) judgeCounts(counts []wire.FrameKey, values, exist []any) (doubts []doubt) {
	for i, frame := range counts {
		value, there := values[i].(string)
		n, err := strconv.ParseInt(value, 10, 64)
		bare := exist[i] == int64(0)
		note := func() {
			r.noteCount(frame)
			switch {
			case !there || err != nil: // it is gone, or nobody can count it down
			case n <= 0:
				r.suspect(frame.Count(), LeftSpent, frame, value)
			case bare:
				r.suspect(frame.Count(), LeftCount, frame, value)
			}
		}
		if bare || err != nil || n <= 0 {
			doubts = append(doubts, doubt{frame.Count(), note})
		} else {
			note()
		}
	}
	return doubts
}

func (r *round) judgeData(data []dataKey, counts, lengths []any) (doubts []doubt) {
	for i, d := range data {
		var bytes int64
		if r.kept[d.frame.Source()] != nil {
			bytes, _ = lengths[0].(int64)
			lengths = lengths[1:]
		}
		if counts[i] == nil {
			doubts = append(doubts, doubt{d.frame.Data(d.size), func() {
				r.noteData(d.frame, d.size, bytes)
				r.suspect(d.frame.Data(d.size), LeftData, d.frame, "")
			}})
			continue
		}
		r.noteData(d.frame, d.size, bytes)
		if _, doubted := r.Sweeper.suspects[d.frame.Count()]; doubted {
			r.alive[d.frame.Count()] = true
		}
	}
	return doubts
}

// settle passes over what is an object, and takes the rest for frames.
func (r *round) settle(cn *conn, doubts []doubt) error {
	if len(doubts) == 0 {
		return nil
	}
	for _, d := range doubts {
		cn.Command("EXISTS", wire.ObjectPrefix+d.key)
	}
	objects, err := cn.replies(len(doubts))
	if err != nil {
		return err
	}
	for i, d := range doubts {
		if objects[i] == int64(0) {
			d.note()
		}
	}
	return nil
}
