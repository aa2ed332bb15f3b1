package httpapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// info is getClusterInfo's result as its fields stand on the wire, without the
// braces.
func info(name, tag string, replicas int, metrics string) string {
	pods := make([]string, replicas)
	for i := range pods {
		pods[i] = fmt.Sprintf(`"%s-redis-node-%d"`, name, i)
	}
	return fmt.Sprintf(`"_id":"%s","node_tag":"%s",
		"svc_name":"%s-redis.framedb.svc.cluster.local","svc_host":"127.0.0.1",
		"metrics_svc":"%s","namespace":"framedb",
		"master_port":16379,"sentinel_port":1,"metrics_port":9121,
		"clusterPods":[%s],
		"state":"ready","replicas":%d,"quorum":2,"readyMembers":%d`, name, tag, name, metrics, strings.Join(pods, ","), replicas, replicas)
}

func success(result string) string { return `{"success":true,"result":` + result + `}` }

// The seed's curl commands of the config service, run as written and in order.
func TestSeedClusterCommands(t *testing.T) {
	a := newAPI(t)
	sameJSON(t, a.post("/cluster/createCluster", `{
		"clusterName": "cluster-alpha",
		"nodeTag": "node-1",
		"replicas": 3,
		"enableMetrics": true,
		"quorum": 2
	}`).want(t, 200).body, success(`{`+info("cluster-alpha", "node-1", 3, "cluster-alpha-redis-metrics.framedb.svc.cluster.local")+`}`))

	sameJSON(t, a.post("/cluster/getClusterInfo", `{
		"clusterName": "cluster-alpha"
	}`).want(t, 200).body, success(`{`+info("cluster-alpha", "node-1", 3, "cluster-alpha-redis-metrics.framedb.svc.cluster.local")+`}`))

	a.actors.found = []wire.ClusterName{"cluster-alpha", "stray"}
	sameJSON(t, a.post("/cluster/synchronize", `{
		"synchronize": true
	}`).want(t, 200).body, success(`["cluster-alpha","stray"]`))
	if !a.actors.adopted {
		t.Error("synchronize true did not bring the stored state in line")
	}
	a.post("/cluster/synchronize", `{"synchronize": false}`).want(t, 200)
	if a.actors.adopted {
		t.Error("synchronize false changed the stored state")
	}

	a.post("/cluster/synchronizeCluster", `{
		"clusterName": "cluster-alpha"
	}`).want(t, 200)
	if !slices.Equal(a.actors.synced, []wire.ClusterName{"cluster-alpha"}) {
		t.Errorf("synchronized %v", a.actors.synced)
	}

	sameJSON(t, a.post("/cluster/createClusters", `{
		"clusterPrefix": "test-cluster",
		"startIndex": 1,
		"nClusters": 2,
		"nodeTag": "node-a",
		"replicas": 3,
		"enableMetrics": false,
		"quorum": 2
	}`).want(t, 200).body, success(`[{`+info("test-cluster-1", "node-a", 3, "")+`},{`+info("test-cluster-2", "node-a", 3, "")+`}]`))

	sameJSON(t, a.post("/replication/createReplication", `{
		"clusterId": "test-cluster-1",
		"replicas": 4
	}`).want(t, 200).body, success(`{`+info("test-cluster-1", "node-a", 4, "")+`,"changed":true,"message":"cluster test-cluster-1 goes from 3 to 4 replicas"}`))
	sameJSON(t, a.post("/replication/createReplication", `{"clusterId":"test-cluster-1","replicas":4}`).want(t, 200).body,
		success(`{`+info("test-cluster-1", "node-a", 4, "")+`,"changed":false,"message":"cluster test-cluster-1 has 4 replicas already: nothing to do"}`))

	sameJSON(t, a.post("/cluster/removeClusters", `{
		"clusterList": ["cluster-alpha", "cluster-beta", "../x", "test-cluster-1", "cluster-alpha"]
	}`).want(t, 200).body, success(`{"nClustersRemoved":2,"failedRemovals":["cluster-beta","../x"],"errors":{
		"cluster-beta":{"code":"not_found","message":"cluster \"cluster-beta\" is unknown"},
		"../x":{"code":"invalid_argument","field":"clusterName","message":"clusterName: cluster name \"../x\" is not allowed: give lower-case letters, digits and '-', starting and ending with a letter or digit"}}}`))

	sameJSON(t, a.post("/cluster/removeCluster", `{
		"clusterName": "test-cluster-2"
	}`).want(t, 200).body, success(`{"_id":"test-cluster-2","state":"removed","moved":[],"unmapped":[]}`))
	if n := len(a.store.View().Clusters()); n != 0 {
		t.Errorf("%d clusters are left", n)
	}
}

const entryOf = `{"serviceIp":"127.0.0.1","sentinelPort":1,"serviceName":"%C-redis.framedb.svc.cluster.local","redisPort":16379,
	"masterIP":"127.0.0.1","nodeTag":"node-1","cluster_name":"%C","metadata":%M}`

func entry(cluster, metadata string) string {
	return strings.NewReplacer("%C", cluster, "%M", metadata).Replace(entryOf)
}

func mappingOf(source string, entries ...string) string {
	tags := strings.Repeat(`,"node-1"`, len(entries))
	return success(`{"sourceId":"` + source + `","nodeTags":[` + strings.TrimPrefix(tags, ",") + `],"framedbNodes":[` + strings.Join(entries, ",") + `]}`)
}

func TestSeedRouting(t *testing.T) {
	a := newAPI(t).populate()
	steps := []struct{ path, body, want string }{
		{"getMapping", `{"sourceId":"cam-1"}`, mappingOf("cam-1", entry("alpha", `{"sizes":["8x8"],"ref_count":2}`))},
		{"createMapping", `{"sourceId":"source-123","nodeTag":"node-1"}`, mappingOf("source-123", entry("alpha", `{}`))},
		{"createMapping", `{"sourceId":"cam-9","nodeTag":"node-1","metadata":{"ref_count":3}}`, mappingOf("cam-9", entry("beta", `{"ref_count":3}`))},
		{"getMappingMetadata", `{"sourceId":"cam-9","nodeTag":"node-1"}`, success(`{"ref_count":3}`)},
		{"getMappingMetadata", `{"sourceId":"source-123","nodeTag":"node-1"}`, success(`{}`)},
		{"updateMetadata", `{"sourceId":"cam-9","nodeTag":"node-1","metadata":{"x":null}}`, mappingOf("cam-9", entry("beta", `{"x":null}`))},
		{"getSourcesByInstance", `{"framedb":"alpha"}`, success(`{"_id":"alpha","sources":["cam-1","source-123"],"nodeTag":"node-1","sourceCount":2}`)},
		{"getSourcesByInstance", `{"framedb":"alpha-redis-node-0"}`, success(`{"_id":"alpha","sources":["cam-1","source-123"],"nodeTag":"node-1","sourceCount":2}`)},
		{"removeMapping", `{"sourceId":"cam-9","nodeTag":"node-1"}`, mappingOf("cam-9")},
		{"getLeastAssignedInstance", `{"nodeTag":"node-1"}`, success(`{"_id":"beta","sources":["cam-2"],"nodeTag":"node-1","sourceCount":1}`)},
		{"getMaxAssignedInstance", `{"nodeTag":"node-1"}`, success(`{"_id":"alpha","sources":["cam-1","source-123"],"nodeTag":"node-1","sourceCount":2}`)},
		{"reassignSource", `{"sourceId":"source-123","nodeTag":"node-1","framedb":"beta"}`, mappingOf("source-123", entry("beta", `{}`))},
		{"ressignSource", `{"sourceId":"source-123","nodeTag":"node-1","framedb":"alpha"}`, mappingOf("source-123", entry("alpha", `{}`))},
		{"getSourcesByNode", `{"nodeTag":"node-1"}`, success(`{"nodeTag":"node-1","framedbInstances":{
			"alpha":{"_id":"alpha","sources":["cam-1","source-123"],"nodeTag":"node-1","sourceCount":2},
			"beta":{"_id":"beta","sources":["cam-2"],"nodeTag":"node-1","sourceCount":1}}}`)},
		{"reassignInstance", `{"nodeTag":"node-1","framedb":"alpha"}`, success(`{"nodeTag":"node-1","framedbInstances":{
			"alpha":{"_id":"alpha","sources":[],"nodeTag":"node-1","sourceCount":0},
			"beta":{"_id":"beta","sources":["cam-1","cam-2","source-123"],"nodeTag":"node-1","sourceCount":3}}}`)},
	}
	for _, s := range steps {
		r := a.post("/routing/"+s.path, s.body)
		t.Run(s.path, func(t *testing.T) { sameJSON(t, r.want(t, 200).body, s.want) })
	}
}

// A removed cluster's sources move to the least loaded one on the tag.
func TestSeedRemoveTellsWhereSourcesWent(t *testing.T) {
	a := newAPI(t).populate()
	type removed struct {
		ID              string `json:"_id"`
		State           string
		Moved, Unmapped []wire.Mapping
	}
	if r := result[removed](t, a.post("/cluster/removeCluster", `{"clusterName":"alpha"}`)); len(r.Moved) != 1 || r.Moved[0].Cluster != "beta" || r.State != "removed" {
		t.Errorf("%+v", r)
	}
	if r := result[removed](t, a.post("/cluster/removeCluster", `{"clusterName":"beta"}`)); len(r.Moved) != 0 || len(r.Unmapped) != 2 {
		t.Errorf("%+v", r)
	}
}

func TestSeedNodes(t *testing.T) {
	a := newAPI(t).populate()
	node := func(label, tags string) string {
		return `{"labels":{"framedb":"` + label + `"},"node_info":{"agentVersion":"v1.2.3","driver":"process"},"ipv4Address":"127.0.0.1",
			"hostname":"n1","name":"n1","nodeTags":[` + tags + `],"alive":true}`
	}
	labelled := node("fast", `"node-1","node-a","fast"`)
	sameJSON(t, a.post("/nodes/labelFramedbNode", `{"nodeName":"n1","framedbName":"fast"}`).want(t, 200).body, success(labelled))
	sameJSON(t, a.get("/nodes/getNodes").want(t, 200).body, success(`[`+labelled+`,
		{"labels":{"framedb":"node-2"},"node_info":{"agentVersion":"","driver":""},"ipv4Address":"","hostname":"n2","name":"n2","nodeTags":["node-2"],"alive":false}]`))
	sameJSON(t, a.post("/nodes/unlabelFramedbNode", `{"nodeName":"n1"}`).want(t, 200).body, success(node("node-1", `"node-1","node-a"`)))
	sameJSON(t, a.post("/nodes/getFramedbNodes", `{"nodeTag":"node-1"}`).want(t, 200).body, success(`[
		{"clusterName":"alpha","svcName":"alpha-redis.framedb.svc.cluster.local","svcIp":"127.0.0.1","sentinelPort":1,"masterPort":16379},
		{"clusterName":"beta","svcName":"beta-redis.framedb.svc.cluster.local","svcIp":"127.0.0.1","sentinelPort":1,"masterPort":16379}]`))
	sameJSON(t, a.post("/nodes/getFramedbNodes", `{"nodeTag":"node-a"}`).want(t, 200).body, success(`[]`))
	pods := result[[]map[string]string](t, a.post("/nodes/getFramedbPods", `{"nodeName":"n1"}`))
	if len(pods) != 6 || pods[0]["pod_name"] != "alpha-redis-node-0" || pods[0]["ip"] != "127.0.0.1" || len(pods[0]) != 2 {
		t.Errorf("pods: %v", pods)
	}
	sameJSON(t, a.post("/nodes/getFramedbPods", `{"nodeName":"n2"}`).want(t, 200).body, success(`[]`))
}

// A cluster that is being created has names for its members, and no addresses.
func TestInfoOfAClusterWithoutMembers(t *testing.T) {
	a := newAPI(t)
	a.store.applied = nil
	r := result[map[string]any](t, a.post("/cluster/createCluster?wait=0s", `{"clusterName":"slow","nodeTag":"node-1","replicas":1,"enableMetrics":false,"quorum":1}`))
	if r["state"] != "creating" || r["svc_host"] != "" || r["master_port"] != 0.0 || r["clusterPods"].([]any)[0] != "slow-redis-node-0" {
		t.Errorf("%v", r)
	}
	a.post("/discovery/getMaster", `{"framedb_id":"slow-redis-node-0"}`).refused(t, wire.CodeUnavailable, "")
	a.store.must(t, state.CreateStorage{ID: "disk", Spec: wire.StorageSpec{NodeTag: "node-1"}})
	a.post("/discovery/getMaster", `{"framedb_id":"disk"}`).refused(t, wire.CodeConflict, "framedb_id")
}

func TestSynchronizeFails(t *testing.T) {
	a := newAPI(t).populate()
	a.actors.err = wire.Errorf(wire.CodeUnavailable, "the driver cannot be asked")
	a.post("/cluster/synchronize", `{"synchronize":true}`).refused(t, wire.CodeUnavailable, "")
	a.post("/cluster/synchronizeCluster", `{"clusterName":"alpha"}`).refused(t, wire.CodeUnavailable, "")
	a.do("POST", "/v1/clusters/alpha/sync", "").refused(t, wire.CodeUnavailable, "")
	a.post("/v1/sync", `{"adopt":true}`).refused(t, wire.CodeUnavailable, "")
}

// What no part of FrameDB gave a code is told to the log, not to the caller.
func TestForeignErrorsStayInside(t *testing.T) {
	a := newAPI(t).populate()
	a.actors.err = errors.New("open /secret/place: permission denied")
	r := a.post("/cluster/synchronize", `{"synchronize":true}`).want(t, 500)
	r.refused(t, wire.CodeInternal, "")
	if strings.Contains(r.body, "secret") || !strings.Contains(a.log.String(), "secret") {
		t.Errorf("answer %s, log %s", r.body, a.log)
	}
}

// One status and one code for what the store answers, and Retry-After.
func TestStoreFailures(t *testing.T) {
	a := newAPI(t).populate()
	for _, code := range []wire.Code{wire.CodeNoLeader, wire.CodeOutcomeUnknown, wire.CodeDiskFull, wire.CodeOverloaded, wire.CodeTooLarge} {
		e := wire.Errorf(code, "because")
		e.RetryAfter = 1_200_000_000
		a.store.refuse = e
		for _, call := range []string{"/cluster/createCluster", "/v1/clusters"} {
			for _, ep := range endpoints() {
				if ep.String() != "POST "+call {
					continue
				}
				r := a.post(call, ep.body).want(t, code.HTTPStatus())
				r.refused(t, code, "")
				if got := r.header.Get("Retry-After"); got != "2" {
					t.Errorf("Retry-After %q, want whole seconds, rounded up", got)
				}
			}
		}
	}
}

func TestPanicsAreAnswered(t *testing.T) {
	a := newAPI(t)
	a.store.applied = func(*store, state.Command) { panic("the store fell over") }
	r := a.post("/cluster/createCluster", endpoints()[0].body).want(t, 500)
	r.refused(t, wire.CodeInternal, "")
	if strings.Contains(r.body, "fell") || strings.Contains(r.body, ".go") {
		t.Errorf("the caller hears too much: %s", r.body)
	}
	if log := a.log.String(); !strings.Contains(log, "fell over") || !strings.Contains(log, "seed_test.go") {
		t.Errorf("the log hears too little: %s", log)
	}
	a.get("/healthz").want(t, 200)
}

func TestRawMetadataSurvives(t *testing.T) {
	a := newAPI(t).populate()
	want := `{"n":12345678901234567890,"s":"<&>é"}`
	a.post("/routing/updateMetadata", `{"sourceId":"cam-1","nodeTag":"node-1","metadata":`+want+`}`).want(t, 200)
	got := result[json.RawMessage](t, a.post("/routing/getMappingMetadata", `{"sourceId":"cam-1","nodeTag":"node-1"}`))
	var w, g map[string]json.RawMessage
	if json.Unmarshal([]byte(want), &w) != nil || json.Unmarshal(got, &g) != nil || string(w["n"]) != string(g["n"]) {
		t.Errorf("got %s, want %s", got, want)
	}
}
