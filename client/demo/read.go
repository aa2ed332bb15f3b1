package demo

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
)

// reader reads, checks and counts down every frame that is announced.
func (j *job) reader(ctx context.Context, path access, in <-chan written) error {
	for {
		select {
		case w, more := <-in:
			if !more {
				return nil
			}
			if err := j.readFrame(ctx, path, w); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (j *job) readFrame(ctx context.Context, path access, w written) error {
	from, err := path(ctx)
	if err != nil {
		return err
	}
	keys := make([]string, len(w.sums))
	for i, s := range w.sums {
		keys[i] = w.frame.Data(s.size)
	}
	start := time.Now()
	batch, err := from.Get(ctx, keys...)
	if err != nil {
		return err
	}
	c := check(w, batch.Frames)
	c.from, c.to = start, time.Now()
	batch.Release()
	for _, p := range c.problems {
		j.Logger.Warn("frame is not as it was written", "problem", p)
	}
	j.mu.Lock()
	j.report.saw(c)
	j.read++
	j.mu.Unlock()
	j.progress()
	return j.countDown(ctx, path, w)
}

// checked is what a reader found of one frame.
type checked struct {
	from, to      time.Time // of the read
	bytes         int       // equal to what was written
	lost, changed int       // data keys
	problems      []string
}

// check compares what was read with what was written; got is in the order of
// the sums.
func check(w written, got []frames.Frame) checked {
	var c checked
	for i, want := range w.sums {
		key := w.frame.Data(want.size)
		switch {
		case i >= len(got) || got[i].Missing:
			c.lost++
			c.problems = append(c.problems, key+" is missing")
		case len(got[i].Data) != want.bytes || sha256.Sum256(got[i].Data) != want.hash:
			c.changed++
			c.problems = append(c.problems, key+" has other bytes")
		default:
			c.bytes += want.bytes
		}
	}
	return c
}

// countDown drops this reader's use. The token makes a repetition count once.
func (j *job) countDown(ctx context.Context, path access, w written) error {
	sizes := make([]string, len(w.sums))
	for i, s := range w.sums {
		sizes[i] = s.size
	}
	token := client.NewRequestID()
	batch := []wire.Decrement{{Key: w.frame.Count(), By: 1, Sizes: sizes}}
	var results []wire.Decremented
	err := untilSure(func() error {
		from, err := path(ctx)
		if err != nil {
			return err
		}
		results, err = from.Decrement(ctx, token, batch)
		return err
	})
	if err != nil {
		return err
	}
	if len(results) != 1 || results[0].Missing {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.report.miscounted(w.frame.Count())
	}
	return nil
}
