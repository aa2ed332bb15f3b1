package ingest

import (
	"context"
	"slices"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
)

// Router tells how and to where frames are taken in now. It is asked for each
// call and each batch, concurrently: it should answer from memory.
type Router interface {
	// Route tells of one source.
	//
	// Errors: ErrNotFound when nobody knows the source.
	Route(source wire.SourceID) (Route, error)
}

// Route is how the frames of a source are taken in.
type Route struct {
	Settings Settings
	// Targets is where they go: each frame to all of them.
	Targets []Target
}

// TargetName names a target of a source for as long as frames may wait for it,
// over restarts and over moves to another cluster: OfTag or OfFrameDB.
type TargetName string

// OfTag is the target that a mapping on a node tag is, whatever its cluster.
func OfTag(t wire.NodeTag) TargetName { return TargetName("tag:" + string(t)) }

// OfFrameDB is the target that a FrameDB is which the settings name.
func OfFrameDB(id wire.FrameDBID) TargetName { return TargetName("framedb:" + string(id)) }

// Target is one place that a source's frames go to.
type Target struct {
	Name TargetName
	// NodeTag is that of a mapping; back-pressure messages speak of it.
	NodeTag wire.NodeTag
	// Sizes and RefCount are what the metadata of the mapping ask for; nil when
	// they do not.
	Sizes    []string
	RefCount *int64
	// Storage is true for a FrameDB on disk: what it stores is durable, and has
	// no counts.
	Storage     bool
	Destination Destination
}

// Destination stores frames. Safe for concurrent use.
type Destination interface {
	// Store stores the frames of one lane in order, each once (see
	// frames.Cluster.StoreOnce). It does not keep the values.
	//
	// Errors: ErrUnavailable, ErrOutcomeUnknown, ErrOverloaded and ctx's are
	// worth another try; ErrUnavailable in Field "replicas" comes with results,
	// for the master has the frames. Others are for good.
	Store(ctx context.Context, lane frames.Lane, opts frames.PutOptions) ([]frames.Stored, error)
}

// Messenger is a Destination that carries pub/sub messages.
type Messenger interface {
	Publish(ctx context.Context, channel string, message []byte) error
	// Subscribe calls f for each message on the channels of a pattern, until ctx
	// ends or the connection does.
	Subscribe(ctx context.Context, pattern string, f func(channel string, message []byte)) error
}

// sizesOf returns what of the frame is kept for a target.
func (s *Settings) sizesOf(f *ingest.Frame, t *Target) ([]ingest.Size, error) {
	wanted := s.Sizes
	if len(wanted) == 0 {
		wanted = t.Sizes
	}
	if len(wanted) == 0 {
		return f.Sizes, nil
	}
	kept := make([]ingest.Size, 0, len(wanted))
	for _, name := range wanted {
		i := slices.IndexFunc(f.Sizes, func(s ingest.Size) bool { return s.Name == name })
		if i < 0 {
			return nil, refuse("sizes", "%s wants %q, which is not given", t.Name, name)
		}
		kept = append(kept, f.Sizes[i])
	}
	return kept, nil
}

// countOf is how many uses the frame has at a target.
func (s *Settings) countOf(f *ingest.Frame, t *Target) int64 {
	for _, n := range []*int64{f.Count, s.RefCount, t.RefCount} {
		if n != nil {
			return *n
		}
	}
	return 1
}
