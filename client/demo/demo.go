// Package demo is FrameDB's main job, done once and checked: a camera writes
// real JPEG frames in several sizes by the key protocol, readers on the same
// node read them, compare every byte and count them down, and at the end no
// frame may be lost, changed or left behind.
package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
)

// Options say what is run. Start from Defaults.
type Options struct {
	// Input is a directory of JPEG files, each one frame, again from the first
	// when there are more frames than files. Empty: a moving picture is made.
	Input string
	// Frames is how many frames are written, and FPS how many a second.
	Frames, FPS int
	// Cluster is made on NodeTag with so many Replicas unless it exists.
	Cluster  wire.ClusterName
	Replicas int
	// NodeTag is empty for the first tag of the node that is asked.
	NodeTag wire.NodeTag
	Source  wire.SourceID
	// Command begins a command line that can be run as it is noted, such as
	// "framedb --addr host:port".
	Command string
	// Keep leaves the cluster and the mapping; otherwise those that were made
	// here are removed at the end.
	Keep bool

	// Progress hears how many of all frames were written and how many were read
	// by all readers, one call at a time. It must not block. Required.
	Progress func(written, read, total int)
	// Note hears what is being done, a line each. Required.
	Note func(line string)
	// Logger hears of what went wrong frame by frame. Required.
	Logger *slog.Logger
}

// Defaults are ten seconds of a camera.
func Defaults() Options {
	return Options{Frames: 250, FPS: 25, Cluster: "demo", Replicas: 3, Source: "demo-cam", Command: "framedb", Keep: true,
		Progress: func(int, int, int) {}, Note: func(string) {}, Logger: slog.New(slog.DiscardHandler)}
}

// Bounds of Options.
const (
	maxFrames = 1_000_000
	maxFPS    = 1000
)

func (o *Options) validate() error {
	switch {
	case o.Frames < 1 || o.Frames > maxFrames:
		return wire.InField("frames", wire.Errorf(wire.CodeInvalidArgument, "%d is out of range: give 1 to %d", o.Frames, maxFrames))
	case o.FPS < 1 || o.FPS > maxFPS:
		return wire.InField("fps", wire.Errorf(wire.CodeInvalidArgument, "%d is out of range: give 1 to %d", o.FPS, maxFPS))
	}
	return o.Source.Validate()
}

// readers is how many read each frame; it is the mapping's ref_count.
const readers = 2

// store is what a run needs of frames.Cluster.
type store interface {
	Put(ctx context.Context, pairs []frames.Pair, opts frames.PutOptions) error
	Get(ctx context.Context, keys ...string) (*frames.Batch, error)
	Decrement(ctx context.Context, token wire.RequestID, batch []wire.Decrement) ([]wire.Decremented, error)
	List(ctx context.Context, source wire.SourceID, cursor string, limit int) ([]wire.FrameInfo, string, error)
}

var _ store = (*frames.Cluster)(nil)

// access gives the store that the source writes to now; it is asked before
// each use, as that may change.
type access func(context.Context) (store, error)

// Run does the job and reports it. The writer and each reader have a data path
// of their own, as if they were programs of their own. A report with problems
// is no error; see Report.Err.
//
// Errors: ErrInvalidArgument, ErrConflict (the source is in other use), those
// of making the cluster and of opening the data path, ctx's. What was written
// is removed also then.
func Run(ctx context.Context, cfg client.Config, o Options) (Report, error) {
	if err := o.validate(); err != nil {
		return Report{}, err
	}
	control, err := client.New(cfg)
	if err != nil {
		return Report{}, err
	}
	defer control.Close()
	material, err := loadMaterial(ctx, o)
	if err != nil {
		return Report{}, err
	}
	stage, err := setUp(ctx, control, o, material.sizes())
	if err != nil {
		return Report{}, errors.Join(err, stage.tearDown(ctx))
	}
	paths, closePaths, err := openPaths(ctx, cfg, o.Source, stage.tag)
	if err != nil {
		return Report{}, errors.Join(err, stage.tearDown(ctx))
	}
	defer closePaths()
	j := newJob(o, material, paths)
	report, err := j.run(ctx)
	return report, errors.Join(err, stage.tearDown(ctx))
}

// openPaths opens a data path for the writer, the first, and for each reader.
func openPaths(ctx context.Context, cfg client.Config, source wire.SourceID, tag wire.NodeTag) (paths []access, closeAll func(), err error) {
	cfg.NodeTags = []wire.NodeTag{tag}
	var open []*client.FrameDB
	closeAll = func() {
		for _, db := range open {
			db.Close()
		}
	}
	for range 1 + readers {
		db, err := client.Open(ctx, cfg)
		if err != nil {
			closeAll()
			return nil, nil, fmt.Errorf("opening the data path: %w", err)
		}
		open = append(open, db)
		paths = append(paths, func(ctx context.Context) (store, error) {
			cluster, _, err := db.Cluster(ctx, source)
			return cluster, err
		})
	}
	return paths, closeAll, nil
}

// job is one run of the writer and the readers.
type job struct {
	Options
	material material
	paths    []access // of the writer, then of the readers
	prefix   wire.FrameKey

	mu     sync.Mutex
	report Report // guarded by mu
	read   int    // guarded by mu

	telling sync.Mutex // orders the calls of Progress
}

func newJob(o Options, m material, paths []access) *job {
	// The time as restart counter makes this run's keys its own.
	return &job{Options: o, material: m, paths: paths, prefix: wire.NewFrameKey(o.Source, 0, uint64(time.Now().UnixMilli()), 0)}
}

// written is what the writer tells the readers of a frame.
type written struct {
	frame wire.FrameKey
	sums  []sum
}

// announced bounds how many frames a reader may be behind before the writer
// waits for it.
const announced = 256

func (j *job) run(ctx context.Context) (Report, error) {
	j.Note(fmt.Sprintf("writing %d frames at %d/s, %d readers", j.Frames, j.FPS, readers))
	err := j.writeAndRead(ctx)
	left, errLeft := j.leftOver(ctx)
	j.report.LeftOver = left
	j.report.finish(j.Frames, j.FPS)
	if left > 0 || err != nil {
		errLeft = errors.Join(errLeft, j.removeFrames(ctx))
	}
	return j.report, errors.Join(err, errLeft)
}

// writeAndRead returns the first error of the writer and the readers; it ends
// the others.
func (j *job) writeAndRead(ctx context.Context) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var all sync.WaitGroup
	var outs []chan written
	for i := range readers {
		in := make(chan written, announced)
		outs = append(outs, in)
		all.Go(func() {
			if err := j.reader(ctx, j.paths[1+i], in); err != nil {
				fail(fmt.Errorf("reader %d: %w", i+1, err))
			}
		})
	}
	all.Go(func() {
		defer func() {
			for _, out := range outs {
				close(out)
			}
		}()
		if err := j.writer(ctx, outs); err != nil {
			fail(fmt.Errorf("writer: %w", err))
		}
	})
	all.Wait()
	return context.Cause(ctx)
}

// progress tells how far the writer and the readers are.
func (j *job) progress() {
	j.telling.Lock()
	defer j.telling.Unlock()
	j.mu.Lock()
	written, read := j.report.Frames, j.read
	j.mu.Unlock()
	j.Progress(written, read, j.Frames)
}
