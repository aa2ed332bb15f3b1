package client

import (
	"context"
	"slices"
	"time"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
)

const (
	// maxWaiting bounds the reads that wait in a frames channel: as handles,
	// they are small.
	maxWaiting = 1024
	// maxRead bounds the batches that are read and wait for the callback: they
	// hold frames.
	maxRead = 2
	// formerTimeout bounds the look into a cluster that was left.
	formerTimeout = time.Second
)

// SetRequiredSizes sets the sizes, "<W>x<H>", that this program handles. A
// frame that is asked for without a size (P__n) is read in these, and a
// decrement without sizes is for these. None means no preference.
func (db *FrameDB) SetRequiredSizes(sizes ...string) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.sizes = slices.Clone(sizes)
}

func (db *FrameDB) requiredSizes() []string {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.sizes
}

// GetFramesFrom reads keys of a source. The batch has one frame for each key,
// in order; a key that names a whole frame (P__n) gives one for each required
// size. A key that is not there gives a frame with Missing set. Release the
// batch when done.
func (db *FrameDB) GetFramesFrom(ctx context.Context, source wire.SourceID, keys []string) (*frames.Batch, error) {
	if err := db.live(); err != nil {
		return nil, err
	}
	keys = withSizes(keys, db.requiredSizes())
	var batch *frames.Batch
	err := db.following(ctx, source, func(ts targets) (err error) {
		t := ts.best(db.tags)
		batch, err = t.cluster.Get(ctx, keys...)
		if err != nil {
			return onTarget(t, err)
		}
		db.fillFromFormer(ctx, source, t, batch)
		return nil
	})
	return batch, err
}

// withSizes replaces keys of whole frames by those of their sizes.
func withSizes(keys, sizes []string) []string {
	if len(sizes) == 0 {
		return keys
	}
	var all []string
	for _, key := range keys {
		frame, whole := wire.ParseCountKey("ref__" + key)
		if !whole {
			all = append(all, key)
			continue
		}
		for _, size := range sizes {
			all = append(all, frame.Data(size))
		}
	}
	return all
}

// fillFromFormer looks for what is missing where the source wrote before.
func (db *FrameDB) fillFromFormer(ctx context.Context, source wire.SourceID, now target, batch *frames.Batch) {
	r := db.routeOf(source)
	for _, cluster := range r.formers(now) {
		var keys []string
		var at []int
		for i, f := range batch.Frames {
			if f.Missing {
				keys, at = append(keys, f.Key), append(at, i)
			}
		}
		if len(keys) == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, formerTimeout)
		found, err := cluster.Get(ctx, keys...)
		cancel()
		if err != nil {
			r.spare(cluster)
			db.log.Info("cannot look for frames where the source was before", "source", source, "cluster", cluster.Name(), "err", err)
			continue
		}
		batch.Take(found, at)
	}
}

// FramesResult is what came of one read.
type FramesResult struct {
	Source wire.SourceID
	// Keys are the ones that were asked for.
	Keys []string
	// Frames are as GetFramesFrom gives them. Their Data is valid until the
	// callback returns: copy what must stay.
	Frames []frames.Frame
	// Err is why nothing was read; Frames is nil then.
	Err error
	// Extra is what was given to GetFramesAsync.
	Extra any
}

// FramesCallback hears of one read. A channel calls its callbacks one after the
// other, in the order of the requests; a slow one holds up those behind it. It
// must not call Close, nor wait for room in its own channel.
type FramesCallback func(FramesResult)

// framesChannel reads for one source in the background: one goroutine reads,
// one calls back, so that the next read is under way while a callback works.
type framesChannel struct {
	callback FramesCallback
	requests *queue[framesRequest]
}

type framesRequest struct {
	keys     []string
	extra    any
	callback FramesCallback
}

// framesReady is a request that was read and waits for its callback.
type framesReady struct {
	framesRequest
	batch *frames.Batch
	err   error
}

// RegisterFramesChannel starts reading for the source in the background;
// callback hears of each read that names no callback of its own.
//
// Errors: ErrAlreadyExists, ErrInvalidArgument.
func (db *FrameDB) RegisterFramesChannel(source wire.SourceID, callback FramesCallback) error {
	if err := source.Validate(); err != nil {
		return wire.InField("source", err)
	}
	if callback == nil {
		return wire.InField("callback", wire.Errorf(wire.CodeInvalidArgument, "it is nil"))
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	switch {
	case db.closed:
		return errDBClosed()
	case db.readers[source] != nil:
		return wire.Errorf(wire.CodeAlreadyExists, "source %q has a frames channel", source)
	}
	ch := &framesChannel{callback: callback, requests: newQueue[framesRequest](maxWaiting)}
	db.readers[source] = ch
	ready := make(chan framesReady, maxRead)
	db.work.Go(func() { db.readAll(source, ch, ready) })
	db.work.Go(func() { callAll(source, ready) })
	return nil
}

// GetFramesAsync reads keys as GetFramesFrom does, in the background, and gives
// the result to callback, or to the channel's when callback is nil: exactly
// once for each call that returned nil, also when the read fails or db is
// closed. With 1,024 reads waiting it waits for room.
//
// Errors: ErrConflict (the source has no frames channel), ErrOverloaded (there
// was no room before ctx ended), ErrUnavailable (closed).
func (db *FrameDB) GetFramesAsync(ctx context.Context, source wire.SourceID, keys []string, extra any, callback FramesCallback) error {
	db.mu.Lock()
	ch := db.readers[source]
	db.mu.Unlock()
	if ch == nil {
		return wire.Errorf(wire.CodeConflict, "source %q has no frames channel: register one first", source)
	}
	if callback == nil {
		callback = ch.callback
	}
	return ch.requests.put(ctx, framesRequest{keys: slices.Clone(keys), extra: extra, callback: callback})
}

// readAll ends when the queue is closed and empty. After Close reads fail at
// once, so what waits is called back soon.
func (db *FrameDB) readAll(source wire.SourceID, ch *framesChannel, ready chan<- framesReady) {
	defer close(ready)
	for {
		r, more := ch.requests.take()
		if !more {
			return
		}
		batch, err := db.GetFramesFrom(db.ctx, source, r.keys)
		if err != nil && db.ctx.Err() != nil {
			err = errDBClosed()
		}
		ready <- framesReady{r, batch, err}
	}
}

func callAll(source wire.SourceID, ready <-chan framesReady) {
	for r := range ready {
		result := FramesResult{Source: source, Keys: r.keys, Err: r.err, Extra: r.extra}
		if r.batch != nil {
			result.Frames = r.batch.Frames
		}
		r.callback(result)
		if r.batch != nil {
			r.batch.Release()
		}
	}
}
