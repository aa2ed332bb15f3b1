package frames

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/framedb/framedb/client/internal/resp"
	"github.com/framedb/framedb/client/wire"
)

// Keys of StoreOnce: what remembers a frame's token, with the key that it was
// stored under as value, and what remembers how far a lane has come.
const (
	FrameTokenPrefix = "framedb:frame:"
	LanePrefix       = "framedb:lane:"
)

// Lives of these keys.
const (
	// rememberToken is the longest retry of a producer, as for decrements.
	rememberToken = 10 * time.Minute
	// rememberLane is the longest time from a try to store a frame to the next
	// one by the same lane: frames wait on a disk meanwhile.
	rememberLane = 30 * 24 * time.Hour
)

// maxConflicts is how often a transaction is begun again because somebody else
// stored one of its frames at the same moment.
const maxConflicts = 20

// StoreOnce stores the frames of some lanes in one atomic step, each of them
// once: one whose token was stored in the last ten minutes, or whose place its
// lane has passed, changes nothing, also when it was read and counted down
// meanwhile. So it may be, and is, repeated. At most 10,000 pairs and 512 MiB in
// all. The values are not copied: leave them alone until it returns.
//
// What it costs beside Put is a round trip, and 140 bytes of the master's memory
// for each frame for ten minutes.
//
// Errors: as those of Put; ErrOutcomeUnknown (repeat it), ErrConflict (others
// store the same frames all the time).
func (c *Cluster) StoreOnce(ctx context.Context, lanes []Lane, opts PutOptions) ([][]Stored, error) {
	s, err := newStoring(lanes, opts)
	if err != nil || len(s.watched) == 0 {
		return s.results, err
	}
	timeout := 2*stall + time.Duration(s.bytes/slowest)*time.Second + s.opts.ReplicaTimeout
	maybe := false // an attempt was sent and not answered
	err = c.do(ctx, true, func(cn *conn) error {
		end := cn.Within(ctx, timeout)
		s.sent = false
		err := s.run(cn)
		if !end() {
			cn.spoiled = true
		}
		if err != nil && resp.CodeOf(err) == "" && s.sent {
			maybe = true
		}
		return err
	})
	if maybe && (errors.Is(err, wire.ErrUnavailable) || ctx.Err() != nil) {
		err = withCode(wire.CodeOutcomeUnknown, "it may or may not have been done", err)
	}
	return s.results, err
}

// storing is one StoreOnce.
type storing struct {
	lanes   []Lane
	opts    PutOptions
	bytes   int
	watched []string // lanes' and tokens' keys, lane by lane
	sent    bool     // the transaction may have been executed
	results [][]Stored
}

func newStoring(lanes []Lane, opts PutOptions) (*storing, error) {
	if opts.ReplicaTimeout <= 0 {
		opts.ReplicaTimeout = defaultReplicaTimeout
	}
	s := &storing{lanes: lanes, opts: opts, results: make([][]Stored, len(lanes))}
	var all []Pair
	for i, l := range lanes {
		if len(l.ID) > 200 {
			return s, wire.InField("lane", wire.Errorf(wire.CodeInvalidArgument, "its ID has %d bytes: at most 200", len(l.ID)))
		}
		if len(l.Frames) == 0 {
			continue
		}
		s.results[i] = make([]Stored, len(l.Frames))
		s.watched = append(s.watched, LanePrefix+l.ID)
		for _, f := range l.Frames {
			s.watched = append(s.watched, f.Token.key())
			all = append(all, f.Pairs...)
		}
	}
	var err error
	s.bytes, err = checkPairs(all)
	return s, err
}

// run looks which frames are new and stores those, unless somebody stored one
// of them in between; then it looks again.
func (s *storing) run(cn *conn) error {
	for range maxConflicts {
		known, err := s.look(cn)
		if err != nil {
			return err
		}
		done, err := s.store(cn, s.plan(known))
		if err != nil || done {
			return err
		}
	}
	return final{wire.Errorf(wire.CodeConflict, "others store the same frames at the same time, again and again")}
}

// look watches the keys and reads them.
func (s *storing) look(cn *conn) ([]any, error) {
	cn.Command(append([]string{"WATCH"}, s.watched...)...)
	cn.Command(append([]string{"MGET"}, s.watched...)...)
	if err := cn.Flush(); err != nil {
		return nil, err
	}
	refused := cn.Status()
	if refused != nil && resp.CodeOf(refused) == "" {
		return nil, refused
	}
	reply, err := cn.Reply(2 * maxKey)
	if err == nil {
		err = refused
	}
	known, _ := reply.([]any)
	if err == nil && len(known) != len(s.watched) {
		err = resp.ErrProtocol
	}
	return known, err
}

// writes are what one transaction changes.
type writes struct {
	plain  []Pair      // to stay for ever
	frames []LaneFrame // new ones
	lanes  []laneWrite // those that move on
}

type laneWrite struct {
	key string
	seq LaneSeq
}

// plan fills results from what is known, and returns what is to be written.
func (s *storing) plan(known []any) writes {
	var w writes
	first := map[FrameToken]string{} // of this transaction
	for i, l := range s.lanes {
		if len(l.Frames) == 0 {
			continue
		}
		text, _ := known[0].(string)
		last := parseLaneSeq(text)
		moved := laneWrite{LanePrefix + l.ID, last}
		for j, f := range l.Frames {
			stored, ok := known[1+j].(string)
			if !ok {
				stored, ok = first[f.Token]
			}
			switch {
			case !f.Seq.After(last) && !ok:
				stored, ok = f.Frame, true
			case !ok:
				first[f.Token] = f.Frame
				w.add(f)
			}
			s.results[i][j] = Stored{Frame: f.Frame, Duplicate: ok}
			if ok {
				s.results[i][j].Frame = stored
			}
			if f.Seq.After(moved.seq) {
				moved.seq = f.Seq
			}
		}
		w.lanes = append(w.lanes, moved)
		known = known[1+len(l.Frames):]
	}
	return w
}

func (w *writes) add(f LaneFrame) {
	w.frames = append(w.frames, f)
	if f.TTL == 0 {
		w.plain = append(w.plain, f.Pairs...)
	}
}

// store executes the writes as one transaction; done is false when a key that
// was watched has changed, and nothing was stored.
//
// It always writes something: WAIT is promised to speak of what its connection
// wrote (Redis 7.0 counts all writes before it), and has to for duplicates, too.
func (s *storing) store(cn *conn, w writes) (done bool, err error) {
	queued := w.send(cn)
	s.sent = true
	if err := cn.Flush(); err != nil {
		s.sent = cn.Sent()
		return false, err
	}
	if s.opts.Replicas > 0 {
		cn.Command("WAIT", strconv.Itoa(s.opts.Replicas), strconv.FormatInt(s.opts.ReplicaTimeout.Milliseconds(), 10))
		if err := cn.Flush(); err != nil {
			return false, err
		}
	}
	done, refused := executed(cn, queued)
	if refused != nil && resp.CodeOf(refused) == "" {
		return false, refused
	}
	if s.opts.Replicas > 0 {
		n, err := cn.Reply(0)
		if err != nil && resp.CodeOf(err) == "" {
			return false, err
		}
		if n, _ := n.(int64); done && refused == nil && n < int64(s.opts.Replicas) {
			s.sent = false // it is known
			return false, tooFewReplicas(n, s.opts)
		}
	}
	return done, refused
}

// send appends the transaction and returns how many commands it has.
func (w *writes) send(cn *conn) (queued int) {
	cn.Command("MULTI")
	if len(w.plain) > 0 {
		queued++
		cn.Begin(1 + 2*len(w.plain))
		cn.Arg("MSET")
		for _, p := range w.plain {
			cn.Arg(p.Key)
			cn.Value(p.Value)
		}
	}
	for _, f := range w.frames {
		if f.TTL > 0 {
			ttl := strconv.FormatInt(f.TTL.Milliseconds(), 10)
			for _, p := range f.Pairs {
				queued++
				cn.Begin(5)
				cn.Arg("SET")
				cn.Arg(p.Key)
				cn.Value(p.Value)
				cn.Arg("PX")
				cn.Arg(ttl)
			}
		}
		queued++
		cn.Command("SET", f.Token.key(), f.Frame, "PX", milliseconds(rememberToken))
	}
	for _, l := range w.lanes {
		queued++
		cn.Command("SET", l.key, l.seq.String(), "PX", milliseconds(rememberLane))
	}
	cn.Command("EXEC")
	return queued
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// executed reads the answers to a transaction of so many commands.
func executed(cn *conn, queued int) (done bool, err error) {
	var refused error
	for range 1 + queued {
		if err := cn.Status(); err != nil && resp.CodeOf(err) == "" {
			return false, err
		} else if err != nil && refused == nil {
			refused = err
		}
	}
	reply, err := cn.Reply(maxKey)
	switch {
	case err != nil && resp.CodeOf(err) == "":
		return false, err
	case refused != nil:
		return false, refused
	case err != nil:
		return false, err
	}
	answers, _ := reply.([]any)
	for _, a := range answers {
		if e, failed := a.(resp.Error); failed {
			return false, final{withCode(wire.CodeInternal, "Redis refuses a part", e)}
		}
	}
	return reply != nil, nil
}

func tooFewReplicas(n int64, opts PutOptions) error {
	return final{wire.InField("replicas", wire.Errorf(wire.CodeUnavailable,
		"the master has the write, but %d of %d replicas confirmed it within %v", n, opts.Replicas, opts.ReplicaTimeout))}
}
