package ingest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	if spec := os.Getenv(childEnv); spec != "" {
		child(spec)
		return
	}
	goleak.VerifyTestMain(m)
}

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

const source = wire.SourceID("cam-1")

// routes is a router that a test sets up.
type routes struct {
	mu  sync.Mutex
	all map[wire.SourceID]Route
}

func (r *routes) Route(s wire.SourceID) (Route, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	route, ok := r.all[s]
	if !ok {
		return Route{}, wire.Errorf(wire.CodeNotFound, "source %q is not known", s)
	}
	return route, nil
}

func (r *routes) set(s wire.SourceID, settings Settings, targets ...Target) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = map[wire.SourceID]Route{}
	}
	r.all[s] = Route{settings, targets}
}

// bed is a service with one cluster of Redis behind it.
type bed struct {
	t       testing.TB
	redis   *redistest.Cluster
	cluster *frames.Cluster
	memory  *Memory
	routes  *routes
	cfg     Config
	reg     *prometheus.Registry
	service *Service
	stop    func()
}

// newBed starts a service; change may change its configuration first.
func newBed(t testing.TB, change func(*Config)) *bed {
	t.Helper()
	b := &bed{t: t, redis: redistest.StartCluster(t, 1), routes: &routes{}}
	b.cluster = frames.New(frames.Config{Password: redistest.Password, RetryFor: 300 * time.Millisecond}, "c1", b.redis.Members("c1"))
	t.Cleanup(func() { b.cluster.Close() })
	b.memory = NewMemory(b.cluster)
	b.routes.set(source, Settings{}, b.target("rack-1"))
	b.cfg = Config{Router: b.routes, SpoolDir: filepath.Join(t.TempDir(), "spool"), SpillAfter: time.Minute, RetryFor: time.Second, SpoolMinFree: -1}
	if change != nil {
		change(&b.cfg)
	}
	b.start()
	return b
}

func (b *bed) target(tag wire.NodeTag) Target {
	return Target{Name: OfTag(tag), NodeTag: tag, Destination: b.memory}
}

// start starts a service with the bed's configuration.
func (b *bed) start() {
	b.t.Helper()
	b.reg = prometheus.NewRegistry()
	b.cfg.Registerer = b.reg
	s, err := New(b.cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.service = s
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	var once sync.Once
	b.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				b.t.Errorf("Run: %v", err)
			}
		})
	}
	b.t.Cleanup(b.stop)
	b.eventually("the service runs", func() error { return s.live() })
}

func (b *bed) eventually(what string, f func() error) {
	b.t.Helper()
	redistest.Eventually(b.t, 30*time.Second, what, f)
}

func (b *bed) rdb() *redis.Client { return b.redis.Servers[0].Client() }

// frame is frame n of a source, with its number as data.
func frame(s wire.SourceID, n int) ingest.Frame {
	return ingest.Frame{Key: wire.NewFrameKey(s, 1, 1, uint64(n)), Sizes: []ingest.Size{
		{Name: "1x1", Data: []byte(fmt.Sprint("small ", n))}, {Name: "2x2", Data: []byte(fmt.Sprint("large ", n, strings.Repeat(" ", 2000)))},
	}}
}

// take ingests and fails unless every frame was taken.
func (b *bed) take(level ingest.Level, fs ...ingest.Frame) []ingest.Result {
	b.t.Helper()
	results, err := b.service.Ingest(b.t.Context(), source, fs, Options{Level: level})
	if err != nil {
		b.t.Fatalf("Ingest: %v", err)
	}
	for i, r := range results {
		if r.Error != nil {
			b.t.Fatalf("frame %d: %v", i, r.Error)
		}
	}
	return results
}

// has returns nil when Redis has the whole frame with this count.
func (b *bed) has(f ingest.Frame, count string) error {
	ctx := b.t.Context()
	rdb := b.rdb()
	if got, err := rdb.Get(ctx, f.Key.Count()).Result(); err != nil || got != count {
		return fmt.Errorf("count of %s: %q, %v", f.Key, got, err)
	}
	for _, s := range f.Sizes {
		if got, err := rdb.Get(ctx, f.Key.Data(s.Name)).Bytes(); err != nil || string(got) != string(s.Data) {
			return fmt.Errorf("%s: %.50q, %v", f.Key.Data(s.Name), got, err)
		}
	}
	return nil
}

// nothingDropped fails when anything that was acknowledged was given up.
func (b *bed) nothingDropped() {
	b.t.Helper()
	if n := b.metric("dropped_frames_total"); n != 0 {
		b.t.Errorf("%v frames were dropped", n)
	}
}

// metric is the sum of a counter or gauge over its labels.
func (b *bed) metric(name string) float64 {
	b.t.Helper()
	families, err := b.reg.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == "framedb_ingest_"+name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// idle waits until nothing is in memory or on disk.
func (b *bed) idle() {
	b.t.Helper()
	b.eventually("everything is written", func() error {
		if bl := b.service.Backlog(source); bl.MemoryFrames > 0 || bl.SpoolFrames > 0 {
			return fmt.Errorf("%+v, %+v", bl, b.service.Status().Trouble)
		}
		return nil
	})
}

var (
	received = ingest.Level{Promise: ingest.Received}
	master   = ingest.Level{Promise: ingest.Master}
	durable  = ingest.Level{Promise: ingest.Durable}
)

// gate is a destination that records what passes, and can be slow or refuse.
type gate struct {
	Destination
	mu     sync.Mutex
	frames []string
	writes int
	closed chan struct{} // nil is open; else Store waits
	refuse error
}

func (g *gate) Store(ctx context.Context, lane frames.Lane, opts frames.PutOptions) ([]frames.Stored, error) {
	g.mu.Lock()
	closed, refuse := g.closed, g.refuse
	g.mu.Unlock()
	if closed != nil {
		select {
		case <-closed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if refuse != nil {
		return nil, refuse
	}
	stored, err := g.Destination.Store(ctx, lane, opts)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.writes++
	for i, f := range lane.Frames {
		if err == nil && !stored[i].Duplicate {
			g.frames = append(g.frames, f.Frame)
		}
	}
	return stored, err
}

func (g *gate) set(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
}

func (g *gate) order() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string(nil), g.frames...)
}

func isCode(err error, code wire.Code) bool { return err != nil && wire.CodeOf(err) == code }
