package client

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strconv"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
)

// maxDecrCalls bounds the DecrBatchKeys calls that wait in a delete channel.
const maxDecrCalls = 1024

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

// DecrBatchKeys counts frames of the source down. A decrement without sizes
// takes all along that the cluster knows of the source (see
// [frames.Cluster.Learn]), and the required sizes, else those of the mapping's
// metadata.
//
// With a delete channel it returns as soon as the decrements are queued, with
// no results; they are then tried until they are applied, each exactly once.
// Some cannot be, and are logged and left out: that of a count that is no
// integer, one without sizes while the metadata's are of no use, and those whose
// answer was lost and could not be had for nine minutes: the master remembers
// for ten that it did them, and not to count down beats to do it twice. When 1,024
// calls wait it waits for room; Close applies what waits.
//
// Without one it applies them now and returns the results in their order, in
// atomic steps of wire.MaxDecrements keys. A lost answer is asked for again
// under the same token, so that they count once; [WithRequestID] gives the
// token, for a program that repeats the call itself, with the same batch:
// another batch counts by itself, whatever its token.
//
// Errors: ErrInvalidArgument (the field is named; nothing was changed, but by
// full steps before), ErrConflict (the metadata's sizes are of no use; as
// before), ErrOverloaded (the queue is full; what is queued of a batch above
// wire.MaxDecrements stays), ErrOutcomeUnknown (no answer for as long as
// RetryFor).
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
	batch = slices.Clone(batch) // the caller's ends with the call
	sizes := db.requiredSizes()
	for i, d := range batch {
		if unsized(d) {
			d.Sizes = sizes // only to be checked: what is required may change
		}
		if err := frames.CheckDecrement(d); err != nil {
			return nil, wire.InField("decrements["+strconv.Itoa(i)+"]", err)
		}
	}
	for part := range slices.Chunk(batch, wire.MaxDecrements) {
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
	sizes, err := db.usualSizes(t, batch)
	if err != nil {
		return nil, err
	}
	results, err := t.cluster.DecrementIn(ctx, token, batch, sizes)
	if err != nil {
		return nil, onTarget(t, err)
	}
	r := db.routeOf(source)
	for _, cluster := range r.formers(t) {
		if !slices.ContainsFunc(results, func(r wire.Decremented) bool { return r.Missing }) {
			break
		}
		before, err := db.decrementFormer(ctx, cluster, token, batch, sizes)
		if errors.Is(err, wire.ErrOutcomeUnknown) {
			return nil, err
		} else if err != nil {
			r.spare(cluster)
			db.log.Info("cannot count down where the source was before", "source", source, "cluster", cluster.Name(), "err", err)
			continue
		}
		for i := range results {
			if d, there := before[results[i].Key]; there && results[i].Missing {
				results[i] = d
			}
		}
	}
	return results, nil
}

// decrementFormer returns the results by key. It passes over a count that is no
// integer: what was done where the source writes now stays done.
func (db *FrameDB) decrementFormer(ctx context.Context, c *frames.Cluster, token wire.RequestID, batch []wire.Decrement, sizes []string) (map[string]wire.Decremented, error) {
	ctx, cancel := context.WithTimeout(ctx, formerTimeout)
	defer cancel()
	for {
		results, err := c.DecrementIn(ctx, token, batch, sizes)
		if err == nil {
			return byKey(results), nil
		}
		rest := without(batch, err)
		if len(rest) == len(batch) {
			return nil, err
		}
		db.log.Error("a frame that was left behind cannot be counted down", "cluster", c.Name(), "err", err)
		batch = rest
	}
}

func byKey(results []wire.Decremented) map[string]wire.Decremented {
	m := make(map[string]wire.Decremented, len(results))
	for _, r := range results {
		m[r.Key] = r
	}
	return m
}

// usualSizes are those of the decrements that name none, if there are such.
func (db *FrameDB) usualSizes(t target, batch []wire.Decrement) ([]string, error) {
	if !slices.ContainsFunc(batch, unsized) {
		return nil, nil
	}
	if sizes := db.requiredSizes(); len(sizes) > 0 {
		return sizes, nil
	}
	return sizesOf(t)
}

// unsized reports whether d is for the usual sizes.
func unsized(d wire.Decrement) bool { return len(d.Sizes) == 0 }
