package actors_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.uber.org/goleak"

	"github.com/framedb/framedb/actors"
	"github.com/framedb/framedb/actors/instance"
	"github.com/framedb/framedb/actors/sweep"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
	"github.com/framedb/framedb/deploy/process"
	"github.com/framedb/framedb/raftstore/state"
)

const (
	node     = wire.NodeName("node-1")
	tag      = wire.NodeTag("node-1")
	password = "s3cret-of-the-test"
)

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{}) // it tells of each failed dial
	goleak.VerifyTestMain(m)
}

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// bed is one agent's actors over a store and a driver.
type bed struct {
	*actors.Actors
	t        *testing.T
	node     wire.NodeName
	store    *store
	ring     *ring
	replica  *replica
	driver   deploy.Driver
	storage  actors.Storage
	objects  sweep.Objects
	counts   *instance.Counts
	registry *prometheus.Registry
	timing   instance.Timing
	restarts actors.Restarts
	owning   actors.Ownership // zero for an agent's
	stop     func()
}

// quick looks more often than an agent does.
func quick() instance.Timing {
	t := instance.DefaultTiming()
	t.Ready, t.Unready, t.Acted = 500*time.Millisecond, 200*time.Millisecond, 50*time.Millisecond
	return t
}

func newBed(t *testing.T, driver deploy.Driver) *bed {
	t.Helper()
	return newRing().join(t, newStore(), node, driver)
}

// join is one more agent on the same store, which carries tag.
func (r *ring) join(t *testing.T, s *store, name wire.NodeName, driver deploy.Driver) *bed {
	t.Helper()
	b := &bed{
		t: t, node: name, ring: r, store: s, replica: s.replicate(t), driver: driver, storage: storageOf(driver), timing: quick(), registry: prometheus.NewRegistry(),
		restarts: actors.Restarts{First: time.Millisecond, Longest: 10 * time.Millisecond, Limit: 3, Window: time.Minute, Pause: 100 * time.Millisecond},
	}
	r.set(name, true)
	b.store.must(t, state.RegisterNode{Node: wire.Node{Name: name, Tags: []wire.NodeTag{tag}}})
	return b
}

// start runs the actors until stop or the end of the test.
func (b *bed) start() *bed {
	b.t.Helper()
	out := &tlog{t: b.t}
	var err error
	b.Actors, err = actors.New(actors.Config{
		Node: b.node, Namespace: "framedb", Store: b.replica, Driver: b.driver, Storage: b.storage, Objects: b.objects, Counts: b.counts,
		Leader: func() (bool, uint64) { return b.ring.leads(b.node) }, Alive: b.ring.living,
		Logger:     slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelInfo})),
		Registerer: b.registry, Timing: b.timing, Restarts: b.restarts, Ownership: b.owning,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	stopped := false
	b.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			if !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "stop the actors") {
				b.t.Errorf("run: %v", err)
			}
		case <-time.After(10 * time.Second):
			b.t.Error("the actors do not stop within 10 s")
		}
	}
	b.t.Cleanup(b.stop)
	return b
}

// tlog shows the log when FRAMEDB_TEST_LOG is set.
type tlog struct{ t *testing.T }

func (l *tlog) Write(line []byte) (int, error) {
	if os.Getenv("FRAMEDB_TEST_LOG") != "" {
		os.Stderr.Write(append([]byte(l.t.Name()+" "), line...))
	}
	return len(line), nil
}

// eventually polls until check is content.
func eventually(t *testing.T, within time.Duration, check func() error) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(within)
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %s: %v", within, err)
		}
	}
}

// spec leaves failovers to whoever forces them: Sentinel would wait a minute.
func spec(replicas int) wire.ClusterSpec {
	s := wire.ClusterSpec{NodeTag: tag, Replicas: replicas, Quorum: replicas/2 + 1}
	s.ApplyDefaults()
	return s
}

func (b *bed) create(name wire.ClusterName, s wire.ClusterSpec) {
	b.t.Helper()
	b.store.must(b.t, state.CreateClusters{Names: []wire.ClusterName{name}, Spec: s})
}

// ready waits until the cluster is ready in its newest generation.
func (b *bed) ready(name wire.ClusterName) wire.Cluster {
	b.t.Helper()
	var row wire.Cluster
	eventually(b.t, 30*time.Second, func() error {
		row = b.store.cluster(name)
		if row.Status.Phase != wire.PhaseReady || row.Status.ObservedGeneration != row.Generation {
			return fmt.Errorf("%s is %s, generation %d of %d: %s", name, row.Status.Phase, row.Status.ObservedGeneration, row.Generation, row.Status.Reason)
		}
		return nil
	})
	return row
}

// owned waits until a node owns the cluster.
func (b *bed) owned(name wire.ClusterName, by wire.NodeName) {
	b.t.Helper()
	eventually(b.t, 10*time.Second, func() error {
		if s := b.store.cluster(name).Status; s.Owner != by {
			return fmt.Errorf("%s is owned by %q in epoch %d: %s", name, s.Owner, s.OwnerEpoch, s.Reason)
		}
		return nil
	})
}

// machine is a real process driver on a directory of its own.
type machine struct {
	*process.Driver
	t   *testing.T
	cfg process.Config
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	return newMachineOf(t, node)
}

func newMachineOf(t *testing.T, name wire.NodeName) *machine {
	t.Helper()
	dir, err := os.MkdirTemp("", "f")
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, cfg: process.Config{
		Dir: filepath.Join(dir, "d"), SocketDir: filepath.Join(dir, "s"), Password: password,
		Node: name, AnyPort: true, DieWithParent: true,
	}}
	m.open()
	t.Cleanup(func() {
		m.Close(context.Background())
		m.cfg.StopOnClose = true
		m.open()
		m.Close(context.Background())
		for _, pid := range m.processes() {
			t.Errorf("process %d is left behind", pid)
			syscall.Kill(pid, syscall.SIGKILL)
		}
		os.RemoveAll(dir)
	})
	return m
}

func (m *machine) open() {
	m.t.Helper()
	d, err := process.New(m.cfg)
	if err != nil {
		m.t.Fatalf("open the driver: %v", err)
	}
	m.Driver = d
}

// processes finds what runs, independently of the driver.
func (m *machine) processes() []int {
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		cmdline, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(cmdline), m.cfg.Dir+"/") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// redis connects to a member, by TCP or by a socket path.
func (b *bed) redis(network, addr string) *redis.Client {
	rdb := redis.NewClient(&redis.Options{
		Network: network, Addr: addr, Password: password, Protocol: 2, DisableIdentity: true, MaxRetries: -1, DialerRetries: 1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	b.t.Cleanup(func() { rdb.Close() })
	return rdb
}

// member is the row of one member.
func (b *bed) member(id wire.FrameDBID) wire.Instance {
	b.t.Helper()
	row, ok := b.store.View().Instance(id)
	if !ok {
		b.t.Fatalf("member %s is not in the store", id)
	}
	return *row
}

func (b *bed) at(i wire.Instance) *redis.Client {
	return b.redis("tcp", fmt.Sprintf("%s:%d", i.Host, i.Port))
}

// kill is kill -9.
func (b *bed) kill(rdb *redis.Client) {
	b.t.Helper()
	info, err := rdb.Info(context.Background(), "server").Result()
	if err != nil {
		b.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(info, "process_id:")
	line, _, _ := strings.Cut(rest, "\r\n")
	pid, err := strconv.Atoi(line)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		b.t.Fatal(err)
	}
}
