package intake

import (
	"encoding/json"
	"time"

	"github.com/framedb/framedb/actors/ingest"
	"github.com/framedb/framedb/client/frames"
	client "github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// Route implements ingest.Router. A source that has mappings is known, and one
// whose ingestion names a persistent FrameDB.
//
// Errors: ErrNotFound with Field "source".
func (i *Intake) Route(source wire.SourceID) (ingest.Route, error) {
	v := i.cfg.View()
	var r ingest.Route
	if row, found := v.Ingestion(source); found {
		r.Settings = settingsOf(&row.IngestionSpec)
	}
	if id := r.Settings.FrameDB; id != "" {
		r.Targets = []ingest.Target{{Name: ingest.OfFrameDB(id), Storage: true, Destination: ingest.NewStorage(i.cfg.Objects(id))}}
		return r, nil
	}
	for _, m := range v.MappingsOf(source) {
		t, err := i.target(v, m)
		if err != nil {
			return ingest.Route{}, err
		}
		r.Targets = append(r.Targets, t)
	}
	if len(r.Targets) == 0 {
		return ingest.Route{}, wire.InField("source", wire.Errorf(wire.CodeNotFound,
			"source %q has no mapping: map it to a node tag, or name a persistent FrameDB in its ingestion", source))
	}
	return r, nil
}

func (i *Intake) target(v *state.View, m *wire.Mapping) (ingest.Target, error) {
	to, err := i.paths.to(v, m.Cluster)
	t := ingest.Target{Name: ingest.OfTag(m.NodeTag), NodeTag: m.NodeTag, Destination: to}
	t.Sizes, t.RefCount = metadataOf(m.Metadata)
	return t, err
}

// metadataOf is what a mapping's metadata ask for. Metadata are the user's own:
// what cannot be used asks for nothing.
func metadataOf(text json.RawMessage) (sizes []string, refCount *int64) {
	var s struct {
		Sizes []string `json:"sizes"`
	}
	if json.Unmarshal(text, &s) == nil && frames.CheckSizes(s.Sizes...) == nil {
		sizes = s.Sizes
	}
	var c struct {
		RefCount *int64 `json:"ref_count"`
	}
	if json.Unmarshal(text, &c) == nil && c.RefCount != nil && *c.RefCount >= 0 && *c.RefCount <= client.MaxCount {
		refCount = c.RefCount
	}
	return sizes, refCount
}

// settingsOf translates what the store holds; it was validated there. Limits
// that the store allowed once and that are lower now are kept to.
func settingsOf(spec *wire.IngestionSpec) ingest.Settings {
	s := ingest.Settings{
		Sizes: spec.Sizes, FrameDB: spec.Target,
		BatchFrames: min(spec.BatchFrames, ingest.MaxBatchFrames),
		BatchBytes:  min(spec.BatchBytes, ingest.MaxBatchBytes),
		LingerMS:    min(spec.Linger, ingest.MaxLinger.Milliseconds()),
		TTLMS:       min(spec.TTL, client.MaxTTL.Milliseconds()),
	}
	if spec.RefCount > 0 {
		n := int64(spec.RefCount)
		s.RefCount = &n
	}
	s.Level, _ = client.ParseLevel(string(spec.Ack)) // the store refused others
	return s
}

// learnAgain is how often a cluster is told of a source's sizes, which it
// forgets when all of its members die.
const learnAgain = 5 * time.Minute
