package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

func TestV1Clusters(t *testing.T) {
	a := newAPI(t)
	c := decoded[wire.Cluster](t, a.post("/v1/clusters", `{"name":"alpha","node_tag":"node-1","replicas":3,"quorum":2}`).want(t, 201))
	if c.Status.Phase != wire.PhaseReady || c.MaxMemoryPolicy != "noeviction" || c.Generation != 1 {
		t.Errorf("created %+v", c)
	}
	c = decoded[wire.Cluster](t, a.do("PATCH", "/v1/clusters/alpha", `{"replicas":5,"quorum":3}`).want(t, 200))
	if c.Replicas != 5 || c.Quorum != 3 || c.Status.ObservedGeneration != 2 {
		t.Errorf("updated %+v", c)
	}
	c = decoded[wire.Cluster](t, a.do("PATCH", "/v1/clusters/alpha", `{"replicas":5}`).want(t, 200))
	if c.Generation != 2 {
		t.Errorf("the present number is a change: %+v", c)
	}
	if list := decoded[[]wire.Cluster](t, a.get("/v1/clusters").want(t, 200)); len(list) != 1 || list[0].Name != "alpha" {
		t.Errorf("list %+v", list)
	}
	r := decoded[wire.RemovedCluster](t, a.do("DELETE", "/v1/clusters/alpha", "").want(t, 200))
	if r.Moved == nil || r.Unmapped == nil {
		t.Errorf("removed %+v", r)
	}
	if body := a.get("/v1/clusters").body; body != `[]` {
		t.Errorf("list %s, want an empty one", body)
	}
}

// When the wait ends first the answer is a success that says creating.
func TestCreatingGoesOn(t *testing.T) {
	a := newAPI(t)
	a.store.applied = nil
	c := decoded[wire.Cluster](t, a.post("/v1/clusters?wait=10ms", `{"name":"slow","node_tag":"node-1","replicas":1,"quorum":1}`).want(t, 201))
	if c.Status.Phase != wire.PhaseCreating {
		t.Errorf("phase %q", c.Status.Phase)
	}
	removing := a.post("/cluster/removeCluster?wait=0", `{"clusterName":"slow"}`)
	if r := result[map[string]any](t, removing); r["state"] != "removing" {
		t.Errorf("%v", r)
	}
	a.do("PATCH", "/v1/clusters/slow", `{"replicas":2}`).refused(t, wire.CodeConflict, "")
}

// Creating returns as soon as the owner says that the cluster is ready, and
// removing as soon as it is gone.
func TestWaitsEndWhenTheWorkIsDone(t *testing.T) {
	a := newAPI(t)
	a.store.applied = nil
	done := make(chan answer)
	go func() {
		done <- a.post("/v1/clusters?wait=10m", `{"name":"slow","node_tag":"node-1","replicas":1,"quorum":1}`)
	}()
	eventually(t, "the cluster is asked for", func() bool { _, found := a.store.View().Cluster("slow"); return found })
	a.store.report("slow")
	if c := decoded[wire.Cluster](t, (<-done).want(t, 201)); c.Status.Phase != wire.PhaseReady {
		t.Errorf("created %+v", c)
	}
	go func() { done <- a.do("DELETE", "/v1/clusters/slow?wait=10m", "") }()
	eventually(t, "the cluster is being removed", func() bool {
		c, _ := a.store.View().Cluster("slow")
		return c.Status.Phase == wire.PhaseRemoving
	})
	a.store.must(t, state.PurgeCluster{Name: "slow"})
	(<-done).want(t, 200)
}

// One that is removed while its creator waits is no reason to wait on.
func TestCreatedAndRemovedMeanwhile(t *testing.T) {
	a := newAPI(t)
	a.store.applied = func(s *store, cmd state.Command) {
		if c, ok := cmd.(state.CreateClusters); ok {
			s.must(t, state.RemoveCluster{Name: c.Names[0]})
			s.must(t, state.PurgeCluster{Name: c.Names[0]})
		}
	}
	a.post("/v1/clusters?wait=10m", `{"name":"brief","node_tag":"node-1","replicas":1,"quorum":1}`).want(t, 201)
}

// eventually polls, with a deadline.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-tick.C {
		if f() {
			return
		}
	}
	t.Fatalf("not within 10 s: %s", what)
}

func TestV1Sources(t *testing.T) {
	a := newAPI(t).populate()
	m := decoded[wire.Mapping](t, a.post("/v1/sources/cam-3/mappings", `{"node_tag":"node-1","cluster":"beta","metadata":{"ref_count":7}}`).want(t, 201))
	if m.Cluster != "beta" || string(m.Metadata) != `{"ref_count":7}` {
		t.Errorf("created %+v", m)
	}
	m = decoded[wire.Mapping](t, a.do("PATCH", "/v1/sources/cam-3/mappings/node-1", `{"cluster":"alpha"}`).want(t, 200))
	if m.Cluster != "alpha" {
		t.Errorf("moved %+v", m)
	}
	m = decoded[wire.Mapping](t, a.do("PATCH", "/v1/sources/cam-3/mappings/node-1", `{"metadata":{}}`).want(t, 200))
	if string(m.Metadata) != `{}` {
		t.Errorf("metadata %s", m.Metadata)
	}
	routes := decoded[wire.SourceRoutes](t, a.get("/v1/sources/cam-3").want(t, 200))
	if len(routes.Routes) != 1 || len(routes.Routes[0].Members) != 3 || routes.Routes[0].Members[0].Socket == "" {
		t.Errorf("routes %+v", routes)
	}
	a.do("DELETE", "/v1/sources/cam-3/mappings/node-1", "").want(t, 200)
	a.get("/v1/sources/cam-3").refused(t, wire.CodeNotFound, "")
}

func TestSourcesComeInPages(t *testing.T) {
	a := newAPI(t).populate()
	for i := range 25 {
		a.store.must(t, state.CreateMapping{Source: wire.SourceID(fmt.Sprintf("s-%02d", i)), NodeTag: "node-1"})
	}
	var got []wire.SourceID
	after := ""
	for pages := 0; ; pages++ {
		page := decoded[[]wire.Source](t, a.get("/v1/sources?prefix=s-&limit=10&after="+after).want(t, 200))
		if len(page) == 0 {
			break
		}
		for _, s := range page {
			got = append(got, s.Source)
		}
		after = string(got[len(got)-1])
		if pages > 3 {
			t.Fatal("the pages do not end")
		}
	}
	if len(got) != 25 || got[0] != "s-00" || got[24] != "s-24" {
		t.Errorf("got %v", got)
	}
}

func TestInstances(t *testing.T) {
	a := newAPI(t).populate()
	a.store.must(t, state.CreateStorage{ID: "disk", Spec: wire.StorageSpec{NodeTag: "node-2"}})
	a.store.must(t, state.ReportStorage{ID: "disk", Status: wire.StorageStatus{URL: "mysql://disk.framedb-storage.svc.cluster.local:4000", Phase: wire.PhaseReady}})
	all := decoded[[]wire.Resolved](t, a.get("/v1/instances").want(t, 200))
	if len(all) != 8 || all[0].URL != "redis://127.0.0.1:16379/0" || all[0].Role != wire.RoleMaster {
		t.Errorf("all: %+v", all)
	}
	if list := decoded[[]wire.Resolved](t, a.get("/v1/instances?cluster=beta").want(t, 200)); len(list) != 3 {
		t.Errorf("of beta: %+v", list)
	}
	if list := decoded[[]wire.Resolved](t, a.get("/v1/instances?node_tag=node-2").want(t, 200)); len(list) != 1 || list[0].ID != "disk" {
		t.Errorf("on node-2: %+v", list)
	}
	disk := decoded[wire.Resolved](t, a.get("/v1/instances/disk").want(t, 200))
	if disk.URL != "mysql://disk.framedb-storage.svc.cluster.local:4000" || disk.Port != 4000 || disk.Kind != wire.KindStorage || disk.Health != wire.HealthHealthy {
		t.Errorf("disk: %+v", disk)
	}
}

// Without an answer from Sentinel the last known role stays, and says that it
// is that.
func TestResolveWithoutSentinel(t *testing.T) {
	a := newAPI(t).populate()
	r := decoded[wire.Resolved](t, a.get("/v1/instances/alpha-redis-node-0").want(t, 200))
	if r.Role != wire.RoleMaster || r.Health != wire.HealthUnreachable || r.Reason == "" || r.Socket == "" {
		t.Errorf("%+v", r)
	}
}

// A socket is told only by the agent on whose node it is.
func TestSocketsOfOtherNodesAreLeftOut(t *testing.T) {
	a := newAPI(t, func(cfg *httpapiConfig) { cfg.Node = "n2" }).populate()
	if r := decoded[wire.Resolved](t, a.get("/v1/instances/alpha-redis-node-0").want(t, 200)); r.Socket != "" || r.URL == "" {
		t.Errorf("%+v", r)
	}
	if r := decoded[wire.SourceRoutes](t, a.get("/v1/sources/cam-1").want(t, 200)); r.Routes[0].Members[0].Socket != "" {
		t.Errorf("%+v", r)
	}
	if m, _ := a.store.View().Instance("alpha-redis-node-0"); m.Socket == "" {
		t.Error("the shared row was changed")
	}
}

func TestV1Nodes(t *testing.T) {
	a := newAPI(t)
	if n := decoded[wire.Node](t, a.do("PUT", "/v1/nodes/n1/label", `{"label":"fast"}`).want(t, 200)); n.Label != "fast" {
		t.Errorf("%+v", n)
	}
	a.post("/v1/clusters", `{"name":"onfast","node_tag":"fast","replicas":1,"quorum":1}`).want(t, 201)
	if n := decoded[wire.Node](t, a.do("PUT", "/v1/nodes/n1/label", `{"label":""}`).want(t, 200)); n.Label != "" {
		t.Errorf("%+v", n)
	}
	if list := decoded[[]wire.Node](t, a.get("/v1/nodes").want(t, 200)); len(list) != 2 {
		t.Errorf("%+v", list)
	}
}

func TestStatus(t *testing.T) {
	a := newAPI(t).populate()
	a.actors.degraded = []string{"cluster alpha: member 1 does not answer"}
	a.store.must(t, state.RegisterNode{Node: wire.Node{Name: "n2", Tags: []wire.NodeTag{"node-1"}}})
	a.store.must(t, state.AssignOwner{Item: state.Item{Cluster: "beta"}, Owner: "n2", Epoch: 1})
	a.store.must(t, state.ReportUnattended{Item: state.Item{Cluster: "alpha"}, Epoch: 1, Reason: "told above, by its owner"})
	a.store.must(t, state.ReportUnattended{Item: state.Item{Cluster: "beta"}, Epoch: 2, Reason: "no quorum"})
	s := decoded[wire.Status](t, a.get("/v1/status").want(t, 200))
	want := []string{"cluster alpha: member 1 does not answer", "cluster beta: no quorum", "agent n2 does not answer"}
	if fmt.Sprint(s.Degraded) != fmt.Sprint(want) || s.Leader != "n1" || s.Sources != 2 || s.Mappings != 2 || len(s.Clusters) != 2 || s.Storage == nil {
		t.Errorf("%+v", s)
	}
}

// A page of status that does not grow with the deployment.
func TestBriefStatus(t *testing.T) {
	a := newAPI(t).populate()
	whole := decoded[map[string]json.RawMessage](t, a.get("/v1/status?brief=false").want(t, 200))
	for _, q := range []string{"?brief=true", "?brief", "?consistent&brief=1"} {
		brief := decoded[map[string]json.RawMessage](t, a.get("/v1/status"+q).want(t, 200))
		for name, value := range whole {
			left := name == "clusters" || name == "storage" || name == "degraded"
			if got, told := brief[name]; told == left || told && string(got) != string(value) {
				t.Errorf("%s: %s is %s", q, name, got)
			}
		}
	}
	a.get("/v1/status?brief=yes").refused(t, wire.CodeInvalidArgument, "brief")
}

func TestReadiness(t *testing.T) {
	var why error
	a := newAPI(t, func(cfg *httpapiConfig) { cfg.Ready = func() error { return why } })
	sameJSON(t, a.get("/healthz").want(t, 200).body, `{"status":"ok"}`)
	sameJSON(t, a.get("/readyz").want(t, 200).body, `{"status":"ready"}`)
	why = fmt.Errorf("no leader yet")
	r := a.get("/readyz").want(t, 503)
	if r.refused(t, wire.CodeUnavailable, ""); r.header.Get("Retry-After") != "1" {
		t.Error("no advice when to try again")
	}
	a.get("/healthz").want(t, 200)
}

// A half-replayed log shows what was changed or removed later.
func TestTheStoreIsNotShownBeforeTheAgentIsReady(t *testing.T) {
	why := error(wire.Errorf(wire.CodeUnavailable, "the log is not replayed yet"))
	a := newAPI(t, func(cfg *httpapiConfig) { cfg.Ready = func() error { return why } })
	for _, path := range []string{"/v1/clusters", "/v1/events", "/v1/status", "/nodes/getNodes"} {
		a.get(path).want(t, 503).refused(t, wire.CodeUnavailable, "")
	}
	a.get("/healthz").want(t, 200)
	why = nil
	a.get("/v1/clusters").want(t, 200)
}

// A request that is repeated under its key is applied once; a key that is used
// for another request does not give it the first one's answer.
func TestIdempotencyKey(t *testing.T) {
	a := newAPI(t).populate()
	create := func(body string) answer {
		return a.do("POST", "/v1/clusters", body, wire.HeaderRequestID, "key-1")
	}
	first := create(`{"name":"new","node_tag":"node-1","replicas":1,"quorum":1}`).want(t, 201)
	again := create(`{"name":"new","node_tag":"node-1","replicas":1,"quorum":1}`).want(t, 201)
	if decoded[wire.Cluster](t, first).CreateIndex != decoded[wire.Cluster](t, again).CreateIndex {
		t.Errorf("applied twice: %s, %s", first.body, again.body)
	}
	if c := decoded[wire.Cluster](t, create(`{"name":"other","node_tag":"node-1","replicas":1,"quorum":1}`).want(t, 201)); c.Name != "other" {
		t.Errorf("got %+v for another request under the same key", c)
	}
	for _, remove := range []int{1, 2} {
		r := a.do("POST", "/cluster/removeClusters", `{"clusterList":["new","other"]}`, wire.HeaderRequestID, "key-2").want(t, 200)
		if n := result[map[string]any](t, r)["nClustersRemoved"]; n != 2.0 {
			t.Errorf("time %d: %v removed", remove, n)
		}
	}
	long := fmt.Sprintf("%0129d", 0)
	a.do("POST", "/v1/clusters", `{"name":"x","node_tag":"node-1","replicas":1,"quorum":1}`, wire.HeaderRequestID, long).refused(t, wire.CodeInvalidArgument, wire.HeaderRequestID)
	a.do("POST", "/cluster/removeClusters", `{"clusterList":["alpha"]}`, wire.HeaderRequestID, "ü").refused(t, wire.CodeInvalidArgument, wire.HeaderRequestID)
}

func (r answer) index(t testing.TB) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(r.header.Get(wire.HeaderIndex), 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", wire.HeaderIndex, err)
	}
	return n
}

func TestBlockingQueries(t *testing.T) {
	a := newAPI(t).populate()
	index := a.get("/v1/sources/cam-1").want(t, 200).index(t)
	if r := a.get("/v1/sources/cam-1?index=1"); r.index(t) != index {
		t.Errorf("an old index waits: %d", r.index(t))
	}
	start := time.Now()
	if r := a.get(fmt.Sprintf("/v1/sources/cam-1?index=%d&wait=50ms", index)).want(t, 200); r.index(t) != index || time.Since(start) < 50*time.Millisecond {
		t.Errorf("nothing changed, but it did not wait")
	}
	a.get(fmt.Sprintf("/v1/sources/cam-1?index=%d&wait=10m", index+1000)).want(t, 200) // from another life of the store

	done := make(chan answer)
	ask := func(source string) {
		path := fmt.Sprintf("/v1/sources/%s?index=%d&wait=10m", source, index)
		go func() { done <- a.get(path) }()
	}
	ask("cam-1")
	a.store.must(t, state.CreateMapping{Source: "elsewhere", NodeTag: "node-1"})
	index = a.store.must(t, state.UpdateMetadata{Source: "cam-1", NodeTag: "node-1", Metadata: []byte(`{"new":1}`)}).Index
	if r := (<-done).want(t, 200); r.index(t) < index-1 {
		t.Errorf("index %d, want %d", r.index(t), index)
	}
	ask("not-yet")
	a.store.must(t, state.CreateMapping{Source: "not-yet", NodeTag: "node-1"})
	r := <-done
	if r.status != 200 {
		r = a.get(fmt.Sprintf("/v1/sources/not-yet?index=%d", r.index(t)))
	}
	r.want(t, 200)
}

// Shutdown ends blocking queries with the answer of now, and waits with the
// state of now.
func TestShutdownEndsWaits(t *testing.T) {
	a := newAPI(t).populate()
	a.store.applied = nil
	index := a.get("/v1/clusters").index(t)
	done := make(chan answer, 2)
	go func() { done <- a.get(fmt.Sprintf("/v1/clusters?index=%d&wait=10m", index)) }()
	go func() {
		done <- a.post("/v1/clusters?wait=10m", `{"name":"slow","node_tag":"node-1","replicas":1,"quorum":1}`)
	}()
	eventually(t, "the cluster is asked for", func() bool { _, found := a.store.View().Cluster("slow"); return found })
	if err := a.server.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if r := <-done; r.status != http.StatusOK && r.status != http.StatusCreated {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	// Clients take a 503 for final that does not say when to try again.
	for _, r := range []answer{a.get("/readyz"), a.get("/v1/frames/cam-1")} {
		if r.refused(t, wire.CodeUnavailable, ""); r.header.Get("Retry-After") != "1" {
			t.Errorf("no advice when to try again: %s", r.body)
		}
	}
	a.store.refuse = wire.Errorf(wire.CodeUnavailable, "the store is closed")
	if r := a.do("DELETE", "/v1/clusters/alpha", ""); r.header.Get("Retry-After") != "1" {
		t.Errorf("no advice when to try again: %d %s", r.status, r.body)
	}
}

// lagging is the store of a node that is behind: after each command its view
// stays the old one for some looks.
type lagging struct {
	*store
	mu    sync.Mutex
	old   *state.View
	looks int
}

func (l *lagging) Propose(ctx context.Context, id wire.RequestID, cmd state.Command) (state.Result, error) {
	l.mu.Lock()
	l.old, l.looks = l.store.View(), 3
	l.mu.Unlock()
	return l.store.Propose(ctx, id, cmd)
}

func (l *lagging) View() *state.View {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.looks == 0 {
		return l.store.View()
	}
	l.looks--
	return l.old
}

// An answer is never older than the change that it answers, also on a node
// that is behind.
func TestAnswersContainTheirChange(t *testing.T) {
	var behind *lagging
	a := newAPI(t, func(cfg *httpapiConfig) {
		behind = &lagging{store: cfg.Store.(*store)}
		cfg.Store = behind
	}).populate()
	r := a.post("/routing/createMapping", `{"sourceId":"new","nodeTag":"node-1"}`)
	sameJSON(t, r.want(t, 200).body, mappingOf("new", entry("alpha", `{}`)))
	c := decoded[wire.Cluster](t, a.post("/v1/clusters", `{"name":"new","node_tag":"node-1","replicas":1,"quorum":1}`).want(t, 201))
	if c.Status.Phase != wire.PhaseReady {
		t.Errorf("did not wait: %+v", c)
	}
}
