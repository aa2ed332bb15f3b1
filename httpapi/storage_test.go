package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

func TestV1Storage(t *testing.T) {
	a := newAPI(t)
	p := decoded[wire.PersistentInstance](t, a.post("/v1/storage", `{"framedb_id":"disk","node_tag":"node-1","replicas":{"tikv":3},"parameters":{"tikv":{"a": 1}}}`).want(t, 201))
	if p.Status.Phase != wire.PhaseReady || p.Status.Engine != wire.EngineMariaDB || p.StorageSize != "10Gi" || p.Replicas != (wire.StorageReplicas{PD: 1, TiKV: 3, TiDB: 1}) || p.Generation != 1 {
		t.Errorf("created %+v", p)
	}
	p = decoded[wire.PersistentInstance](t, a.do("PATCH", "/v1/storage/disk", `{"replicas":{"tidb":2},"storage_size":"20Gi"}`).want(t, 200))
	if p.Replicas != (wire.StorageReplicas{PD: 1, TiKV: 3, TiDB: 2}) || p.StorageSize != "20Gi" || p.Status.ObservedGeneration != 2 || string(p.Parameters.TiKV) != `{"a":1}` {
		t.Errorf("updated %+v", p)
	}
	if p = decoded[wire.PersistentInstance](t, a.do("PATCH", "/v1/storage/disk", `{"storage_size":"20Gi"}`).want(t, 200)); p.Generation != 2 {
		t.Errorf("the present size is a change: %+v", p)
	}
	if list := decoded[[]wire.PersistentInstance](t, a.get("/v1/storage").want(t, 200)); len(list) != 1 || list[0].ID != "disk" {
		t.Errorf("list %+v", list)
	}
	if r := decoded[wire.Resolved](t, a.get("/v1/instances/disk").want(t, 200)); r.Engine != wire.EngineMariaDB || r.URL != "mysql://127.0.0.1:4000" || r.Socket == "" {
		t.Errorf("resolved %+v", r)
	}
	if p = decoded[wire.PersistentInstance](t, a.do("DELETE", "/v1/storage/disk", "").want(t, 200)); p.ID != "disk" {
		t.Errorf("removed %+v", p)
	}
	if body := a.get("/v1/storage").body; body != `[]` {
		t.Errorf("list %s, want an empty one", body)
	}
}

// When the wait ends first the answer is a success that says creating, and
// waits end when the work is done.
func TestStorageGoesOn(t *testing.T) {
	a := newAPI(t)
	a.store.applied = nil
	const body = `{"framedb_id":"slow","node_tag":"node-1"}`
	p := decoded[wire.PersistentInstance](t, a.post("/v1/storage?wait=10ms", body).want(t, 201))
	if p.Status.Phase != wire.PhaseCreating {
		t.Errorf("phase %q", p.Status.Phase)
	}
	a.store.reportStorage("slow") // ready, as it was before the change
	done := make(chan answer, 1)
	go func() { done <- a.do("PATCH", "/v1/storage/slow?wait=10m", `{"storage_size":"1Gi"}`) }()
	eventually(t, "the size is changed", func() bool { p, _ := a.store.View().Persistent("slow"); return p.StorageSize == "1Gi" })
	a.store.reportStorage("slow")
	if p := decoded[wire.PersistentInstance](t, (<-done).want(t, 200)); p.Status.Phase != wire.PhaseReady || p.Status.ObservedGeneration != 2 {
		t.Errorf("updated %+v", p)
	}
	go func() { done <- a.do("DELETE", "/v1/storage/slow?wait=10m", "") }()
	eventually(t, "it is being removed", func() bool {
		p, _ := a.store.View().Persistent("slow")
		return p.Status.Phase == wire.PhaseRemoving
	})
	a.do("PATCH", "/v1/storage/slow", `{"storage_size":"2Gi"}`).refused(t, wire.CodeConflict, "")
	select {
	case r := <-done:
		t.Fatalf("it did not wait: %s", r.body)
	default:
	}
	a.store.must(t, state.PurgeStorage{ID: "slow"})
	if p := decoded[wire.PersistentInstance](t, (<-done).want(t, 200)); p.Status.Phase != wire.PhaseRemoving {
		t.Errorf("removed %+v", p)
	}
	a.get("/v1/storage/slow").want(t, 404).refused(t, wire.CodeNotFound, "")
}

func TestStorageIsCreatedOnce(t *testing.T) {
	a := newAPI(t)
	create := func(body string) answer {
		return a.do("POST", "/v1/storage", body, wire.HeaderRequestID, "key-1")
	}
	first := decoded[wire.PersistentInstance](t, create(`{"framedb_id":"disk","node_tag":"node-1"}`).want(t, 201))
	again := decoded[wire.PersistentInstance](t, create(`{"framedb_id":"disk","node_tag":"node-1"}`).want(t, 201))
	if first.CreateIndex != again.CreateIndex {
		t.Errorf("applied twice: %+v, %+v", first, again)
	}
	create(`{"framedb_id":"disk","node_tag":"node-1","password":"x"}`).refused(t, wire.CodeAlreadyExists, "framedb_id")
}

// What was asked for is in no answer that others can get, nor in the log.
func TestPasswordsAreNotShown(t *testing.T) {
	a := newAPI(t).populate()
	const secret = "a-secret-of-a-disk"
	told := a.post("/v1/storage", `{"framedb_id":"disk","node_tag":"node-1","password":"`+secret+`"}`).want(t, 201).body
	told += a.do("PATCH", "/v1/storage/disk", `{"password":"`+secret+`2"}`).want(t, 200).body
	told += a.post("/framedb/persistent-instances/disk/update", `{"password":"`+secret+`3"}`).want(t, 200).body
	for _, path := range []string{"/v1/storage", "/v1/storage/disk", "/v1/status", "/v1/instances/disk", "/framedb/persistent-instances"} {
		told += a.get(path).want(t, 200).body
	}
	told += a.do("PATCH", "/v1/storage/disk", `{"password":"`+secret+` with a space"}`).want(t, 400).body
	if strings.Contains(told, secret) || strings.Contains(a.log.String(), secret) {
		t.Errorf("the password is shown")
	}
	if s, _ := a.store.View().Secret("disk"); s.Password != secret+"3" {
		t.Error("the password was not changed")
	}
}

func TestCredentialsOfOneFrameDB(t *testing.T) {
	a := newAPI(t).populate()
	a.store.must(t, state.CreateStorage{ID: "own", Spec: wire.StorageSpec{NodeTag: "node-1"}, Password: "mine"})
	a.store.must(t, state.CreateStorage{ID: "far", Spec: wire.StorageSpec{NodeTag: "node-1", External: &wire.ExternalStorage{Address: "db:4000", User: "u", Database: "d"}}})
	unix := a.unix()
	ask := func(id string) answer {
		return fetch(t, unix, "http://agent/v1/credentials?framedb_id="+url.QueryEscape(id))
	}
	for id, want := range map[string]string{
		"alpha-redis-node-1": `{"password":"` + password + `"}`, "alpha": `{"password":"` + password + `"}`,
		"disk-1": `{"password":"` + password + `","user":"root","database":"framedb"}`,
		"own":    `{"password":"mine","user":"root","database":"framedb"}`,
		"far":    `{"password":"` + password + `","user":"u","database":"d"}`,
	} {
		sameJSON(t, ask(id).want(t, 200).body, want)
	}
	ask("nobody").want(t, 404).refused(t, wire.CodeNotFound, "framedb_id")
	ask("../x").want(t, 400).refused(t, wire.CodeInvalidArgument, "framedb_id")
	ask("").want(t, 400).refused(t, wire.CodeInvalidArgument, "framedb_id")
	a.get("/v1/credentials?framedb_id=own").want(t, 403).refused(t, wire.CodeForbidden, "")
}

func TestStorageThatIsRefused(t *testing.T) {
	bad, unknown := wire.CodeInvalidArgument, wire.CodeUnknownField
	post := func(more string) string {
		return `POST /v1/storage {"framedb_id":"new","node_tag":"node-1"` + more + `}`
	}
	patch := func(body string) string { return `PATCH /v1/storage/disk-1 ` + body }
	a := newAPI(t).populate()
	a.refuses(t, []refusal{
		{post(`,"storage_size":"lots"`), bad, "storage_size"},
		{post(`,"storage_size":"-1Gi"`), bad, "storage_size"},
		{post(`,"replicas":{"tikv":-1}`), bad, "replicas.tikv"},
		{post(`,"replicas":{"tidb":101}`), bad, "replicas.tidb"},
		{post(`,"replicas":{"pd":"3"}`), bad, "replicas.pd"},
		{post(`,"replicas":{"tiflash":1}`), unknown, "replicas.tiflash"},
		{post(`,"replicas":{"PD":1}`), unknown, "replicas.PD"},
		{post(`,"replicas":{"pd":1,"pd":2}`), bad, "replicas.pd"},
		{post(`,"replicas":3`), bad, "replicas"},
		{post(`,"parameters":{"tikv":7}`), bad, "parameters.tikv"},
		{post(`,"parameters":{"other":{}}`), unknown, "parameters.other"},
		{post(`,"parameters":{"tikv":{"x":"` + strings.Repeat("x", wire.MaxParameters) + `"}}`), bad, "parameters"},
		{post(`,"external":{"address":"db"}`), bad, "external.address"},
		{post(`,"external":{}`), bad, "external.address"},
		{post(`,"external":{"address":"db:4000","password":"x"}`), unknown, "external.password"},
		{post(`,"external":{"address":"db:4000","user":"a:b"}`), bad, "external.user"},
		{post(`,"backup":{"schedule":"@daily"}`), bad, "backup.target"},
		{post(`,"backup":{"schedule":"@daily","target":"s3","keep":-1}`), bad, "backup.keep"},
		{post(`,"password":"two words"`), bad, "password"},
		{post(`,"password":"` + strings.Repeat("x", 129) + `"`), bad, "password"},
		{`POST /v1/storage {"framedb_id":"a-redis-node-0","node_tag":"node-1"}`, bad, "framedb_id"},
		{`POST /v1/storage {"framedb_id":"new","node_tag":"nowhere"}`, wire.CodeNoLiveNode, "node_tag"},
		{`POST /v1/storage {"framedb_id":"new","node_tag":"node-2"}`, wire.CodeNoLiveNode, "node_tag"},
		{`POST /v1/storage {"framedb_id":"disk-1","node_tag":"node-1"}`, wire.CodeAlreadyExists, "framedb_id"},
		{`POST /v1/storage {"framedb_id":"alpha","node_tag":"node-1"}`, wire.CodeAlreadyExists, "framedb_id"},
		{`POST /v1/clusters {"name":"disk-1","node_tag":"node-1","replicas":1,"quorum":1}`, wire.CodeAlreadyExists, "name"},
		{`POST /cluster/createCluster {"clusterName":"disk-1","nodeTag":"nowhere","replicas":1,"enableMetrics":true,"quorum":1}`, wire.CodeAlreadyExists, "clusterName"},
		{patch(`{"storage_size":"x"}`), bad, "storage_size"},
		{patch(`{"node_tag":"node-a"}`), unknown, "node_tag"},
		{patch(`{"external":{"address":"db:4000"}}`), wire.CodeConflict, "external"},
		{patch(`{"backup":{"schedule":"","target":"s3"}}`), bad, "backup.schedule"},
		{`GET /v1/storage/nobody`, wire.CodeNotFound, ""},
		{`PATCH /v1/storage/nobody {}`, wire.CodeNotFound, ""},
		{`DELETE /v1/storage/nobody`, wire.CodeNotFound, ""},
		{`DELETE /v1/storage/disk-1?wait=11m`, bad, "wait"},
	})
}

func TestAnIngestionKeepsItsTargetInPlace(t *testing.T) {
	a := newAPI(t).populate()
	in := decoded[wire.Ingestion](t, a.do("PUT", "/v1/ingestions/cam-1", `{"target":"disk-1","sizes":["8x8"],"retention":{"frames":5}}`).want(t, 200))
	if in.Target != "disk-1" || in.Retention.Frames != 5 || in.Ack != "" {
		t.Errorf("put %+v", in)
	}
	a.do("DELETE", "/v1/storage/disk-1", "").refused(t, wire.CodeConflict, "")
	if got := decoded[wire.Ingestion](t, a.get("/v1/ingestions/cam-1").want(t, 200)); fmt.Sprint(got) != fmt.Sprint(in) {
		t.Errorf("got %+v", got)
	}
	if list := decoded[[]wire.Ingestion](t, a.get("/v1/ingestions").want(t, 200)); len(list) != 1 {
		t.Errorf("list %+v", list)
	}
	if gone := decoded[wire.Ingestion](t, a.do("DELETE", "/v1/ingestions/cam-1", "").want(t, 200)); gone.Target != "disk-1" {
		t.Errorf("deleted %+v", gone)
	}
	a.do("DELETE", "/v1/storage/disk-1", "").want(t, 200)
}

func TestIngestionsThatAreRefused(t *testing.T) {
	bad, unknown := wire.CodeInvalidArgument, wire.CodeUnknownField
	put := func(body string) string { return `PUT /v1/ingestions/cam-9 ` + body }
	newAPI(t).populate().refuses(t, []refusal{
		{put(`{"target":"nobody"}`), wire.CodeNotFound, "target"},
		{put(`{"target":"../x"}`), bad, "target"},
		{put(`{"sizes":["big"]}`), bad, "sizes"},
		{put(`{"sizes":[8]}`), bad, "sizes"},
		{put(`{"ack":"perhaps"}`), bad, "ack"},
		{put(`{"ack":"replicated:0"}`), bad, "ack"},
		{put(`{"ref_count":-1}`), bad, "ref_count"},
		{put(`{"batch_frames":10001}`), bad, "batch_frames"},
		{put(`{"linger_ms":60001}`), bad, "linger_ms"},
		{put(`{"retention":{"age_ms":-1}}`), bad, "retention.age_ms"},
		{put(`{"retention":{"age":1}}`), unknown, "retention.age"},
		{put(`{"queue":{"kind":"list","cluster":"nobody","key":"q"}}`), wire.CodeNotFound, "queue.cluster"},
		{put(`{"queue":{"kind":"bag","cluster":"alpha","key":"q"}}`), bad, "queue.kind"},
		{put(`{"queue":{"kind":"list","cluster":"alpha"}}`), bad, "queue.key"},
		{put(`{"queue":{"kind":"list","cluster":"alpha","key":"q","password":"x"}}`), unknown, "queue.password"},
		{put(`{"directory":{"node":"n1","path":"in"}}`), bad, "directory.path"},
		{put(`{"directory":{"node":"n1","path":"/"}}`), bad, "directory.path"},
		{put(`{"directory":{"node":"n1","path":"/in","pattern":"["}}`), bad, "directory.pattern"},
		{put(`{"directory":{"node":"n1","path":"/in","done":"/in/"}}`), bad, "directory.done"},
		{put(`{"source_id":"cam-9"}`), unknown, "source_id"},
		{`GET /v1/ingestions/nobody`, wire.CodeNotFound, ""},
		{`DELETE /v1/ingestions/nobody`, wire.CodeNotFound, ""},
		{`PUT /v1/ingestions/a__b {}`, bad, "source"},
	})
}

// Persistent FrameDBs and ingestions are waited for and watched as all is.
func TestStorageIsWatched(t *testing.T) {
	a := newAPI(t).populate()
	index := a.get("/v1/storage/disk-1").index(t)
	done := make(chan answer, 2)
	for _, path := range []string{"/v1/storage/disk-1", "/v1/ingestions/cam-1"} {
		go func() { done <- a.get(fmt.Sprintf("%s?index=%d&wait=10m", path, index)) }()
	}
	a.store.must(t, state.UpdateStorage{ID: "disk-1", UpdateStorage: wire.UpdateStorage{Password: new(string), Exclusive: ptr(true)}})
	a.store.must(t, state.PutIngestion{Source: "cam-1", Spec: wire.IngestionSpec{RefCount: 7}})
	for range 2 {
		if r := (<-done).want(t, 200); !strings.Contains(r.body, `"exclusive":true`) && !strings.Contains(r.body, `"ref_count":7`) {
			t.Errorf("woken with %s", r.body)
		}
	}
	events := a.events(t, a.tcp(), fmt.Sprintf("?table=persistent,ingestions&index=%d", index))
	for seen := map[string]bool{}; len(seen) < 2; {
		m, more := events.next()
		if !more {
			t.Fatal("the stream ended")
		}
		for _, table := range []string{"persistent", "ingestions"} {
			if strings.Contains(m.data, `"table":"`+table+`"`) {
				seen[table] = true
			}
		}
		if strings.Contains(m.data, "password") {
			t.Errorf("an event shows a password: %s", m.data)
		}
	}
}

func ptr[T any](v T) *T { return &v }

// What the node owns its actors tell, what another owns the store; each once.
func TestDegradedStorageIsTold(t *testing.T) {
	const want = "persistent FrameDB disk-1: the disk is full"
	for node, actorsSay := range map[wire.NodeName][]string{"n1": {want}, "n2": {}} {
		a := newAPI(t, func(cfg *httpapiConfig) { cfg.Node = node }).populate()
		a.actors.degraded = actorsSay
		a.store.must(t, state.ReportUnattended{Item: state.Item{Storage: "disk-1"}, Epoch: 1, Reason: "the disk is full"})
		s := decoded[wire.Status](t, a.get("/v1/status").want(t, 200))
		told := 0
		for _, reason := range s.Degraded {
			if reason == want {
				told++
			}
		}
		if told != 1 || len(s.Storage) != 1 || s.Storage[0].Status.Engine != wire.EngineMariaDB {
			t.Errorf("%s: degraded %q, want %q once; storage %+v", node, s.Degraded, want, s.Storage)
		}
	}
}

func TestSettingsAndMetadataOfClusters(t *testing.T) {
	a := newAPI(t)
	c := decoded[wire.Cluster](t, a.post("/v1/clusters", `{"name":"alpha","node_tag":"node-1","replicas":1,"quorum":1,"settings":{"hz":"20"},"metadata":{"n": 12345678901234567890}}`).want(t, 201))
	if c.Settings["hz"] != "20" || string(c.Metadata) != `{"n":12345678901234567890}` {
		t.Errorf("created %+v", c)
	}
	c = decoded[wire.Cluster](t, a.do("PATCH", "/v1/clusters/alpha", `{"settings":{"hz":null,"timeout":"5"},"metadata":{}}`).want(t, 200))
	if fmt.Sprint(c.Settings) != "map[timeout:5]" || string(c.Metadata) != `{}` || c.Generation != 2 {
		t.Errorf("updated %+v", c)
	}
	bad := wire.CodeInvalidArgument
	v1 := func(more string) string {
		return `POST /v1/clusters {"name":"new","node_tag":"node-1","replicas":1,"quorum":1,` + more + `}`
	}
	large, _ := json.Marshal(strings.Repeat("x", wire.MaxClusterMetadata))
	a.refuses(t, []refusal{
		{v1(`"settings":{"requirepass":"x"}`), bad, "settings.requirepass"},
		{v1(`"settings":{"maxmemory":"1gb"}`), bad, "settings.maxmemory"},
		{v1(`"settings":{"hz":20}`), bad, "settings"},
		{v1(`"settings":["hz"]`), bad, "settings"},
		{v1(`"metadata":7`), bad, "metadata"},
		{v1(`"metadata":{"a":` + string(large) + `}`), wire.CodeTooLarge, "metadata"},
		{`PATCH /v1/clusters/alpha {"settings":{"save":"60 1"}}`, bad, "settings.save"},
		{`PATCH /v1/clusters/alpha {"settings":{"hz":"501"}}`, bad, "settings.hz"},
		{`PATCH /v1/clusters/alpha {"metadata":[]}`, bad, "metadata"},
		{`POST /cluster/createClusters {"clusterPrefix":"new","nodeTag":"node-1","enableMetrics":true,"startIndex":1,"nClusters":101,"replicas":100,"quorum":2}`, bad, "nClusters"},
		{`PUT /v1/frames/cam-1/cam-1%3F0%3F0__7/` + strings.Repeat("8", 65) + ` x`, bad, "size"},
	})
}
