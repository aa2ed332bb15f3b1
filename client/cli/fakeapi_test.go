package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/framedb/framedb/client/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeAPI speaks the v1 API with fixed answers by "METHOD /path".
type fakeAPI struct {
	*httptest.Server

	mu      sync.Mutex
	answers map[string]http.HandlerFunc // guarded by mu
	calls   []string                    // guarded by mu: "METHOD URI body", but for /healthz
}

func newFakeAPI(t *testing.T) *fakeAPI {
	t.Helper()
	f := &fakeAPI{answers: map[string]http.HandlerFunc{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	f.answer("GET /healthz", wire.HealthReport{Status: "ok"})
	f.answer("GET /v1/status", status())
	f.answer("GET /v1/clusters", []wire.Cluster{cluster("cameras", wire.PhaseReady), degraded()})
	f.answer("GET /v1/clusters/cameras", cluster("cameras", wire.PhaseReady))
	f.answer("GET /v1/clusters/cameras/topology", wire.Topology{Master: wire.Endpoint{Host: "127.0.0.1", Port: 6380},
		Replicas: []wire.Endpoint{{Host: "127.0.0.1", Port: 6381}}})
	f.answer("GET /v1/instances", members())
	f.answer("GET /v1/instances/cameras-redis-node-0", members()[0])
	f.answer("GET /v1/sources", []wire.Source{{Source: "cam-1", Mappings: []wire.Mapping{mapping("node-1")}},
		{Source: "cam-2", Mappings: []wire.Mapping{{Source: "cam-2", NodeTag: "node-a", Cluster: "scans"}}}})
	f.answer("GET /v1/sources/cam-1", routes("node-1"))
	f.answer("GET /v1/sources/cam-3", routes("node-1", "node-a"))
	f.answer("GET /v1/nodes", []wire.Node{{Name: "node1", Address: "127.0.0.1:5000", Tags: []wire.NodeTag{"node-1", "node-a"}, Label: "gpu", Driver: "process", Version: "v1"}})
	f.answer("GET /v1/raft", raftStatus())
	f.answer("GET /v1/storage", []wire.PersistentInstance{stored("archive", wire.PhaseReady), development()})
	f.answer("GET /v1/storage/archive", stored("archive", wire.PhaseReady))
	f.answer("GET /v1/storage/lab", development())
	f.answer("GET /v1/instances/lab", wire.Resolved{Instance: wire.Instance{ID: "lab", Kind: wire.KindStorage, Role: wire.RoleUnknown, Health: wire.HealthUnreachable, Node: "node1"},
		URL: "mysql://127.0.0.1:4000", Engine: wire.EngineMariaDB})
	f.answer("GET /v1/ingestions", []wire.Ingestion{ingestion(), {Source: "cam-2"}})
	f.answer("GET /v1/ingestions/cam-1", ingestion())
	f.answer("POST /v1/clusters/cameras/sweep", wire.Swept{Keys: 30, Suspects: map[string]int64{"data": 2}, Found: map[string]int64{}})
	f.answer("POST /v1/frames/cam-1/retain", wire.UseResults{Results: []wire.Used{{Key: "ref__cam-1?0?0__9", Count: 3}}})
	f.answer("POST /v1/leases/me", wire.UseResults{Results: []wire.Used{{Key: "ref__cam-1?0?0__9", Count: 3}, {Key: "ref__cam-1?0?0__8", Missing: true}}})
	f.answer("POST /v1/leases/me/renew", struct{}{})
	f.answer("POST /v1/leases/me/put-back", wire.DecrementResults{Results: []wire.Decremented{{Key: "ref__cam-1?0?0__9", Remaining: 2}}})
	f.answer("POST /v1/leases/me/release", wire.LeaseReleased{Frames: 1, Deleted: 2})
	f.answer("GET /v1/leases", wire.Leases{Leases: []wire.Lease{{ID: "me", Left: 1500, Frames: 2}}})
	f.refuse("GET /v1/credentials", wire.CodeForbidden)
	return f
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	if r.URL.Path != "/healthz" {
		f.calls = append(f.calls, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+string(body)))
	}
	answer := f.answers[r.Method+" "+r.URL.Path]
	f.mu.Unlock()
	if answer == nil {
		answer = failure(wire.Errorf(wire.CodeNotFound, "%s is unknown", r.URL.Path))
	}
	answer(w, r)
}

// asked returns the calls whose method or path begins with prefix.
func (f *fakeAPI) asked(prefix string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var some []string
	for _, c := range f.calls {
		if strings.HasPrefix(c, prefix) {
			some = append(some, c)
		}
	}
	return some
}

func (f *fakeAPI) on(call string, h http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[call] = h
}

func (f *fakeAPI) answer(call string, v any) {
	f.on(call, func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(v) })
}

func (f *fakeAPI) refuse(call string, code wire.Code) {
	f.on(call, failure(wire.Errorf(code, "refused as %s", code)))
}

func failure(e *wire.Error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(e.Code.HTTPStatus())
		json.NewEncoder(w).Encode(wire.FailureOf(e))
	}
}

// events answers GET /v1/events with these and then stays silent.
func (f *fakeAPI) events(events ...wire.Event) {
	f.on("GET /v1/events", func(w http.ResponseWriter, r *http.Request) {
		for _, e := range events {
			data, _ := json.Marshal(e)
			fmt.Fprintf(w, "event: %s\ndata: %s\n\nid: %d\nevent: index\ndata: {}\n\n", e.Op, data, e.Index)
		}
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
}

// outcome is what a command line did.
type outcome struct {
	stdout, stderr string
	code           int
}

// stage runs command lines as a person or a program.
type stage struct {
	api      *fakeAPI
	stdin    string
	terminal bool
	ctx      context.Context
}

func (s stage) run(t *testing.T, args ...string) outcome {
	t.Helper()
	var out, errOut bytes.Buffer
	root := newRoot(&app{program: "framedb", terminal: func(any) bool { return s.terminal }}, "v1")
	root.SetIn(strings.NewReader(s.stdin))
	root.SetOut(&out)
	root.SetErr(&errOut)
	root.SetArgs(append([]string{"--addr", s.api.URL}, args...))
	ctx := s.ctx
	if ctx == nil {
		ctx = t.Context()
	}
	code := Execute(ctx, root)
	plain := strings.NewReplacer(s.api.URL, "http://agent")
	return outcome{plain.Replace(out.String()), plain.Replace(errOut.String()), code}
}

func cluster(name wire.ClusterName, phase wire.Phase) wire.Cluster {
	spec := wire.ClusterSpec{NodeTag: "node-1", Replicas: 3, Quorum: 2, MaxMemory: 4 << 30}
	spec.ApplyDefaults()
	c := wire.Cluster{Name: name, ClusterSpec: spec, Generation: 2, ModifyIndex: 10}
	c.Status = wire.ClusterStatus{Phase: phase, ObservedGeneration: 2, ReadyMembers: 3, Master: name.Member(0), Owner: "node1"}
	if phase != wire.PhaseReady {
		c.Status.ReadyMembers, c.Status.ObservedGeneration = 1, 1
	}
	return c
}

// stored is a persistent FrameDB on TiDB, which was asked to grow.
func stored(id wire.FrameDBID, phase wire.Phase) wire.PersistentInstance {
	spec := wire.StorageSpec{NodeTag: "node-1", Replicas: wire.StorageReplicas{TiKV: 3}, Parameters: wire.StorageParameters{TiKV: json.RawMessage(`{"log":{"level":"warn"}}`)},
		Exclusive: true, Backup: &wire.BackupPlan{Schedule: "@daily", Target: "s3", Keep: 7}}
	spec.ApplyDefaults()
	p := wire.PersistentInstance{ID: id, StorageSpec: spec, Generation: 2, ModifyIndex: 10}
	p.Status = wire.StorageStatus{Phase: phase, ObservedGeneration: 2, Engine: wire.EngineTiDB, Version: "v8.5.0", URL: "mysql://" + string(id) + ".framedb-storage.svc.cluster.local:4000",
		Ready: spec.Replicas, Owner: "node1", LastBackup: "archive-7", LastBackupAt: time.Unix(1_700_000_000, 0).UTC(), BackupReason: "no such bucket"}
	if phase != wire.PhaseReady {
		p.Status.Ready, p.Status.ObservedGeneration, p.Status.Engine, p.Status.Version = wire.StorageReplicas{PD: 1, TiKV: 1}, 1, "", ""
	}
	return p
}

// development is one on MariaDB, which is degraded.
func development() wire.PersistentInstance {
	p := stored("lab", wire.PhaseDegraded)
	p.Replicas, p.Parameters, p.Backup, p.Exclusive = wire.StorageReplicas{PD: 1, TiKV: 1, TiDB: 1}, wire.StorageParameters{}, nil, false
	p.Status = wire.StorageStatus{Phase: wire.PhaseDegraded, Reason: "the server does not run: killed", Engine: wire.EngineMariaDB, Version: "10.11.6", URL: "mysql://127.0.0.1:4000", Node: "node1", Owner: "node1"}
	return p
}

func ingestion() wire.Ingestion {
	return wire.Ingestion{Source: "cam-1", IngestionSpec: wire.IngestionSpec{Target: "archive", Sizes: []string{"8x8", "4x4"}, RefCount: 2, Ack: wire.AckDurable, BatchFrames: 10, Linger: 5, TTL: 60_000,
		Retention: wire.Retention{Bytes: 1 << 30, Frames: 100}, Queue: &wire.IngestQueue{Kind: wire.QueueStream, Cluster: "cameras", Key: "q"}, Directory: &wire.IngestDirectory{Node: "node1", Path: "/in"}}}
}

func degraded() wire.Cluster {
	c := cluster("scans", wire.PhaseDegraded)
	c.Status.Reason = "member 2 does not answer"
	return c
}

func members() []wire.Resolved {
	var all []wire.Resolved
	for i := range 3 {
		m := wire.Instance{ID: wire.ClusterName("cameras").Member(i), Kind: wire.KindMemory, Cluster: "cameras", NodeTag: "node-1", Node: "node1",
			Role: wire.RoleReplica, Health: wire.HealthHealthy, Host: "127.0.0.1", Port: 6380 + i, Socket: fmt.Sprintf("/s/%d.sock", i)}
		if i == 0 {
			m.Role = wire.RoleMaster
		}
		all = append(all, wire.Resolved{Instance: m, URL: fmt.Sprintf("redis://127.0.0.1:%d/0", m.Port)})
	}
	return all
}

func mapping(tag wire.NodeTag) wire.Mapping {
	return wire.Mapping{Source: "cam-1", NodeTag: tag, Cluster: "cameras", Metadata: json.RawMessage(`{"ref_count":2,"sizes":["8x8"]}`)}
}

func routes(tags ...wire.NodeTag) wire.SourceRoutes {
	r := wire.SourceRoutes{Source: "cam-1"}
	for _, tag := range tags {
		route := wire.Route{Mapping: mapping(tag)}
		for _, m := range members() {
			route.Members = append(route.Members, m.Instance)
		}
		r.Routes = append(r.Routes, route)
	}
	return r
}

func status() wire.Status {
	return wire.Status{Node: "node1", Version: "v1", Driver: "process", Leader: "node1", Index: 42, StartedAt: time.Now().Add(-3 * time.Hour),
		Members: []wire.Member{{Name: "node1", Address: "127.0.0.1:5000", Tags: []wire.NodeTag{"node-1", "node-a"}, Alive: true, Voter: true, Leader: true, Version: "v1", Owned: 2},
			{Name: "node2", Address: "127.0.0.2:5000", Voter: true, Version: "v1"},
			{Name: "node3", Address: "127.0.0.3:5000", Tags: []wire.NodeTag{"node-1"}, Alive: true, Draining: true, Version: "v2"}},
		Clusters: []wire.Cluster{cluster("cameras", wire.PhaseReady), degraded()},
		Storage:  []wire.PersistentInstance{stored("archive", wire.PhaseReady), development()},
		Sources:  2, Mappings: 3, Degraded: []string{"cluster scans: member 2 does not answer", "node node2 does not answer"}}
}

func raftStatus() wire.RaftStatus {
	return wire.RaftStatus{Node: "node3", Leader: "node1", Term: 3, Index: 42, LastContact: 12, Servers: []wire.RaftServer{
		{Name: "node1", Address: "127.0.0.1:5001", Voter: true, Leader: true, Alive: true},
		{Name: "node2", Address: "127.0.0.2:5001", Voter: true},
		{Name: "node3", Address: "127.0.0.3:5001", Alive: true}}}
}
