package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/framedb/framedb/client/objects/pool"
	"github.com/framedb/framedb/client/sentinel"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/httpapi"
	"github.com/framedb/framedb/raftstore/state"
)

// store is the replicated state without Raft: one mutex is the log.
type store struct {
	*state.State
	mu    sync.Mutex
	index uint64
	// refuse, when set, answers instead of the store.
	refuse error
	// behind, when set, brings what this node does not have yet.
	behind func(*store) error
	// lag has Propose answer with an index that the view does not reach by it.
	lag bool
	// stale is what Staleness says.
	stale time.Duration
	// applied hears of every command that was applied.
	applied func(*store, state.Command)
}

func newStore() *store { return &store{State: state.New()} }

func (s *store) Propose(_ context.Context, id wire.RequestID, cmd state.Command) (state.Result, error) {
	s.mu.Lock()
	if s.refuse != nil {
		defer s.mu.Unlock()
		return state.Result{}, s.refuse
	}
	res, err := s.apply(id, cmd)
	if s.lag {
		res.Index++
	}
	s.mu.Unlock()
	if err == nil && s.applied != nil {
		s.applied(s, cmd)
	}
	return res, err
}

func (s *store) CatchUp(context.Context) error {
	if s.behind == nil {
		return nil
	}
	return s.behind(s)
}

func (s *store) Staleness() time.Duration { return s.stale }

func (s *store) apply(id wire.RequestID, cmd state.Command) (state.Result, error) {
	b, err := state.Encode(cmd, id, time.Unix(1_700_000_000, 0))
	if err != nil {
		return state.Result{}, err
	}
	s.index++
	res := s.Apply(s.index, b)
	if res.Err != nil {
		return res, res.Err
	}
	return res, nil
}

func (s *store) must(t testing.TB, cmd state.Command) state.Result {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	res, err := s.apply("", cmd)
	if err != nil {
		t.Fatalf("%s: %v", cmd.Type(), err)
	}
	return res
}

// tables is the snapshot without its header, which holds the moving index.
func (s *store) tables(t testing.TB) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := s.Snapshot().WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	_, rows, _ := strings.Cut(b.String(), "\n")
	return rows
}

// owner brings clusters about as soon as they are asked for, as an instance
// actor would in the end.
func owner(s *store, cmd state.Command) {
	switch c := cmd.(type) {
	case state.CreateClusters:
		for _, name := range c.Names {
			s.report(name)
		}
	case state.UpdateCluster:
		s.report(c.Name)
	case state.RemoveCluster:
		s.Propose(context.Background(), "", state.PurgeCluster{Name: c.Name})
	case state.CreateStorage:
		s.reportStorage(c.ID)
	case state.UpdateStorage:
		s.reportStorage(c.ID)
	case state.RemoveStorage:
		s.Propose(context.Background(), "", state.PurgeStorage{ID: c.ID})
	}
}

// reportStorage says as the owner that a MariaDB runs.
func (s *store) reportStorage(id wire.FrameDBID) {
	s.Propose(context.Background(), "", state.AssignOwner{Item: state.Item{Storage: id}, Owner: "n1"})
	row, _ := s.View().Persistent(id)
	s.Propose(context.Background(), "", state.ReportStorage{ID: id, Status: wire.StorageStatus{
		Phase: wire.PhaseReady, ObservedGeneration: row.Generation, Engine: wire.EngineMariaDB, Version: "10.11", URL: "mysql://127.0.0.1:4000",
		Socket: "/run/f/" + string(id) + ".sock", Node: "n1", Ready: wire.StorageReplicas{TiDB: 1}, Owner: row.Status.Owner, OwnerEpoch: row.Status.OwnerEpoch,
	}})
}

// report says as the owner that all members of a cluster run, the first one as
// master. n1 owns what is on its tags.
func (s *store) report(name wire.ClusterName) {
	s.Propose(context.Background(), "", state.AssignOwner{Item: state.Item{Cluster: name}, Owner: "n1"})
	row, _ := s.View().Cluster(name)
	rep := state.ReportCluster{Name: name, Status: wire.ClusterStatus{
		Phase: wire.PhaseReady, ObservedGeneration: row.Generation, ReadyMembers: row.Replicas,
		Master: name.Member(0), Owner: row.Status.Owner, OwnerEpoch: row.Status.OwnerEpoch,
	}}
	for i := range row.Replicas {
		m := wire.Instance{
			ID: name.Member(i), Kind: wire.KindMemory, Cluster: name, NodeTag: row.NodeTag, Node: "n1",
			Role: wire.RoleReplica, Health: wire.HealthHealthy, Host: "127.0.0.1", Port: 16379 + i, SentinelPort: 1, // nobody answers there
			Socket: "/run/f/" + string(name.Member(i)) + ".sock",
		}
		if i == 0 {
			m.Role = wire.RoleMaster
		}
		rep.Instances = append(rep.Instances, m)
	}
	s.Propose(context.Background(), "", rep)
}

// actors stand in for package actors.
type actors struct {
	mu       sync.Mutex
	found    []wire.ClusterName
	adopted  bool
	synced   []wire.ClusterName
	err      error
	degraded []string
}

func (a *actors) Synchronize(_ context.Context, adopt bool) ([]wire.ClusterName, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.adopted = adopt
	return a.found, a.err
}

func (a *actors) SynchronizeCluster(_ context.Context, name wire.ClusterName) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.synced = append(a.synced, name)
	return a.err
}

func (a *actors) Degraded() []string { return a.degraded }

// raft stands in for what agent makes of raftstore.
type raft struct {
	mu       sync.Mutex
	leader   wire.NodeName
	forgot   []wire.NodeName
	transfer error
}

func (r *raft) RaftStatus() wire.RaftStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return wire.RaftStatus{Node: "n1", Leader: r.leader, Term: 3, Index: 9, Servers: []wire.RaftServer{
		{Name: "n1", Address: "127.0.0.1:5001", Voter: true, Leader: r.leader == "n1", Alive: true}, {Name: "n2", Voter: true, Leader: r.leader == "n2"},
	}}
}

func (r *raft) TransferLeadership(_ context.Context, to wire.NodeName) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.transfer == nil {
		r.leader = to
	}
	return r.transfer
}

func (r *raft) Forget(_ context.Context, name wire.NodeName) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgot = append(r.forgot, name)
	return nil
}

// api is a server over a store, and a caller of it.
type api struct {
	t      testing.TB
	store  *store
	actors *actors
	raft   *raft
	cfg    httpapi.Config
	server *httpapi.Server
	// log is what the server logged.
	log *logBuffer
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type httpapiConfig = httpapi.Config

const password = "a-password-that-nobody-logs"

// newAPI has node n1, alive, with the tags node-1 and node-a, and node n2,
// dead, with node-2.
func newAPI(t testing.TB, change ...func(*httpapi.Config)) *api {
	t.Helper()
	a := &api{t: t, store: newStore(), actors: &actors{}, raft: &raft{leader: "n1"}, log: &logBuffer{}}
	a.store.applied = owner
	reg := prometheus.NewRegistry()
	sentinels := sentinel.New(sentinel.Config{Password: password})
	t.Cleanup(func() { sentinels.Close() })
	a.cfg = httpapi.Config{
		Node: "n1", Version: "v1.2.3", Driver: "process", Namespace: "framedb",
		Socket: "/run/f/agent.sock", SocketDir: "/run/f", StartedAt: time.Unix(1_700_000_000, 0).UTC(),
		Store: a.store, Raft: a.raft, Sync: a.actors, Sentinels: sentinels, Password: password,
		Members: func() []wire.Member {
			return []wire.Member{
				{Name: "n1", Address: "127.0.0.1:5000", Tags: []wire.NodeTag{"node-1", "node-a"}, Alive: true, Voter: true, Leader: true},
				{Name: "n2", Tags: []wire.NodeTag{"node-2"}},
			}
		},
		Ready:  func() error { return nil },
		Logger: slog.New(slog.NewTextHandler(a.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Gatherer: reg, Registerer: reg,
	}
	for _, f := range change {
		f(&a.cfg)
	}
	if a.cfg.Objects == nil {
		opened := pool.New(pool.Config{
			Locator:   httpapi.Locator{Node: "n1", Password: a.cfg.Password, View: a.store.View},
			Sentinels: a.cfg.Sentinels, Logger: a.cfg.Logger,
		})
		t.Cleanup(func() { opened.Close() })
		a.cfg.Objects = opened
	}
	if a.cfg.Ingest == nil {
		a.cfg.Ingest = &door{known: "cam-1"}
	}
	server, err := httpapi.New(a.cfg)
	if err != nil {
		t.Fatal(err)
	}
	a.server = server
	t.Cleanup(func() {
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	a.store.must(t, state.RegisterNode{Node: wire.Node{Name: "n1", Address: "127.0.0.1:5000", Tags: []wire.NodeTag{"node-1", "node-a"}, Driver: "process", Version: "v1.2.3"}})
	a.store.must(t, state.RegisterNode{Node: wire.Node{Name: "n2", Tags: []wire.NodeTag{"node-2"}}})
	return a
}

// populate makes clusters alpha and beta on node-1, sources cam-1 and cam-2
// that write to them, an ingestion of cam-1, and the persistent FrameDB disk-1.
func (a *api) populate() *api {
	a.t.Helper()
	for _, name := range []wire.ClusterName{"alpha", "beta"} {
		a.store.must(a.t, state.CreateClusters{Names: []wire.ClusterName{name}, Spec: wire.ClusterSpec{NodeTag: "node-1", Replicas: 3, Quorum: 2}})
		a.store.report(name)
	}
	for _, source := range []wire.SourceID{"cam-1", "cam-2"} {
		a.store.must(a.t, state.CreateMapping{Source: source, NodeTag: "node-1", Metadata: json.RawMessage(`{"sizes":["8x8"],"ref_count":2}`)})
	}
	a.store.must(a.t, state.CreateStorage{ID: "disk-1", Spec: wire.StorageSpec{NodeTag: "node-1"}})
	a.store.reportStorage("disk-1")
	a.store.must(a.t, state.PutIngestion{Source: "cam-1", Spec: wire.IngestionSpec{Ack: wire.AckMaster}})
	return a
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// do asks without a network.
func (a *api) do(method, path, body string, header ...string) answer {
	a.t.Helper()
	return a.doAt("agent", method, path, body, header...)
}

// doAt asks an agent that the caller knows by this name.
func (a *api) doAt(host, method, path, body string, header ...string) answer {
	a.t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Host = host
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	a.server.Handler().ServeHTTP(rec, req)
	return answer{rec.Code, rec.Header(), rec.Body.String()}
}

func (a *api) post(path, body string) answer { a.t.Helper(); return a.do("POST", path, body) }
func (a *api) get(path string) answer        { a.t.Helper(); return a.do("GET", path, "") }

// want fails unless the answer has the status.
func (r answer) want(t testing.TB, status int) answer {
	t.Helper()
	if r.status != status {
		t.Fatalf("status %d, want %d: %s", r.status, status, r.body)
	}
	return r
}

// failure decodes an answer that is no success and checks its envelope.
func (r answer) failure(t testing.TB) wire.Failure {
	t.Helper()
	var f wire.Failure
	if err := json.Unmarshal([]byte(r.body), &f); err != nil {
		t.Fatalf("status %d, body is no failure: %v: %s", r.status, err, r.body)
	}
	if f.Success || f.Code == "" || f.Message == "" || f.Status() != r.status {
		t.Errorf("failure %+v does not go with status %d", f, r.status)
	}
	return f
}

// refused fails unless the answer has the code and names the field.
func (r answer) refused(t testing.TB, code wire.Code, field string) {
	t.Helper()
	f := r.failure(t)
	if f.Code != code || f.Field != field {
		t.Errorf("got %s in %q (%s), want %s in %q", f.Code, f.Field, f.Message, code, field)
	}
}

// sameJSON compares JSON without regard to order and spacing.
func sameJSON(t testing.TB, got, want string) {
	t.Helper()
	if norm(t, got) != norm(t, want) {
		t.Errorf("got  %s\nwant %s", norm(t, got), norm(t, want))
	}
}

func norm(t testing.TB, s string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("%v: %s", err, s)
	}
	b, _ := json.Marshal(v)
	return string(b)
}

func decoded[T any](t testing.TB, r answer) T {
	t.Helper()
	var v T
	d := json.NewDecoder(strings.NewReader(r.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
	return v
}

// result is a seed answer's result.
func result[T any](t testing.TB, r answer) T {
	t.Helper()
	e := decoded[struct {
		Success bool `json:"success"`
		Result  T    `json:"result"`
	}](t, r.want(t, 200))
	if !e.Success {
		t.Fatalf("no success: %s", r.body)
	}
	return e.Result
}

func readAll(t testing.TB, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
