package ingest

import (
	"path/filepath"
	"slices"
	"time"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
)

// Defaults of Settings.
const (
	DefaultBatchFrames = 64
	DefaultBatchBytes  = 4 << 20
)

// Bounds of Settings.
const (
	MaxBatchFrames = 1000
	MaxBatchBytes  = 64 << 20
	MaxLinger      = 10 * time.Second
	MaxInputs      = 16
)

// Settings say how the frames of one source are taken in. The zero value is
// that of a source that nobody configured.
type Settings struct {
	// Sizes are those that are kept of each frame. Empty is what the metadata of
	// a mapping ask for ("sizes"), or all that come.
	Sizes []string `json:"sizes,omitempty"`
	// RefCount is how many uses a frame has that does not say so itself. Nil is
	// what the metadata of a mapping ask for ("ref_count"), or 1.
	RefCount *int64 `json:"ref_count,omitempty"`
	// FrameDB is where the frames go; empty is where the source is mapped to.
	FrameDB wire.FrameDBID `json:"framedb,omitempty"`
	// Level is what is acknowledged when the producer does not ask for another.
	// Default master.
	Level ingest.Level `json:"level,omitzero"`
	// BatchFrames and BatchBytes bound what is written at once. More is fewer
	// round trips, and a longer wait for the last frame of a batch. Default 64
	// and 4 MiB; one frame may be larger.
	BatchFrames int   `json:"batch_frames,omitempty"`
	BatchBytes  int64 `json:"batch_bytes,omitempty"`
	// LingerMS is how long a frame waits for others to be written with it. Even
	// at 0, the default, what comes during a write goes with the next one.
	LingerMS int64 `json:"linger_ms,omitempty"`
	// TTLMS is how long a frame lives that does not say so itself; 0 is for ever.
	TTLMS int64 `json:"ttl_ms,omitempty"`
	// Inputs are where frames are fetched from, beside those that are sent.
	Inputs []Input `json:"inputs,omitempty"`
}

// Validate reports whether the settings can be used.
//
// Errors: ErrInvalidArgument with the field named.
func (s *Settings) Validate() error {
	if err := frames.CheckSizes(s.Sizes...); err != nil {
		return wire.InField("sizes", err)
	}
	if err := s.Level.Validate(); err != nil {
		return wire.InField("level", err)
	}
	if s.FrameDB != "" {
		if err := s.FrameDB.Validate(); err != nil {
			return wire.InField("framedb", err)
		}
	}
	for _, n := range []struct {
		field string
		n     int64
		max   int64
	}{
		{"batch_frames", int64(s.BatchFrames), MaxBatchFrames},
		{"batch_bytes", s.BatchBytes, MaxBatchBytes},
		{"linger_ms", s.LingerMS, MaxLinger.Milliseconds()},
		{"ttl_ms", s.TTLMS, ingest.MaxTTL.Milliseconds()},
		{"inputs", int64(len(s.Inputs)), MaxInputs},
	} {
		if n.n < 0 || n.n > n.max {
			return refuse(n.field, "%d is out of range: give 0 to %d", n.n, n.max)
		}
	}
	if s.RefCount != nil && (*s.RefCount < 0 || *s.RefCount > ingest.MaxCount) {
		return refuse("ref_count", "%d is out of range: give 0 to %d", *s.RefCount, int64(ingest.MaxCount))
	}
	for i := range s.Inputs {
		if err := s.Inputs[i].validate(); err != nil {
			return err
		}
	}
	return nil
}

func refuse(field, format string, args ...any) error {
	return wire.InField(field, wire.Errorf(wire.CodeInvalidArgument, format, args...))
}

func (s *Settings) level(asked ingest.Level) ingest.Level {
	switch {
	case asked.Promise != "":
		return asked
	case s.Level.Promise != "":
		return s.Level
	}
	return ingest.Level{Promise: ingest.Master}
}

func (s *Settings) batchFrames() int {
	if s.BatchFrames > 0 {
		return s.BatchFrames
	}
	return DefaultBatchFrames
}

func (s *Settings) batchBytes() int64 {
	if s.BatchBytes > 0 {
		return s.BatchBytes
	}
	return DefaultBatchBytes
}

func (s *Settings) linger() time.Duration { return time.Duration(s.LingerMS) * time.Millisecond }

// InputKind names a way to fetch frames.
type InputKind string

// The kinds of inputs.
const (
	InputList      InputKind = "list"      // a Redis list, to which producers LPUSH
	InputStream    InputKind = "stream"    // a Redis stream, read as one consumer of a group
	InputDirectory InputKind = "directory" // files that appear in a directory of the agent's node
)

// AfterFile says what becomes of a file whose frame was taken.
type AfterFile string

// What becomes of files.
const (
	AfterDelete AfterFile = "delete"
	AfterMove   AfterFile = "move" // to Input.Done
)

// Input is one place to fetch frames of a source from.
type Input struct {
	Kind InputKind `json:"kind"`
	// Cluster is the in-memory cluster that a list or stream is on.
	Cluster wire.ClusterName `json:"cluster,omitempty"`
	// Key is the Redis key of a list or stream.
	Key string `json:"key,omitempty"`
	// Group is the consumer group of a stream; default "framedb".
	Group string `json:"group,omitempty"`
	// Path is an absolute directory, and Glob which files of it are frames; default "*".
	Path string `json:"path,omitempty"`
	Glob string `json:"glob,omitempty"`
	// After is what becomes of a file; default delete.
	After AfterFile `json:"after,omitempty"`
	// Done is the absolute directory that files are moved to; default: "done" in
	// the watched one.
	Done string `json:"done,omitempty"`
}

func (in *Input) validate() error {
	switch in.Kind {
	case InputList, InputStream:
		if err := in.Cluster.Validate(); err != nil {
			return wire.InField("inputs.cluster", err)
		}
		if in.Key == "" || len(in.Key) > 1<<10 {
			return refuse("inputs.key", "it has %d bytes: give 1 to %d", len(in.Key), 1<<10)
		}
		if len(in.Group) > 200 {
			return refuse("inputs.group", "it has %d bytes: at most 200", len(in.Group))
		}
	case InputDirectory:
		if !filepath.IsAbs(in.Path) {
			return refuse("inputs.path", "%.200q is not absolute", in.Path)
		}
		if _, err := filepath.Match(in.Glob, ""); err != nil {
			return refuse("inputs.glob", "%.200q: %v", in.Glob, err)
		}
		if !slices.Contains([]AfterFile{"", AfterDelete, AfterMove}, in.After) {
			return refuse("inputs.after", "%.50q is not known: give delete or move", in.After)
		}
	default:
		return refuse("inputs.kind", "%.50q is not known: give list, stream or directory", in.Kind)
	}
	return nil
}
