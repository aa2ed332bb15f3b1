package httpapi_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/framedb/framedb/client/sentinel"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
	"github.com/framedb/framedb/raftstore/state"
)

// withRedis is an API with cluster "real" on node-1, which really runs, and
// source cam that writes to it.
func withRedis(t *testing.T, members int) (*api, *redistest.Cluster) {
	t.Helper()
	c := redistest.StartCluster(t, members)
	sentinels := sentinel.New(sentinel.Config{Password: redistest.Password})
	t.Cleanup(func() { sentinels.Close() })
	a := newAPI(t, func(cfg *httpapiConfig) { cfg.Sentinels, cfg.Password = sentinels, redistest.Password })
	a.store.applied = nil
	a.store.must(t, state.CreateClusters{Names: []wire.ClusterName{"real"}, Spec: wire.ClusterSpec{NodeTag: "node-1", Replicas: members, Quorum: 1}})
	list := c.Members("real")
	for i := range list {
		list[i].Node = "n1"
	}
	a.store.must(t, state.ReportCluster{Name: "real", Instances: list,
		Status: wire.ClusterStatus{Phase: wire.PhaseReady, ObservedGeneration: 1}})
	a.store.must(t, state.CreateMapping{Source: "cam", NodeTag: "node-1", Metadata: []byte(`{"sizes":["8x8"],"ref_count":2}`)})
	return a, c
}

func masterIs(ep wire.Endpoint) string {
	return success(fmt.Sprintf(`{"masterHost":"%s","masterPort":%d}`, ep.Host, ep.Port))
}

// The seed's discovery endpoints tell what Sentinel says now, also in the
// second after a failover.
func TestDiscoveryFollowsSentinel(t *testing.T) {
	t.Parallel()
	a, c := withRedis(t, 2)
	for round, id := range []string{"real-redis-node-1", "real"} {
		if round == 1 {
			c.Failover()
		}
		master := c.Master()
		slave := c.Servers[0]
		if slave == master {
			slave = c.Servers[1]
		}
		sameJSON(t, a.post("/discovery/getMaster", `{"framedb_id":"`+id+`"}`).want(t, 200).body, masterIs(master.Endpoint))
		sameJSON(t, a.post("/discovery/getClusterMaster", `{"clusterName":"real"}`).want(t, 200).body, masterIs(master.Endpoint))
		slaves := fmt.Sprintf(`[{"slaveHost":"%s","slavePort":%d}]`, slave.Host, slave.Port)
		waitAgreed(t, a, c, slave.Endpoint)
		sameJSON(t, a.post("/discovery/getSlaves", `{"framedb_id":"`+id+`"}`).want(t, 200).body, success(slaves))
		sameJSON(t, a.post("/discovery/getClusterInfo", `{"framedb_id":"`+id+`"}`).want(t, 200).body, success(fmt.Sprintf(
			`{"clusterInfo":{"master":{"masterHost":"%s","masterPort":%d},"slaves":%s,"masterName":"mymaster"}}`, master.Host, master.Port, slaves)))

		if r := result[map[string]any](t, a.post("/cluster/getClusterInfo", `{"clusterName":"real"}`)); r["master_port"] != float64(master.Port) {
			t.Errorf("master_port %v, want %d", r["master_port"], master.Port)
		}
		mapping := result[struct {
			SourceID     string
			NodeTags     []string
			FramedbNodes []wire.NodeEntry
		}](t, a.post("/routing/updateMapping", `{"sourceId":"cam","nodeTag":"node-1"}`))
		if got := mapping.FramedbNodes[0].RedisPort; got != master.Port {
			t.Errorf("updateMapping says %d, want %d", got, master.Port)
		}
		checkRoles(t, a, master, slave)
	}
	if len(a.actors.synced) != 2 {
		t.Errorf("updateMapping synchronized %v", a.actors.synced)
	}
}

// waitAgreed waits until every Sentinel knows the replica; after a failover
// some learn of it later.
func waitAgreed(t *testing.T, a *api, c *redistest.Cluster, slave wire.Endpoint) {
	t.Helper()
	redistest.Eventually(t, 20*time.Second, "all Sentinels know the replica", func() error {
		for _, r := range a.cfg.Sentinels.Ask(t.Context(), c.Sentinels()) {
			if len(r.Replicas) != 1 || r.Replicas[0].Endpoint != slave || r.Replicas[0].Down {
				return fmt.Errorf("%+v", r)
			}
		}
		return nil
	})
}

func checkRoles(t *testing.T, a *api, master, slave *redistest.Server) {
	t.Helper()
	topology := decoded[wire.Topology](t, a.get("/v1/clusters/real/topology").want(t, 200))
	if topology.Master != master.Endpoint || len(topology.Replicas) != 1 || topology.Replicas[0] != slave.Endpoint {
		t.Errorf("topology %+v", topology)
	}
	if r := decoded[wire.Resolved](t, a.get("/v1/instances/real").want(t, 200)); r.Port != master.Port || r.Role != wire.RoleMaster || r.Reason != "" {
		t.Errorf("the cluster's name stands for %+v", r)
	}
	if r := result[map[string]any](t, a.get("/framedb/instances/real")); r["port"] != float64(master.Port) || r["role"] != "master" {
		t.Errorf("the FrameDB in memory is %v", r)
	}
	for i := range 2 {
		r := decoded[wire.Resolved](t, a.get(fmt.Sprintf("/v1/instances/real-redis-node-%d", i)).want(t, 200))
		want := wire.RoleReplica
		if r.Port == master.Port {
			want = wire.RoleMaster
		}
		if r.Role != want || r.URL != fmt.Sprintf("redis://127.0.0.1:%d/0", r.Port) || r.Socket == "" {
			t.Errorf("%+v, want role %s", r, want)
		}
	}
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	a, c := withRedis(t, 1)
	c.Sentry[0].Kill()
	a.post("/discovery/getMaster", `{"framedb_id":"real"}`).want(t, 503).refused(t, wire.CodeUnavailable, "")
	a.get("/v1/clusters/real/topology").refused(t, wire.CodeUnavailable, "")
	a.post("/routing/updateMapping", `{"sourceId":"cam","nodeTag":"node-1"}`).refused(t, wire.CodeUnavailable, "")
	r := decoded[wire.Resolved](t, a.get("/v1/instances/real-redis-node-0").want(t, 200))
	if r.Health != wire.HealthUnreachable || !strings.Contains(r.Reason, "last known") {
		t.Errorf("%+v", r)
	}
}

// One frame through the agent: in two sizes, listed, read, counted down, gone.
func TestFramesThroughTheAgent(t *testing.T) {
	t.Parallel()
	a, c := withRedis(t, 1)
	frame := wire.NewFrameKey("cam", 1, 2, 7)
	at := "/v1/frames/cam/" + url.PathEscape(frame.String())
	pixels := strings.Repeat("\x00\xffpixels", 1000)

	put := decoded[wire.PutFrame](t, a.do("PUT", at+"/8x8", pixels).want(t, 201))
	if put.Count != 2 || put.To != "real" || put.Node != "node-1" || fmt.Sprint(put.Keys) != fmt.Sprint([]string{frame.Data("8x8"), frame.Count()}) {
		t.Errorf("put %+v", put)
	}
	a.do("PUT", at+"/16x16?count=3&node_tag=node-1", "more").want(t, 201)
	if n, err := c.Servers[0].Client().Get(context.Background(), frame.Count()).Int(); err != nil || n != 3 {
		t.Errorf("count %d, %v", n, err)
	}
	r := a.get("/v1/frames/cam/"+url.PathEscape(frame.Data("8x8"))).want(t, 200)
	if r.body != pixels || r.header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("read %d bytes, %v", len(r.body), r.header)
	}
	if r := a.get("/v1/frames/cam/"+url.PathEscape(frame.Count())).want(t, 200); r.body != "3" {
		t.Errorf("count %q", r.body)
	}
	page := decoded[wire.FramePage](t, a.get("/v1/frames/cam").want(t, 200))
	if len(page.Frames) != 1 || page.Frames[0].Count != 3 || page.Frames[0].Sizes["8x8"] != int64(len(pixels)) {
		t.Errorf("page %+v", page)
	}
	if n := a.server.FramesInHand(); n != 0 {
		t.Errorf("%d bytes are still in hand", n)
	}
	a.get("/v1/frames/cam?cursor=nonsense").refused(t, wire.CodeInvalidArgument, "cursor")

	type results struct{ Results []wire.Decremented }
	decr := func(key string, by int) wire.Decremented {
		t.Helper()
		body := fmt.Sprintf(`{"decrements":[{"key":"%s","by":%d,"sizes":["8x8","16x16"]}]}`, frame.Count(), by)
		return decoded[results](t, a.do("POST", "/v1/frames/cam/decr", body, wire.HeaderRequestID, key).want(t, 200)).Results[0]
	}
	for range 2 { // a retry changes nothing
		if d := decr("token-1", 2); d.Remaining != 1 || d.Deleted != 0 || d.Missing {
			t.Errorf("first: %+v", d)
		}
	}
	if d := decr("", 1); d.Remaining != 0 || d.Deleted != 2 {
		t.Errorf("last: %+v", d)
	}
	if d := decr("", 1); !d.Missing {
		t.Errorf("gone: %+v", d)
	}
	a.get("/v1/frames/cam/"+url.PathEscape(frame.Data("8x8"))).want(t, 404).refused(t, wire.CodeNotFound, "")
	if body := a.get("/v1/frames/cam").want(t, 200).body; body != `{"frames":[]}` {
		t.Errorf("left: %s", body)
	}
}

// A key that is used for another batch by mistake drops neither, nor does a
// retry count twice.
func TestAKeyIsOfOneBatch(t *testing.T) {
	t.Parallel()
	a, c := withRedis(t, 1)
	a.store.must(t, state.CreateMapping{Source: "cam-b", NodeTag: "node-1"})
	count := func(n uint64) string {
		key := wire.NewFrameKey("cam", 0, 0, n).Count()
		if err := c.Servers[0].Client().SetNX(t.Context(), key, 10, 0).Err(); err != nil {
			t.Fatal(err)
		}
		return key
	}
	for _, call := range []struct {
		key  string
		by   int
		tag  string
		left int64
	}{
		{count(1), 1, "", 9}, {count(1), 1, "", 9}, {count(2), 1, "", 9}, {count(1), 2, "", 7}, {count(1), 2, "node-1", 5}, {count(1), 1, "", 9},
	} {
		body := fmt.Sprintf(`{"node_tag":"%s","decrements":[{"key":"%s","by":%d}]}`, call.tag, call.key, call.by)
		if call.tag == "" {
			body = fmt.Sprintf(`{"decrements":[{"key":"%s","by":%d}]}`, call.key, call.by)
		}
		r := decoded[struct{ Results []wire.Decremented }](t, a.do("POST", "/v1/frames/cam/decr", body, wire.HeaderRequestID, "same").want(t, 200))
		if d := r.Results[0]; d.Key != call.key || d.Remaining != call.left {
			t.Errorf("%s: %+v, want %d left", body, d, call.left)
		}
	}
}

// calls is how often the server was asked this.
func calls(t *testing.T, s *redistest.Server, command string) string {
	t.Helper()
	info, err := s.Client().Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, stat, _ := strings.Cut(info, "cmdstat_"+command+":calls=")
	n, _, _ := strings.Cut(stat, ",")
	return n
}

// A frame that there is no memory for is not read, and one that is read counts
// as long as its reader takes.
func TestFramesAreReadWithinTheBudget(t *testing.T) {
	t.Parallel()
	a, c := withRedis(t, 1)
	const frame = "/v1/frames/cam/cam%3F0%3F0__1"
	a.do("PUT", frame+"/8x8", strings.Repeat("x", 1<<20+1)).want(t, 201)
	giveBack := a.server.LeaveFrames(3 << 20)
	l := newPipes()
	a.serve(l)
	slow := l.dial()
	defer slow.Close()
	send(t, slow, "GET "+frame+"__8x8 HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, err := slow.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	before := calls(t, c.Servers[0], "mget")
	if r := a.get(frame+"__8x8").want(t, 429); r.header.Get("Retry-After") != "1" {
		t.Error("no advice when to try again")
	}
	if after := calls(t, c.Servers[0], "mget"); after != before {
		t.Errorf("it was read all the same: MGET %s times, then %s", before, after)
	}
	slow.Close()
	eventually(t, "the reader's share is given back", func() bool { return a.get(frame+"__8x8").status == 200 })
	giveBack()
}

// Lists of frames, each of which looks at every key, do not queue up in Redis.
func TestListsOfFramesAreBounded(t *testing.T) {
	t.Parallel()
	a, c := withRedis(t, 1)
	a.get("/v1/frames/cam").want(t, 200) // the way is known
	if err := c.Servers[0].Client().Do(t.Context(), "CLIENT", "PAUSE", 1500, "ALL").Err(); err != nil {
		t.Fatal(err)
	}
	done := make(chan answer, 2)
	for range 2 {
		go func() { done <- a.get("/v1/frames/cam") }()
	}
	eventually(t, "two lists are made", func() bool { return a.server.Listings() == 2 })
	r := a.get("/v1/frames/cam").want(t, 429)
	if r.refused(t, wire.CodeOverloaded, ""); r.header.Get("Retry-After") != "1" {
		t.Error("no advice when to try again")
	}
	for range 2 {
		(<-done).want(t, 200)
	}
	a.get("/v1/frames/cam").want(t, 200)
}

// A cluster that is gone takes its connections with it, and one that comes
// back under its name is found.
func TestDataPathsFollowTheStore(t *testing.T) {
	t.Parallel()
	a, c := withRedis(t, 1)
	key := "/v1/frames/cam/cam%3F0%3F0__1"
	a.do("PUT", key+"/8x8", "x").want(t, 201)
	other := redistest.StartCluster(t, 1)
	a.store.must(t, state.ReportCluster{Name: "real", Instances: other.Members("real"), Status: wire.ClusterStatus{Phase: wire.PhaseReady}})
	c.Servers[0].Kill()
	c.Sentry[0].Kill()
	a.do("PUT", key+"/8x8", "y").want(t, 201)
	if v, err := other.Servers[0].Client().Get(context.Background(), "cam?0?0__1__8x8").Result(); err != nil || v != "y" {
		t.Errorf("%q %v", v, err)
	}
}

// Without a node tag the mapping on this node is taken, not the first.
func TestTheNearestMappingIsTaken(t *testing.T) {
	t.Parallel()
	a, _ := withRedis(t, 1)
	a.store.must(t, state.CreateClusters{Names: []wire.ClusterName{"far"}, Spec: wire.ClusterSpec{NodeTag: "a-tag", Replicas: 1, Quorum: 1}})
	a.store.must(t, state.CreateMapping{Source: "cam", NodeTag: "a-tag"})
	put := decoded[wire.PutFrame](t, a.do("PUT", "/v1/frames/cam/cam%3F0%3F0__1/8x8", "x").want(t, 201))
	if put.Node != "node-1" {
		t.Errorf("%+v", put)
	}
}

// What is kept of clusters that are gone does not grow.
func TestDataPathsOfGoneClustersAreClosed(t *testing.T) {
	t.Parallel()
	a, _ := withRedis(t, 1)
	for i := range 3 {
		name := wire.ClusterName(fmt.Sprintf("c-%d", i))
		a.store.must(t, state.CreateClusters{Names: []wire.ClusterName{name}, Spec: wire.ClusterSpec{NodeTag: "node-2", Replicas: 1, Quorum: 1}})
		a.store.must(t, state.CreateMapping{Source: "s", NodeTag: "node-2"})
		a.do("PUT", "/v1/frames/s/s%3F0%3F0__1/8x8", "") // refused for its body, behind the data path
		a.store.must(t, state.RemoveCluster{Name: name})
		a.store.must(t, state.PurgeCluster{Name: name})
	}
	if n := a.server.DataPaths(); n != 1 {
		t.Errorf("%d data paths are kept", n)
	}
}

func TestFramesTooLarge(t *testing.T) {
	t.Parallel()
	a, _ := withRedis(t, 1)
	at := "/v1/frames/cam/cam%3F0%3F0__1/8x8"
	a.do("PUT", at, strings.Repeat("x", wire.MaxFrame+1)).want(t, 413).refused(t, wire.CodeTooLarge, "")
	a.do("PUT", at, strings.Repeat("x", wire.MaxBody+1)).want(t, 201)
}
