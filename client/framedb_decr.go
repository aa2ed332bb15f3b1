package client

import (
	"context"
	"crypto/rand"
	"errors"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
)

const (
	// maxDecrCalls bounds the DecrBatchKeys calls that wait in a delete channel.
	maxDecrCalls = 1024
	// gatherKeys and gatherFor bound what a delete channel puts into one batch:
	// more keys gain nothing, and hold up the master for longer.
	gatherKeys = 1000
	gatherFor  = 5 * time.Millisecond
)

// RegisterFrameDeleteChannel makes DecrBatchKeys of the source return at once:
// a goroutine gathers the decrements of some milliseconds, adds up those of one
// key, and applies them together.
//
// Errors: ErrAlreadyExists, ErrInvalidArgument.
func (db *FrameDB) RegisterFrameDeleteChannel(source wire.SourceID) error {
	if err := source.Validate(); err != nil {
		return wire.InField("source", err)
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	switch {
	case db.closed:
		return errDBClosed()
	case db.deleters[source] != nil:
		return wire.Errorf(wire.CodeAlreadyExists, "source %q has a delete channel", source)
	}
	d := &deleteChannel{db: db, source: source, queue: newQueue[[]wire.Decrement](maxDecrCalls)}
	db.deleters[source] = d
	db.work.Go(d.run)
	return nil
}

// DecrBatchKeys counts frames of the source down. A decrement without sizes is
// for the required sizes, else for those of the mapping's metadata.
//
// With a delete channel it returns as soon as the decrements are queued, with
// no results; they are then tried until they are applied, each exactly once. A
// count that is no integer cannot be: it is logged and left out. When 1,024
// calls wait it waits for room; Close applies what waits.
//
// Without one it applies them now and returns the results in their order, in
// atomic steps of wire.MaxDecrements keys. A lost answer is asked for again
// under the same token, so that they count once; [WithRequestID] gives the
// token, for a program that repeats the call itself.
//
// Errors: ErrInvalidArgument (the field is named; nothing was changed, but by
// full steps before), ErrOverloaded (the queue is full; what is queued of a
// batch above wire.MaxDecrements stays), ErrOutcomeUnknown (no answer for as
// long as RetryFor).
func (db *FrameDB) DecrBatchKeys(ctx context.Context, source wire.SourceID, batch []wire.Decrement) ([]wire.Decremented, error) {
	if err := db.live(); err != nil {
		return nil, err
	}
	db.mu.Lock()
	d := db.deleters[source]
	db.mu.Unlock()
	if d == nil {
		return db.decrement(ctx, source, tokenOf(ctx), batch)
	}
	for i := range batch {
		if err := frames.CheckDecrement(batch[i]); err != nil {
			return nil, wire.InField("decrements["+strconv.Itoa(i)+"]", err)
		}
	}
	for part := range slices.Chunk(slices.Clone(batch), wire.MaxDecrements) {
		if err := d.queue.put(ctx, part); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// tokenOf is what WithRequestID gave, or a new one.
func tokenOf(ctx context.Context) wire.RequestID {
	if id, ok := ctx.Value(requestIDKey{}).(wire.RequestID); ok && id != "" {
		return id
	}
	return newToken()
}

func newToken() wire.RequestID { return wire.RequestID(rand.Text()) }

// decrement applies the batch step by step. The token of a step follows from
// that of the batch, so a repeated call repeats each step.
func (db *FrameDB) decrement(ctx context.Context, source wire.SourceID, token wire.RequestID, batch []wire.Decrement) ([]wire.Decremented, error) {
	results := make([]wire.Decremented, 0, len(batch))
	for part := range slices.Chunk(batch, wire.MaxDecrements) {
		step := token
		if n := len(results); n > 0 {
			step += wire.RequestID("/" + strconv.Itoa(n))
		}
		err := db.following(ctx, source, func(ts targets) error {
			some, err := db.decrementStep(ctx, source, ts.best(db.tags), step, part)
			if err == nil {
				results = append(results, some...)
			}
			return err
		})
		if err != nil {
			return results, err
		}
	}
	return results, nil
}

// decrementStep applies one step where the source writes now, and, when it did
// not find all there, where it wrote before: the whole step with the same
// token, so that it counts once on each cluster however often it is repeated
// and whatever moves in between. A frame is on one of them only.
func (db *FrameDB) decrementStep(ctx context.Context, source wire.SourceID, t target, token wire.RequestID, batch []wire.Decrement) ([]wire.Decremented, error) {
	batch, err := db.fillSizes(t, batch)
	if err != nil {
		return nil, err
	}
	results, err := t.cluster.Decrement(ctx, token, batch)
	if err != nil {
		return nil, onTarget(t, err)
	}
	r := db.routeOf(source)
	for _, cluster := range r.formers(t) {
		if !slices.ContainsFunc(results, func(r wire.Decremented) bool { return r.Missing }) {
			break
		}
		before, err := db.decrementFormer(ctx, cluster, token, batch)
		if errors.Is(err, wire.ErrOutcomeUnknown) {
			return nil, err
		} else if err != nil {
			r.spare(cluster)
			db.log.Info("cannot count down where the source was before", "source", source, "cluster", cluster.Name(), "err", err)
			continue
		}
		for i := range results {
			if results[i].Missing {
				results[i] = before[i]
			}
		}
	}
	return results, nil
}

func (db *FrameDB) decrementFormer(ctx context.Context, c *frames.Cluster, token wire.RequestID, batch []wire.Decrement) ([]wire.Decremented, error) {
	ctx, cancel := context.WithTimeout(ctx, formerTimeout)
	defer cancel()
	return c.Decrement(ctx, token, batch)
}

// fillSizes gives the decrements that name no sizes the usual ones.
func (db *FrameDB) fillSizes(t target, batch []wire.Decrement) ([]wire.Decrement, error) {
	if !slices.ContainsFunc(batch, func(d wire.Decrement) bool { return len(d.Sizes) == 0 }) {
		return batch, nil
	}
	sizes := db.requiredSizes()
	if len(sizes) == 0 {
		meta, err := metadataOf(t)
		if err != nil {
			return nil, err
		}
		sizes = meta.Sizes
	}
	filled := slices.Clone(batch)
	for i := range filled {
		if len(filled[i].Sizes) == 0 {
			filled[i].Sizes = sizes
		}
	}
	return filled, nil
}

// deleteChannel gathers and applies the decrements of one source.
type deleteChannel struct {
	db     *FrameDB
	source wire.SourceID
	queue  *queue[[]wire.Decrement]
	unsent int // after run: how many Close had to give up
}

// run ends when the queue is closed and empty.
func (d *deleteChannel) run() {
	for {
		first, more := d.queue.take()
		if !more {
			return
		}
		for batch := range mergeDecrements(d.gather(first)) {
			d.apply(batch)
		}
	}
}

// gather takes what follows first within a moment.
func (d *deleteChannel) gather(first []wire.Decrement) []wire.Decrement {
	enough := time.NewTimer(gatherFor)
	defer enough.Stop()
	for len(first) < gatherKeys {
		select {
		case next, more := <-d.queue.items:
			if !more {
				return first
			}
			<-d.queue.room
			first = append(first, next...)
		case <-enough.C:
			return first
		}
	}
	return first
}

// mergeDecrements adds up the decrements of one key, and yields batches that
// have each key once and are small enough.
func mergeDecrements(all []wire.Decrement) iter.Seq[[]wire.Decrement] {
	return func(yield func([]wire.Decrement) bool) {
		for len(all) > 0 {
			var batch, rest []wire.Decrement
			at := make(map[string]int, len(all))
			for _, d := range all {
				i, known := at[d.Key]
				switch {
				case known && batch[i].By+d.By <= wire.MaxDecrementBy:
					batch[i] = mergeTwo(batch[i], d)
				case known || len(batch) == wire.MaxDecrements:
					rest = append(rest, d)
				default:
					at[d.Key] = len(batch)
					batch = append(batch, d)
				}
			}
			if !yield(batch) {
				return
			}
			all = rest
		}
	}
}

// mergeTwo adds b to a. Without sizes means the usual ones, which cannot be
// joined with others before they are known; those that are named win.
func mergeTwo(a, b wire.Decrement) wire.Decrement {
	sizes := slices.Clone(a.Sizes)
	for _, s := range b.Sizes {
		if !slices.Contains(sizes, s) {
			sizes = append(sizes, s)
		}
	}
	return wire.Decrement{Key: a.Key, By: a.By + b.By, Sizes: sizes}
}

// apply tries one batch until it is applied or Close gives up. The token stays
// as long as the batch may have been applied.
func (d *deleteChannel) apply(batch []wire.Decrement) {
	token := newToken()
	pauses := newPauses(forEver, maxWatchPause)
	for len(batch) > 0 {
		if d.db.lastCtx.Err() != nil {
			d.unsent += len(batch)
			return
		}
		_, err := d.db.decrement(d.db.lastCtx, d.source, token, batch)
		if err == nil {
			return
		}
		if key := wire.AsError(err).Field; errors.Is(err, wire.ErrInvalidArgument) && contains(batch, key) {
			d.db.log.Error("a frame cannot be counted down", "source", d.source, "key", key, "err", err)
			batch, token = without(batch, key), newToken()
			continue
		}
		d.db.log.Warn("counting down is tried again", "source", d.source, "keys", len(batch), "err", err)
		pauses.next(d.db.lastCtx, 1, 0)
	}
}

func contains(batch []wire.Decrement, key string) bool {
	return slices.ContainsFunc(batch, func(d wire.Decrement) bool { return d.Key == key })
}

func without(batch []wire.Decrement, key string) []wire.Decrement {
	return slices.DeleteFunc(slices.Clone(batch), func(d wire.Decrement) bool { return d.Key == key })
}
