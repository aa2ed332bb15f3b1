package raftstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

func TestMain(m *testing.M) {
	if child, ok := children[os.Getenv(childEnv)]; ok {
		childMain(child)
	}
	goleak.VerifyTestMain(m)
}

// tester is what helpers need of *testing.T and *rapid.T.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

func testConfig(dir string) Config {
	return Config{Node: "n1", Dir: dir, Bind: "127.0.0.1:0", Expect: 1}
}

// within is a context that ends before go test loses patience.
func within(t interface{ Cleanup(func()) }) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// open opens a store that is ready.
func open(t tester, ctx context.Context, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	if err := s.WaitReady(ctx); err != nil {
		_ = s.Close()
		t.Fatalf("not ready: %v", err)
	}
	return s
}

// opened is open that closes with the test.
func opened(t *testing.T, ctx context.Context, cfg Config) *Store {
	t.Helper()
	s := open(t, ctx, cfg)
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func closeStore(t tester, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func create(names ...wire.ClusterName) state.CreateClusters {
	return state.CreateClusters{Names: names, Spec: wire.ClusterSpec{NodeTag: "node-1", Replicas: 3, Quorum: 2}}
}

func mapping(source wire.SourceID) state.CreateMapping {
	return state.CreateMapping{Source: source, NodeTag: "node-1"}
}

func propose(t tester, ctx context.Context, s *Store, id wire.RequestID, cmd state.Command) state.Result {
	t.Helper()
	res, err := s.Propose(ctx, id, cmd)
	if err != nil {
		t.Fatalf("propose: %v", err)
	}
	return res
}

func TestAReopenedStoreHasWhatWasAcknowledged(t *testing.T) {
	t.Parallel()
	ctx, dir := within(t), t.TempDir()
	s := open(t, ctx, testConfig(dir))
	first := propose(t, ctx, s, "", create("a"))
	propose(t, ctx, s, "", mapping("s1"))
	before := s.Status()
	closeStore(t, s)

	cfg := testConfig(dir) // another port: Raft's configuration holds the old one
	s = opened(t, ctx, cfg)
	c, ok := s.View().Cluster("a")
	if !ok || c.CreateIndex != first.Index || s.View().CountMappings() != 1 {
		t.Errorf("after reopening: cluster %+v, %d mappings", c, s.View().CountMappings())
	}
	after := s.Status()
	if after.AppliedIndex != before.AppliedIndex || after.Term <= before.Term {
		t.Errorf("status was %+v, is %+v", before, after)
	}
	if !after.IsLeader || after.Leader != "n1" || !slices.Equal(after.Voters, []wire.NodeName{"n1"}) || after.LastContact != 0 {
		t.Errorf("the only voter says of itself: %+v", after)
	}
	if next := propose(t, ctx, s, "", create("b")); next.Index <= first.Index {
		t.Errorf("index went from %d to %d", first.Index, next.Index)
	}
}

func TestBootstrapHappensOnce(t *testing.T) {
	t.Parallel()
	ctx, dir := within(t), t.TempDir()
	cfg := testConfig(dir)
	cfg.Expect = 0
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if st := s.Status(); st.IsLeader || len(st.Voters) != 0 || st.LastContact <= 0 {
		t.Errorf("a node without state has %+v", st)
	}
	if _, err := s.Propose(ctx, "", create("a")); !errors.Is(err, wire.ErrNoLeader) || wire.AsError(err).RetryAfter != retryAfter {
		t.Errorf("without a leader: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := s.WaitReady(short); !errors.Is(err, wire.ErrNoLeader) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting without a leader: %v", err)
	}
	closeStore(t, s)

	s = open(t, ctx, testConfig(dir))
	propose(t, ctx, s, "", create("a"))
	term := s.Status().Term
	closeStore(t, s)
	s = opened(t, ctx, testConfig(dir))
	if _, ok := s.View().Cluster("a"); !ok || s.Status().Term <= term {
		t.Error("the second start with Bootstrap began anew")
	}
}

func TestOpenRefusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	ctx, dir := within(t), t.TempDir()
	s := opened(t, ctx, testConfig(dir))
	foreign := t.TempDir()
	closeStore(t, open(t, ctx, Config{Node: "other", Dir: foreign, Bind: "127.0.0.1:0", Expect: 1}))
	cases := []struct {
		name  string
		spoil func(*Config)
		want  error
		field string
	}{
		{"held by another", func(c *Config) { c.Dir = dir }, wire.ErrConflict, ""},
		{"another node's", func(c *Config) { c.Dir = foreign }, wire.ErrConflict, ""},
		{"port taken", func(c *Config) { c.Bind = s.Addr() }, wire.ErrConflict, "bind"},
		{"no port", func(c *Config) { c.Bind = "127.0.0.1" }, wire.ErrInvalidArgument, "bind"},
		{"every address", func(c *Config) { c.Bind = "0.0.0.0:0" }, wire.ErrInvalidArgument, "bind"},
		{"no name", func(c *Config) { c.Node = "" }, wire.ErrInvalidArgument, "node"},
		{"no directory", func(c *Config) { c.Dir = "" }, wire.ErrInvalidArgument, "dir"},
		{"directory is a file", func(c *Config) { c.Dir = filepath.Join(dir, logDir, "00000001.log", "x") }, wire.ErrInvalidArgument, "dir"},
	}
	for _, c := range cases {
		cfg := testConfig(t.TempDir())
		c.spoil(&cfg)
		start := time.Now()
		second, err := Open(cfg)
		if err == nil {
			closeStore(t, second)
		}
		if !errors.Is(err, c.want) || field(err) != c.field {
			t.Errorf("%s: got %v (field %q), want %v (field %q)", c.name, err, field(err), c.want, c.field)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("%s: refused after %v only", c.name, took)
		}
	}
	if _, err := os.Stat(filepath.Join(foreign, "snapshots")); err != nil {
		t.Error(err)
	}
	propose(t, ctx, s, "", create("a")) // the first one was not disturbed
}

// field is the field that err names.
func field(err error) string {
	var e *wire.Error
	if errors.As(err, &e) {
		return e.Field
	}
	return ""
}

func TestARefusedOpenTouchesNothing(t *testing.T) {
	t.Parallel()
	ctx, dir := within(t), t.TempDir()
	s := opened(t, ctx, testConfig(dir))
	if err := os.RemoveAll(filepath.Join(dir, "snapshots")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(testConfig(dir)); !errors.Is(err, wire.ErrConflict) {
		t.Fatalf("second open: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "snapshots")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a directory was made without the lock")
	}
	propose(t, ctx, s, "", create("a"))
}

func TestStartToReadyIsQuick(t *testing.T) {
	t.Parallel()
	ctx, dir := within(t), t.TempDir()
	for range 3 { // the first founds, the others find
		start := time.Now()
		s := open(t, ctx, testConfig(dir))
		took := time.Since(start)
		closeStore(t, s)
		// Without hurry it is at least heartbeatTimeout.
		if took >= heartbeatTimeout {
			t.Errorf("ready after %v", took)
		}
		t.Logf("ready after %v", took)
	}
}

func TestARequestIsAppliedOnceAcrossReopening(t *testing.T) {
	t.Parallel()
	ctx, dir := within(t), t.TempDir()
	s := open(t, ctx, testConfig(dir))
	propose(t, ctx, s, "", create("a", "b"))
	first := propose(t, ctx, s, "req-1", mapping("s1"))
	closeStore(t, s)
	s = opened(t, ctx, testConfig(dir))
	m, index, err := proposed[wire.Mapping](ctx, s, "req-1", mapping("s1"))
	if err != nil || index != first.Index || m.Source != "s1" || m.Cluster != "a" {
		t.Errorf("repeated: %+v at %d, %v; want index %d", m, index, err, first.Index)
	}
	if _, err := s.Propose(ctx, "req-2", mapping("s1")); !errors.Is(err, wire.ErrAlreadyExists) {
		t.Errorf("another request: %v", err)
	}
}

func TestProposeDecodesAndRefuses(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	s := opened(t, ctx, testConfig(t.TempDir()))
	clusters, index, err := proposed[[]wire.Cluster](ctx, s, "", create("a", "b"))
	if err != nil || len(clusters) != 2 || clusters[1].Name != "b" || index != s.View().Index() {
		t.Errorf("created %+v at %d, %v", clusters, index, err)
	}
	if _, _, err := proposed[struct{}](ctx, s, "", state.ReportCluster{Name: "a"}); err != nil {
		t.Errorf("a command without a result: %v", err)
	}
	if _, _, err := proposed[wire.Mapping](ctx, s, "", state.RemoveMapping{Source: "x", NodeTag: "node-1"}); !errors.Is(err, wire.ErrNotFound) {
		t.Errorf("refused by the state: %v", err)
	}
	before := s.Status().AppliedIndex
	if _, err := s.Propose(ctx, "two words", create("c")); !errors.Is(err, wire.ErrInvalidArgument) {
		t.Errorf("bad request ID: %v", err)
	}
	names := make([]wire.ClusterName, 20_000)
	for i := range names {
		names[i] = wire.ClusterName(fmt.Sprintf("a-cluster-with-a-long-name-%010d", i))
	}
	if _, err := s.Propose(ctx, "", create(names...)); !errors.Is(err, wire.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Propose(ended, "", create("c")); !errors.Is(err, wire.ErrTimeout) || !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
	if after := s.Status().AppliedIndex; after != before {
		t.Errorf("something reached the log: index %d, was %d", after, before)
	}
}

func TestAfterCloseNothingIsTaken(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	s := open(t, ctx, testConfig(t.TempDir()))
	propose(t, ctx, s, "", create("a"))
	closeStore(t, s)
	closeStore(t, s)
	if _, err := s.Propose(ctx, "", create("b")); !errors.Is(err, wire.ErrNoLeader) {
		t.Errorf("propose: %v", err)
	}
	if err := s.WaitReady(ctx); !errors.Is(err, wire.ErrNoLeader) {
		t.Errorf("wait: %v", err)
	}
	if _, ok := s.View().Cluster("a"); !ok {
		t.Error("the view is gone")
	}
	if s.Status().IsLeader {
		t.Error("a closed node leads")
	}
}

func TestCloseUnderLoadKeepsEveryAcknowledgedWrite(t *testing.T) {
	t.Parallel()
	ctx, dir := within(t), t.TempDir()
	s := open(t, ctx, testConfig(dir))
	propose(t, ctx, s, "", create("a"))
	const writers = 8
	acked := make(chan []wire.SourceID, writers)
	began := make(chan struct{}, writers)
	for w := range writers {
		go func() {
			var mine []wire.SourceID
			for i := 0; ; i++ {
				source := wire.SourceID(fmt.Sprintf("s%d-%d", w, i))
				if _, err := s.Propose(ctx, "", mapping(source)); err != nil {
					if !errors.Is(err, wire.ErrNoLeader) { // nothing is left open
						t.Errorf("at close: %v", err)
					}
					acked <- mine
					return
				}
				mine = append(mine, source)
				if i == 2 {
					began <- struct{}{}
				}
			}
		}()
	}
	for range writers {
		<-began
	}
	closeStore(t, s)
	again := opened(t, ctx, testConfig(dir))
	for range writers {
		for _, source := range <-acked {
			if _, ok := again.View().Mapping(source, "node-1"); !ok {
				t.Errorf("%s was acknowledged and is gone", source)
			}
		}
	}
}

func TestMetricsComeAndGo(t *testing.T) {
	t.Parallel()
	ctx, dir := within(t), t.TempDir()
	registry := prometheus.NewRegistry()
	cfg := testConfig(dir)
	cfg.Registerer, cfg.Logger = registry, slog.New(slog.DiscardHandler)
	for range 2 {
		s := open(t, ctx, cfg)
		_, _ = s.Propose(ctx, "", create("a"))
		values := gather(t, registry)
		if values["framedb_raft_is_leader"] != 1 || values["framedb_raft_applied_index"] == 0 || values["framedb_raft_term"] == 0 {
			t.Errorf("gauges: %v", values)
		}
		for _, name := range []string{"framedb_raft_apply_seconds", "framedb_raft_log_write_seconds", "framedb_raft_proposals_total", "framedb_raft_disk_full", "framedb_raft_voters", "framedb_raft_leader_changes_total"} {
			if _, ok := values[name]; !ok {
				t.Errorf("no %s", name)
			}
		}
		closeStore(t, s)
	}
	if left := gather(t, registry); len(left) != 0 {
		t.Errorf("left after close: %v", left)
	}
}

// gather returns the first value of each metric; of histograms the count.
func gather(t *testing.T, g prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		m := f.GetMetric()[0]
		values[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	return values
}

// proposed is Store.Propose with the result decoded, and the index at which the
// command was applied. A command without a result gives R's zero value.
func proposed[R any](ctx context.Context, s *Store, id wire.RequestID, cmd state.Command) (R, uint64, error) {
	var value R
	res, err := s.Propose(ctx, id, cmd)
	if err != nil {
		return value, res.Index, err
	}
	if len(res.Value) == 0 {
		return value, res.Index, nil
	}
	if err := json.Unmarshal(res.Value, &value); err != nil {
		return value, res.Index, fmt.Errorf("result of %s: %w", cmd.Type(), err)
	}
	return value, res.Index, nil
}
