package httpapi_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// badNames are refused as the kind of name that a field takes.
func badNames(field string) []string {
	long := strings.Repeat("a", 300)
	switch field {
	case "clusterName", "clusterId", "clusterPrefix", "name", "cluster", "framedb_id", "framedb":
		return []string{"", long, "../x", "ünï", "Upper", "-a", "a_b", "a b", "a\x00", "日本"}
	case "nodeName":
		return []string{"", long, "../x", "ünï", "Upper", "-a", "a..b"}
	case "node_id":
		return []string{"", long, "../x", "ünï", "-a", "a/b", "a b"}
	case "nodeTag", "node_tag", "framedbName", "label", "node_selector":
		return []string{"", long, "../x", "ünï", "-a", "a/b", "a b"}
	case "sourceId":
		return []string{"", long, "../x", "ünï", "-a", "a?b", "a__b", "a/b"}
	}
	return nil
}

// tagIsOptional are the routes that choose among a source's mappings themselves
// when no node tag is given.
var tagIsOptional = map[string]bool{
	"/v1/frames/:source/decr": true, "/v1/frames/:source/retain": true, "/v1/leases/:lease": true,
}

// Every field that takes a name refuses what is none, under the name that the
// caller gave the field.
func TestBadNames(t *testing.T) {
	a := newAPI(t).populate()
	before := a.store.tables(t)
	tested := 0
	for _, e := range endpoints() {
		for field := range e.fields(t) {
			for _, name := range badNames(field) {
				if strings.HasSuffix(e.route, "/backups") {
					continue // names of backups have a rule of their own
				}
				optional := e.v1() && (field == "cluster" || field == "label" || tagIsOptional[e.route])
				if name == "" && optional {
					continue
				}
				tested++
				r := a.call(e, e.set(t, field, encoded(t, name)))
				if f := r.failure(t); f.Code != wire.CodeInvalidArgument || f.Field != field {
					t.Errorf("%s, %s %q: got %s in %q (%s)", e, field, name, f.Code, f.Field, f.Message)
				}
			}
		}
	}
	if tested < 100 {
		t.Errorf("only %d names were tested", tested)
	}
	if a.store.tables(t) != before {
		t.Error("a refused request changed something")
	}
}

// The same for names in paths, percent-encoded as they must be.
func TestBadNamesInPaths(t *testing.T) {
	a := newAPI(t).populate()
	before := a.store.tables(t)
	kinds := map[string]string{":name": "name", ":framedb_id": "framedb_id", ":source": "sourceId", ":tag": "nodeTag"}
	for _, e := range endpoints() {
		for param, kind := range kinds {
			if !strings.Contains(e.route+"/", param+"/") || strings.HasPrefix(e.route, "/v1/frames") {
				continue
			}
			if e.route == "/v1/nodes/:name/label" {
				kind = "nodeName"
			}
			for _, name := range badNames(kind) {
				if name == "" {
					continue // another route, or none
				}
				path := fill(e, param, url.PathEscape(name))
				if f := a.do(e.method, path, e.body).failure(t); f.Code != wire.CodeInvalidArgument || f.Field != param[1:] {
					t.Errorf("%s %s: got %s in %q (%s)", e.method, path, f.Code, f.Field, f.Message)
				}
			}
		}
	}
	if a.store.tables(t) != before {
		t.Error("a refused request changed something")
	}
}

// fill puts a value into one parameter of the good path.
func fill(e endpoint, param, value string) string {
	names, values := strings.Split(e.route, "/"), strings.Split(e.path, "/")
	for i := range names {
		if names[i] == param {
			values[i] = value
		}
	}
	return strings.Join(values, "/")
}

// refusal is a call that must be refused.
type refusal struct {
	call  string // "METHOD /path body"
	code  wire.Code
	field string
}

func (a *api) refuses(t *testing.T, list []refusal) {
	t.Helper()
	before := a.store.tables(t)
	for _, c := range list {
		t.Run(c.call, func(t *testing.T) {
			method, rest, _ := strings.Cut(c.call, " ")
			path, body, _ := strings.Cut(rest, " ")
			a.do(method, path, body).refused(t, c.code, c.field)
		})
	}
	if a.store.tables(t) != before {
		t.Error("a refused request changed something")
	}
}

func TestNumbersOutOfRange(t *testing.T) {
	a := newAPI(t).populate()
	create := func(replicas, quorum string) string {
		return `POST /cluster/createCluster {"clusterName":"new","nodeTag":"node-1","enableMetrics":true,"replicas":` + replicas + `,"quorum":` + quorum + `}`
	}
	many := func(start, n, replicas, quorum string) string {
		return `POST /cluster/createClusters {"clusterPrefix":"new","nodeTag":"node-1","enableMetrics":true,"startIndex":` + start + `,"nClusters":` + n + `,"replicas":` + replicas + `,"quorum":` + quorum + `}`
	}
	v1 := func(replicas, quorum, more string) string {
		return `POST /v1/clusters {"name":"new","node_tag":"node-1","replicas":` + replicas + `,"quorum":` + quorum + more + `}`
	}
	bad := wire.CodeInvalidArgument
	a.refuses(t, []refusal{
		{create("0", "2"), bad, "replicas"},
		{create("-1", "2"), bad, "replicas"},
		{create("10000", "2"), bad, "replicas"},
		{create("3.5", "2"), bad, "replicas"},
		{create("1e3", "2"), bad, "replicas"},
		{create("99999999999999999999", "2"), bad, "replicas"},
		{create("3", "0"), bad, "quorum"},
		{create("3", "4"), bad, "quorum"},
		{create("3", "-1"), bad, "quorum"},
		{many("1", "2", "0", "2"), bad, "replicas"},
		{many("1", "2", "3", "4"), bad, "quorum"},
		{many("1", "0", "3", "2"), bad, "nClusters"},
		{many("1", "-1", "3", "2"), bad, "nClusters"},
		{many("1", "1001", "3", "2"), bad, "nClusters"},
		{many("-1", "2", "3", "2"), bad, "startIndex"},
		{many("9223372036854775807", "2", "3", "2"), bad, "startIndex"},
		{`POST /replication/createReplication {"clusterId":"alpha","replicas":0}`, bad, "replicas"},
		{`POST /replication/createReplication {"clusterId":"alpha","replicas":-1}`, bad, "replicas"},
		{`POST /replication/createReplication {"clusterId":"alpha","replicas":10000}`, bad, "replicas"},
		{`POST /replication/createReplication {"clusterId":"alpha","replicas":1}`, bad, "replicas"},
		{v1("0", "1", ""), bad, "replicas"},
		{v1("-1", "1", ""), bad, "replicas"},
		{v1("10000", "1", ""), bad, "replicas"},
		{v1("3", "4", ""), bad, "quorum"},
		{v1("3", "2", `,"max_memory":1`), bad, "max_memory"},
		{v1("3", "2", `,"max_memory_policy":"lru"`), bad, "max_memory_policy"},
		{v1("3", "2", `,"down_after_ms":1`), bad, "down_after_ms"},
		{`PATCH /v1/clusters/alpha {"replicas":0}`, bad, "replicas"},
		{`PATCH /v1/clusters/alpha {"quorum":4}`, bad, "quorum"},
		{`GET /v1/sources?limit=0`, bad, "limit"},
		{`GET /v1/sources?limit=10001`, bad, "limit"},
		{`GET /v1/sources?limit=x`, bad, "limit"},
		{`GET /v1/sources?index=-1`, bad, "index"},
		{`GET /v1/sources?index=x`, bad, "index"},
		{`GET /v1/sources?index=1&wait=11m`, bad, "wait"},
		{`GET /v1/sources?index=1&wait=-1s`, bad, "wait"},
		{`GET /v1/sources?index=1&wait=soon`, bad, "wait"},
		{`GET /v1/sources?limit=%zz`, bad, ""},
		{`GET /v1/events?table=nope`, bad, "table"},
		{`GET /v1/events?index=x`, bad, "index"},
		{`GET /v1/instances?cluster=Upper`, bad, "cluster"},
		{`GET /v1/instances?node_tag=../x`, bad, "node_tag"},
	})
	for _, path := range []string{"/cluster/createCluster?wait=x", "/v1/clusters?wait=601s", "/cluster/removeClusters?wait=-1"} {
		for _, e := range endpoints() {
			if e.route == strings.Split(path, "?")[0] && e.method == "POST" {
				a.post(path, e.body).refused(t, bad, "wait")
			}
		}
	}
}

func TestUnknownNames(t *testing.T) {
	unknown := wire.CodeNotFound
	newAPI(t).populate().refuses(t, []refusal{
		{`POST /cluster/removeCluster {"clusterName":"nobody"}`, unknown, ""},
		{`POST /cluster/getClusterInfo {"clusterName":"nobody"}`, unknown, ""},
		{`POST /cluster/synchronizeCluster {"clusterName":"nobody"}`, unknown, ""},
		{`POST /cluster/createCluster {"clusterName":"new","nodeTag":"nowhere","replicas":3,"enableMetrics":true,"quorum":2}`, wire.CodeNoLiveNode, "nodeTag"},
		{`POST /cluster/createCluster {"clusterName":"new","nodeTag":"node-2","replicas":3,"enableMetrics":true,"quorum":2}`, wire.CodeNoLiveNode, "nodeTag"},
		{`POST /cluster/createClusters {"clusterPrefix":"new","startIndex":1,"nClusters":2,"nodeTag":"nowhere","replicas":3,"enableMetrics":true,"quorum":2}`, wire.CodeNoLiveNode, "nodeTag"},
		{`POST /replication/createReplication {"clusterId":"nobody","replicas":3}`, unknown, ""},
		{`POST /discovery/getMaster {"framedb_id":"nobody-redis-node-0"}`, unknown, "framedb_id"},
		{`POST /discovery/getMaster {"framedb_id":"alpha-redis-node-7"}`, unknown, "framedb_id"},
		{`POST /discovery/getSlaves {"framedb_id":"framedb-xyz"}`, unknown, "framedb_id"},
		{`POST /discovery/getClusterInfo {"framedb_id":"framedb-xyz"}`, unknown, "framedb_id"},
		{`POST /discovery/getClusterMaster {"clusterName":"nobody"}`, unknown, ""},
		{`POST /routing/getMapping {"sourceId":"nobody"}`, unknown, "sourceId"},
		{`POST /routing/createMapping {"sourceId":"cam-9","nodeTag":"nowhere"}`, wire.CodeNoCluster, "nodeTag"},
		{`POST /routing/removeMapping {"sourceId":"nobody","nodeTag":"node-1"}`, unknown, ""},
		{`POST /routing/removeMapping {"sourceId":"cam-1","nodeTag":"node-2"}`, unknown, ""},
		{`POST /routing/updateMapping {"sourceId":"nobody","nodeTag":"node-1"}`, unknown, ""},
		{`POST /routing/getSourcesByInstance {"framedb":"nobody"}`, unknown, "framedb"},
		{`POST /routing/getSourcesByNode {"nodeTag":"nowhere"}`, unknown, "nodeTag"},
		{`POST /routing/reassignInstance {"nodeTag":"node-1","framedb":"nobody"}`, unknown, "framedb"},
		{`POST /routing/reassignInstance {"nodeTag":"node-2","framedb":"alpha"}`, wire.CodeConflict, "framedb"},
		{`POST /routing/reassignSource {"sourceId":"nobody","nodeTag":"node-1","framedb":"beta"}`, unknown, ""},
		{`POST /routing/reassignSource {"sourceId":"cam-1","nodeTag":"node-1","framedb":"nobody"}`, unknown, "framedb"},
		{`POST /routing/ressignSource {"sourceId":"cam-1","nodeTag":"node-1","framedb":"nobody"}`, unknown, "framedb"},
		{`POST /routing/getLeastAssignedInstance {"nodeTag":"nowhere"}`, unknown, "nodeTag"},
		{`POST /routing/getMaxAssignedInstance {"nodeTag":"nowhere"}`, unknown, "nodeTag"},
		{`POST /routing/updateMetadata {"sourceId":"nobody","nodeTag":"node-1","metadata":{}}`, unknown, ""},
		{`POST /routing/getMappingMetadata {"sourceId":"nobody","nodeTag":"node-1"}`, unknown, ""},
		{`POST /nodes/labelFramedbNode {"nodeName":"nobody","framedbName":"x"}`, unknown, ""},
		{`POST /nodes/unlabelFramedbNode {"nodeName":"nobody"}`, unknown, ""},
		{`POST /nodes/getFramedbPods {"nodeName":"nobody"}`, unknown, "nodeName"},
		{`POST /nodes/getFramedbNodes {"nodeTag":"nowhere"}`, unknown, "nodeTag"},
		{`POST /v1/clusters {"name":"new","node_tag":"nowhere","replicas":3,"quorum":2}`, wire.CodeNoLiveNode, "node_tag"},
		{`GET /v1/clusters/nobody`, unknown, ""},
		{`PATCH /v1/clusters/nobody {}`, unknown, ""},
		{`DELETE /v1/clusters/nobody`, unknown, ""},
		{`GET /v1/clusters/nobody/topology`, unknown, ""},
		{`POST /v1/clusters/nobody/sync`, unknown, ""},
		{`GET /v1/instances/nobody`, unknown, ""},
		{`GET /v1/sources/nobody`, unknown, ""},
		{`POST /v1/sources/cam-9/mappings {"node_tag":"nowhere"}`, wire.CodeNoCluster, "node_tag"},
		{`POST /v1/sources/cam-9/mappings {"node_tag":"node-1","cluster":"nobody"}`, unknown, "cluster"},
		{`PATCH /v1/sources/nobody/mappings/node-1 {"cluster":"beta"}`, unknown, ""},
		{`PATCH /v1/sources/cam-1/mappings/node-1 {"cluster":"nobody"}`, unknown, "cluster"},
		{`PATCH /v1/sources/cam-1/mappings/node-1 {}`, wire.CodeMissingField, "cluster"},
		{`PATCH /v1/sources/cam-1/mappings/node-1 {"cluster":"beta","metadata":{}}`, wire.CodeInvalidArgument, "metadata"},
		{`DELETE /v1/sources/cam-1/mappings/node-2`, unknown, ""},
		{`GET /v1/frames/nobody`, unknown, ""},
		{`GET /v1/frames/cam-1?node_tag=node-2`, unknown, ""},
		{`PUT /v1/nodes/nobody/label {"label":"x"}`, unknown, ""},
	})
}

// What is there already is refused, and stays as it is.
func TestSecondCreate(t *testing.T) {
	a := newAPI(t).populate()
	a.store.must(t, state.CreateClusters{Names: []wire.ClusterName{"new-2"}, Spec: wire.ClusterSpec{NodeTag: "node-1", Replicas: 1, Quorum: 1}})
	taken := wire.CodeAlreadyExists
	a.refuses(t, []refusal{
		{`POST /cluster/createCluster {"clusterName":"alpha","nodeTag":"node-1","replicas":3,"enableMetrics":true,"quorum":2}`, taken, "clusterName"},
		{`POST /cluster/createClusters {"clusterPrefix":"new","startIndex":1,"nClusters":3,"nodeTag":"node-1","replicas":3,"enableMetrics":true,"quorum":2}`, taken, "clusterPrefix"},
		{`POST /v1/clusters {"name":"alpha","node_tag":"node-1","replicas":3,"quorum":2}`, taken, "name"},
		{`POST /routing/createMapping {"sourceId":"cam-1","nodeTag":"node-1"}`, taken, ""},
		{`POST /v1/sources/cam-1/mappings {"node_tag":"node-1"}`, taken, ""},
	})
}

func TestFramesThatAreRefused(t *testing.T) {
	bad := wire.CodeInvalidArgument
	decr := func(list string) string { return `POST /v1/frames/cam-1/decr {"decrements":` + list + `}` }
	good := `{"key":"ref__cam-1?0?0__7","by":1,"sizes":["8x8"]}`
	newAPI(t).populate().refuses(t, []refusal{
		{`GET /v1/frames/cam-1/nonsense`, bad, "key"},
		{`GET /v1/frames/cam-1/cam-1%3F0%3F0__7`, bad, "key"},
		{`GET /v1/frames/cam-1/cam-2%3F0%3F0__7__8x8`, bad, "key"},
		{`GET /v1/frames/cam-1/ref__cam-2%3F0%3F0__7`, bad, "key"},
		{`GET /v1/frames/cam-1/cam-1%3F0%3F0__07__8x8`, bad, "key"},
		{`GET /v1/frames/cam-1/..%2F..%2Fx`, bad, "key"},
		{`PUT /v1/frames/cam-1/nonsense/8x8 x`, bad, "frame"},
		{`PUT /v1/frames/cam-1/cam-2%3F0%3F0__7/8x8 x`, bad, "frame"},
		{`PUT /v1/frames/cam-1/ref__cam-1%3F0%3F0__7/8x8 x`, bad, "frame"},
		{`PUT /v1/frames/cam-1/cam-1%3F0%3F0__7/8__8 x`, bad, "size"},
		{`PUT /v1/frames/cam-1/cam-1%3F0%3F0__7/8x8?count=0 x`, bad, "count"},
		{`PUT /v1/frames/cam-1/cam-1%3F0%3F0__7/8x8?count=-1 x`, bad, "count"},
		{`PUT /v1/frames/cam-1/cam-1%3F0%3F0__7/8x8?count=2147483649 x`, bad, "count"},
		{`PUT /v1/frames/cam-1/cam-1%3F0%3F0__7/8x8?node_tag=../x x`, bad, "node_tag"},
		{`PUT /v1/frames/cam-1/cam-1%3F0%3F0__7/8x8`, wire.CodeMalformed, ""},
		{`GET /v1/frames/cam-1?limit=0`, bad, "limit"},
		{decr(`[]`), bad, "decrements"},
		{decr(`[7]`), bad, "decrements[0]"},
		{decr(`[null]`), bad, "decrements[0]"},
		{decr(`[` + good + `,{"key":"x","by":1,"sizes":[]}]`), bad, "decrements[1]"},
		{decr(`[{"key":"ref__cam-2?0?0__7","by":1}]`), bad, "decrements[0]"},
		{decr(`[{"key":"ref__cam-1?0?0__7","by":0}]`), bad, "decrements[0]"},
		{decr(`[{"key":"ref__cam-1?0?0__7","by":2147483649}]`), bad, "decrements[0]"},
		{decr(`[{"key":"ref__cam-1?0?0__7","by":"1"}]`), bad, "decrements[0].by"},
		{decr(`[{"key":"ref__cam-1?0?0__7","by":1,"sizes":["a__b"]}]`), bad, "decrements[0]"},
		{decr(`[{"key":"ref__cam-1?0?0__7","by":1,"sizes":[1]}]`), bad, "decrements[0].sizes"},
		{decr(`[{"key":"ref__cam-1?0?0__7","by":1,"count":2}]`), wire.CodeUnknownField, "decrements[0].count"},
		{decr(`[{"key":"ref__cam-1?0?0__7","by":1,"by":2}]`), bad, "decrements[0].by"},
		{decr("[" + strings.Repeat(good+",", wire.MaxDecrements) + good + "]"), wire.CodeTooLarge, "decrements"},
	})
}

func TestLeasesAndSweepsThatAreRefused(t *testing.T) {
	const bad = wire.CodeInvalidArgument
	use := func(place, ttl, uses string) string {
		return `POST /v1/leases/me {` + place + `,"ttl_ms":` + ttl + `,"uses":` + uses + `}`
	}
	const good, here = `[{"key":"ref__cam-1?0?0__7","by":1}]`, `"source":"cam-1"`
	newAPI(t).populate().refuses(t, []refusal{
		{`POST /v1/frames/cam-1/retain {"uses":[]}`, bad, "uses"},
		{`POST /v1/frames/cam-1/retain {"uses":[{"key":"ref__cam-2?0?0__7","by":1}]}`, bad, "uses[0]"},
		{`POST /v1/frames/cam-1/retain {"uses":[{"key":"cam-1?0?0__7__8x8","by":1}]}`, bad, "uses[0]"},
		{`POST /v1/frames/cam-1/retain {"uses":[{"key":"ref__cam-1?0?0__7","by":-1}]}`, bad, "uses[0]"},
		{`POST /v1/frames/cam-1/retain {"uses":[{"key":"ref__cam-1?0?0__7","by":1,"sizes":[]}]}`, wire.CodeUnknownField, "uses[0].sizes"},
		{`POST /v1/frames/cam-1/retain {"uses":[{"key":"ref__cam-1?0?0__7","by":1},{"key":"ref__cam-1?0?0__7","by":1}]}`, bad, "uses[1]"},
		{`POST /v1/frames/cam-9/retain {"uses":[{"key":"ref__cam-9?0?0__7","by":1}]}`, wire.CodeNotFound, ""},
		{use(here, `999`, good), bad, "ttl_ms"},
		{use(here, `86400001`, good), bad, "ttl_ms"},
		{use(here, `"1s"`, good), bad, "ttl_ms"},
		{use(here, `5000`, `[]`), bad, "uses"},
		{use(here, `5000`, `[{"key":"ref__cam-2?0?0__7","by":1}]`), bad, "uses[0]"},
		{use(here, `5000`, `[{"key":"ref__cam-1?0?0__7","by":0}]`), bad, "uses[0]"},
		{use(here+`,"cluster":"alpha"`, `5000`, good), bad, "source"},
		{use(`"node_tag":"node-1"`, `5000`, good), bad, "source"},
		{use(`"cluster":"alpha","node_tag":"node-1"`, `5000`, good), bad, "node_tag"},
		{use(`"cluster":"nobody"`, `5000`, good), wire.CodeNotFound, "cluster"},
		{use(`"cluster":"../x"`, `5000`, good), bad, "cluster"},
		{`POST /v1/leases/caf%C3%A9/release {"cluster":"alpha"}`, bad, "lease"},
		{`POST /v1/leases/me/release {}`, bad, "source"},
		{`POST /v1/leases/me/renew {"cluster":"alpha","ttl_ms":0}`, bad, "ttl_ms"},
		{`POST /v1/leases/me/put-back {"cluster":"alpha","decrements":[]}`, bad, "decrements"},
		{`POST /v1/leases/me/put-back {"source":"cam-1","decrements":[{"key":"ref__cam-2?0?0__7","by":1}]}`, bad, "decrements[0]"},
		{`GET /v1/leases`, bad, "cluster"},
		{`GET /v1/leases?cluster=nobody`, wire.CodeNotFound, "cluster"},
		{`GET /v1/leases?cluster=alpha&limit=0`, bad, "limit"},
		{`POST /v1/clusters/nobody/sweep {"dry_run":true}`, wire.CodeNotFound, "name"},
		{`POST /v1/clusters/alpha/sweep {"dry_run":1}`, bad, "dry_run"},
		{`POST /v1/clusters/alpha/sweep {"dryRun":true}`, wire.CodeUnknownField, "dryRun"},
	})
}
