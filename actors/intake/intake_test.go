package intake

import (
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/framedb/framedb/actors/ingest"
	"github.com/framedb/framedb/client/frames"
	client "github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/sentinel"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bed is a store, and an Intake of node n1 over it.
type bed struct {
	*Intake
	t     *testing.T
	state *state.State
	index uint64
}

func newBed(t *testing.T) *bed {
	b := &bed{t: t, state: state.New()}
	sentinels := sentinel.New(sentinel.Config{})
	b.Intake = New(Config{
		Node: "n1", View: b.state.View, Sentinels: sentinels, Logger: slog.New(slog.DiscardHandler),
		Objects: func(wire.FrameDBID) *objects.Store { return nil },
	})
	t.Cleanup(func() { b.Close(); sentinels.Close() })
	b.do(state.RegisterNode{Node: wire.Node{Name: "n1", Tags: []wire.NodeTag{"t1", "t2"}}})
	b.do(state.CreateClusters{Names: []wire.ClusterName{"c1"}, Spec: wire.ClusterSpec{NodeTag: "t1", Replicas: 1, Quorum: 1}})
	b.do(state.CreateClusters{Names: []wire.ClusterName{"c2"}, Spec: wire.ClusterSpec{NodeTag: "t2", Replicas: 1, Quorum: 1}})
	b.do(state.CreateMapping{Source: "cam", NodeTag: "t1", Metadata: json.RawMessage(`{"sizes":["8x8"],"ref_count":0}`)})
	b.do(state.CreateMapping{Source: "cam", NodeTag: "t2", Metadata: json.RawMessage(`{"sizes":"all","ref_count":-1}`)})
	return b
}

func (b *bed) do(cmd state.Command) {
	b.t.Helper()
	text, err := state.Encode(cmd, "", time.Unix(1_700_000_000, 0))
	if err != nil {
		b.t.Fatal(err)
	}
	b.index++
	if res := b.state.Apply(b.index, text); res.Err != nil {
		b.t.Fatalf("%s: %v", cmd.Type(), res.Err)
	}
}

func TestRouteFollowsTheStore(t *testing.T) {
	b := newBed(t)
	var failure *wire.Error
	if _, err := b.Route("nobody"); !errors.As(err, &failure) || failure.Code != wire.CodeNotFound || failure.Field != "source" {
		t.Errorf("an unknown source: %v", err)
	}
	r, err := b.Route("cam")
	if err != nil || len(r.Targets) != 2 {
		t.Fatalf("route %+v, %v", r, err)
	}
	one, two := r.Targets[0], r.Targets[1]
	if one.Name != ingest.OfTag("t1") || one.NodeTag != "t1" || len(one.Sizes) != 1 || one.RefCount == nil || *one.RefCount != 0 || one.Storage {
		t.Errorf("target %+v", one)
	}
	if two.Name != ingest.OfTag("t2") || two.Sizes != nil || two.RefCount != nil {
		t.Errorf("metadata that are of no use ask for something: %+v", two)
	}
	again, _ := b.Route("cam")
	if again.Targets[0].Destination != one.Destination || one.Destination == two.Destination {
		t.Error("a cluster has not one destination")
	}
	b.do(state.PutIngestion{Source: "cam", Spec: wire.IngestionSpec{Ack: "replicated:2", RefCount: 3, TTL: 1 << 50, Linger: 7, BatchFrames: 9, Sizes: []string{"4x4"}}})
	r, _ = b.Route("cam")
	s := r.Settings
	if s.Level.String() != "replicated:2" || *s.RefCount != 3 || s.TTLMS != client.MaxTTL.Milliseconds() || s.LingerMS != 7 || s.BatchFrames != 9 || s.Sizes[0] != "4x4" {
		t.Errorf("settings %+v", s)
	}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	b.do(state.CreateStorage{ID: "disk", Spec: wire.StorageSpec{NodeTag: "t1"}})
	b.do(state.PutIngestion{Source: "cam", Spec: wire.IngestionSpec{Target: "disk"}})
	if r, _ = b.Route("cam"); len(r.Targets) != 1 || r.Targets[0].Name != ingest.OfFrameDB("disk") || !r.Targets[0].Storage {
		t.Errorf("route %+v", r)
	}
}

func TestInputsAreThoseOfThisNode(t *testing.T) {
	b := newBed(t)
	b.do(state.PutIngestion{Source: "cam", Spec: wire.IngestionSpec{
		Queue:     &wire.IngestQueue{Kind: wire.QueueStream, Cluster: "c1", Key: "q", Group: "g"},
		Directory: &wire.IngestDirectory{Node: "n1", Path: "/in", Pattern: "*.jpg", Done: "/out"},
	}})
	b.do(state.PutIngestion{Source: "other", Spec: wire.IngestionSpec{Directory: &wire.IngestDirectory{Node: "n2", Path: "/in"}}})
	dir := input{"cam", ingest.Input{Kind: ingest.InputDirectory, Path: "/in", Glob: "*.jpg", After: ingest.AfterMove, Done: "/out"}}
	if got := b.inputs(b.state.View()); len(got) != 1 || !got[dir] {
		t.Errorf("nobody owns the cluster, and the inputs are %+v", got)
	}
	b.do(state.AssignOwner{Item: state.Item{Cluster: "c1"}, Owner: "n1"})
	queue := input{"cam", ingest.Input{Kind: ingest.InputStream, Cluster: "c1", Key: "q", Group: "g"}}
	if got := b.inputs(b.state.View()); len(got) != 2 || !got[dir] || !got[queue] {
		t.Errorf("inputs %+v", got)
	}
}

// A size is told of once, and again after a while, when the cluster may have
// lost it.
func TestSizesAreLearnedOnce(t *testing.T) {
	b := newBed(t)
	p, err := b.paths.to(b.state.View(), "c1")
	if err != nil {
		t.Fatal(err)
	}
	lane := frames.Lane{Frames: []frames.LaneFrame{{Pairs: []frames.Pair{{Key: "cam?0?0__1__8x8"}, {Key: "ref__cam?0?0__1"}}}, {Pairs: []frames.Pair{{Key: "cam?0?0__2__8x8"}, {Key: "cam?0?0__2__4x4"}}}}}
	now := time.Unix(1_700_000_000, 0)
	found := p.unknown(lane, now)
	if len(found) != 1 || len(found["cam"]) != 2 {
		t.Fatalf("unknown are %v", found)
	}
	p.note("cam", found["cam"], now)
	if again := p.unknown(lane, now.Add(learnAgain-1)); again != nil {
		t.Errorf("unknown are %v again", again)
	}
	if again := p.unknown(lane, now.Add(learnAgain)); len(again["cam"]) != 2 {
		t.Errorf("after a while unknown are %v", again)
	}
}
