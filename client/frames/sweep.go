package frames

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// Defaults and bounds of SweepConfig.
const (
	DefaultGrace = 2 * time.Minute
	// defaultPause leaves the master four fifths of its time.
	defaultPause = 2 * time.Millisecond
	// maxSuspects bounds what a Sweeper remembers, some 15 MB; what is beyond
	// waits for another round.
	maxSuspects = 100_000
	// buryAtOnce bounds one step: about a millisecond.
	buryAtOnce = 100
)

// SweepConfig says how a Sweeper works.
type SweepConfig struct {
	// Grace is how long something must have been seen to be left over. It has to
	// exceed the time that a client takes between what it does of one frame in
	// several commands: an old one's DECR and UNLINK, say. Default 2 min.
	Grace time.Duration
	// Pause is between two looks at some 300 keys. Default 2 ms.
	Pause time.Duration
	// DryRun reports and unlinks nothing.
	DryRun bool
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Leftover tells what is wrong with what is left over.
type Leftover string

const (
	// LeftData is data whose count is gone.
	LeftData Leftover = "data"
	// LeftCount is a count above zero whose data is gone.
	LeftCount Leftover = "count"
	// LeftSpent is a frame whose count is at zero or below: who counted it down
	// did not come to unlink it.
	LeftSpent Leftover = "spent"
)

// SourceRule is what a sweep should know of a source.
type SourceRule struct {
	// Sizes are those that its frames may have, beside those that are seen.
	Sizes []string
	Keep  Retention
}

// Swept is what one round found and did.
type Swept struct {
	Keys int64 // that were looked at, frames' or not
	// Suspects are left over since less than the grace time, Found for longer:
	// those were unlinked, unless they changed in the last moment or the round
	// was dry.
	Suspects, Found map[Leftover]int64
	Unlinked        int64 // keys that were left over
	// More is true when there was more than one round can remember.
	More    bool
	Sources map[wire.SourceID]Kept // with a Retention
}

// Sweeper finds what is left over of frames, and the frames that their sources'
// retention ends, round by round. It touches nothing but strings whose keys are
// those of frames; see wire.ParseDataKey. A leftover is unlinked when it was
// seen in two rounds with the grace time between, and is still one in the step
// that unlinks it; so any number of Sweepers may work on one cluster. It is for
// one goroutine.
type Sweeper struct {
	c        *Cluster
	cfg      SweepConfig
	suspects map[string]suspect // by key
	kept     map[wire.SourceID]*sourceFrames
}

// suspect is what seems to be left over.
type suspect struct {
	kind  Leftover
	frame wire.FrameKey
	value string    // of the count
	since time.Time // when it was first seen so
}

// NewSweeper makes one; it remembers between its rounds.
func NewSweeper(c *Cluster, cfg SweepConfig) *Sweeper {
	if cfg.Grace <= 0 {
		cfg.Grace = DefaultGrace
	}
	if cfg.Pause <= 0 {
		cfg.Pause = defaultPause
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Sweeper{c: c, cfg: cfg, suspects: map[string]suspect{}, kept: map[wire.SourceID]*sourceFrames{}}
}

// Round looks at all keys once, in small steps, and unlinks in small steps what
// is due. What a source's frames were seen to have is learned for decrements
// that name no sizes. When it fails, what was found so far is forgotten or done.
//
// Errors: as for any call, and ErrOutcomeUnknown.
func (s *Sweeper) Round(ctx context.Context, rules map[wire.SourceID]SourceRule) (Swept, error) {
	r := s.newRound(rules)
	if err := r.scan(ctx); err != nil {
		return r.done, err
	}
	due := r.due()
	s.suspects = r.suspects
	for source, sizes := range r.sizes {
		if err := s.c.Learn(ctx, source, bounded(sizes)...); err != nil {
			return r.done, err
		}
	}
	if !s.cfg.DryRun {
		if err := r.bury(ctx, due); err != nil {
			return r.done, err
		}
	}
	return r.done, r.retire(ctx)
}

// round is one look at all keys.
type round struct {
	*Sweeper
	rules    map[wire.SourceID]SourceRule
	suspects map[string]suspect // of this round, with what is known of earlier ones
	alive    map[string]bool    // suspects of the round before that turn out to have data
	tracked  int                // frames in kept
	sizes    map[wire.SourceID]map[string]bool
	done     Swept
}

func (s *Sweeper) newRound(rules map[wire.SourceID]SourceRule) *round {
	r := &round{Sweeper: s, rules: rules}
	r.begin()
	return r
}

// begin forgets what was seen.
func (r *round) begin() {
	r.suspects, r.alive = map[string]suspect{}, map[string]bool{}
	r.sizes = map[wire.SourceID]map[string]bool{}
	r.done = Swept{Suspects: map[Leftover]int64{}, Found: map[Leftover]int64{}, Sources: map[wire.SourceID]Kept{}}
	for source, rule := range r.rules {
		for _, size := range rule.Sizes {
			r.learn(source, size)
		}
	}
	r.beginKept()
}

func (r *round) learn(source wire.SourceID, size string) {
	if r.sizes[source] == nil {
		r.sizes[source] = map[string]bool{}
	}
	r.sizes[source][size] = true
}

// bounded are as many sizes as a frame may have.
func bounded(sizes map[string]bool) []string {
	all := slices.Sorted(maps.Keys(sizes))
	return all[:min(len(all), maxSizes)]
}

// suspect notes what seems to be left over; what was already seen so keeps its
// time, unless its count has changed.
func (r *round) suspect(key string, kind Leftover, frame wire.FrameKey, value string) {
	if len(r.suspects) >= maxSuspects {
		r.done.More = true
		return
	}
	now := suspect{kind: kind, frame: frame, value: value, since: r.cfg.Now()}
	if before, there := r.Sweeper.suspects[key]; there && before.kind == kind && before.value == value {
		now.since = before.since
	}
	r.suspects[key] = now
}

// due are the keys that were left over for the grace time, and were so in the
// round before. A count is so only if no data of any size was seen in this one.
func (r *round) due() []string {
	var due []string
	for key, s := range r.suspects {
		if s.kind == LeftCount && r.alive[key] {
			delete(r.suspects, key)
			continue
		}
		if _, before := r.Sweeper.suspects[key]; !before || r.cfg.Now().Sub(s.since) < r.cfg.Grace {
			r.done.Suspects[s.kind]++
			continue
		}
		r.done.Found[s.kind]++
		due = append(due, key)
	}
	slices.Sort(due)
	return due
}

// bury unlinks what is due.
func (r *round) bury(ctx context.Context, due []string) error {
	for part := range slices.Chunk(due, buryAtOnce) {
		var args []string
		for _, key := range part {
			s := r.suspects[key]
			delete(r.suspects, key)
			if s.kind == LeftData {
				args = append(args, string(s.kind), key, s.frame.Count())
				continue
			}
			data := r.dataKeys(s.frame)
			args = append(args, string(s.kind), key, s.value, strconv.Itoa(len(data)))
			args = append(args, data...)
		}
		reply, err := r.c.run(ctx, fnBury, true, nil, args)
		if err != nil {
			return err
		}
		r.done.Unlinked += numbers(reply, 2)[1]
		if err := sleep(ctx, r.cfg.Pause); err != nil {
			return err
		}
	}
	return nil
}

// dataKeys are those that a frame may have.
func (r *round) dataKeys(frame wire.FrameKey) []string {
	var keys []string
	for _, size := range bounded(r.sizes[frame.Source()]) {
		keys = append(keys, frame.Data(size))
	}
	return keys
}
