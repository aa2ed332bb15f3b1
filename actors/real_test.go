package actors_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/sentinel"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

func TestKilledMasterIsReplacedAtOnce(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	b := newBed(t, m)
	// The death has to be noticed by itself, not at the next look.
	b.timing.Ready = time.Hour
	b.start()
	b.create("alpha", spec(3))
	before := b.ready("alpha").Status.Master
	master := b.at(b.member(before))
	b.store.must(t, state.CreateMapping{Source: "cam", NodeTag: tag, Cluster: "alpha"})
	onReplica := b.at(b.member(wire.ClusterName("alpha").Member(1))).Subscribe(t.Context(), wire.RoutingChannel("cam"))
	defer onReplica.Close()
	ctx := context.Background()
	const keys = 1000
	pipe := master.Pipeline()
	for i := range keys {
		pipe.Set(ctx, fmt.Sprint("key-", i), i, 0)
	}
	acknowledged := pipe.Do(ctx, "WAIT", 1, 10_000)
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	if n, err := acknowledged.Int(); err != nil || n < 1 {
		t.Fatalf("%d replicas have the writes (%v)", n, err)
	}
	b.kill(master)
	began := time.Now()

	var after wire.FrameDBID
	eventually(t, 15*time.Second, func() error {
		after = b.store.cluster("alpha").Status.Master
		if after == before {
			return fmt.Errorf("master is still %s: %s", after, b.store.cluster("alpha").Status.Reason)
		}
		return nil
	})
	t.Logf("new master in the store after %s", time.Since(began))
	hearMaster(t, onReplica, b.member(after))
	if n, err := b.at(b.member(after)).DBSize(ctx).Result(); err != nil || n != keys {
		t.Errorf("the new master has %d keys (%v), want %d", n, err, keys)
	}
	b.ready("alpha")
	t.Logf("ready again after %s", time.Since(began))
	if n, err := b.at(b.member(before)).DBSize(ctx).Result(); err != nil || n != keys {
		t.Errorf("the old master has %d keys (%v) as a replica, want %d", n, err, keys)
	}
	socket := b.redis("unix", filepath.Join(m.SocketDir(), string(tag)+".sock"))
	eventually(t, 5*time.Second, func() error {
		role, err := socket.Do(ctx, "ROLE").Slice()
		if err != nil || role[0] != "master" {
			return fmt.Errorf("behind the tag's socket: role %v (%v)", role, err)
		}
		return nil
	})
}

func TestKilledReplicaIsStartedAgain(t *testing.T) {
	t.Parallel()
	b := newBed(t, newMachine(t)).start()
	b.create("alpha", spec(2))
	master := b.ready("alpha").Status.Master
	replica := wire.ClusterName("alpha").Member(1)
	if master == replica {
		t.Fatalf("the first master is %s", master)
	}
	before := b.runID(b.member(replica))
	b.kill(b.at(b.member(replica)))
	eventually(t, 10*time.Second, func() error {
		if now := b.runID(b.member(replica)); now == "" || now == before {
			return fmt.Errorf("run ID is %q, was %q: %s", now, before, b.store.cluster("alpha").Status.Reason)
		}
		return nil
	})
	if row := b.ready("alpha"); row.Status.Master != master {
		t.Errorf("master is %s, want %s still", row.Status.Master, master)
	}
}

// runID tells one start of a member's Redis from the next; empty when it does
// not answer.
func (b *bed) runID(i wire.Instance) string {
	info := b.at(i).Info(b.t.Context(), "server").Val()
	_, rest, _ := strings.Cut(info, "run_id:")
	id, _, _ := strings.Cut(rest, "\r\n")
	return id
}

func TestScalingKeepsTheData(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	b := newBed(t, m).start()
	quick := spec(3)
	// A Sentinel that failed over waits this long for replicas that have left.
	quick.FailoverTimeout = 3000
	b.create("alpha", quick)
	ctx := context.Background()
	first := b.ready("alpha").Status.Master
	if err := b.at(b.member(first)).Set(ctx, "key", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	b.scale("alpha", 4, 3)
	b.expectMembers("alpha", 4, 3)

	b.makeMaster("alpha", wire.ClusterName("alpha").Member(3))
	old := b.at(b.member(b.store.cluster("alpha").Status.Master))
	acknowledged := make(chan int64, 1)
	go func() {
		last := int64(0)
		for {
			n, err := old.Incr(ctx, "count").Result()
			if err != nil {
				acknowledged <- last
				return
			}
			last = n
		}
	}()
	began := time.Now()
	b.scale("alpha", 2, 2)
	t.Logf("4 to 2 with the master leaving took %s", time.Since(began))
	b.expectMembers("alpha", 2, 2)
	master := b.store.cluster("alpha").Status.Master
	if got, err := b.at(b.member(master)).Get(ctx, "key").Result(); err != nil || got != "value" {
		t.Errorf("key on the new master %s: %q (%v), want %q", master, got, err, "value")
	}
	last := <-acknowledged
	if got, err := b.at(b.member(master)).Get(ctx, "count").Int64(); err != nil || last == 0 || got < last {
		t.Errorf("count is %d (%v) after the master handed over, %d were acknowledged", got, err, last)
	}
	if n := len(m.processes()); n != 4 {
		t.Errorf("%d processes run, want 4", n)
	}
}

// scale changes the replicas and waits until that is brought about.
func (b *bed) scale(name wire.ClusterName, replicas, quorum int) {
	b.t.Helper()
	b.store.must(b.t, state.UpdateCluster{Name: name, UpdateCluster: wire.UpdateCluster{Replicas: &replicas, Quorum: &quorum}})
	b.ready(name)
}

// expectMembers checks the store, and waits until every Sentinel knows exactly
// the members that there are.
func (b *bed) expectMembers(name wire.ClusterName, n, quorum int) {
	b.t.Helper()
	rows := b.store.View().InstancesOf(name)
	if len(rows) != n {
		b.t.Fatalf("%d members in the store, want %d", len(rows), n)
	}
	sentinels := sentinel.New(sentinel.Config{Password: password})
	defer sentinels.Close()
	var at []wire.Endpoint
	for _, row := range rows {
		at = append(at, wire.Endpoint{Host: row.Host, Port: row.SentinelPort})
	}
	eventually(b.t, time.Minute, func() error {
		for i, r := range sentinels.Ask(b.t.Context(), at) {
			if r.Err != nil || r.Others != n-1 || len(r.Replicas) != n-1 || r.Quorum != quorum {
				return fmt.Errorf("Sentinel %d knows %d others and %d replicas, quorum %d (%v)", i, r.Others, len(r.Replicas), r.Quorum, r.Err)
			}
		}
		return nil
	})
}

// makeMaster has Sentinel prefer a member, and kills the master.
func (b *bed) makeMaster(name wire.ClusterName, heir wire.FrameDBID) {
	b.t.Helper()
	if err := b.at(b.member(heir)).ConfigSet(b.t.Context(), "replica-priority", "1").Err(); err != nil {
		b.t.Fatal(err)
	}
	sentinels := sentinel.New(sentinel.Config{Password: password})
	defer sentinels.Close()
	preferred := func(r sentinel.Replica) bool { return r.Port == b.member(heir).Port && r.Priority == 1 }
	eventually(b.t, 20*time.Second, func() error {
		for _, row := range b.store.View().InstancesOf(name) {
			r := sentinels.Ask(b.t.Context(), []wire.Endpoint{{Host: row.Host, Port: row.SentinelPort}})[0]
			if !slices.ContainsFunc(r.Replicas, preferred) {
				return fmt.Errorf("the Sentinel of %s has not read the priority (%v)", row.ID, r.Err)
			}
		}
		return nil
	})
	b.kill(b.at(b.member(b.store.cluster(name).Status.Master)))
	eventually(b.t, 20*time.Second, func() error {
		if now := b.store.cluster(name).Status; now.Master != heir || now.Phase != wire.PhaseReady {
			return fmt.Errorf("master is %s: %s", now.Master, now.Reason)
		}
		return nil
	})
}

func TestRemoveLeavesNothing(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	b := newBed(t, m).start()
	b.create("alpha", spec(3))
	b.ready("alpha")
	b.store.must(t, state.RemoveCluster{Name: "alpha"})
	eventually(t, 10*time.Second, func() error {
		if row := b.store.cluster("alpha"); row.Name != "" {
			return fmt.Errorf("the cluster is still in the store: %+v", row.Status)
		}
		return nil
	})
	if left := m.processes(); len(left) > 0 {
		t.Errorf("processes %v still run", left)
	}
	for _, dir := range []string{m.cfg.Dir, m.SocketDir()} {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s has %v (%v)", dir, left, err)
		}
	}
	if rows := b.store.View().Instances(); len(rows) > 0 {
		t.Errorf("%d instances are left in the store", len(rows))
	}
}

func TestRestartedAgentAdopts(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	b := newBed(t, m).start()
	b.create("alpha", spec(3))
	b.ready("alpha")
	before := fmt.Sprint(m.processes())
	b.stop()
	m.Close(context.Background())
	m.open()
	b.driver = m
	b.start()
	if err := b.SynchronizeCluster(t.Context(), "alpha"); err != nil {
		t.Fatal(err)
	}
	b.ready("alpha")
	if after := fmt.Sprint(m.processes()); after != before {
		t.Errorf("processes %s became %s", before, after)
	}
}

func TestSynchronizeImportsWhatRuns(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	b := newBed(t, m).start()
	if err := m.Apply(t.Context(), "found", spec(2)); err != nil {
		t.Fatal(err)
	}
	names, err := b.Synchronize(t.Context(), false)
	if err != nil || !slices.Equal(names, []wire.ClusterName{"found"}) {
		t.Fatalf("names %v (%v)", names, err)
	}
	if row := b.store.cluster("found"); row.Name != "" {
		t.Fatal("a listing alone imported a cluster")
	}
	if err := b.SynchronizeCluster(t.Context(), "nowhere"); !errors.Is(err, wire.ErrNotFound) {
		t.Errorf("an unknown cluster: %v, want ErrNotFound", err)
	}
	if _, err := b.Synchronize(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if n := len(b.store.View().InstancesOf("found")); n != 2 {
		t.Errorf("%d members are stored when Synchronize returns, want 2", n)
	}
	b.ready("found")
}

func TestTagMovesToTheNextCluster(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	b := newBed(t, m).start()
	b.create("beta", spec(1))
	b.ready("beta")
	b.expectTag(m, "beta")
	b.create("alpha", spec(1))
	b.ready("alpha")
	b.expectTag(m, "alpha")
	b.store.must(t, state.RemoveCluster{Name: "alpha"})
	b.expectTag(m, "beta")
	b.store.must(t, state.RemoveCluster{Name: "beta"})
	b.expectNoTag(m)
}

func (b *bed) tagSocket(m *machine) string {
	return filepath.Join(m.SocketDir(), string(tag)+".sock")
}

func (b *bed) expectTag(m *machine, name wire.ClusterName) {
	b.t.Helper()
	want := string(name.Member(0)) + ".sock"
	eventually(b.t, 10*time.Second, func() error {
		if got, err := os.Readlink(b.tagSocket(m)); got != want {
			return fmt.Errorf("the tag leads to %q (%v), want %q", got, err, want)
		}
		return nil
	})
}

func TestRedisGauges(t *testing.T) {
	t.Parallel()
	b := newBed(t, newMachine(t)).start()
	s := spec(2)
	s.EnableMetrics = true
	b.create("alpha", s)
	b.create("beta", spec(1))
	b.ready("alpha")
	b.ready("beta")
	families, err := b.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if m.GetGauge() != nil {
				got[f.GetName()] = append(got[f.GetName()], m.GetGauge().GetValue())
			}
		}
	}
	for name, want := range map[string][]float64{"framedb_redis_up": {1, 1}, "framedb_redis_master": {1, 0}, "framedb_redis_keys": {0, 0}} {
		if !slices.Equal(got[name], want) {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if memory := got["framedb_redis_used_memory_bytes"]; len(memory) != 2 || memory[0] == 0 {
		t.Errorf("used memory is %v", memory)
	}
}

// TestDeletedSocketsAreMadeAnew has every member start anew, the master by
// handing over, while a writer goes on.
func TestDeletedSocketsAreMadeAnew(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	b := newBed(t, m).start()
	b.create("alpha", spec(2))
	before := b.ready("alpha").Status.Master
	members := []*redis.Client{b.at(b.member("alpha-redis-node-0")), b.at(b.member("alpha-redis-node-1"))}
	sockets, err := filepath.Glob(filepath.Join(m.cfg.SocketDir, "alpha-*"))
	if err != nil || len(sockets) != 2 {
		t.Fatalf("sockets are %v, %v", sockets, err)
	}
	for _, path := range sockets {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	acked := 0
	eventually(t, 40*time.Second, func() error {
		row := b.store.cluster("alpha")
		for _, member := range members { // a replica refuses
			if member.Set(t.Context(), fmt.Sprint("key-", acked), "x", 0).Err() == nil {
				acked++
			}
		}
		if row.Status.Master == before || row.Status.Phase != wire.PhaseReady {
			return fmt.Errorf("master is %s, phase %s: %s", row.Status.Master, row.Status.Phase, row.Status.Reason)
		}
		return nil
	})
	for _, path := range sockets {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	master := b.at(b.member(b.store.cluster("alpha").Status.Master))
	if n, err := master.DBSize(context.Background()).Result(); err != nil || int(n) < acked {
		t.Errorf("the master has %d keys, %v; %d were acknowledged", n, err, acked)
	}
}
