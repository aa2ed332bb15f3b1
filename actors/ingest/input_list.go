package ingest

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/ingest"
)

// listFetcher takes frames from a Redis list, to which producers LPUSH them, one
// frame in the form of a stream of frames each. They are moved to a list of this
// agent's, <key>:taken:<agent>, and removed from there when they are taken; what
// is in there when it starts comes first. So each comes at least once, and its
// key or ID keeps it from being stored twice.
type listFetcher struct {
	*Fetcher
	log     *slog.Logger
	resumed bool
	batch   int // elements to fetch
}

func (l *listFetcher) pause() time.Duration { return queuePause }

func (l *listFetcher) taken() string { return l.Input.Key + ":taken:" + string(l.Service.cfg.Agent) }

func (l *listFetcher) fetch(ctx context.Context) (int, error) {
	rdb, err := l.Queues.Redis(ctx)
	if err != nil {
		return 0, err
	}
	elements, err := l.move(ctx, rdb)
	if err != nil || len(elements) == 0 {
		return 0, err
	}
	bytes := 0
	var fs []ingest.Frame
	var bad []any
	for _, e := range elements {
		bytes += len(e)
		f, err := ingest.Unmarshal([]byte(e))
		if err != nil {
			l.log.Error("an element of the queue is no frame and is put aside", "err", err)
			bad = append(bad, e)
			continue
		}
		fs = append(fs, f)
	}
	l.batch = batchOf(len(elements), bytes)
	refused, err := l.takeAll(ctx, fs)
	if err != nil {
		l.resumed = false // they are still in the list of those that were moved
		return 0, err
	}
	for i, why := range refused {
		l.log.Error("a frame of the queue is refused and put aside", "frame", fs[i].Key, "err", why)
		var b sliceWriter
		fs[i].Write(&b)
		bad = append(bad, []byte(b))
	}
	return len(elements), l.done(ctx, rdb, len(elements), bad)
}

// move moves elements to the list of this agent's, and returns them in the
// order in which they were pushed.
func (l *listFetcher) move(ctx context.Context, rdb *redis.Client) ([]string, error) {
	if !l.resumed {
		left, err := rdb.LRange(ctx, l.taken(), -int64(max(1, l.batch)), -1).Result()
		if err != nil {
			return nil, err
		}
		if len(left) > 0 {
			for i, j := 0, len(left)-1; i < j; i, j = i+1, j-1 {
				left[i], left[j] = left[j], left[i]
			}
			return left, nil
		}
		l.resumed = true
	}
	pipe := rdb.Pipeline()
	moves := make([]*redis.StringCmd, max(1, l.batch))
	for i := range moves {
		moves[i] = pipe.LMove(ctx, l.Input.Key, l.taken(), "RIGHT", "LEFT")
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		l.resumed = false // some may have been moved
		return nil, err
	}
	var elements []string
	for _, m := range moves {
		if m.Err() == nil {
			elements = append(elements, m.Val())
		}
	}
	return elements, nil
}

// done removes the oldest n elements of the list of this agent's, which are at
// its right end.
func (l *listFetcher) done(ctx context.Context, rdb *redis.Client, n int, bad []any) error {
	_, err := rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		if len(bad) > 0 {
			p.LPush(ctx, l.Input.Key+":bad", bad...)
			p.LTrim(ctx, l.Input.Key+":bad", 0, maxBad-1)
		}
		p.LTrim(ctx, l.taken(), 0, -int64(n)-1)
		return nil
	})
	if err != nil {
		l.resumed = false
	}
	return err
}

// sliceWriter collects what is written.
type sliceWriter []byte

func (w *sliceWriter) Write(b []byte) (int, error) {
	*w = append(*w, b...)
	return len(b), nil
}
