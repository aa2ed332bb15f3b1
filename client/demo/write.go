package demo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
)

// sum is what a reader must find under a data key.
type sum struct {
	size  string
	bytes int
	hash  [sha256.Size]byte
}

// writer writes each frame at its time and then announces it to the readers.
// When it is late it goes on at once, without leaving a frame out.
func (j *job) writer(ctx context.Context, outs []chan written) error {
	start := time.Now()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for n := range j.Frames {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		w, err := j.writeFrame(ctx, uint64(n))
		if err != nil {
			return err
		}
		for _, out := range outs {
			select {
			case out <- w:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		j.progress()
		due := start.Add(time.Duration(n+1) * time.Second / time.Duration(j.FPS))
		pause.Reset(time.Until(due))
	}
	return nil
}

func (j *job) writeFrame(ctx context.Context, n uint64) (written, error) {
	images, err := j.material.frame(n)
	if err != nil {
		return written{}, err
	}
	key := j.prefix
	key.Number = n
	w := written{frame: key}
	pairs := []frames.Pair{{Key: key.Count(), Value: strconv.AppendInt(nil, readers, 10)}}
	total := 0
	for _, i := range images {
		w.sums = append(w.sums, sum{i.size, len(i.data), sha256.Sum256(i.data)})
		pairs = append(pairs, frames.Pair{Key: key.Data(i.size), Value: i.data})
		total += len(i.data)
	}
	start := time.Now()
	if err := j.put(ctx, pairs); err != nil {
		return written{}, fmt.Errorf("frame %d: %w", n, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.report.wrote(start, time.Now(), total)
	return w, nil
}

// sureTries is how often a step with an unknown outcome is repeated.
const sureTries = 5

// put repeats a write with an unknown outcome: no reader knows the frame yet,
// so writing it twice leaves what writing it once does.
func (j *job) put(ctx context.Context, pairs []frames.Pair) error {
	return untilSure(func() error {
		to, err := j.paths[0](ctx)
		if err != nil {
			return err
		}
		return to.Put(ctx, pairs, frames.PutOptions{})
	})
}

func untilSure(step func() error) error {
	var err error
	for range sureTries {
		if err = step(); !errors.Is(err, wire.ErrOutcomeUnknown) {
			return err
		}
	}
	return err
}
