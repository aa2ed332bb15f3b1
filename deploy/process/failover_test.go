package process_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

func TestKilledReplicaComesBackAsReplica(t *testing.T) {
	b := newBed(t)
	members := b.create("alpha", spec(3))
	pid := b.pid(members[2].Redis)
	b.kill("alpha", members[2].Redis)
	if reason := b.observe("alpha")[2].Redis.Reason; !strings.Contains(reason, "killed by signal 9") {
		t.Errorf("reason is %q", reason)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the killed process is still in the table: %v", err)
	}
	b.apply("alpha", spec(3))
	if m := b.synced("alpha", 3); m.Ordinal != 0 {
		t.Errorf("%s is the master now", m.ID)
	}
	after := b.observe("alpha")
	if after[2].Redis.Port != members[2].Redis.Port {
		t.Errorf("the port changed from %d to %d", members[2].Redis.Port, after[2].Redis.Port)
	}
}

// TestKilledMasterNeverWipesItsReplicas kills it as soon as it has data, when
// the Sentinels had no time yet to find the replicas by themselves.
func TestKilledMasterNeverWipesItsReplicas(t *testing.T) {
	b := newBed(t)
	members := b.create("alpha", spec(3))
	b.do(members[0].Redis, "SET", "frame", "content")
	b.hasFrame(members)
	b.kill("alpha", members[0].Redis)
	b.apply("alpha", spec(3))
	if m := b.observe("alpha")[0]; m.Redis.Running || !strings.Contains(m.Redis.Reason, "promote") {
		t.Fatalf("right after its death the master runs or waits for something else: %+v", m.Redis)
	}
	b.eventually(func() error {
		b.apply("alpha", spec(3))
		if m := b.observe("alpha")[0]; !m.Redis.Running {
			return errors.New(m.Redis.Reason)
		}
		return nil
	})
	if m := b.synced("alpha", 3); m.Ordinal == 0 {
		t.Error("member 0 is master again")
	}
	for _, m := range b.observe("alpha") {
		if got := b.do(m.Redis, "GET", "frame"); got != "content" {
			t.Errorf("%s has %q", m.ID, got)
		}
	}
}

// hasFrame waits until all members have the key "frame".
func (b *bed) hasFrame(members []deploy.Member) {
	b.t.Helper()
	b.eventually(func() error {
		for _, m := range members {
			if got, err := b.ask(m.Redis, "GET", "frame"); got != "content" {
				return fmt.Errorf("%s has %q, %v", m.ID, got, err)
			}
		}
		return nil
	})
}

// TestMasterAndSentinelsDieTogether: the Sentinels that start then have nobody
// to ask for the replicas.
func TestMasterAndSentinelsDieTogether(t *testing.T) {
	b := newBed(t)
	members := b.create("alpha", spec(3))
	b.do(members[0].Redis, "SET", "frame", "content")
	b.hasFrame(members)
	b.kill("alpha", members[0].Redis, members[0].Sentinel, members[1].Sentinel, members[2].Sentinel)
	b.eventually(func() error {
		b.apply("alpha", spec(3))
		if m := b.observe("alpha")[0]; !m.Redis.Running {
			return errors.New(m.Redis.Reason)
		}
		return nil
	})
	if m := b.synced("alpha", 3); m.Ordinal == 0 || b.do(m.Redis, "GET", "frame") != "content" {
		t.Errorf("%s is master, with the frame or without", m.ID)
	}
}

// killEverything kills all processes of a cluster.
func (b *bed) killEverything(name wire.ClusterName) {
	b.t.Helper()
	var all []int
	for _, pid := range b.pids(name) {
		all = append(all, pid)
	}
	for _, pid := range all {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			b.t.Fatal(err)
		}
	}
	b.eventually(func() error {
		for _, m := range b.observe(name) {
			if m.Redis.Running || m.Sentinel.Running {
				return fmt.Errorf("%+v still runs", m)
			}
		}
		return nil
	})
}

func TestComesBackWhenEverythingDied(t *testing.T) {
	b := newBed(t)
	members := b.create("alpha", spec(3))
	// Member 1 is master when all die, and is again afterwards.
	b.do(members[0].Redis, "CONFIG", "SET", "replica-priority", "0")
	b.do(members[2].Redis, "CONFIG", "SET", "replica-priority", "0")
	b.failover("alpha", 1)
	b.do(b.observe("alpha")[1].Redis, "SET", "frame", "content")
	ids, epochs := b.sentinelIDs("alpha"), b.epochs("alpha")
	b.killEverything("alpha")
	b.open()
	b.apply("alpha", slow(3))
	if m := b.synced("alpha", 3); m.Ordinal != 1 {
		t.Errorf("%s is the master, want member 1", m.ID)
	}
	if after := b.sentinelIDs("alpha"); !maps.Equal(ids, after) {
		t.Errorf("the Sentinels were %v and are %v", ids, after)
	}
	if after := b.epochs("alpha"); epochs[0] == "0" || !slices.Equal(epochs, after) {
		t.Errorf("the config-epochs were %v and are %v", epochs, after)
	}
	// Without backup the frames are gone, also those that a full copy had left
	// on a replica's disk.
	for _, m := range b.observe("alpha") {
		if _, err := b.ask(m.Redis, "GET", "frame"); !errors.Is(err, redis.Nil) {
			t.Errorf("%s has the frame again, or %v", m.ID, err)
		}
	}
}

// slow is spec without a failover during the test.
func slow(replicas int) wire.ClusterSpec {
	s := spec(replicas)
	s.DownAfter = 60_000
	return s
}

func (b *bed) failover(name wire.ClusterName, to int) {
	b.t.Helper()
	b.eventually(func() error {
		members := b.observe(name)
		if role, err := b.ask(members[to].Redis, "INFO", "replication"); err != nil || strings.Contains(role, "role:master") {
			return err
		}
		_, err := b.ask(members[0].Sentinel, "SENTINEL", "FAILOVER", "mymaster")
		return fmt.Errorf("member %d is no master yet: %v", to, err)
	})
	b.synced(name, len(b.observe(name)))
	b.eventually(func() error {
		members := b.observe(name)
		for _, m := range members {
			c := client(m.Sentinel, password)
			says := fmt.Sprint(c.Do(b.ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster").Val())
			c.Close()
			if want := fmt.Sprintf("[127.0.0.1 %d]", members[to].Redis.Port); says != want {
				return fmt.Errorf("the Sentinel of %s says %s, want %s", m.ID, says, want)
			}
		}
		return nil
	})
}

// epochs are the master's config-epochs as the Sentinels have them.
func (b *bed) epochs(name wire.ClusterName) []string {
	b.t.Helper()
	var epochs []string
	for _, m := range b.observe(name) {
		c := client(m.Sentinel, password)
		_, rest, _ := strings.Cut(fmt.Sprint(c.Do(b.ctx, "SENTINEL", "MASTER", "mymaster").Val()), "config-epoch ")
		c.Close()
		epoch, _, _ := strings.Cut(rest, " ")
		epochs = append(epochs, epoch)
	}
	return epochs
}

func (b *bed) sentinelIDs(name wire.ClusterName) map[string]bool {
	b.t.Helper()
	ids := map[string]bool{}
	for _, m := range b.observe(name) {
		ids[b.do(m.Sentinel, "SENTINEL", "MYID")] = true
	}
	if len(ids) != len(b.observe(name)) {
		b.t.Errorf("the Sentinels' IDs are %v", ids)
	}
	return ids
}

func TestBackupKeepsFramesWhenEverythingDied(t *testing.T) {
	b := newBed(t)
	s := slow(3)
	s.Backup = true
	members := b.create("alpha", s)
	b.do(members[0].Redis, "SET", "frame", "content")
	b.eventually(func() error {
		info := b.do(members[0].Redis, "INFO", "persistence")
		if !strings.Contains(info, "aof_pending_bio_fsync:0") || !strings.Contains(info, "aof_enabled:1") {
			return errors.New(info)
		}
		return nil
	})
	b.killEverything("alpha")
	b.apply("alpha", s)
	b.synced("alpha", 3)
	for _, m := range b.observe("alpha") {
		if got := b.do(m.Redis, "GET", "frame"); got != "content" {
			t.Errorf("%s has %q", m.ID, got)
		}
	}
}

func TestLeavingMasterStaysUntilAnotherIsPromoted(t *testing.T) {
	b := newBed(t)
	b.create("alpha", slow(2))
	b.failover("alpha", 1)
	b.apply("alpha", slow(1))
	members := b.observe("alpha")
	if len(members) != 2 || !members[1].Redis.Running || !strings.Contains(members[1].Redis.Reason, "still the master") {
		t.Fatalf("the leaving master: %+v", members)
	}
	b.killEverything("alpha")
	b.apply("alpha", slow(1)) // nobody but the leaving master may start first
	b.synced("alpha", 2)
	b.failover("alpha", 0)
	b.apply("alpha", slow(1))
	if members := b.observe("alpha"); len(members) != 1 || members[0].Redis.Reason != "" {
		t.Errorf("after the failover: %+v", members)
	}
	b.synced("alpha", 1)
}

func TestHoldsWhenNobodyKnowsTheMaster(t *testing.T) {
	b := newBed(t)
	b.create("alpha", slow(2))
	b.killEverything("alpha")
	for i := range 2 {
		if err := os.Remove(filepath.Join(b.cfg.Dir, "alpha", fmt.Sprint(i), "sentinel.conf")); err != nil {
			t.Fatal(err)
		}
	}
	b.apply("alpha", slow(2))
	for _, m := range b.observe("alpha") {
		for _, p := range []struct {
			running bool
			reason  string
		}{{m.Redis.Running, m.Redis.Reason}, {m.Sentinel.Running, m.Sentinel.Reason}} {
			if p.running || !strings.Contains(p.reason, "could be asked") {
				t.Errorf("%s: %+v", m.ID, p)
			}
		}
	}
}

func TestLostSentinelIsToldByTheOthers(t *testing.T) {
	b := newBed(t)
	members := b.create("alpha", spec(3))
	b.do(members[1].Redis, "CONFIG", "SET", "replica-priority", "0")
	b.failover("alpha", 2)
	b.kill("alpha", members[1].Sentinel)
	if err := os.Remove(filepath.Join(b.cfg.Dir, "alpha", "1", "sentinel.conf")); err != nil {
		t.Fatal(err)
	}
	b.apply("alpha", spec(3))
	master := b.synced("alpha", 3)
	if got := fmt.Sprint(b.sentinelMaster(1)); !strings.Contains(got, fmt.Sprint(master.Redis.Port)) {
		t.Errorf("the new Sentinel names %s, want port %d", got, master.Redis.Port)
	}
	if epochs := b.epochs("alpha"); epochs[0] == "0" || epochs[1] != epochs[0] {
		t.Errorf("the config-epochs are %v", epochs)
	}
}
