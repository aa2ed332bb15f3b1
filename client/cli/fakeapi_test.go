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
		Sources:  2, Mappings: 3, Degraded: []string{"cluster scans: member 2 does not answer", "node node2 does not answer"}}
}

func raftStatus() wire.RaftStatus {
	return wire.RaftStatus{Node: "node3", Leader: "node1", Term: 3, Index: 42, LastContact: 12, Servers: []wire.RaftServer{
		{Name: "node1", Address: "127.0.0.1:5001", Voter: true, Leader: true, Alive: true},
		{Name: "node2", Address: "127.0.0.2:5001", Voter: true},
		{Name: "node3", Address: "127.0.0.3:5001", Alive: true}}}
}
