package client

import (
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
)

// gatherKeys and gatherFor bound what a delete channel puts into one batch: more
// keys gain nothing, and hold up the master for longer.
const (
	gatherKeys = 1000
	gatherFor  = 5 * time.Millisecond
)

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
// have each key once and are small enough. Those for the usual sizes are apart,
// because these are not known yet and may turn out to be of no use.
func mergeDecrements(all []wire.Decrement) iter.Seq[[]wire.Decrement] {
	return func(yield func([]wire.Decrement) bool) {
		for len(all) > 0 {
			var batch, rest []wire.Decrement
			at := make(map[string]int, len(all))
			for _, d := range all {
				i, known := at[d.Key]
				switch {
				case len(batch) > 0 && unsized(d) != unsized(batch[0]):
					rest = append(rest, d)
				case known:
					if sum := addUp(batch[i], d); sum.By <= wire.MaxDecrementBy && frames.CheckSizes(sum.Sizes...) == nil {
						batch[i] = sum
					} else {
						rest = append(rest, d)
					}
				case len(batch) == wire.MaxDecrements:
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

// addUp is what a and b, of the same key, are together.
func addUp(a, b wire.Decrement) wire.Decrement {
	sizes := slices.Clip(a.Sizes)
	for _, s := range b.Sizes {
		if !slices.Contains(sizes, s) {
			sizes = append(sizes, s)
		}
	}
	return wire.Decrement{Key: a.Key, By: a.By + b.By, Sizes: sizes}
}

// unsureFor is how long a batch is repeated that may have been applied: a minute
// less than the master remembers its token.
const unsureFor = frames.TokenLife - time.Minute

// apply tries one batch until it is applied, cannot be, or Close gives up. The
// token stays as long as the batch may have been applied.
func (d *deleteChannel) apply(batch []wire.Decrement) {
	token := newToken()
	pauses := newPauses(forEver, maxWatchPause)
	var unsure time.Time // since when the batch may have been applied
	for len(batch) > 0 {
		if d.db.lastCtx.Err() != nil {
			d.unsent += len(batch)
			return
		}
		_, err := d.db.decrement(d.db.lastCtx, d.source, token, batch)
		if err == nil {
			return
		}
		if rest := without(batch, err); len(rest) < len(batch) {
			d.db.log.Error("frames cannot be counted down", "source", d.source, "keys", len(batch)-len(rest), "err", err)
			batch, token, unsure = rest, newToken(), time.Time{}
			continue
		}
		if unsure.IsZero() && errors.Is(err, wire.ErrOutcomeUnknown) {
			unsure = time.Now()
		}
		if !unsure.IsZero() && time.Since(unsure) > unsureFor {
			d.db.log.Error("it is not known whether frames were counted down, and will not be", "source", d.source, "keys", len(batch), "err", err)
			return
		}
		d.db.log.Warn("counting down is tried again", "source", d.source, "keys", len(batch), "err", err)
		pauses.next(d.db.lastCtx, 1, 0)
	}
}

// without is the batch without what can never be applied for the reason that
// err gives: a count that is no integer, or usual sizes of no use.
func without(batch []wire.Decrement, err error) []wire.Decrement {
	field := wire.AsError(err).Field
	switch {
	case errors.Is(err, wire.ErrInvalidArgument) && field != "sizes":
		return slices.DeleteFunc(slices.Clone(batch), func(d wire.Decrement) bool { return d.Key == field })
	case errors.Is(err, wire.ErrInvalidArgument), errors.Is(err, wire.ErrConflict) && field == "metadata":
		return slices.DeleteFunc(slices.Clone(batch), unsized)
	}
	return batch
}
