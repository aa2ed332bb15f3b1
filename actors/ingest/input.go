package ingest

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
)

// Queues is the cluster that a queue is on, such as a *frames.Cluster.
type Queues interface {
	// Redis returns the plain client of the master of this moment.
	Redis(ctx context.Context) (*redis.Client, error)
}

// Fetcher fetches the frames of one source from one input. It is one at a time
// for each input, on one agent.
type Fetcher struct {
	Service *Service
	Source  wire.SourceID
	Input   Input
	Queues  Queues // of Input.Cluster; nil for a directory
}

// Run fetches until ctx ends. What it cannot take now stays where it is: in its
// queue or directory. What can never be taken is put aside and told of: queues
// have a list for it, <key>:bad, directories the directory "bad".
func (f *Fetcher) Run(ctx context.Context) {
	log := f.Service.log.With("source", f.Source, "input", f.Input.Kind)
	one := f.open(log)
	for failures := 0; ctx.Err() == nil; {
		n, err := one.fetch(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			log.Warn("an input cannot be read now", "err", err)
			sleep(ctx, backoff(failures))
			failures++
		case n == 0:
			sleep(ctx, one.pause())
			failures = 0
		default:
			failures = 0
		}
	}
}

// fetcher fetches once.
type fetcher interface {
	// fetch takes in what is there, within a bound, and returns how much it was.
	fetch(ctx context.Context) (int, error)
	// pause is how long to wait when nothing was there.
	pause() time.Duration
}

func (f *Fetcher) open(log *slog.Logger) fetcher {
	switch f.Input.Kind {
	case InputList:
		return &listFetcher{Fetcher: f, log: log}
	case InputStream:
		return &streamFetcher{Fetcher: f, log: log}
	default:
		return &dirFetcher{Fetcher: f, log: log, seen: map[string]seenFile{}}
	}
}

// queuePause is how long an empty queue is left alone.
const queuePause = 20 * time.Millisecond

// level is what a fetched frame must reach before it is taken from where it
// was: it is not there any more afterwards.
func (f *Fetcher) level() ingest.Level {
	route, err := f.Service.cfg.Router.Route(f.Source)
	if err != nil {
		return ingest.Level{}
	}
	if l := route.Settings.level(ingest.Level{}); l.Promise != ingest.Received {
		return l
	}
	return ingest.Level{Promise: ingest.Master}
}

// takeAll ingests frames, and again those that cannot be taken now, until all
// are taken or refused for good. The errors of those, by index, are returned.
//
// Errors: those of Ingest that concern no frame; ctx's.
func (f *Fetcher) takeAll(ctx context.Context, fs []ingest.Frame) (bad map[int]error, err error) {
	bad = map[int]error{}
	todo := make([]int, len(fs))
	for i := range todo {
		todo[i] = i
	}
	for failures := 0; len(todo) > 0; failures++ {
		part := make([]ingest.Frame, len(todo))
		for i, at := range todo {
			part[i] = fs[at]
		}
		results, err := f.Service.Ingest(ctx, f.Source, part, Options{Level: f.level()})
		if err != nil && !errors.Is(err, wire.ErrOverloaded) {
			return bad, err
		}
		var again []int
		wait := backoff(failures)
		for i, at := range todo {
			switch {
			case err != nil || results[i].Error != nil && !forGood(results[i].Error):
				again = append(again, at)
			case results[i].Error != nil:
				bad[at] = results[i].Error
			}
		}
		if todo = again; len(todo) > 0 {
			sleep(ctx, wait)
		}
		if ctx.Err() != nil {
			return bad, ctx.Err()
		}
	}
	return bad, nil
}

// maxBad bounds the list of what could not be taken.
const maxBad = 1000

// batchOf is how many elements of a queue to fetch, when the last ones had so
// many bytes.
func batchOf(n, bytes int) int {
	if n == 0 {
		return 1
	}
	return max(1, min(DefaultBatchFrames, DefaultBatchBytes/max(1, bytes/n)))
}
