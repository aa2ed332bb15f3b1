package state_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// log applies commands one index after the other, as Raft would.
type log struct {
	*state.State
	index uint64
	now   time.Time
}

func newLog() *log { return &log{State: state.New(), now: epoch} }

func (l *log) do(t interface{ Fatal(...any) }, cmd state.Command) state.Result {
	return l.request(t, "", cmd)
}

func (l *log) request(t interface{ Fatal(...any) }, id wire.RequestID, cmd state.Command) state.Result {
	b, err := state.Encode(cmd, id, l.now)
	if err != nil {
		t.Fatal(err)
	}
	l.index++
	return l.Apply(l.index, b)
}

// tables is the snapshot without its header, which holds the moving index.
func (l *log) tables(t interface{ Fatal(...any) }) string {
	var b bytes.Buffer
	if _, err := l.Snapshot().WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	_, rows, _ := strings.Cut(b.String(), "\n")
	return rows
}

func must(t *testing.T, r state.Result) state.Result {
	t.Helper()
	if r.Err != nil {
		t.Fatalf("refused: %v", r.Err)
	}
	return r
}

func value[R any](t *testing.T, r state.Result) R {
	t.Helper()
	var v R
	if err := json.Unmarshal(must(t, r).Value, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func spec(tag wire.NodeTag) wire.ClusterSpec {
	return wire.ClusterSpec{NodeTag: tag, Replicas: 3, Quorum: 2}
}

func create(names ...wire.ClusterName) state.CreateClusters {
	return state.CreateClusters{Names: names, Spec: spec("node-1")}
}

// populated has clusters a and b on node-1, c on node-2, gone being removed,
// and sources s1, s2 on a and b.
func populated(t *testing.T) *log {
	l := newLog()
	must(t, l.do(t, create("a", "b", "gone")))
	must(t, l.do(t, state.RemoveCluster{Name: "gone"}))
	must(t, l.do(t, state.CreateClusters{Names: []wire.ClusterName{"c"}, Spec: spec("node-2")}))
	must(t, l.do(t, state.CreateMapping{Source: "s1", NodeTag: "node-1", Metadata: json.RawMessage(`{ "ref_count": 2 }`)}))
	must(t, l.do(t, state.CreateMapping{Source: "s2", NodeTag: "node-1"}))
	must(t, l.do(t, state.RegisterNode{Node: wire.Node{Name: "n1", Tags: []wire.NodeTag{"node-1"}}}))
	must(t, l.do(t, state.CreateStorage{ID: "disk", Spec: wire.StorageSpec{NodeTag: "node-1"}, Password: "secret"}))
	return l
}

func TestRefusedCommandsChangeNothing(t *testing.T) {
	bad, zero, four := spec("node-1"), 0, 4
	bad.Quorum = 4
	cases := []struct {
		name  string
		cmd   state.Command
		code  wire.Code
		field string
	}{
		{"no names", create(), wire.CodeInvalidArgument, "names"},
		{"bad name", create("ok", "../x"), wire.CodeInvalidArgument, "name"},
		{"twice in one call", create("x", "x"), wire.CodeAlreadyExists, "name"},
		{"taken", create("x", "a"), wire.CodeAlreadyExists, "name"},
		{"bad spec", state.CreateClusters{Names: []wire.ClusterName{"x"}, Spec: bad}, wire.CodeInvalidArgument, "quorum"},
		{"import taken", state.ImportCluster{Name: "a", Spec: spec("node-1")}, wire.CodeAlreadyExists, "name"},
		{"update unknown", state.UpdateCluster{Name: "x"}, wire.CodeNotFound, ""},
		{"update removing", state.UpdateCluster{Name: "gone"}, wire.CodeConflict, ""},
		{"replicas 0", state.UpdateCluster{Name: "a", UpdateCluster: wire.UpdateCluster{Replicas: &zero}}, wire.CodeInvalidArgument, "replicas"},
		{"quorum above replicas", state.UpdateCluster{Name: "a", UpdateCluster: wire.UpdateCluster{Quorum: &four}}, wire.CodeInvalidArgument, "quorum"},
		{"a setting of FrameDB's", state.UpdateCluster{Name: "a", UpdateCluster: wire.UpdateCluster{Settings: map[string]*string{"dir": new(string)}}}, wire.CodeInvalidArgument, "settings.dir"},
		{"metadata no object", state.UpdateCluster{Name: "a", UpdateCluster: wire.UpdateCluster{Metadata: json.RawMessage("7")}}, wire.CodeInvalidArgument, "metadata"},
		{"metadata too large", state.CreateClusters{Names: []wire.ClusterName{"x"}, Spec: spec("node-1"), Metadata: json.RawMessage(`{"a":"` + strings.Repeat("x", wire.MaxClusterMetadata) + `"}`)}, wire.CodeTooLarge, "metadata"},
		{"the name of a persistent one", create("disk"), wire.CodeAlreadyExists, "name"},
		{"the name of a cluster", state.CreateStorage{ID: "a", Spec: wire.StorageSpec{NodeTag: "node-1"}}, wire.CodeAlreadyExists, "framedb_id"},
		{"remove unknown", state.RemoveCluster{Name: "x"}, wire.CodeNotFound, ""},
		{"purge in use", state.PurgeCluster{Name: "a"}, wire.CodeConflict, ""},
		{"purge by a former owner", state.PurgeCluster{Name: "gone", Epoch: 1}, wire.CodeConflict, ""},
		{"assign unknown", state.AssignOwner{Item: state.Item{Cluster: "x"}, Owner: "n1"}, wire.CodeNotFound, ""},
		{"assign to unknown", state.AssignOwner{Item: state.Item{Cluster: "a"}, Owner: "n9"}, wire.CodeNotFound, "owner"},
		{"assign in another epoch", state.AssignOwner{Item: state.Item{Cluster: "a"}, Owner: "n1", Epoch: 1}, wire.CodeConflict, ""},
		{"assign without the tag", state.AssignOwner{Item: state.Item{Cluster: "c"}, Owner: "n1"}, wire.CodeConflict, "owner"},
		{"import without the tag", state.ImportCluster{Name: "x", Spec: spec("node-2"), Owner: "n1"}, wire.CodeConflict, "owner"},
		{"unattended unknown", state.ReportUnattended{Item: state.Item{Cluster: "x"}}, wire.CodeNotFound, ""},
		{"unattended in another epoch", state.ReportUnattended{Item: state.Item{Cluster: "a"}, Epoch: 1}, wire.CodeConflict, ""},
		{"drain unknown", state.DrainNode{Name: "x", Draining: true}, wire.CodeNotFound, ""},
		{"remove unknown node", state.RemoveNode{Name: "x"}, wire.CodeNotFound, ""},
		{"report unknown", state.ReportCluster{Name: "x"}, wire.CodeNotFound, ""},
		{"report foreign member", state.ReportCluster{Name: "a", Instances: []wire.Instance{{ID: "b-redis-node-0"}}}, wire.CodeInvalidArgument, "instances"},
		{"map bad source", state.CreateMapping{Source: "../x", NodeTag: "node-1"}, wire.CodeInvalidArgument, "source_id"},
		{"map bad tag", state.CreateMapping{Source: "s", NodeTag: ""}, wire.CodeInvalidArgument, "node_tag"},
		{"map twice", state.CreateMapping{Source: "s1", NodeTag: "node-1"}, wire.CodeAlreadyExists, ""},
		{"map without cluster", state.CreateMapping{Source: "s1", NodeTag: "node-9"}, wire.CodeNoCluster, "node_tag"},
		{"map to unknown", state.CreateMapping{Source: "s", NodeTag: "node-1", Cluster: "x"}, wire.CodeNotFound, "cluster"},
		{"map to removing", state.CreateMapping{Source: "s", NodeTag: "node-1", Cluster: "gone"}, wire.CodeConflict, "cluster"},
		{"map to other tag", state.CreateMapping{Source: "s", NodeTag: "node-1", Cluster: "c"}, wire.CodeConflict, "cluster"},
		{"map metadata", state.CreateMapping{Source: "s", NodeTag: "node-1", Metadata: json.RawMessage(`[1]`)}, wire.CodeInvalidArgument, "metadata"},
		{"unmap unknown", state.RemoveMapping{Source: "s1", NodeTag: "node-2"}, wire.CodeNotFound, ""},
		{"reassign unknown", state.ReassignSource{Source: "x", NodeTag: "node-1", Cluster: "a"}, wire.CodeNotFound, ""},
		{"reassign nowhere", state.ReassignSource{Source: "s1", NodeTag: "node-1"}, wire.CodeMissingField, "cluster"},
		{"reassign other tag", state.ReassignSource{Source: "s1", NodeTag: "node-1", Cluster: "c"}, wire.CodeConflict, "cluster"},
		{"reassign only cluster", state.ReassignInstance{NodeTag: "node-2", Cluster: "c"}, wire.CodeNoCluster, "node_tag"},
		{"metadata unknown", state.UpdateMetadata{Source: "x", NodeTag: "node-1"}, wire.CodeNotFound, ""},
		{"metadata too large", state.UpdateMetadata{Source: "s1", NodeTag: "node-1", Metadata: json.RawMessage(`{"a":"` + strings.Repeat("x", wire.MaxMetadata) + `"}`)}, wire.CodeTooLarge, "metadata"},
		{"node bad name", state.RegisterNode{Node: wire.Node{Name: "N"}}, wire.CodeInvalidArgument, "name"},
		{"label unknown", state.LabelNode{Name: "x", Label: "y"}, wire.CodeNotFound, ""},
		{"label bad", state.LabelNode{Name: "n1", Label: "../y"}, wire.CodeInvalidArgument, "label"},
		{"storage bad ID", state.CreateStorage{ID: "X", Spec: wire.StorageSpec{NodeTag: "node-1"}}, wire.CodeInvalidArgument, "framedb_id"},
		{"storage takes member's ID", state.CreateStorage{ID: "a-redis-node-0", Spec: wire.StorageSpec{NodeTag: "node-1"}}, wire.CodeInvalidArgument, "framedb_id"},
		{"storage exists", state.CreateStorage{ID: "disk", Spec: wire.StorageSpec{NodeTag: "node-1"}}, wire.CodeAlreadyExists, "framedb_id"},
		{"storage without a tag", state.CreateStorage{ID: "x"}, wire.CodeInvalidArgument, "node_tag"},
		{"storage size", state.CreateStorage{ID: "x", Spec: wire.StorageSpec{NodeTag: "node-1", StorageSize: "10 GB"}}, wire.CodeInvalidArgument, "storage_size"},
		{"storage replicas", state.CreateStorage{ID: "x", Spec: wire.StorageSpec{NodeTag: "node-1", Replicas: wire.StorageReplicas{TiKV: -1}}}, wire.CodeInvalidArgument, "replicas.tikv"},
		{"storage parameters", state.CreateStorage{ID: "x", Spec: wire.StorageSpec{NodeTag: "node-1", Parameters: wire.StorageParameters{TiDB: json.RawMessage(`[]`)}}}, wire.CodeInvalidArgument, "parameters.tidb"},
		{"storage password", state.CreateStorage{ID: "x", Spec: wire.StorageSpec{NodeTag: "node-1"}, Password: "a b"}, wire.CodeInvalidArgument, "password"},
		{"storage update unknown", state.UpdateStorage{ID: "x"}, wire.CodeNotFound, ""},
		{"storage becomes external", state.UpdateStorage{ID: "disk", UpdateStorage: wire.UpdateStorage{External: &wire.ExternalStorage{Address: "h:4000"}}}, wire.CodeConflict, "external"},
		{"storage backup without a target", state.UpdateStorage{ID: "disk", UpdateStorage: wire.UpdateStorage{Backup: &wire.BackupPlan{Schedule: "@daily"}}}, wire.CodeInvalidArgument, "backup.target"},
		{"storage remove unknown", state.RemoveStorage{ID: "x"}, wire.CodeNotFound, ""},
		{"storage purge too soon", state.PurgeStorage{ID: "disk"}, wire.CodeConflict, ""},
		{"storage report unknown", state.ReportStorage{ID: "x"}, wire.CodeNotFound, ""},
		{"storage report fenced", state.ReportStorage{ID: "disk", Status: wire.StorageStatus{OwnerEpoch: 9}}, wire.CodeConflict, ""},
		{"ingestion into unknown", state.PutIngestion{Source: "s1", Spec: wire.IngestionSpec{Target: "x"}}, wire.CodeNotFound, "target"},
		{"ingestion from unknown", state.PutIngestion{Source: "s1", Spec: wire.IngestionSpec{Queue: &wire.IngestQueue{Kind: wire.QueueList, Cluster: "x", Key: "q"}}}, wire.CodeNotFound, "queue.cluster"},
		{"ingestion ack", state.PutIngestion{Source: "s1", Spec: wire.IngestionSpec{Ack: "replicated:0"}}, wire.CodeInvalidArgument, "ack"},
		{"ingestion count", state.PutIngestion{Source: "s1", Spec: wire.IngestionSpec{RefCount: -1}}, wire.CodeInvalidArgument, "ref_count"},
		{"ingestion unknown", state.DeleteIngestion{Source: "x"}, wire.CodeNotFound, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := populated(t)
			before := l.tables(t)
			r := l.do(t, c.cmd)
			if wire.CodeOf(asError(r.Err)) != c.code {
				t.Fatalf("got %v, want code %s", r.Err, c.code)
			}
			if r.Err.Field != c.field {
				t.Errorf("field %q, want %q", r.Err.Field, c.field)
			}
			if after := l.tables(t); after != before {
				t.Errorf("something changed:\n%s\nwas:\n%s", after, before)
			}
			if l.View().Index() != l.index {
				t.Errorf("applied index is %d, want %d", l.View().Index(), l.index)
			}
		})
	}
}

func asError(e *wire.Error) error {
	if e == nil {
		return nil
	}
	return e
}

func TestEntriesOfAnotherVersionChangeNothing(t *testing.T) {
	for _, entry := range []string{``, `{`, `{"v":2,"t":"cluster.create"}`, `{"v":1,"t":"from.the.future","b":{}}`, `{"v":1,"t":"cluster.create","b":[]}`, `{"v":1,"t":"cluster.create","b":{"names":7}}`} {
		s := state.New()
		if r := s.Apply(7, []byte(entry)); r.Err == nil {
			t.Errorf("%q was applied", entry)
		}
		if s.View().Index() != 7 {
			t.Errorf("%q: applied index is %d", entry, s.View().Index())
		}
	}
}

func TestMappingTakesTheLeastLoadedCluster(t *testing.T) {
	l := populated(t)
	for i, want := range []wire.ClusterName{"a", "b", "a", "b"} {
		m := value[wire.Mapping](t, l.do(t, state.CreateMapping{Source: wire.SourceID(fmt.Sprint("n", i)), NodeTag: "node-1"}))
		if m.Cluster != want {
			t.Errorf("source %d goes to %q, want %q", i, m.Cluster, want)
		}
	}
	if got := l.View().CountMappingsTo("a"); got != 3 {
		t.Errorf("a has %d mappings, want 3", got)
	}
	m, _ := l.View().Mapping("s1", "node-1")
	if string(m.Metadata) != `{"ref_count":2}` {
		t.Errorf("metadata is %s", m.Metadata)
	}
}

func TestRemovalMovesSourcesAndPurgeEnds(t *testing.T) {
	l := populated(t)
	must(t, l.do(t, state.ReportCluster{Name: "a", Instances: []wire.Instance{{ID: "a-redis-node-0", Cluster: "a"}}}))
	r := value[wire.RemovedCluster](t, l.do(t, state.RemoveCluster{Name: "a"}))
	if len(r.Moved) != 1 || r.Moved[0].Source != "s1" || r.Moved[0].Cluster != "b" || len(r.Unmapped) != 0 {
		t.Fatalf("removal of a: %+v", r)
	}
	r = value[wire.RemovedCluster](t, l.do(t, state.RemoveCluster{Name: "b"}))
	if len(r.Moved) != 0 || len(r.Unmapped) != 2 {
		t.Fatalf("removal of b: %+v", r)
	}
	must(t, l.do(t, state.ReportCluster{Name: "a", Status: wire.ClusterStatus{Phase: wire.PhaseReady}}))
	if c, _ := l.View().Cluster("a"); c.Status.Phase != wire.PhaseRemoving {
		t.Errorf("a report took a out of removal: %s", c.Status.Phase)
	}
	must(t, l.do(t, state.PurgeCluster{Name: "a"}))
	must(t, l.do(t, state.PurgeCluster{Name: "a"}))
	v := l.View()
	if _, ok := v.Cluster("a"); ok || len(v.InstancesOf("a")) != 0 || v.CountSources() != 0 || v.CountMappings() != 0 {
		t.Error("something of a is left")
	}
}

func TestReportsTouchOnlyWhatDiffersAndFence(t *testing.T) {
	l := populated(t)
	report := state.ReportCluster{Name: "a", Status: wire.ClusterStatus{Phase: wire.PhaseReady, Owner: "n1", OwnerEpoch: 1},
		Instances: []wire.Instance{{ID: "a-redis-node-0", Cluster: "a"}, {ID: "a-redis-node-1", Cluster: "a"}}}
	register(t, l, "n1", "n2")
	must(t, l.do(t, state.AssignOwner{Item: state.Item{Cluster: "a"}, Owner: "n1"}))
	must(t, l.do(t, report))
	before := l.tables(t)
	must(t, l.do(t, report))
	if l.tables(t) != before || l.View().TableIndex(wire.TableInstances) == l.index {
		t.Error("the same report changed something")
	}
	report.Instances = report.Instances[:1]
	must(t, l.do(t, report))
	if n := len(l.View().InstancesOf("a")); n != 1 {
		t.Errorf("%d instances, want 1", n)
	}
	must(t, l.do(t, state.AssignOwner{Item: state.Item{Cluster: "a"}, Owner: "n2", Epoch: 1}))
	before = l.tables(t)
	for _, by := range []wire.ClusterStatus{{Owner: "n1", OwnerEpoch: 1}, {Owner: "n1", OwnerEpoch: 2}, {Owner: "n2", OwnerEpoch: 3}, {}} {
		report.Status = by
		if r := l.do(t, report); r.Err == nil || r.Err.Code != wire.CodeConflict {
			t.Errorf("a report of %q in epoch %d was heard: %v", by.Owner, by.OwnerEpoch, r.Err)
		}
	}
	if l.tables(t) != before {
		t.Error("a refused report changed something")
	}
}

func TestARepeatedRequestIsAppliedOnce(t *testing.T) {
	l := populated(t)
	cmd := state.CreateMapping{Source: "s9", NodeTag: "node-1"}
	first := must(t, l.request(t, "req", cmd))
	var b bytes.Buffer
	if _, err := l.Snapshot().WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	if err := l.Restore(&b); err != nil {
		t.Fatal(err)
	}
	again := must(t, l.request(t, "req", cmd))
	if again.Index != first.Index || !bytes.Equal(again.Value, first.Value) {
		t.Errorf("repeated: %+v, want %+v", again, first)
	}
	must(t, l.request(t, "other", state.RemoveMapping{Source: "s9", NodeTag: "node-1"}))
	l.now = l.now.Add(11 * time.Minute)
	others := func(n int) {
		for range n {
			must(t, l.request(t, wire.RequestID(fmt.Sprint("r", l.index)), state.LabelNode{Name: "n1", Label: "t"}))
		}
	}
	others(4000)
	if r := must(t, l.request(t, "req", cmd)); r.Index != first.Index {
		t.Error("age alone forgets the last requests: clocks jump")
	}
	others(100)
	if r := must(t, l.request(t, "req", cmd)); r.Index == first.Index {
		t.Error("an ID older than ten minutes is still remembered")
	}
}

func TestSubscribersSeeEveryChangeOnce(t *testing.T) {
	l := populated(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	sub := l.Subscribe(0, wire.TableMappings)
	events, err := sub.Next(ctx)
	if err != nil || len(events) != 3 || events[0].Op != wire.OpReset {
		t.Fatalf("start: %v %v", events, err)
	}
	must(t, l.do(t, create("unrelated")))
	must(t, l.do(t, state.RemoveMapping{Source: "s1", NodeTag: "node-1"}))
	events, err = sub.Next(ctx)
	if err != nil || len(events) != 1 || events[0].Op != wire.OpDelete || events[0].Key != "s1/node-1" || events[0].Before == nil {
		t.Fatalf("change: %+v %v", events, err)
	}
	for range 20_000 { // more than is remembered
		must(t, l.do(t, state.LabelNode{Name: "n1", Label: wire.NodeTag(fmt.Sprint("t", l.index))}))
	}
	if events, err = sub.Next(ctx); err != nil || events[0].Op != wire.OpReset || len(events) != 2 {
		t.Errorf("a subscriber that fell behind got %+v %v", events, err)
	}
	if events, _ = l.Subscribe(l.index+5, wire.TableNodes).Next(ctx); events[0].Op != wire.OpReset {
		t.Error("a subscriber from the future is not reset")
	}
}

func TestChangedWakesForWhatWasAsked(t *testing.T) {
	l := populated(t)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	v := l.View()
	v.MappingsOf("s1")
	woken := make(chan error, 1)
	go func() { woken <- v.Changed(ctx) }()
	must(t, l.do(t, state.UpdateMetadata{Source: "s1", NodeTag: "node-1", Metadata: json.RawMessage(`{}`)}))
	if err := <-woken; err != nil {
		t.Fatal(err)
	}
}

func TestACutSnapshotIsRefused(t *testing.T) {
	l := populated(t)
	var b bytes.Buffer
	if _, err := l.Snapshot().WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(b.Bytes(), []byte("\n"))
	before := l.tables(t)
	for n := range len(lines) - 1 {
		if err := l.Restore(bytes.NewReader(bytes.Join(lines[:n], nil))); err == nil && n < len(lines)-1 {
			t.Errorf("a snapshot of %d lines was restored", n)
		}
	}
	if l.tables(t) != before {
		t.Error("a refused snapshot changed the state")
	}
}

// TestReplicasAgree applies random commands to two states, one of which is
// replaced by its own snapshot now and then.
func TestReplicasAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one, two := newLog(), newLog()
		for range rapid.IntRange(1, 40).Draw(t, "n") {
			cmd := command().Draw(t, "cmd")
			id := wire.RequestID(rapid.SampledFrom([]string{"", "", "r1", "r2"}).Draw(t, "id"))
			if a, b := one.request(t, id, cmd), two.request(t, id, cmd); fmt.Sprintf("%+v", a) != fmt.Sprintf("%+v", b) {
				t.Fatalf("results differ: %+v and %+v", a, b)
			}
			if rapid.IntRange(0, 9).Draw(t, "restore") == 0 {
				var b bytes.Buffer
				if _, err := two.Snapshot().WriteTo(&b); err != nil {
					t.Fatal(err)
				}
				fresh := state.New()
				if err := fresh.Restore(&b); err != nil {
					t.Fatal(err)
				}
				two.State = fresh
			}
		}
		if one.tables(t) != two.tables(t) {
			t.Fatalf("states differ:\n%s\n%s", one.tables(t), two.tables(t))
		}
		checkCounts(t, one.View())
		checkCounts(t, two.View())
	})
}

func checkCounts(t *rapid.T, v *state.View) {
	per, sources := map[wire.ClusterName]int{}, map[wire.SourceID]bool{}
	for _, m := range v.Mappings() {
		per[m.Cluster]++
		sources[m.Source] = true
		if c, ok := v.Cluster(m.Cluster); !ok || c.NodeTag != m.NodeTag {
			t.Fatalf("mapping %+v leads to no cluster on its tag", m)
		}
	}
	if v.CountMappings() != len(v.Mappings()) || v.CountSources() != len(sources) {
		t.Fatalf("counts: %d mappings, %d sources; want %d, %d", v.CountMappings(), v.CountSources(), len(v.Mappings()), len(sources))
	}
	for _, c := range v.Clusters() {
		if v.CountMappingsTo(c.Name) != per[c.Name] {
			t.Fatalf("%s has %d mappings, counted %d", c.Name, per[c.Name], v.CountMappingsTo(c.Name))
		}
	}
}

func command() *rapid.Generator[state.Command] {
	return rapid.Custom(func(t *rapid.T) state.Command {
		name := wire.ClusterName(rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "name"))
		tag := wire.NodeTag(rapid.SampledFrom([]string{"node-1", "node-2"}).Draw(t, "tag"))
		source := wire.SourceID(rapid.SampledFrom([]string{"s1", "s2", "s3"}).Draw(t, "source"))
		n := rapid.IntRange(0, 4).Draw(t, "replicas")
		node := wire.NodeName(rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "node"))
		disk := state.Item{Storage: "disk"}
		switch rapid.IntRange(0, 22).Draw(t, "kind") {
		case 15:
			return state.CreateStorage{ID: disk.Storage, Spec: wire.StorageSpec{NodeTag: tag}, Password: string(name)}
		case 16:
			password := string(source)
			return state.UpdateStorage{ID: disk.Storage, UpdateStorage: wire.UpdateStorage{Replicas: &wire.StorageReplicas{TiKV: n}, Password: &password}}
		case 17:
			return state.RemoveStorage{ID: disk.Storage}
		case 18:
			return state.PurgeStorage{ID: disk.Storage}
		case 19:
			return state.ReportStorage{ID: disk.Storage, Status: wire.StorageStatus{Phase: wire.PhaseReady, ObservedGeneration: uint64(n)}}
		case 20:
			return state.AssignOwner{Item: disk, Owner: node, Epoch: uint64(n)}
		case 21:
			return state.PutIngestion{Source: source, Spec: wire.IngestionSpec{Target: disk.Storage, RefCount: n}}
		case 22:
			return state.DeleteIngestion{Source: source}
		case 0, 1:
			return state.CreateClusters{Names: []wire.ClusterName{name}, Spec: spec(tag)}
		case 2:
			return state.UpdateCluster{Name: name, UpdateCluster: wire.UpdateCluster{Replicas: &n}}
		case 3:
			return state.RemoveCluster{Name: name}
		case 4:
			return state.PurgeCluster{Name: name}
		case 5:
			return state.ReportCluster{Name: name, Instances: []wire.Instance{{ID: name.Member(n), Cluster: name}}}
		case 6, 7:
			return state.CreateMapping{Source: source, NodeTag: tag}
		case 8:
			return state.ReassignInstance{NodeTag: tag, Cluster: name}
		case 9:
			return state.RegisterNode{Node: wire.Node{Name: node, Tags: []wire.NodeTag{tag}}}
		case 10, 11:
			return state.AssignOwner{Item: state.Item{Cluster: name}, Owner: node, Epoch: uint64(n)}
		case 12:
			return state.DrainNode{Name: node, Draining: n == 0}
		case 13:
			return state.RemoveNode{Name: node}
		default:
			return state.RemoveMapping{Source: source, NodeTag: tag}
		}
	})
}

func BenchmarkApplyCreateMapping(b *testing.B) {
	l := newLog()
	l.do(b, create("a", "b"))
	for b.Loop() {
		l.do(b, state.CreateMapping{Source: wire.SourceID(fmt.Sprint("s", l.index)), NodeTag: "node-1"})
	}
}

func BenchmarkMappingsOf(b *testing.B) {
	l := newLog()
	l.do(b, create("a"))
	l.do(b, state.CreateMapping{Source: "s1", NodeTag: "node-1"})
	for b.Loop() {
		l.View().MappingsOf("s1")
	}
}
