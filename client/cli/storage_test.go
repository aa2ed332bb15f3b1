package cli

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/framedb/framedb/client/wire"
)

// sent runs a command line and returns the one call that changed something.
func sent(t *testing.T, f *fakeAPI, stdin string, args ...string) (string, outcome) {
	t.Helper()
	before := len(f.asked(""))
	o := stage{api: f, stdin: stdin}.run(t, args...)
	var changes []string
	for _, call := range f.asked("")[before:] {
		if !strings.HasPrefix(call, "GET ") {
			changes = append(changes, call)
		}
	}
	if len(changes) != 1 {
		t.Fatalf("%v: exit %d, %s; sent %v", args, o.code, o.stderr, changes)
	}
	return changes[0], o
}

func TestStorageSendsWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.answer("POST /v1/storage", stored("archive", wire.PhaseReady))
	f.answer("PATCH /v1/storage/archive", stored("archive", wire.PhaseReady))
	file := filepath.Join(t.TempDir(), "p")
	if err := os.WriteFile(file, []byte(`{"tikv": {"a": 1}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, stdin, want string }{
		{"create archive --tikv 3 --size 20Gi --exclusive --parameters @" + file + " --backup @daily --backup-target s3 --backup-keep 7 --password-file -", "secret\r\n",
			`POST /v1/storage?wait=0s {"framedb_id":"archive","node_tag":"node-1","storage_size":"20Gi","replicas":{"pd":0,"tikv":3,"tidb":0},"parameters":{"tikv":{"a":1}},` +
				`"exclusive":true,"backup":{"schedule":"@daily","target":"s3","keep":7},"password":"secret"}`},
		{"create archive --node-tag x --external db:4000 --external-user u --external-database d --external-tls", "",
			`POST /v1/storage?wait=0s {"framedb_id":"archive","node_tag":"x","storage_size":"","replicas":{"pd":0,"tikv":0,"tidb":0},"external":{"address":"db:4000","user":"u","database":"d","tls":true}}`},
		{"update archive --size 1Ti --exclusive=false --no-backup", "", `PATCH /v1/storage/archive?wait=0s {"storage_size":"1Ti","exclusive":false,"backup":{"schedule":"","target":""}}`},
		{`update archive --parameters {"tidb":{}}`, "", `PATCH /v1/storage/archive?wait=0s {"parameters":{"tidb":{}}}`},
		{"scale archive --tikv 5 --pd 3", "", `PATCH /v1/storage/archive?wait=0s {"replicas":{"pd":3,"tikv":5,"tidb":0}}`},
		{"password archive --file -", "new-one", `PATCH /v1/storage/archive?wait=0s {"password":"new-one"}`},
		{"password archive --deployment", "", `PATCH /v1/storage/archive?wait=0s {"password":""}`},
	} {
		got, o := sent(t, f, c.stdin, append([]string{"storage"}, strings.Fields(c.args)...)...)
		if got != c.want || o.code != 0 {
			t.Errorf("%s: exit %d %s\n got %s\nwant %s", c.args, o.code, o.stderr, got, c.want)
		}
		if c.stdin != "" && strings.Contains(o.stdout+o.stderr, strings.TrimSpace(c.stdin)) {
			t.Errorf("%s: the password is shown", c.args)
		}
	}
	for args, stdin := range map[string]string{
		"password archive --file -": "two words", "password archive --file - ": "\n", "create a --password-file -": strings.Repeat("x", 200),
		`create a --parameters {"other":{}}`: "", `create a --parameters {}{}`: "", "update archive --backup @daily --no-backup": "", "password archive --file x --deployment": "",
	} {
		if o := (stage{api: f, stdin: stdin}).run(t, append([]string{"storage"}, strings.Fields(args)...)...); o.code != exitUsage {
			t.Errorf("%s: exit %d: %s", args, o.code, o.stderr)
		}
	}
}

func TestStorageIsFollowedUntilItIsReady(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.answer("POST /v1/storage", stored("archive", wire.PhaseCreating))
	event := func(index uint64, p wire.PersistentInstance) wire.Event {
		row, _ := json.Marshal(p)
		return wire.Event{Index: index, Table: wire.TablePersistent, Op: wire.OpPut, Key: string(p.ID), After: row}
	}
	waiting := stored("archive", wire.PhaseCreating)
	waiting.Status.Reason = "TiKV starts"
	f.events(event(11, stored("other", wire.PhaseReady)), event(12, waiting), event(13, stored("archive", wire.PhaseReady)))
	o := stage{api: f, terminal: true}.run(t, "storage", "create", "archive", "--node-tag", "node-1", "--tikv", "3")
	if o.code != 0 || !strings.Contains(o.stdout, "1/1 3/3 1/1") || !strings.Contains(o.stderr, "5/5 servers ready") {
		t.Errorf("exit %d: %s%s", o.code, o.stdout, o.stderr)
	}
	f.events(event(11, waiting))
	o = stage{api: f}.run(t, "storage", "create", "archive", "--node-tag", "node-1", "--wait", "200ms")
	if o.code != exitUnavailable || !strings.Contains(o.stdout, "creating") || !strings.Contains(o.stderr, "storage archive is creating: it is not ready yet and goes on; see framedb storage info") {
		t.Errorf("exit %d: %s%s", o.code, o.stdout, o.stderr)
	}
	f.events(event(11, stored("archive", wire.PhaseRemoving)))
	if o = (stage{api: f}).run(t, "storage", "create", "archive", "--node-tag", "node-1"); o.code != exitConflict {
		t.Errorf("removed meanwhile: exit %d: %s", o.code, o.stderr)
	}
}

func TestRemovingStorage(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.answer("DELETE /v1/storage/archive", stored("archive", wire.PhaseRemoving))
	f.answer("DELETE /v1/storage/old", stored("old", wire.PhaseRemoving))
	f.answer("GET /v1/storage/archive", stored("archive", wire.PhaseRemoving))
	if o := (stage{api: f, terminal: true, stdin: "n\n"}).run(t, "storage", "remove", "old"); o.code != exitFailed || len(f.asked("DELETE")) != 0 {
		t.Errorf("not sure: exit %d, %v", o.code, f.asked("DELETE"))
	}
	o := stage{api: f}.run(t, "storage", "remove", "old", "archive", "nope", "--wait", "1s", "-o", "json")
	var gone []removedStorage
	if err := json.Unmarshal([]byte(o.stdout), &gone); err != nil || len(gone) != 2 || gone[0].State != stateRemoved || gone[1].State != stateRemoving {
		t.Errorf("%s: %v", o.stdout, err)
	}
	if o.code == 0 || !strings.Contains(o.stderr, "archive is being removed and goes on") || !strings.Contains(o.stderr, "nope: ") {
		t.Errorf("exit %d: %s", o.code, o.stderr)
	}
}

func TestClusterSettingsAreSent(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.answer("PATCH /v1/clusters/cameras", cluster("cameras", wire.PhaseReady))
	f.answer("POST /v1/clusters", cluster("cameras", wire.PhaseReady))
	for args, want := range map[string]string{
		"update cameras --set maxmemory=2gb --set maxmemory-policy=allkeys-lru --set hz=20 --set notify-keyspace-events= --unset timeout": `{"max_memory":2147483648,"max_memory_policy":"allkeys-lru","settings":{"hz":"20","notify-keyspace-events":"","timeout":null}}`,
		"update cameras --max-memory 1GiB --set maxmemory=2gb --backup=false --metrics --down-after 5s":                                   `{"enable_metrics":true,"backup":false,"max_memory":1073741824,"down_after_ms":5000}`,
		`update cameras --metadata {"a":1}`: `{"metadata":{"a":1}}`,
	} {
		got, o := sent(t, f, "", append([]string{"cluster"}, strings.Fields(args)...)...)
		if got != "PATCH /v1/clusters/cameras?wait=0s "+want || o.code != 0 {
			t.Errorf("%s: exit %d %s\n got %s\nwant %s", args, o.code, o.stderr, got, want)
		}
	}
	got, _ := sent(t, f, "", "cluster", "create", "cameras", "--node-tag", "n", "--set", "maxmemory=1gb", "--set", "hz=20", "--set", "appendonly=yes")
	want := `POST /v1/clusters?wait=0s {"name":"cameras","node_tag":"n","replicas":1,"quorum":1,"enable_metrics":false,"backup":true,"max_memory":1073741824,` +
		`"max_memory_policy":"","down_after_ms":0,"failover_timeout_ms":0,"parallel_syncs":0,"settings":{"hz":"20"}}`
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestIngestionIsSent(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.answer("PUT /v1/ingestions/cam-1", ingestion())
	got, o := sent(t, f, "", strings.Fields("ingestion set cam-1 --target archive --sizes 8x8,4x4 --ref-count 2 --ack replicated:1 --batch-frames 10 --batch-bytes 1MiB --linger 5ms --ttl 1m "+
		"--keep-age 1h --keep-bytes 1GiB --keep-frames 100 --queue-cluster cameras --queue-key q --queue-kind stream --queue-group g --directory /in --directory-node node1 --directory-pattern *.jpg --directory-done /done")...)
	want := `PUT /v1/ingestions/cam-1 {"target":"archive","sizes":["8x8","4x4"],"ref_count":2,"ack":"replicated:1","batch_frames":10,"batch_bytes":1048576,"linger_ms":5,"ttl_ms":60000,` +
		`"retention":{"age_ms":3600000,"bytes":1073741824,"frames":100},"queue":{"kind":"stream","cluster":"cameras","key":"q","group":"g"},"directory":{"node":"node1","path":"/in","pattern":"*.jpg","done":"/done"}}`
	if got != want || o.code != 0 {
		t.Errorf("exit %d %s\n got %s\nwant %s", o.code, o.stderr, got, want)
	}
	if got, _ := sent(t, f, "", "ingestion", "set", "cam-1"); got != "PUT /v1/ingestions/cam-1 {}" {
		t.Errorf("nothing was said: %s", got)
	}
	f.on("PUT /v1/ingestions/cam-1", func(w http.ResponseWriter, r *http.Request) {
		failure(wire.InField("target", wire.Errorf(wire.CodeNotFound, "persistent FrameDB %q is unknown", "x")))(w, r)
	})
	if _, o := sent(t, f, "", "ingestion", "set", "cam-1", "--target", "x"); o.code != exitNotFound || !strings.Contains(o.stderr, "target: ") {
		t.Errorf("exit %d: %s", o.code, o.stderr)
	}
}
