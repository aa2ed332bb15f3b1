package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/framedb/framedb/client/wire"
)

var update = flag.Bool("update", false, "write testdata/*.golden anew")

// TestTranscript compares what every command prints with testdata/transcript.golden,
// which reads like a terminal.
func TestTranscript(t *testing.T) {
	f := newFakeAPI(t)
	f.answer("POST /v1/clusters", cluster("cameras", wire.PhaseReady))
	f.answer("PATCH /v1/clusters/cameras", cluster("cameras", wire.PhaseReady))
	f.answer("DELETE /v1/clusters/old", wire.RemovedCluster{Moved: []wire.Mapping{{Source: "cam-1", NodeTag: "node-1", Cluster: "scans"}},
		Unmapped: []wire.Mapping{{Source: "cam-2", NodeTag: "node-a"}}})
	tuned := cluster("tuned", wire.PhaseReady)
	tuned.Settings, tuned.Metadata = wire.RedisSettings{"timeout": "5", "hz": "20"}, json.RawMessage(`{"a":1}`)
	f.answer("GET /v1/clusters/tuned", tuned)
	f.answer("POST /v1/storage", stored("archive", wire.PhaseReady))
	f.answer("PATCH /v1/storage/archive", stored("archive", wire.PhaseReady))
	lab := development()
	lab.Status.Phase, lab.Status.Reason, lab.Status.ObservedGeneration, lab.Status.Ready = wire.PhaseReady, "", 2, wire.StorageReplicas{TiDB: 1}
	f.answer("PATCH /v1/storage/lab", lab)
	f.answer("DELETE /v1/storage/old", stored("old", wire.PhaseRemoving))
	f.answer("PUT /v1/ingestions/cam-1", ingestion())
	f.answer("DELETE /v1/ingestions/cam-1", ingestion())
	f.answer("POST /v1/clusters/cameras/sync", cluster("cameras", wire.PhaseReady))
	f.answer("POST /v1/sync", map[string]any{"clusters": []string{"cameras", "scans"}})
	f.answer("POST /v1/sources/cam-1/mappings", mapping("node-1"))
	f.answer("PATCH /v1/sources/cam-1/mappings/node-1", mapping("node-1"))
	f.answer("DELETE /v1/sources/cam-1/mappings/node-1", mapping("node-1"))
	f.answer("PUT /v1/nodes/node1/label", wire.Node{Name: "node1", Address: "127.0.0.1:5000", Tags: []wire.NodeTag{"node-1"}, Label: "gpu", Driver: "process", Version: "v1"})
	f.answer("PUT /v1/nodes/node2/drain", wire.Node{Name: "node2", Draining: true})
	f.answer("DELETE /v1/nodes/node2", wire.Node{Name: "node2"})
	f.answer("POST /v1/raft/transfer", raftStatus())
	f.answer("GET /v1/frames/cam-1", wire.FramePage{Frames: []wire.FrameInfo{
		{Frame: "cam-1?0?0__10", Count: 2, Sizes: map[string]int64{"8x8": 2048, "4x4": 100}}, {Frame: "cam-1?0?0__9", Count: -1, Sizes: map[string]int64{"8x8": 5 << 20}}}})
	f.answer("POST /v1/frames/cam-1/decr", map[string]any{"results": []wire.Decremented{{Key: "ref__cam-1?0?0__9", Remaining: 0, Deleted: 1}, {Key: "ref__cam-1?0?0__8", Missing: true}}})
	f.on("GET /v1/frames/cam-1/cam-1?0?0__9__8x8", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("pixels\n")) })
	after, _ := json.Marshal(mapping("node-1"))
	clusterRow, _ := json.Marshal(degraded())
	f.events(wire.Event{Index: 7, Op: wire.OpReset}, wire.Event{Index: 8, Table: wire.TableMappings, Op: wire.OpPut, Key: "cam-1/node-1", After: after},
		wire.Event{Index: 9, Table: wire.TableClusters, Op: wire.OpPut, Key: "scans", After: clusterRow},
		wire.Event{Index: 10, Table: wire.TableMappings, Op: wire.OpDelete, Key: "cam-1/node-1", Before: after})

	var b strings.Builder
	for _, line := range []string{
		"status", "cluster list", "cluster info cameras", "cluster create cameras --replicas 3", "cluster scale cameras --replicas 3",
		"cluster update cameras --set maxmemory-policy=allkeys-lru --unset hz", "cluster info tuned",
		"storage list", "storage info archive", "storage info lab", "storage create archive --node-tag node-1 --tikv 3", "storage update archive --size 20Gi", "storage update lab --size 20Gi",
		"storage scale archive --tikv 5", "storage remove old", "storage list -o json", "resolve lab",
		"ingestion set cam-1 --target archive", "ingestion show cam-1", "ingestion list", "ingestion delete cam-1", "ingestion show cam-9",
		"cluster remove old", "cluster sync", "cluster sync cameras", "source map cam-1 --sizes 8x8 --ref-count 2", "source show cam-1",
		"source list", "source reassign cam-1 scans", "source metadata cam-1", "source unmap cam-1", "node list", "node label node1 gpu", "node drain node2 --undo",
		"node remove node2", "raft status", "raft transfer node1",
		"resolve cameras-redis-node-0", "resolve cameras-redis-node-0 -o json", "frame ls cam-1", "frame get cam-1 cam-1?0?0__9__8x8",
		"frame decr cam-1 ref__cam-1?0?0__9 ref__cam-1?0?0__8", "frame retain cam-1 ref__cam-1?0?0__9",
		"lease take me cam-1 ref__cam-1?0?0__9 ref__cam-1?0?0__8 --ttl 30s", "lease renew me --cluster cameras", "lease put-back me cam-1 ref__cam-1?0?0__9",
		"lease release me --source cam-1", "lease list cameras", "lease release me", "lease take me cam-1", "cluster sweep cameras --dry-run", "events --timeout 300ms", "events --timeout 300ms -o json",
		"source watch cam-1 --timeout 300ms", "cluster list -o json", "cluster info nope", "cluster nope", "clster list", "cluster lst", "cluster remove",
		"cluster list extra", "status --nope", "status -o yaml", "node label node1", "source unmap cam-3", "source unmap cam-3 --node-tag x",
		"cluster create cameras --max-memory lots", "events --table x",
		"cluster info", "cluster info a b", "cluster create cameras --replicas many", "cluster create cameras --quorum 99999999999999999999",
		"cluster create cameras --wait 30", "status --timeout=", "cluster scale cameras --replicas=2x", "completion tcsh", "resolve nope",
		"cluster update cameras", "cluster update cameras --set hz", "cluster update cameras --set hz=501", "cluster update cameras --set dir=/", "cluster update cameras --set hz=20 --unset hz",
		"storage update archive", "storage scale archive", "storage scale archive --tikv 0", "storage create a --parameters x", "storage create a --external-tls", "storage password archive",
		"storage password archive --file nowhere", "storage info nope", "ingestion set cam-1 --sizes axb", "ingestion set cam-1 --queue-key q", "ingestion set cam-1 --directory /in", "frame put cam-1 - --size 8x8",
		"source metadata cam-1 --sizes axb", "frame put cam-1 - --size 0x8", "frame get cam-1 k -o json", "frame rm cam-1 x",
		"frame rm cam-1 ref__cam-2?0?0__9", "frame rm cam-1 cam-1?0?0__9__8x8",
	} {
		o := stage{api: f}.run(t, strings.Fields(line)...)
		fmt.Fprintf(&b, "$ framedb %s\n%s%s", line, o.stdout, o.stderr)
		if o.code != 0 {
			fmt.Fprintf(&b, "[exit %d]\n", o.code)
		}
		b.WriteByte('\n')
	}
	golden := filepath.Join("testdata", "transcript.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		t.Errorf("first difference: %s\nrun go test ./client/cli -update and look at the change", firstDifference(got, string(want)))
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			return fmt.Sprintf("line %d\n got %q\nwant %q", i+1, g[i], at(w, i))
		}
	}
	return "the end is missing"
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}

func TestExitCodesFollowTheFailure(t *testing.T) {
	t.Parallel()
	for code, want := range map[wire.Code]int{
		wire.CodeInternal: exitFailed, wire.CodeForbidden: exitFailed, wire.CodeDiskFull: exitFailed, wire.CodeTooLarge: exitFailed,
		wire.CodeInvalidArgument: exitUsage, wire.CodeMissingField: exitUsage, wire.CodeUnknownField: exitUsage, wire.CodeMalformed: exitUsage,
		wire.CodeNotFound:      exitNotFound,
		wire.CodeAlreadyExists: exitConflict, wire.CodeConflict: exitConflict, wire.CodeNoLiveNode: exitConflict, wire.CodeNoCluster: exitConflict,
		wire.CodeUnavailable: exitUnavailable, wire.CodeTimeout: exitUnavailable,
	} {
		f := newFakeAPI(t)
		f.refuse("GET /v1/status", code)
		o := stage{api: f}.run(t, "status")
		if o.code != want || !strings.Contains(o.stderr, "refused as "+string(code)) || o.stdout != "" {
			t.Errorf("%s: exit %d, want %d; %q", code, o.code, want, o.stderr)
		}
	}
	for _, code := range []wire.Code{wire.CodeNoLeader, wire.CodeOutcomeUnknown, wire.CodeOverloaded} {
		if got := exitCode(fmt.Errorf("x: %w", wire.Errorf(code, "y"))); got != exitUnavailable {
			t.Errorf("%s: exit %d", code, got)
		}
	}
}

func TestAnAgentThatIsNotThereIsToldOfAtOnce(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.Close()
	start := time.Now()
	o := stage{api: f}.run(t, "cluster", "list")
	if o.code != exitUnavailable || !strings.Contains(o.stderr, "or say where one is by --addr or FRAMEDB_ADDR") || time.Since(start) > 3*time.Second {
		t.Errorf("exit %d after %v: %s", o.code, time.Since(start), o.stderr)
	}
}

func TestTimeoutBoundsACommand(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.on("GET /v1/clusters", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	if o := (stage{api: f}).run(t, "cluster", "list", "--timeout", "100ms"); o.code != exitUnavailable {
		t.Errorf("exit %d: %s", o.code, o.stderr)
	}
	ctx, cancel := context.WithCancel(t.Context())
	f.on("GET /v1/clusters", func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	if o := (stage{api: f, ctx: ctx}).run(t, "cluster", "list"); o.code != exitFailed || !strings.Contains(o.stderr, "interrupted") {
		t.Errorf("interrupted: exit %d: %s", o.code, o.stderr)
	}
}

func TestMetadataFlagsAreMerged(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.answer("PATCH /v1/sources/cam-1/mappings/node-1", mapping("node-1"))
	for args, want := range map[string]string{
		"--ref-count 3":                         `{"metadata":{"ref_count":3,"sizes":["8x8"]}}`,
		"--sizes 4x4,2x2":                       `{"metadata":{"ref_count":2,"sizes":["4x4","2x2"]}}`,
		`--metadata {"a":1}`:                    `{"metadata":{"a":1}}`,
		`--metadata {"a":1} --ref-count 1`:      `{"metadata":{"a":1,"ref_count":1}}`,
		`--metadata {}`:                         `{"metadata":{}}`,
		`--metadata [1]`:                        "",
		`--metadata {"a":1}x`:                   "",
		`--metadata nonsense --node-tag node-1`: "",
	} {
		before := len(f.asked("PATCH"))
		o := stage{api: f}.run(t, append([]string{"source", "metadata", "cam-1"}, strings.Fields(args)...)...)
		calls := f.asked("PATCH")
		if want == "" {
			if o.code != exitUsage || len(calls) != before {
				t.Errorf("%s: exit %d, %s", args, o.code, o.stderr)
			}
			continue
		}
		if o.code != 0 || len(calls) != before+1 || calls[before] != "PATCH /v1/sources/cam-1/mappings/node-1 "+want {
			t.Errorf("%s: exit %d %s; sent %v", args, o.code, o.stderr, calls[before:])
		}
	}
}

func TestEmptyListsAreArrays(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	for _, path := range []string{"/v1/clusters", "/v1/nodes", "/v1/sources", "/v1/storage", "/v1/ingestions"} {
		f.answer("GET "+path, nil)
	}
	f.answer("GET /v1/status", wire.Status{})
	for _, args := range []string{"cluster list", "node list", "source list", "storage list", "ingestion list"} {
		if o := (stage{api: f}).run(t, append(strings.Fields(args), "-o", "json")...); o.stdout != "[]\n" {
			t.Errorf("%s prints %q", args, o.stdout)
		}
	}
}

func TestCompletionAsksTheAgent(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	for line, want := range map[string]string{
		"cluster info |":                         "cameras scans",
		"cluster info s|":                        "scans",
		"cluster info cameras |":                 "",
		"cluster remove cameras s|":              "scans",
		"source show |":                          "cam-1 cam-2",
		"source reassign cam-1 |":                "cameras scans",
		"resolve cameras-redis-node-0|":          "cameras-redis-node-0",
		"node label |":                           "node1",
		"node drain |":                           "node1",
		"raft transfer |":                        "node1",
		"cluster create x --max-memory-policy |": strings.Join(wire.MemoryPolicies, " "),
		"cluster create x --node-tag |":          "node-1 node-a gpu",
		"status -o |":                            "table json",
		"events --table cl|":                     "nodes clusters instances persistent mappings ingestions",
		"frame put cam-1 |":                      "",
		"source map new --cluster cam|":          "cameras",
		"source unmap cam-1 --node-tag node-1|":  "node-1",
	} {
		args := append([]string{"__complete"}, strings.Fields(strings.TrimSuffix(line, "|"))...)
		if strings.HasSuffix(line, " |") {
			args = append(args, "")
		}
		var out, errOut bytes.Buffer
		root := newRoot(&app{terminal: isTerminal, addr: f.URL}, "v1")
		root.SetOut(&out)
		root.SetErr(&errOut)
		root.SetArgs(append(args[:1:1], append([]string{"--addr", f.URL}, args[1:]...)...))
		if code := Execute(t.Context(), root); code != 0 {
			t.Errorf("%s: exit %d", line, code)
		}
		var names []string
		for l := range strings.Lines(out.String()) {
			if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, ":") {
				names = append(names, l)
			}
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s offers %q, want %q", line, got, want)
		}
	}
}

func TestByteSizes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"0": 0, "1048576": 1 << 20, "64MiB": 64 << 20, "64Mi": 64 << 20, "1.5GiB": 3 << 29, "2GB": 2_000_000_000, "10 kB": 10_000, "7B": 7,
		"": -1, "x": -1, "-1": -1, "1XB": -1, "NaN": -1, "Inf": -1, "1e30GiB": -1, "GiB": -1,
	} {
		var b byteSize
		err := b.Set(text)
		if (err != nil) != (want < 0) || err == nil && int64(b) != want {
			t.Errorf("%q is %d, %v", text, b, err)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1 << 10: "1 KiB", 3 << 29: "1.5 GiB", 5 << 20: "5 MiB"} {
		if got := formatBytes(n); got != want {
			t.Errorf("%d is %s", n, got)
		}
	}
}

func TestTheStatusScreenKeepsWhatNeedsALook(t *testing.T) {
	t.Parallel()
	var many []wire.Cluster
	for i := range 100 {
		many = append(many, cluster(wire.ClusterName(fmt.Sprintf("c-%02d", i)), wire.PhaseReady))
	}
	many[77].Status.Phase, many[88].Status.Phase = wire.PhaseDegraded, wire.PhaseCreating
	shown := worstFirst(many, clusterUrgency)
	if len(shown) != statusRows || shown[0].Name != "c-77" || shown[1].Name != "c-88" || shown[2].Name != "c-00" {
		t.Errorf("%d shown, first %s %s %s", len(shown), shown[0].Name, shown[1].Name, shown[2].Name)
	}
}

func TestAnotherServerIsNoAgent(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	for name, answer := range map[string]http.HandlerFunc{
		"404": func(w http.ResponseWriter, _ *http.Request) { http.NotFound(w, nil) },
		"200": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") },
	} {
		f.on("GET /healthz", answer)
		if o := (stage{api: f}).run(t, "cluster", "info", "cameras"); o.code != exitUnavailable || !strings.Contains(o.stderr, "is the address right?") {
			t.Errorf("%s: exit %d: %s", name, o.code, o.stderr)
		}
	}
}

func TestAges(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 1500 * time.Millisecond: "1s", 90 * time.Second: "1m30s", 3*time.Hour + 5*time.Minute: "3h5m", 49 * time.Hour: "2d1h",
	} {
		if got := age(d); got != want {
			t.Errorf("%v is %s", d, got)
		}
	}
}
