package kubernetes

import (
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"testing"

	"github.com/framedb/framedb/client/wire"
)

var update = flag.Bool("update", false, "write the golden files anew")

func design(t *testing.T, change func(*Design)) *Design {
	t.Helper()
	l := Layout{SocketDir: "/var/lib/framedb/sockets"}
	if err := l.Complete(); err != nil {
		t.Fatal(err)
	}
	d := &Design{Layout: l, Name: "cluster-alpha", Passwords: Passwords{Deployment: "app", Peer: "peer"}, Members: 3}
	d.Spec = wire.ClusterSpec{NodeTag: "node-1", Replicas: 3, Quorum: 2, EnableMetrics: true}
	d.Spec.ApplyDefaults()
	if change != nil {
		change(d)
	}
	return d
}

// A change of the template restarts every Redis there is, so it is to be seen.
func TestObjectsAreTheseAndNoOthers(t *testing.T) {
	for file, change := range map[string]func(*Design){
		"testdata/alpha.json": nil,
		"testdata/backup.json": func(d *Design) {
			d.Spec.Backup, d.Spec.EnableMetrics, d.Spec.MaxMemory = true, false, 1<<30
			d.Layout.PullPolicy, d.Layout.PullSecrets, d.Layout.StorageClass = "IfNotPresent", []string{"registry"}, "fast"
		},
	} {
		o := design(t, change).Objects()
		got, err := json.MarshalIndent(o.All(), "", " ")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, '\n')
		if *update {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("the objects differ from %s (go test -update writes it):\n%s", file, got)
		}
	}
}

// What servers can be told while they run must not make their pods anew.
func TestWhatRestartsMembers(t *testing.T) {
	template := func(change func(*Design)) any { return design(t, change).Objects().Set.Spec.Template }
	for what, c := range map[string]struct {
		change   func(*Design)
		restarts bool
	}{
		"quorum":           {func(d *Design) { d.Spec.Quorum = 1 }, false},
		"replicas":         {func(d *Design) { d.Spec.Replicas, d.Members = 5, 5 }, false},
		"down-after":       {func(d *Design) { d.Spec.DownAfter = 1000 }, false},
		"failover timeout": {func(d *Design) { d.Spec.FailoverTimeout = 2000 }, false},
		"policy":           {func(d *Design) { d.Spec.MaxMemoryPolicy = "allkeys-lru" }, false},
		"passwords":        {func(d *Design) { d.Passwords = Passwords{"other", "another"} }, false},
		"memory":           {func(d *Design) { d.Spec.MaxMemory = 1 << 30 }, true},
		"metrics":          {func(d *Design) { d.Spec.EnableMetrics = false }, true},
		"image":            {func(d *Design) { d.Layout.RedisImage = "redis:8" }, true},
		"backup":           {func(d *Design) { d.Spec.Backup = true }, true},
	} {
		if got := !reflect.DeepEqual(template(nil), template(c.change)); got != c.restarts {
			t.Errorf("%s: members restart: %v, want %v", what, got, c.restarts)
		}
	}
}

func TestAStatefulSetThatIsThereKeepsItsSelector(t *testing.T) {
	theirs := map[string]string{"app": "redis", "release": "cluster-alpha", "role": "node", "chart": "redis-12"}
	o := design(t, func(d *Design) { d.Kept = Kept{Selector: theirs, Ordered: true} }).Objects()
	if got := o.Set.Spec.Selector.MatchLabels; !reflect.DeepEqual(got, theirs) {
		t.Errorf("selector %v", got)
	}
	for name, value := range theirs {
		if o.Set.Spec.Template.Labels[name] != value {
			t.Errorf("pods lack %s=%s", name, value)
		}
	}
	if *o.Set.Spec.PodManagementPolicy != "OrderedReady" {
		t.Errorf("policy %s", *o.Set.Spec.PodManagementPolicy)
	}
}

func TestRefusedLayouts(t *testing.T) {
	for field, change := range map[string]func(*Layout){
		"socket_dir":          func(l *Layout) { l.SocketDir = "relative" },
		"backup_storage_size": func(l *Layout) { l.StorageSize = "ten" },
		"image_pull_policy":   func(l *Layout) { l.PullPolicy = "Sometimes" },
		"namespace":           func(l *Layout) { l.Namespace = "Not_One" },
	} {
		l := Layout{SocketDir: "/run/framedb"}
		change(&l)
		if err := l.Complete(); wire.AsError(err) == nil || wire.AsError(err).Field != field || wire.AsError(err).Code != wire.CodeInvalidArgument {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestNamesOfTheFirstFrameDB(t *testing.T) {
	o := design(t, nil).Objects()
	names := map[string]string{}
	for _, s := range o.Services {
		for _, p := range s.Spec.Ports {
			names[*s.Name] += *p.Name + " "
		}
	}
	want := map[string]string{
		"cluster-alpha-redis": "redis redis-sentinel ", "cluster-alpha-redis-headless": "redis redis-sentinel ",
		"cluster-alpha-redis-metrics": "metrics ",
	}
	if !reflect.DeepEqual(names, want) || *o.Set.Name != "cluster-alpha-redis-node" {
		t.Errorf("Services %v, StatefulSet %s", names, *o.Set.Name)
	}
	if got := o.Set.Spec.Template.Spec.NodeSelector; !reflect.DeepEqual(got, map[string]string{"framedb": "node-1"}) {
		t.Errorf("node selector %v", got)
	}
}
