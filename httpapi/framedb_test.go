package httpapi_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// memoryOf is one FrameDB in memory of n members under an ID, as its fields
// stand on the wire. Nobody answers as its Sentinel.
func memoryOf(id, cluster, config, metadata string, members int) string {
	member := func(i int, health string) string {
		role := "replica"
		if i == 0 {
			role = "master"
		}
		return fmt.Sprintf(`"node_id":"n1","role":"%s","health":"%s","host":"127.0.0.1","port":%d,"sentinel_port":1,
			"url":"redis://127.0.0.1:%[3]d/0","socket":"/run/f/%[4]s-redis-node-%[5]d.sock"`, role, health, 16379+i, cluster, i)
	}
	rows := make([]string, members)
	for i := range rows {
		rows[i] = fmt.Sprintf(`{"framedb_id":"%s-redis-node-%d",%s}`, cluster, i, member(i, "healthy"))
	}
	health := "unreachable" // what Sentinel says now is not known
	if id == "" {
		id, health = cluster, "healthy" // in a list it is not asked
	}
	return fmt.Sprintf(`{"framedb_id":"%s","cluster_name":"%s","node_tag":"node-1","node_selector":{"framedb":"node-1"},"status":"ready",
		%s,"metadata":%s,"redis_config":%s,"instances":[%s]}`, id, cluster, member(0, health), metadata, config, strings.Join(rows, ","))
}

func TestFrameDBInstances(t *testing.T) {
	a := newAPI(t)
	const config = `{"maxmemory":2147483648,"maxmemory-policy":"allkeys-lru","appendonly":"no","hz":"20"}`
	made := a.post("/framedb/instances", `{"framedb_id":"hot","node_id":"n1","metadata":{"a":[1]},"redis_config":{"maxmemory":"2gb","maxmemory-policy":"allkeys-lru","hz":20},"unknown":1}`)
	sameJSON(t, made.want(t, 200).body, success(memoryOf("hot", "hot", config, `{"a":[1]}`, 1)))
	for _, id := range []string{"hot", "hot-redis-node-0"} {
		sameJSON(t, a.get("/framedb/instances/"+id).want(t, 200).body, success(memoryOf(id, "hot", config, `{"a":[1]}`, 1)))
		if r := decoded[wire.Resolved](t, a.get("/v1/instances/"+id).want(t, 200)); r.ID != "hot-redis-node-0" || r.URL != "redis://127.0.0.1:16379/0" {
			t.Errorf("resolved %+v", r)
		}
	}
	const later = `{"maxmemory":104857600,"maxmemory-policy":"allkeys-lru","appendonly":"yes","hz":"20","dynamic-hz":"no","timeout":"5"}`
	a.post("/framedb/instances/hot/config", `{"redis_config":{"maxmemory":"100mb","appendonly":"yes"}}`).want(t, 200)
	a.post("/framedb/instances/hot-redis-node-0/config", `{"config":{"dynamic-hz":false}}`).want(t, 200)
	flat := a.post("/framedb/instances/hot/config", `{"timeout":5}`)
	sameJSON(t, flat.want(t, 200).body, success(memoryOf("hot", "hot", later, `{"a":[1]}`, 1)))
	sameJSON(t, a.get("/framedb/instances").want(t, 200).body, success(`[`+memoryOf("", "hot", later, `{"a":[1]}`, 1)+`]`))
	sameJSON(t, a.do("DELETE", "/framedb/instances/hot-redis-node-0", "").want(t, 200).body, success(`{"framedb_id":"hot-redis-node-0","state":"removed","moved":[],"unmapped":[]}`))
	sameJSON(t, a.get("/framedb/instances").want(t, 200).body, success(`[]`))
}

// Clusters that were made otherwise are FrameDBs, too.
func TestFrameDBInstancesOfOtherClusters(t *testing.T) {
	a := newAPI(t).populate()
	const config = `{"maxmemory":0,"maxmemory-policy":"noeviction","appendonly":"no"}`
	sameJSON(t, a.get("/framedb/instances").want(t, 200).body, success(`[`+memoryOf("", "alpha", config, `{}`, 3)+`,`+memoryOf("", "beta", config, `{}`, 3)+`]`))
	a.do("DELETE", "/framedb/instances/alpha-redis-node-1", "").want(t, 409).refused(t, wire.CodeConflict, "framedb_id")
	a.store.applied = nil
	r := result[map[string]any](t, a.do("DELETE", "/framedb/instances/alpha?wait=0", ""))
	if r["state"] != "removing" || len(r["moved"].([]any)) != 1 {
		t.Errorf("%v", r)
	}
	r = result[map[string]any](t, a.post("/framedb/instances?wait=0", `{"framedb_id":"slow","node_id":"node-a"}`))
	if r["status"] != "creating" || r["url"] != "" || r["node_tag"] != "node-a" || r["instances"] == nil {
		t.Errorf("%v", r)
	}
	sameJSON(t, fmt.Sprint(a.get("/framedb/instances/slow-redis-node-0").want(t, 200).status), `200`)
	a.get("/v1/instances/slow").want(t, 503).refused(t, wire.CodeUnavailable, "")
}

func storageOf(id, tag, size, replication, params string) string {
	return fmt.Sprintf(`{"framedb_id":"%s","node_id":"n1","node_tag":"%s","node_selector":{"framedb":"%[2]s"},"storage_size":"%s","replication":%s,"db_params":%s,
		"url":"mysql://127.0.0.1:4000","status":"ready","engine":"mariadb","version":"10.11"}`, id, tag, size, replication, params)
}

func TestFrameDBPersistentInstances(t *testing.T) {
	a := newAPI(t)
	made := a.post("/framedb/persistent-instances", `{"framedb_id":"disk","node_selector":{"framedb":"node-1"},"storage_size":"20Gi","replication":3,"db_params":{"max_connections":7},"unknown":{}}`)
	sameJSON(t, made.want(t, 200).body, success(storageOf("disk", "node-1", "20Gi", `{"pd":1,"tikv":3,"tidb":1}`, `{"tidb":{"max_connections":7}}`)))
	changed := a.post("/framedb/persistent-instances/disk/update", `{"storageSize":"30Gi","replication":{"tidb":2},"parameters":{"tikv":{"a":1}}}`)
	want := storageOf("disk", "node-1", "30Gi", `{"pd":1,"tikv":3,"tidb":2}`, `{"tikv":{"a":1},"tidb":{"max_connections":7}}`)
	sameJSON(t, changed.want(t, 200).body, success(want))
	sameJSON(t, a.get("/framedb/persistent-instances/disk").want(t, 200).body, success(want))
	sameJSON(t, a.get("/framedb/persistent-instances").want(t, 200).body, success(`[`+want+`]`))
	sameJSON(t, a.do("DELETE", "/framedb/persistent-instances/disk", "").want(t, 200).body, success(`{"framedb_id":"disk","state":"removed"}`))
	sameJSON(t, a.get("/framedb/persistent-instances").want(t, 200).body, success(`[]`))

	a.store.applied = nil
	slow := result[map[string]any](t, a.post("/framedb/persistent-instances?wait=0", `{"framedb_id":"slow","node_id":"n1"}`))
	if slow["status"] != "creating" || slow["engine"] != "" || slow["url"] != "" {
		t.Errorf("%v", slow)
	}
	if r := result[map[string]any](t, a.do("DELETE", "/framedb/persistent-instances/slow?wait=0", "")); r["state"] != "removing" {
		t.Errorf("%v", r)
	}
}

// On Kubernetes the URL is known before anything runs.
func TestTheURLOnKubernetes(t *testing.T) {
	a := newAPI(t, func(cfg *httpapiConfig) { cfg.Driver = "kubernetes" })
	a.store.applied = nil
	r := result[map[string]any](t, a.post("/framedb/persistent-instances?wait=0", `{"framedb_id":"disk","node_id":"n1"}`))
	if r["url"] != "mysql://disk.framedb-storage.svc.cluster.local:4000" {
		t.Errorf("%v", r["url"])
	}
}

// Where a FrameDB goes is said in many ways.
func TestPlaces(t *testing.T) {
	a := newAPI(t)
	a.store.must(t, state.RegisterNode{Node: wire.Node{Name: "n2", Tags: []wire.NodeTag{"node-2", "node-1"}}})
	for i, c := range []struct{ place, tag string }{
		{`"node_id":"n1"`, "node-a"}, // node-1 leads to n2, too
		{`"node_id":"node-1"`, "node-1"},
		{`"node_id":"nobody","node_selector":"node-1"`, "node-1"},
		{`"node_selector":{"framedb":"node-a","disk":"ssd"}`, "node-a"},
		{`"node_tag":"node-a"`, "node-a"},
		{`"nodeTag":"node-a","node_id":"node-1"`, "node-a"},
	} {
		for _, path := range []string{"/framedb/instances", "/framedb/persistent-instances"} {
			r := result[map[string]any](t, a.post(path, fmt.Sprintf(`{"framedb_id":"f-%d-%d",%s}`, len(path), i, c.place)))
			if r["node_tag"] != c.tag {
				t.Errorf("%s: on %v, want %s", c.place, r["node_tag"], c.tag)
			}
		}
	}
}

func TestFrameDBThatIsRefused(t *testing.T) {
	bad, missing, unknown, taken := wire.CodeInvalidArgument, wire.CodeMissingField, wire.CodeNotFound, wire.CodeAlreadyExists
	memory := func(more string) string { return `POST /framedb/instances {"framedb_id":"new",` + more + `}` }
	disk := func(more string) string {
		return `POST /framedb/persistent-instances {"framedb_id":"new",` + more + `}`
	}
	config := func(body string) string { return `POST /framedb/instances/alpha/config ` + body }
	update := func(body string) string { return `POST /framedb/persistent-instances/disk-1/update ` + body }
	newAPI(t).populate().refuses(t, []refusal{
		{memory(`"metadata":{}`), missing, "node_id"},
		{disk(`"storage_size":"1Gi"`), missing, "node_selector"},
		{memory(`"node_id":"nobody"`), unknown, "node_id"},
		{memory(`"node_id":"n2"`), wire.CodeNoLiveNode, "node_id"},
		{memory(`"node_id":"node-2"`), wire.CodeNoLiveNode, "node_id"},
		{memory(`"node_selector":"nowhere"`), wire.CodeNoLiveNode, "node_selector"},
		{disk(`"node_selector":{"disk":"ssd"}`), bad, "node_selector"},
		{disk(`"node_selector":{"framedb":7}`), bad, "node_selector"},
		{disk(`"nodeTag":"nowhere"`), wire.CodeNoLiveNode, "nodeTag"},
		{disk(`"nodeTag":"../x"`), bad, "nodeTag"},
		{`POST /framedb/instances {"framedb_id":"alpha","node_id":"n1"}`, taken, "framedb_id"},
		{`POST /framedb/instances {"framedb_id":"disk-1","node_id":"n1"}`, taken, "framedb_id"},
		{`POST /framedb/persistent-instances {"framedb_id":"disk-1","node_id":"n1"}`, taken, "framedb_id"},
		{`POST /framedb/persistent-instances {"framedb_id":"alpha","node_id":"n1"}`, taken, "framedb_id"},
		{`POST /framedb/instances {"framedb_id":"` + strings.Repeat("a", 41) + `","node_id":"n1"}`, bad, "framedb_id"},
		{memory(`"node_id":"n1","metadata":{"a":"` + strings.Repeat("x", wire.MaxClusterMetadata) + `"}`), wire.CodeTooLarge, "metadata"},
		{memory(`"node_id":"n1","redis_config":{"requirepass":"x"}`), bad, "redis_config.requirepass"},
		{memory(`"node_id":"n1","redis_config":{"maxmemory":"1kb"}`), bad, "redis_config.maxmemory"},
		{memory(`"node_id":"n1","redis_config":{"maxmemory":"lots"}`), bad, "redis_config.maxmemory"},
		{memory(`"node_id":"n1","redis_config":{"maxmemory-policy":"lru"}`), bad, "redis_config.maxmemory-policy"},
		{memory(`"node_id":"n1","redis_config":{"hz":[20]}`), bad, "redis_config.hz"},
		{memory(`"node_id":"n1","redis_config":{"hz":null}`), bad, "redis_config.hz"},
		{config(`{}`), missing, "redis_config"},
		{config(`{"redis_config":{}}`), missing, "redis_config"},
		{config(`{"save":"60 1"}`), bad, "save"},
		{config(`{"config":{"hz":"fast"}}`), bad, "config.hz"},
		{config(`{"hz":20,"maxmemory":1}`), bad, "maxmemory"},
		{config(`{"redis_config":"hz 20"}`), bad, "redis_config"},
		{`GET /framedb/instances/nobody`, unknown, "framedb_id"},
		{`GET /framedb/instances/alpha-redis-node-3`, unknown, "framedb_id"},
		{`GET /framedb/instances/disk-1`, wire.CodeConflict, "framedb_id"},
		{`DELETE /framedb/instances/nobody`, unknown, "framedb_id"},
		{`POST /framedb/instances/nobody/config {"hz":20}`, unknown, "framedb_id"},
		{disk(`"node_id":"n1","storage_size":"lots"`), bad, "storage_size"},
		{disk(`"node_id":"n1","storageSize":"lots"`), bad, "storageSize"},
		{disk(`"node_id":"n1","replication":0`), bad, "replication"},
		{disk(`"node_id":"n1","replication":-1`), bad, "replication"},
		{disk(`"node_id":"n1","replication":101`), bad, "replication"},
		{disk(`"node_id":"n1","replication":{"pd":-1}`), bad, "replication"},
		{disk(`"node_id":"n1","replication":{"pd":"x"}`), bad, "replication"},
		{disk(`"node_id":"n1","replication":true`), bad, "replication"},
		{disk(`"node_id":"n1","db_params":{"tikv":7}`), bad, "db_params.tikv"},
		{disk(`"node_id":"n1","dbParams":"x"`), bad, "dbParams"},
		{disk(`"node_id":"n1","password":"two words"`), bad, "password"},
		{update(`{"storage_size":"x"}`), bad, "storage_size"},
		{update(`{"replication":0}`), bad, "replication"},
		{`POST /framedb/persistent-instances/nobody/update {}`, unknown, ""},
		{`GET /framedb/persistent-instances/nobody`, unknown, ""},
		{`GET /framedb/persistent-instances/alpha`, unknown, ""},
		{`DELETE /framedb/persistent-instances/nobody`, unknown, ""},
		{`DELETE /framedb/persistent-instances/disk-1?wait=x`, bad, "wait"},
	})
}
