package wire

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Ack is what an acknowledgement of a frame means: AckReceived, AckMaster,
// "replicated:n" with n from 1 to MaxReplicas-1, or AckDurable.
type Ack string

const (
	AckReceived Ack = "received" // it is in the agent's memory
	AckMaster   Ack = "master"   // the master has it; the default
	AckDurable  Ack = "durable"  // it is on disk: in the agent's spool or committed by the database
)

// Replicas is n of "replicated:n", and 0 of any other.
func (a Ack) Replicas() int {
	n, found := strings.CutPrefix(string(a), "replicated:")
	count, err := strconv.Atoi(n)
	if !found || err != nil {
		return 0
	}
	return count
}

// Validate returns an ErrInvalidArgument when it is none of those. The empty
// one is valid and means AckMaster.
func (a Ack) Validate() error {
	if slices.Contains([]Ack{"", AckReceived, AckMaster, AckDurable}, a) {
		return nil
	}
	if n := a.Replicas(); n >= 1 && n < MaxReplicas && string(a) == "replicated:"+strconv.Itoa(n) {
		return nil
	}
	return Errorf(CodeInvalidArgument, "%q is unknown: give %q, %q, %q or \"replicated:n\" with n from 1 to %d", string(a), AckReceived, AckMaster, AckDurable, MaxReplicas-1)
}

// IngestionSpec is how frames of one source are taken in. Zero values are
// right for most sources.
type IngestionSpec struct {
	// Target is the persistent FrameDB that takes the frames; empty has them
	// go where the source is mapped to.
	Target FrameDBID `json:"target,omitempty"`
	// Sizes are those that are kept ("608x608"); empty has each node keep
	// those of its mapping's metadata, and all where it has none.
	Sizes []string `json:"sizes,omitempty"`
	// RefCount is what a frame's count begins with, 0 for that of the
	// mapping's metadata (1 where it has none).
	RefCount int `json:"ref_count,omitempty"`
	// Ack is what an acknowledgement means where the producer does not say.
	Ack Ack `json:"ack,omitempty"`
	// BatchFrames, BatchBytes and Linger (milliseconds) bound a batch: it is
	// written when it has so many frames or bytes, or has waited for so long.
	// Zero is the agent's default.
	BatchFrames int   `json:"batch_frames,omitempty"`
	BatchBytes  int64 `json:"batch_bytes,omitempty"`
	Linger      int64 `json:"linger_ms,omitempty"`
	// TTL is how long a frame lives that nobody counts down, in milliseconds;
	// 0 for ever.
	TTL int64 `json:"ttl_ms,omitempty"`
	// Retention bounds what there is of the source at one time.
	Retention Retention `json:"retention,omitzero"`
	// Queue has agents take frames from a Redis queue.
	Queue *IngestQueue `json:"queue,omitempty"`
	// Directory has an agent take frames from a directory on its node.
	Directory *IngestDirectory `json:"directory,omitempty"`
}

// Retention bounds the frames of a source; zero bounds nothing. The oldest
// frames go first, whatever their counts.
type Retention struct {
	Age    int64 `json:"age_ms,omitempty"`
	Bytes  int64 `json:"bytes,omitempty"`
	Frames int64 `json:"frames,omitempty"`
}

// QueueKind tells a list from a stream.
type QueueKind string

const (
	QueueList   QueueKind = "list"
	QueueStream QueueKind = "stream"
)

// IngestQueue is a queue in an in-memory FrameDB, which its owner's agent
// empties.
type IngestQueue struct {
	Kind    QueueKind   `json:"kind"`
	Cluster ClusterName `json:"cluster"`
	Key     string      `json:"key"`
	// Group is the stream's consumer group; default "framedb".
	Group string `json:"group,omitempty"`
}

// IngestDirectory is a directory on one node, each file of which is a frame.
type IngestDirectory struct {
	Node NodeName `json:"node"`
	Path string   `json:"path"` // absolute
	// Pattern chooses files by name as a shell does; default "*".
	Pattern string `json:"pattern,omitempty"`
	// Done is where ingested files are moved to; empty deletes them.
	Done string `json:"done,omitempty"`
}

// Ingestion is how one source is taken in.
type Ingestion struct {
	Source SourceID `json:"source_id"`
	IngestionSpec
	CreateIndex uint64 `json:"create_index"`
	ModifyIndex uint64 `json:"modify_index"`
}

// Bounds of an ingestion.
const (
	MaxRefCount    = 1 << 31
	MaxBatchFrames = 1000
	MaxBatchBytes  = 64 << 20
	MaxLinger      = 10_000 // milliseconds
	MaxIngestSizes = 64
)

var sizeName = regexp.MustCompile(`^[1-9][0-9]{0,5}x[1-9][0-9]{0,5}$`)

// IsSize reports whether it is <width>x<height>, as people name the size of a
// picture. Keys of frames take more (see package frames).
func IsSize(s string) bool { return sizeName.MatchString(s) }

// Validate checks each field and returns an Error whose Field is the JSON name
// of the first one at fault.
func (s *IngestionSpec) Validate() error {
	if s.Target != "" {
		if err := s.Target.Validate(); err != nil {
			return InField("target", err)
		}
	}
	if len(s.Sizes) > MaxIngestSizes {
		return InField("sizes", Errorf(CodeInvalidArgument, "%d sizes: at most %d are allowed", len(s.Sizes), MaxIngestSizes))
	}
	for _, size := range s.Sizes {
		if !IsSize(size) {
			return InField("sizes", Errorf(CodeInvalidArgument, "%q is no size: give <width>x<height>", size))
		}
	}
	if err := s.Ack.Validate(); err != nil {
		return InField("ack", err)
	}
	for _, n := range []struct {
		name       string
		value, max int64
	}{
		{"ref_count", int64(s.RefCount), MaxRefCount},
		{"batch_frames", int64(s.BatchFrames), MaxBatchFrames}, {"batch_bytes", s.BatchBytes, MaxBatchBytes}, {"linger_ms", s.Linger, MaxLinger},
		{"ttl_ms", s.TTL, 1 << 52}, {"retention.age_ms", s.Retention.Age, 1 << 52},
		{"retention.bytes", s.Retention.Bytes, 1 << 60}, {"retention.frames", s.Retention.Frames, 1 << 52},
	} {
		if n.value < 0 || n.value > n.max {
			return InField(n.name, Errorf(CodeInvalidArgument, "%d is out of range: give 0 to %d", n.value, n.max))
		}
	}
	if err := s.Queue.validate(); err != nil {
		return err
	}
	return s.Directory.validate()
}

func (q *IngestQueue) validate() error {
	switch {
	case q == nil:
		return nil
	case q.Kind != QueueList && q.Kind != QueueStream:
		return InField("queue.kind", Errorf(CodeInvalidArgument, "%q is unknown: give %q or %q", q.Kind, QueueList, QueueStream))
	case q.Key == "" || len(q.Key) > 512:
		return InField("queue.key", Errorf(CodeInvalidArgument, "it has %d bytes: give 1 to 512", len(q.Key)))
	case len(q.Group) > 512:
		return InField("queue.group", Errorf(CodeInvalidArgument, "it has %d bytes: give at most 512", len(q.Group)))
	}
	if err := q.Cluster.Validate(); err != nil {
		return InField("queue.cluster", err)
	}
	return nil
}

func (d *IngestDirectory) validate() error {
	if d == nil {
		return nil
	}
	if err := d.Node.Validate(); err != nil {
		return InField("directory.node", err)
	}
	if !path.IsAbs(d.Path) || path.Clean(d.Path) == "/" {
		return InField("directory.path", Errorf(CodeInvalidArgument, "%q is no absolute path of a directory", d.Path))
	}
	if d.Done != "" && (!path.IsAbs(d.Done) || path.Clean(d.Done) == path.Clean(d.Path)) {
		return InField("directory.done", Errorf(CodeInvalidArgument, "%q is no absolute path of another directory", d.Done))
	}
	if _, err := path.Match(d.Pattern, "x"); err != nil {
		return InField("directory.pattern", Errorf(CodeInvalidArgument, "%q is no pattern: %v", d.Pattern, err))
	}
	return nil
}
