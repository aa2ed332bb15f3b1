package httpapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
)

// endpoint is a route with a call of it that succeeds on a populated API.
type endpoint struct {
	method, route string
	// path is the route with its parameters filled in.
	path string
	// body is a good body, every field in it; empty where there is none.
	body string
	// need are the required fields.
	need []string
	// status of the good call; 0 where it needs more than a populated API.
	status int
}

func (e endpoint) v1() bool { return strings.HasPrefix(e.route, "/v1/") }

func (e endpoint) String() string { return e.method + " " + e.route }

// endpoints are all of them; TestEveryRouteIsTested sees to it.
func endpoints() []endpoint {
	post := func(path, body string, status int, need ...string) endpoint {
		return endpoint{"POST", path, path, body, need, status}
	}
	spec := []string{"nodeTag", "replicas", "enableMetrics", "quorum"}
	with := func(more ...string) []string { return append(more, spec...) }
	return []endpoint{
		post("/cluster/createCluster", `{"clusterName":"new","nodeTag":"node-1","replicas":3,"enableMetrics":true,"quorum":2}`, 200, with("clusterName")...),
		post("/cluster/removeCluster", `{"clusterName":"alpha"}`, 200, "clusterName"),
		post("/cluster/getClusterInfo", `{"clusterName":"alpha"}`, 200, "clusterName"),
		post("/cluster/synchronize", `{"synchronize":true}`, 200, "synchronize"),
		post("/cluster/synchronizeCluster", `{"clusterName":"alpha"}`, 200, "clusterName"),
		post("/cluster/createClusters", `{"clusterPrefix":"new","startIndex":1,"nClusters":2,"nodeTag":"node-a","replicas":3,"enableMetrics":false,"quorum":2}`, 200,
			with("clusterPrefix", "startIndex", "nClusters")...),
		post("/cluster/removeClusters", `{"clusterList":["alpha","nobody"]}`, 200, "clusterList"),
		post("/replication/createReplication", `{"clusterId":"alpha","replicas":4}`, 200, "clusterId", "replicas"),

		post("/discovery/getMaster", `{"framedb_id":"alpha-redis-node-1"}`, 503, "framedb_id"),
		post("/discovery/getSlaves", `{"framedb_id":"alpha-redis-node-1"}`, 503, "framedb_id"),
		post("/discovery/getClusterInfo", `{"framedb_id":"alpha-redis-node-1"}`, 503, "framedb_id"),
		post("/discovery/getClusterMaster", `{"clusterName":"alpha"}`, 503, "clusterName"),

		post("/routing/getMapping", `{"sourceId":"cam-1"}`, 200, "sourceId"),
		post("/routing/createMapping", `{"sourceId":"cam-3","nodeTag":"node-1","metadata":{"a":1}}`, 200, "sourceId", "nodeTag"),
		post("/routing/removeMapping", `{"sourceId":"cam-1","nodeTag":"node-1"}`, 200, "sourceId", "nodeTag"),
		post("/routing/updateMapping", `{"sourceId":"cam-1","nodeTag":"node-1"}`, 503, "sourceId", "nodeTag"),
		post("/routing/getSourcesByInstance", `{"framedb":"alpha"}`, 200, "framedb"),
		post("/routing/getSourcesByNode", `{"nodeTag":"node-1"}`, 200, "nodeTag"),
		post("/routing/reassignInstance", `{"nodeTag":"node-1","framedb":"alpha"}`, 200, "nodeTag", "framedb"),
		post("/routing/reassignSource", `{"sourceId":"cam-1","nodeTag":"node-1","framedb":"beta"}`, 200, "sourceId", "nodeTag", "framedb"),
		post("/routing/ressignSource", `{"sourceId":"cam-1","nodeTag":"node-1","framedb":"beta"}`, 200, "sourceId", "nodeTag", "framedb"),
		post("/routing/getLeastAssignedInstance", `{"nodeTag":"node-1"}`, 200, "nodeTag"),
		post("/routing/getMaxAssignedInstance", `{"nodeTag":"node-1"}`, 200, "nodeTag"),
		post("/routing/updateMetadata", `{"sourceId":"cam-1","nodeTag":"node-1","metadata":{"a":1}}`, 200, "sourceId", "nodeTag", "metadata"),
		post("/routing/getMappingMetadata", `{"sourceId":"cam-1","nodeTag":"node-1"}`, 200, "sourceId", "nodeTag"),

		{method: "GET", route: "/nodes/getNodes", path: "/nodes/getNodes", status: 200},
		post("/nodes/labelFramedbNode", `{"nodeName":"n1","framedbName":"node-x"}`, 200, "nodeName", "framedbName"),
		post("/nodes/unlabelFramedbNode", `{"nodeName":"n1"}`, 200, "nodeName"),
		post("/nodes/getFramedbPods", `{"nodeName":"n1"}`, 200, "nodeName"),
		post("/nodes/getFramedbNodes", `{"nodeTag":"node-1"}`, 200, "nodeTag"),

		{method: "GET", route: "/framedb/persistent-instances", path: "/framedb/persistent-instances", status: 200},
		post("/framedb/persistent-instances", `{"framedb_id":"new","node_selector":"node-1","storage_size":"20Gi","replication":{"pd":1,"tikv":3,"tidb":2},"db_params":{"tikv":{"a":1}},"password":"x"}`, 200,
			"framedb_id", "node_selector"),
		{method: "GET", route: "/framedb/persistent-instances/:framedb_id", path: "/framedb/persistent-instances/disk-1", status: 200},
		{method: "DELETE", route: "/framedb/persistent-instances/:framedb_id", path: "/framedb/persistent-instances/disk-1", status: 200},
		{"POST", "/framedb/persistent-instances/:framedb_id/update", "/framedb/persistent-instances/disk-1/update", `{"storageSize":"20Gi","replication":3,"parameters":{"max_connections":7}}`, nil, 200},
		{method: "GET", route: "/framedb/instances", path: "/framedb/instances", status: 200},
		post("/framedb/instances", `{"framedb_id":"new","node_id":"n1","metadata":{"a":1},"redis_config":{"maxmemory":"2gb","maxmemory-policy":"allkeys-lru","hz":20,"dynamic-hz":false}}`, 200, "framedb_id", "node_id"),
		{method: "GET", route: "/framedb/instances/:framedb_id", path: "/framedb/instances/alpha", status: 200},
		{method: "DELETE", route: "/framedb/instances/:framedb_id", path: "/framedb/instances/alpha", status: 200},
		{"POST", "/framedb/instances/:framedb_id/config", "/framedb/instances/alpha/config", `{"redis_config":{"hz":"20"}}`, []string{"redis_config"}, 200},

		{method: "GET", route: "/v1/clusters", path: "/v1/clusters", status: 200},
		post("/v1/clusters", `{"name":"new","node_tag":"node-1","replicas":3,"quorum":2,"enable_metrics":true,"backup":true,"max_memory":1048576,
			"max_memory_policy":"noeviction","down_after_ms":1000,"failover_timeout_ms":2000,"parallel_syncs":1,"settings":{"hz":"20"},"metadata":{"a":1}}`, 201, "name", "node_tag", "replicas", "quorum"),
		{method: "GET", route: "/v1/clusters/:name", path: "/v1/clusters/alpha", status: 200},
		{"PATCH", "/v1/clusters/:name", "/v1/clusters/alpha", `{"replicas":4,"quorum":3,"enable_metrics":true,"backup":true,"max_memory":1048576,
			"max_memory_policy":"noeviction","down_after_ms":1000,"failover_timeout_ms":2000,"parallel_syncs":1,"settings":{"hz":"20","timeout":null},"metadata":{"a":1}}`, nil, 200},
		{method: "DELETE", route: "/v1/clusters/:name", path: "/v1/clusters/alpha", status: 200},
		{method: "GET", route: "/v1/clusters/:name/topology", path: "/v1/clusters/alpha/topology", status: 503},
		{method: "POST", route: "/v1/clusters/:name/sync", path: "/v1/clusters/alpha/sync", status: 200},
		{"POST", "/v1/clusters/:name/sweep", "/v1/clusters/alpha/sweep", `{"dry_run":true}`, nil, 0},
		post("/v1/sync", `{"adopt":true}`, 200, "adopt"),

		{method: "GET", route: "/v1/instances", path: "/v1/instances", status: 200},
		{method: "GET", route: "/v1/instances/:framedb_id", path: "/v1/instances/alpha-redis-node-1", status: 200},

		{method: "GET", route: "/v1/storage", path: "/v1/storage", status: 200},
		post("/v1/storage", `{"framedb_id":"new","node_tag":"node-1","storage_size":"20Gi","replicas":{"pd":1,"tikv":3,"tidb":2},"parameters":{"pd":{},"tikv":{"a":1},"tidb":{}},
			"external":{"address":"db.example:4000","user":"u","database":"d","tls":true},"exclusive":true,"backup":{"schedule":"@daily","target":"s3","keep":7},"password":"x"}`, 201, "framedb_id", "node_tag"),
		{method: "GET", route: "/v1/storage/:framedb_id", path: "/v1/storage/disk-1", status: 200},
		{"PATCH", "/v1/storage/:framedb_id", "/v1/storage/disk-1", `{"storage_size":"20Gi","replicas":{"tikv":3},"parameters":{"tikv":{"a":1}},"exclusive":true,
			"backup":{"schedule":"@daily","target":"s3"},"password":"x"}`, nil, 200},
		{method: "DELETE", route: "/v1/storage/:framedb_id", path: "/v1/storage/disk-1", status: 200},

		{method: "GET", route: "/v1/ingestions", path: "/v1/ingestions", status: 200},
		{method: "GET", route: "/v1/ingestions/:source", path: "/v1/ingestions/cam-1", status: 200},
		{"PUT", "/v1/ingestions/:source", "/v1/ingestions/cam-3", `{"target":"disk-1","sizes":["8x8"],"ref_count":2,"ack":"replicated:1","batch_frames":10,"batch_bytes":1000,"linger_ms":5,"ttl_ms":1000,
			"retention":{"age_ms":1000,"bytes":1000000,"frames":100},"queue":{"kind":"stream","cluster":"alpha","key":"q","group":"g"},"directory":{"node":"n1","path":"/in","pattern":"*.jpg","done":"/done"}}`, nil, 200},
		{method: "DELETE", route: "/v1/ingestions/:source", path: "/v1/ingestions/cam-1", status: 200},

		{method: "GET", route: "/v1/ingest", path: "/v1/ingest", status: 200},
		{method: "POST", route: "/v1/ingest/:source", path: "/v1/ingest/cam-1"},

		{method: "GET", route: "/v1/sources", path: "/v1/sources", status: 200},
		{method: "GET", route: "/v1/sources/:source", path: "/v1/sources/cam-1", status: 200},
		{"POST", "/v1/sources/:source/mappings", "/v1/sources/cam-3/mappings", `{"node_tag":"node-1","cluster":"beta","metadata":{"a":1}}`, []string{"node_tag"}, 201},
		{"PATCH", "/v1/sources/:source/mappings/:tag", "/v1/sources/cam-1/mappings/node-1", `{"cluster":"beta"}`, nil, 200},
		{method: "DELETE", route: "/v1/sources/:source/mappings/:tag", path: "/v1/sources/cam-1/mappings/node-1", status: 200},

		{method: "GET", route: "/v1/frames/:source", path: "/v1/frames/cam-1"},
		{method: "GET", route: "/v1/frames/:source/:key", path: "/v1/frames/cam-1/cam-1%3F0%3F0__7__8x8"},
		{method: "PUT", route: "/v1/frames/:source/:frame/:size", path: "/v1/frames/cam-1/cam-1%3F0%3F0__7/8x8"},
		{"POST", "/v1/frames/:source/decr", "/v1/frames/cam-1/decr", `{"node_tag":"node-1","decrements":[{"key":"ref__cam-1?0?0__7","by":1,"sizes":["8x8"]}]}`, []string{"decrements"}, 0},
		{"POST", "/v1/frames/:source/retain", "/v1/frames/cam-1/retain", `{"node_tag":"node-1","uses":[{"key":"ref__cam-1?0?0__7","by":1}]}`, []string{"uses"}, 0},

		{method: "GET", route: "/v1/leases", path: "/v1/leases?cluster=alpha"},
		{"POST", "/v1/leases/:lease", "/v1/leases/me", `{"source":"cam-1","node_tag":"node-1","ttl_ms":5000,"uses":[{"key":"ref__cam-1?0?0__7","by":1}],"add":true}`, []string{"ttl_ms", "uses"}, 0},
		{"POST", "/v1/leases/:lease/renew", "/v1/leases/me/renew", `{"cluster":"alpha","ttl_ms":5000}`, []string{"ttl_ms"}, 0},
		{"POST", "/v1/leases/:lease/put-back", "/v1/leases/me/put-back", `{"source":"cam-1","decrements":[{"key":"ref__cam-1?0?0__7","by":1}]}`, []string{"decrements"}, 0},
		{"POST", "/v1/leases/:lease/release", "/v1/leases/me/release", `{"cluster":"alpha"}`, nil, 0},

		{method: "GET", route: "/v1/framedbs/:framedb_id/objects", path: "/v1/framedbs/alpha-redis-node-1/objects"},
		{method: "GET", route: "/v1/framedbs/:framedb_id/objects/*key", path: "/v1/framedbs/alpha-redis-node-1/objects/a/b"},
		{method: "HEAD", route: "/v1/framedbs/:framedb_id/objects/*key", path: "/v1/framedbs/alpha-redis-node-1/objects/a/b"},
		{method: "PUT", route: "/v1/framedbs/:framedb_id/objects/*key", path: "/v1/framedbs/alpha-redis-node-1/objects/a/b"},
		{method: "DELETE", route: "/v1/framedbs/:framedb_id/objects/*key", path: "/v1/framedbs/alpha-redis-node-1/objects/a/b"},

		{method: "GET", route: "/v1/backup-targets", path: "/v1/backup-targets", status: 200},
		{method: "GET", route: "/v1/framedbs/:framedb_id/backups", path: "/v1/framedbs/disk-1/backups?target=s3", status: 404},
		{"POST", "/v1/framedbs/:framedb_id/backups", "/v1/framedbs/disk-1/backups", `{"target":"s3","name":"b","prefixes":["a/"],"keys":["b"],"skip_damaged":true}`, []string{"target"}, 404},
		{method: "DELETE", route: "/v1/framedbs/:framedb_id/backups/:backup", path: "/v1/framedbs/disk-1/backups/b?target=s3", status: 404},
		{"POST", "/v1/framedbs/:framedb_id/backups/:backup/restore", "/v1/framedbs/disk-1/backups/b/restore",
			`{"target":"s3","to":"alpha","prefixes":["a/"],"keys":["b"],"overwrite":true,"ignore_expiry":true}`, []string{"target"}, 404},
		{"POST", "/v1/framedbs/:framedb_id/backups/:backup/verify", "/v1/framedbs/disk-1/backups/b/verify", `{"target":"s3"}`, []string{"target"}, 404},

		{method: "GET", route: "/v1/nodes", path: "/v1/nodes", status: 200},
		{"PUT", "/v1/nodes/:name/label", "/v1/nodes/n1/label", `{"label":"node-x"}`, []string{"label"}, 200},
		{"PUT", "/v1/nodes/:name/drain", "/v1/nodes/n1/drain", `{"draining":true}`, []string{"draining"}, 200},
		{method: "DELETE", route: "/v1/nodes/:name", path: "/v1/nodes/n2", status: 200},
		{method: "GET", route: "/v1/raft", path: "/v1/raft", status: 200},
		{"POST", "/v1/raft/transfer", "/v1/raft/transfer", `{"to":"n2"}`, nil, 200},
		{method: "GET", route: "/v1/status", path: "/v1/status", status: 200},
		{method: "GET", route: "/v1/events", path: "/v1/events"},
		{method: "GET", route: "/v1/credentials", path: "/v1/credentials", status: 403},
		{method: "GET", route: "/healthz", path: "/healthz", status: 200},
		{method: "GET", route: "/readyz", path: "/readyz", status: 200},
		{method: "GET", route: "/metrics", path: "/metrics", status: 200},
		{method: "GET", route: "/openapi.json", path: "/openapi.json", status: 200},
	}
}

func TestEveryRouteIsTested(t *testing.T) {
	listed := map[string]bool{}
	for _, e := range endpoints() {
		listed[e.String()] = true
	}
	served := newAPI(t).server.Handler().(*gin.Engine).Routes()
	for _, r := range served {
		if !listed[r.Method+" "+r.Path] {
			t.Errorf("%s %s is in no table", r.Method, r.Path)
		}
	}
	if len(served) != len(listed) {
		t.Errorf("%d routes, %d in the table", len(served), len(listed))
	}
}

func (a *api) call(e endpoint, body string) answer {
	a.t.Helper()
	return a.do(e.method, e.path, body)
}

// fields are the members of a good body.
func (e endpoint) fields(t testing.TB) map[string]json.RawMessage {
	t.Helper()
	m := map[string]json.RawMessage{}
	if e.body == "" {
		return m
	}
	if err := json.Unmarshal([]byte(e.body), &m); err != nil {
		t.Fatalf("%s: %v", e, err)
	}
	return m
}

// without and set return the good body changed in one field.
func (e endpoint) without(t testing.TB, field string) string {
	m := e.fields(t)
	delete(m, field)
	return encoded(t, m)
}

func (e endpoint) set(t testing.TB, field, value string) string {
	m := e.fields(t)
	m[field] = json.RawMessage(value)
	return encoded(t, m)
}

func encoded(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestGoodCalls(t *testing.T) {
	for _, e := range endpoints() {
		if e.status == 0 {
			continue
		}
		t.Run(e.String(), func(t *testing.T) {
			t.Parallel()
			r := newAPI(t).populate().call(e, e.body)
			r.want(t, e.status)
			if e.status >= 400 {
				r.failure(t)
			}
		})
	}
}

// notJSON are bodies that are refused everywhere, whatever the endpoint.
func notJSON() map[string]string {
	return map[string]string{
		"empty":          "",
		"spaces":         " \r\n\t ",
		"no JSON":        "clusterName=alpha",
		"cut short":      `{"clusterName":"alp`,
		"a list":         `[]`,
		"a string":       `"x"`,
		"null":           `null`,
		"a number":       `7`,
		"garbage behind": `{} x`,
		"two objects":    `{}{}`,
		"bad UTF-8":      "{\"clusterName\":\"\xff\"}",
		"byte order":     "\ufeff{}",
		"deep":           `{"metadata":` + strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 40) + `}`,
		"very deep":      `{"x":` + strings.Repeat(`[`, 200_000),
		"deep in lists":  `{"zzz":` + strings.Repeat(`[`, 200_000) + strings.Repeat(`]`, 200_000) + `}`,
	}
}

// Every endpoint with a body refuses what is no JSON object, and nothing is
// changed.
func TestBodiesThatAreNoObject(t *testing.T) {
	a := newAPI(t).populate()
	before := a.store.tables(t)
	for _, e := range endpoints() {
		if e.body == "" {
			continue
		}
		for name, body := range notJSON() {
			r := a.call(e, body)
			if e.v1() && strings.HasPrefix(name, "deep") {
				r.want(t, 400) // an unknown field goes first
				continue
			}
			if f := r.failure(t); f.Code != wire.CodeMalformed || r.status != 400 {
				t.Errorf("%s, %s: got %d %s (%s), want 400 malformed", e, name, r.status, f.Code, f.Message)
			}
		}
		a.call(e, `{"x":"`+strings.Repeat("x", wire.MaxBody)+`"}`).refused(t, wire.CodeTooLarge, "")
	}
	if a.store.tables(t) != before {
		t.Error("a refused request changed something")
	}
}

// wrong is a value of another type than the good one.
func wrong(good json.RawMessage) string {
	switch good[0] {
	case '"':
		return `7`
	case '{':
		return `[1]`
	case '[':
		return `{"a":1}`
	case 't', 'f':
		return `"yes"`
	default:
		return `"3"`
	}
}

// Every endpoint names the field that is missing or of the wrong type.
func TestMissingAndMistypedFields(t *testing.T) {
	a := newAPI(t).populate()
	before := a.store.tables(t)
	for _, e := range endpoints() {
		for field, good := range e.fields(t) {
			t.Run(e.String()+" "+field, func(t *testing.T) {
				a.call(e, e.set(t, field, wrong(good))).refused(t, wire.CodeInvalidArgument, field)
			})
		}
		for _, field := range e.need {
			t.Run(e.String()+" without "+field, func(t *testing.T) {
				a.call(e, e.without(t, field)).refused(t, wire.CodeMissingField, field)
				a.call(e, e.set(t, field, "null")).refused(t, wire.CodeMissingField, field)
			})
		}
	}
	if a.store.tables(t) != before {
		t.Error("a refused request changed something")
	}
}

// The first FrameDB's endpoints ignore unknown fields and take the last of two;
// v1 refuses both.
func TestUnknownAndRepeatedFields(t *testing.T) {
	for _, e := range endpoints() {
		if e.body == "" {
			continue
		}
		t.Run(e.String(), func(t *testing.T) {
			t.Parallel()
			a := newAPI(t).populate()
			before := a.store.tables(t)
			unknown := e.set(t, "surprise", `{"a":[1,2]}`)
			var first string
			for field := range e.fields(t) {
				first = field
			}
			twice := `{"` + first + `":null,` + strings.TrimPrefix(strings.TrimSpace(e.body), "{")
			if !e.v1() {
				a.call(e, unknown).want(t, e.status)
				newAPI(t).populate().call(e, twice).want(t, e.status)
				return
			}
			a.call(e, unknown).refused(t, wire.CodeUnknownField, "surprise")
			repeated := `{"` + first + `":` + string(e.fields(t)[first]) + `,` + strings.TrimPrefix(strings.TrimSpace(e.body), "{")
			a.call(e, repeated).refused(t, wire.CodeInvalidArgument, first)
			upper := strings.Replace(e.body, `"`+first+`"`, `"`+strings.ToUpper(first)+`"`, 1)
			a.call(e, upper).refused(t, wire.CodeUnknownField, strings.ToUpper(first))
			if a.store.tables(t) != before {
				t.Error("a refused request changed something")
			}
		})
	}
}

func TestUnknownRoutesAndMethods(t *testing.T) {
	a := newAPI(t).populate()
	for _, path := range []string{"/", "/v1", "/v1/clusters/", "/cluster/createcluster", "/v1/sources/../x", "/v1/nope"} {
		a.get(path).want(t, http.StatusNotFound).refused(t, wire.CodeNotFound, "")
	}
	for _, c := range [][2]string{{"GET", "/cluster/createCluster"}, {"PUT", "/v1/clusters"}, {"DELETE", "/v1/sources/cam-1"}, {"HEAD", "/healthz"}} {
		r := a.do(c[0], c[1], "").want(t, http.StatusMethodNotAllowed)
		if r.header.Get("Allow") == "" {
			t.Errorf("%v: no Allow header", c)
		}
		if c[0] != "HEAD" {
			r.refused(t, wire.CodeMethod, "")
		}
	}
}
