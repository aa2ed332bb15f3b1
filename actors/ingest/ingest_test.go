package ingest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
)

func TestFramesAreWrittenWhole(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	var fs []ingest.Frame
	for n := range 200 {
		fs = append(fs, frame(source, n))
	}
	for i, r := range b.take(master, fs...) {
		if r.Frame != fs[i].Key.String() || r.Level != master || r.Duplicate {
			t.Errorf("frame %d: %+v", i, r)
		}
		if err := b.has(fs[i], "1"); err != nil {
			t.Error(err)
		}
	}
	if used := b.service.memory.inUse(); used != 0 {
		t.Errorf("%d bytes of memory are in use", used)
	}
	if n := b.metric("frames_total"); n != 200 {
		t.Errorf("metrics tell of %v frames", n)
	}
}

func TestSettingsSayWhatIsKept(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	seven, two, none := int64(7), int64(2), int64(0)
	tagged := b.target("rack-1")
	tagged.Sizes, tagged.RefCount = []string{"2x2"}, &two
	for i, c := range []struct {
		settings Settings
		own      *int64
		count    string
		sizes    []string
	}{
		{Settings{}, nil, "2", []string{"2x2"}},
		{Settings{RefCount: &seven}, nil, "7", []string{"2x2"}},
		{Settings{Sizes: []string{"1x1", "2x2"}}, &seven, "7", []string{"1x1", "2x2"}},
		{Settings{TTLMS: 3_600_000}, nil, "2", []string{"2x2"}},
		{Settings{}, &none, "", nil},
	} {
		b.routes.set(source, c.settings, tagged)
		f := frame(source, i)
		f.Count = c.own
		b.take(ingest.Level{}, f)
		kept, err := b.rdb().Keys(t.Context(), f.Key.String()+"__*").Result()
		if err != nil || len(kept) != len(c.sizes) {
			t.Errorf("case %d: %q, %v", i, kept, err)
		}
		if got := b.rdb().Get(t.Context(), f.Key.Count()).Val(); got != c.count {
			t.Errorf("case %d: count %q", i, got)
		}
		if ttl := b.rdb().PTTL(t.Context(), f.Key.Count()).Val(); (ttl > 0) != (c.settings.TTLMS > 0) {
			t.Errorf("case %d: lives for %v", i, ttl)
		}
	}
}

func TestOneBadFrameIsNamedAndTheOthersAreStored(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	less := int64(-1)
	bad := map[string]func(*ingest.Frame){
		"frame":  func(f *ingest.Frame) { f.Key = wire.NewFrameKey("cam-2", 1, 1, 1) },
		"count":  func(f *ingest.Frame) { f.Count = &less },
		"sizes":  func(f *ingest.Frame) { f.Sizes[0].Data = nil },
		"ttl_ms": func(f *ingest.Frame) { f.TTL = -1 },
	}
	n := 0
	for field, spoil := range bad {
		fs := []ingest.Frame{frame(source, n), frame(source, n+1), frame(source, n+2)}
		n += 3
		spoil(&fs[1])
		results, err := b.service.Ingest(t.Context(), source, fs, Options{})
		if err != nil || results[0].Error != nil || results[2].Error != nil || results[1].Error == nil || results[1].Error.Field != field {
			t.Fatalf("%s: %+v, %v", field, results, err)
		}
		for _, i := range []int{0, 2} {
			if err := b.has(fs[i], "1"); err != nil {
				t.Error(err)
			}
		}
	}
	missing := frame(source, n)
	missing.Sizes = missing.Sizes[:1]
	b.routes.set(source, Settings{Sizes: []string{"2x2"}}, b.target("rack-1"))
	results, err := b.service.Ingest(t.Context(), source, []ingest.Frame{missing}, Options{})
	if err != nil || results[0].Error == nil || results[0].Error.Field != "sizes" {
		t.Errorf("a size that is not given: %+v, %v", results, err)
	}
	if _, err := b.service.Ingest(t.Context(), "nobody", []ingest.Frame{frame("nobody", 1)}, Options{}); !errors.Is(err, wire.ErrNotFound) {
		t.Errorf("an unknown source: %v", err)
	}
	if _, err := b.service.Ingest(t.Context(), "a?b", nil, Options{}); !isCode(err, wire.CodeInvalidArgument) {
		t.Errorf("a source that is none: %v", err)
	}
	if _, err := b.service.Ingest(t.Context(), source, nil, Options{Level: ingest.Level{Promise: "gold"}}); !isCode(err, wire.CodeInvalidArgument) {
		t.Errorf("a level that is none: %v", err)
	}
	if results, err := b.service.Ingest(t.Context(), source, nil, Options{}); err != nil || len(results) != 0 {
		t.Errorf("no frames: %v, %v", results, err)
	}
	if used := b.service.memory.inUse(); used != 0 {
		t.Errorf("%d bytes of memory are in use", used)
	}
}

func TestARetryStoresOneFrameAndOneCount(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	f := frame(source, 1)
	b.take(master, f)
	// It is read and counted down; then the producer, who got no reply, repeats.
	if _, err := b.cluster.Decrement(t.Context(), "", []wire.Decrement{{Key: f.Key.Count(), By: 1, Sizes: []string{"1x1", "2x2"}}}); err != nil {
		t.Fatal(err)
	}
	for _, level := range []ingest.Level{master, durable, received} {
		if r := b.take(level, f)[0]; level == master && !r.Duplicate {
			t.Errorf("%s: %+v", level, r)
		}
		b.idle()
	}
	if n := b.rdb().Exists(t.Context(), f.Key.Count(), f.Key.Data("1x1")).Val(); n != 0 {
		t.Error("a retry brought a frame back that was counted down")
	}
	twice := b.take(master, frame(source, 2), frame(source, 2))
	if twice[0].Duplicate || !twice[1].Duplicate {
		t.Errorf("twice in a batch: %+v", twice)
	}
}

func TestFramesWithoutAKeyAreNumbered(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	unnamed := func(id wire.RequestID, data string) ingest.Frame {
		return ingest.Frame{ID: id, Sizes: []ingest.Size{{Name: "1x1", Data: []byte(data)}}}
	}
	first := b.take(master, unnamed("", "a"), unnamed("", "a"), unnamed("x", "a"), unnamed("y", "a"))
	again := b.take(master, unnamed("x", "a"), unnamed("x", "b"), unnamed("", "a"))
	seen := map[string]bool{}
	for _, r := range append(first, again[1:]...) {
		k, ok := wire.ParseFrame(r.Frame)
		if !ok || k.Source() != source || seen[r.Frame] || r.Duplicate {
			t.Errorf("%+v", r)
		}
		seen[r.Frame] = true
	}
	if again[0].Frame != first[2].Frame || !again[0].Duplicate {
		t.Errorf("a retry: %+v, want the key %s", again[0], first[2].Frame)
	}
	b.stop()
	b.start()
	later := b.take(master, unnamed("x", "a"), unnamed("", "a"))
	if later[0].Frame != first[2].Frame || !later[0].Duplicate || seen[later[1].Frame] {
		t.Errorf("after a restart: %+v", later)
	}
}

func TestManyProducersOfManySources(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	g := &gate{Destination: b.memory}
	var producers sync.WaitGroup
	for i := range 8 {
		s := wire.SourceID(fmt.Sprint("cam-", i))
		target := b.target("rack-1")
		target.Destination = g
		b.routes.set(s, Settings{}, target)
		producers.Go(func() {
			for n := range 50 {
				level := []ingest.Level{received, master, durable}[(n/10+i)%3]
				if r, err := b.service.Ingest(t.Context(), s, []ingest.Frame{frame(s, n)}, Options{Level: level}); err != nil || r[0].Error != nil {
					t.Errorf("%+v, %v", r, err)
				}
			}
		})
	}
	producers.Wait()
	b.eventually("all is written", func() error {
		if st := b.service.Status(); st.SpoolFrames > 0 || st.MemoryBytes > 0 || st.Spooling > 0 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	next := map[wire.SourceID]uint64{}
	for _, f := range g.order() {
		k, _ := wire.ParseFrame(f)
		if k.Number != next[k.Source()] {
			t.Errorf("%s came when %d was due", f, next[k.Source()])
		}
		next[k.Source()] = k.Number + 1
	}
	if len(next) != 8 || len(g.order()) != 400 {
		t.Errorf("%d frames of %d sources", len(g.order()), len(next))
	}
	b.nothingDropped()
}

func TestWhatReceivedPromises(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	g := &gate{Destination: b.memory, closed: make(chan struct{})}
	target := b.target("rack-1")
	target.Destination = g
	b.routes.set(source, Settings{}, target)
	if r := b.take(received, frame(source, 1))[0]; r.Level != received {
		t.Errorf("%+v", r)
	}
	if err := b.has(frame(source, 1), "1"); err == nil {
		t.Error("it is written before the FrameDB answers")
	}
	g.set(func() { close(g.closed); g.closed = nil })
	b.eventually("it is written", func() error { return b.has(frame(source, 1), "1") })
}

func TestACallThatEndsEarly(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *Config) { c.SpillAfter = time.Hour })
	g := &gate{Destination: b.memory, closed: make(chan struct{})}
	target := b.target("rack-1")
	target.Destination = g
	b.routes.set(source, Settings{}, target)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	r, err := b.service.Ingest(ctx, source, []ingest.Frame{frame(source, 1)}, Options{})
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(r[0].Error, wire.ErrOutcomeUnknown) {
		t.Errorf("%+v, %v", r, err)
	}
	g.set(func() { close(g.closed); g.closed = nil })
	b.take(master, frame(source, 1))
	if err := b.has(frame(source, 1), "1"); err != nil {
		t.Error(err)
	}
}

func TestLifeInTheSpool(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	b.redis.Servers[0].Kill()
	short, long := frame(source, 1), frame(source, 2)
	short.TTL, long.TTL = time.Millisecond, time.Hour
	b.take(master, short, long)
	b.redis.Servers[0].Restart()
	b.idle()
	if err := b.has(long, "1"); err != nil {
		t.Error(err)
	}
	if n := b.metric("expired_frames_total"); n != 1 {
		t.Errorf("%v frames have expired", n)
	}
}

func TestARefusedFrameDoesNotHoldUpOthers(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	picky := pickyDestination{b.memory, frame(source, 3).Key.String()}
	target := b.target("rack-1")
	target.Destination = picky
	b.routes.set(source, Settings{LingerMS: 50}, target)
	var fs []ingest.Frame
	for n := range 6 {
		fs = append(fs, frame(source, n))
	}
	results, err := b.service.Ingest(t.Context(), source, fs, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for n, r := range results {
		if n == 3 && !isCode(r.Error, wire.CodeTooLarge) || n != 3 && (r.Error != nil || b.has(fs[n], "1") != nil) {
			t.Errorf("frame %d: %+v", n, r)
		}
	}
}

// pickyDestination refuses one frame for good.
type pickyDestination struct {
	Destination
	bad string
}

func (p pickyDestination) Store(ctx context.Context, lane frames.Lane, opts frames.PutOptions) ([]frames.Stored, error) {
	for _, f := range lane.Frames {
		if f.Frame == p.bad {
			return nil, wire.Errorf(wire.CodeTooLarge, "%s is not wanted", f.Frame)
		}
	}
	return p.Destination.Store(ctx, lane, opts)
}

func TestBatchesAndLinger(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *Config) { c.SpillAfter = 2 * time.Second })
	g := &gate{Destination: b.memory}
	target := b.target("rack-1")
	target.Destination = g
	b.routes.set(source, Settings{LingerMS: MaxLinger.Milliseconds(), BatchFrames: 10}, target)
	start := time.Now()
	for n := range 20 {
		b.take(received, frame(source, n))
	}
	b.idle()
	writes := 0
	g.set(func() { writes = g.writes })
	if took := time.Since(start); writes != 2 || took > MaxLinger {
		t.Errorf("20 frames in %d writes of 10 took %v", writes, took)
	}
	// A frame that lingers longer than SpillAfter is not late.
	b.routes.set(source, Settings{LingerMS: 3000}, target)
	start = time.Now()
	r := b.take(master, frame(source, 20))[0]
	if took := time.Since(start); took < 3*time.Second || r.Level != master {
		t.Errorf("one frame lingered for %v: %+v", took, r)
	}
}

func TestSettingsValidate(t *testing.T) {
	t.Parallel()
	less := int64(-1)
	for field, s := range map[string]Settings{
		"sizes":          {Sizes: []string{"a__b"}},
		"level":          {Level: ingest.Level{Promise: "gold"}},
		"framedb":        {FrameDB: "A B"},
		"batch_frames":   {BatchFrames: 5000},
		"batch_bytes":    {BatchBytes: -1},
		"linger_ms":      {LingerMS: 1 << 40},
		"ttl_ms":         {TTLMS: -1},
		"ref_count":      {RefCount: &less},
		"inputs.kind":    {Inputs: []Input{{Kind: "ftp"}}},
		"inputs.cluster": {Inputs: []Input{{Kind: InputList, Key: "q"}}},
		"inputs.key":     {Inputs: []Input{{Kind: InputStream, Cluster: "c1"}}},
		"inputs.path":    {Inputs: []Input{{Kind: InputDirectory, Path: "here"}}},
		"inputs.glob":    {Inputs: []Input{{Kind: InputDirectory, Path: "/x", Glob: "["}}},
		"inputs.after":   {Inputs: []Input{{Kind: InputDirectory, Path: "/x", After: "burn"}}},
	} {
		if e := wire.AsError(s.Validate()); e == nil || e.Field != field || e.Code != wire.CodeInvalidArgument || !strings.Contains(e.Message, "") {
			t.Errorf("%s: %v", field, e)
		}
	}
	good := Settings{Sizes: []string{"1x1"}, Level: durable, Inputs: []Input{{Kind: InputList, Cluster: "c1", Key: "q"}, {Kind: InputDirectory, Path: "/x", After: AfterMove}}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}
