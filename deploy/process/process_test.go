package process_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy/process"
)

func TestCreateThenRemove(t *testing.T) {
	b := newBed(t)
	if d, err := b.Observe(b.ctx, "alpha"); err != nil || d.Exists {
		t.Fatalf("before: %+v, %v", d, err)
	}
	members := b.create("alpha", spec(3))
	for i, m := range members {
		want := fmt.Sprintf("alpha-redis-node-%d", i)
		if string(m.ID) != want || m.Ordinal != i || m.Node != "node-1" || m.Redis.Host != "127.0.0.1" {
			t.Errorf("member %d is %+v", i, m)
		}
		if m.Redis.Socket != filepath.Join(b.cfg.SocketDir, want+".sock") || m.Redis.Reason != "" || m.Sentinel.Reason != "" {
			t.Errorf("member %d is %+v", i, m)
		}
		info, err := os.Stat(m.Redis.Socket)
		if err != nil || info.Mode().Perm() != 0o777 {
			t.Errorf("socket: %v, %v", info, err)
		}
	}
	found, err := b.List(b.ctx)
	if err != nil || len(found) != 1 || found[0].Name != "alpha" || !reflect.DeepEqual(found[0].Spec, spec(3)) {
		t.Errorf("list: %+v, %v", found, err)
	}
	if err := b.ServeTag(b.ctx, "node-1", members[0].ID); err != nil {
		t.Fatal(err)
	}

	for range 2 {
		if err := b.Remove(b.ctx, "alpha"); err != nil {
			t.Fatal(err)
		}
	}
	if left := b.processes(); len(left) != 0 {
		t.Errorf("processes %v are left", left)
	}
	for _, dir := range []string{b.cfg.Dir, b.cfg.SocketDir} {
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("%s holds %v, %v", dir, left, err)
		}
	}
	if d, err := b.Observe(b.ctx, "alpha"); err != nil || d.Exists {
		t.Errorf("after: %+v, %v", d, err)
	}
}

func TestServersAreSetUpAsAsked(t *testing.T) {
	b := newBed(t)
	s := spec(2)
	s.MaxMemory, s.MaxMemoryPolicy, s.ParallelSyncs = 64<<20, "allkeys-lru", 2
	members := b.create("alpha", s)
	for _, m := range members {
		want := map[string]string{
			"maxmemory": "67108864", "maxmemory-policy": "allkeys-lru", "appendonly": "no", "save": "",
			"repl-backlog-size": "16777216", "repl-diskless-sync": "yes", "repl-diskless-sync-delay": "0", "databases": "16",
		}
		c := client(m.Redis, password)
		defer c.Close()
		for directive, value := range want {
			if got := c.ConfigGet(b.ctx, directive).Val()[directive]; got != value {
				t.Errorf("%s: %s is %q, want %q", m.ID, directive, got, value)
			}
		}
		for _, forbidden := range []string{"FLUSHALL", "FLUSHDB"} {
			if err := c.Do(b.ctx, forbidden).Err(); err == nil || !strings.Contains(err.Error(), "unknown command") {
				t.Errorf("%s: %v", forbidden, err)
			}
		}
		sentinel := client(m.Sentinel, password)
		defer sentinel.Close()
		// SENTINEL answers in RESP2 with a flat list of names and values.
		said := fmt.Sprint(sentinel.Do(b.ctx, "SENTINEL", "MASTER", "mymaster").Val())
		for _, want := range []string{"num-slaves 1", "num-other-sentinels 1", "quorum 2", "down-after-milliseconds 1500",
			"failover-timeout 3000", "parallel-syncs 2", fmt.Sprintf("port %d", members[0].Redis.Port)} {
			if !strings.Contains(said, want) {
				t.Errorf("the Sentinel of %s says %s, want %s", m.ID, said, want)
			}
		}
	}
}

func TestOnlyThoseWhoKnowThePasswordComeIn(t *testing.T) {
	b := newBed(t)
	m := b.create("alpha", spec(1))[0]
	for _, p := range []struct {
		name string
		ask  func(password string) error
	}{
		{"Redis", func(pw string) error { c := client(m.Redis, pw); defer c.Close(); return c.Get(b.ctx, "x").Err() }},
		{"Sentinel", func(pw string) error { c := client(m.Sentinel, pw); defer c.Close(); return c.Ping(b.ctx).Err() }},
	} {
		if err := p.ask(""); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
			t.Errorf("%s without a password: %v", p.name, err)
		}
		if err := p.ask("wrong"); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
			t.Errorf("%s with a wrong password: %v", p.name, err)
		}
	}
	for _, pid := range b.processes() {
		for _, of := range []string{"cmdline", "environ"} {
			if said, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, of)); err != nil || bytes.Contains(said, []byte(password)) {
				t.Errorf("%s of process %d tells the password, or %v", of, pid, err)
			}
		}
	}
	filepath.WalkDir(b.cfg.Dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			t.Error(err)
		} else if info, err := e.Info(); err != nil || info.Mode().Perm()&0o077 != 0 && strings.HasSuffix(path, ".conf") {
			t.Errorf("%s has mode %v, %v", path, info.Mode(), err)
		}
		return nil
	})
}

func TestNextDriverTakesOver(t *testing.T) {
	b := newBed(t)
	b.create("alpha", spec(3))
	before := b.pids("alpha")
	b.open()
	b.apply("alpha", spec(3))
	if after := b.pids("alpha"); !maps.Equal(before, after) {
		t.Errorf("pids were %v and are %v", before, after)
	}
	if n := len(b.processes()); n != 6 {
		t.Errorf("%d processes", n)
	}
}

func TestScale(t *testing.T) {
	b := newBed(t)
	b.create("alpha", slow(1))
	pid := b.pids("alpha")["alpha-redis-node-0"]
	b.create("alpha", slow(3))
	if got := b.pids("alpha")["alpha-redis-node-0"]; got != pid {
		t.Errorf("scaling up restarted member 0: pid %d, then %d", pid, got)
	}
	b.ServeTag(b.ctx, "node-1", "alpha-redis-node-2")
	b.create("alpha", slow(2))
	if n := len(b.processes()); n != 4 {
		t.Errorf("%d processes run, want 4", n)
	}
	for _, gone := range []string{filepath.Join(b.cfg.Dir, "alpha", "2"), filepath.Join(b.cfg.SocketDir, "alpha-redis-node-2.sock"), filepath.Join(b.cfg.SocketDir, "node-1.sock")} {
		if _, err := os.Lstat(gone); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is there still: %v", gone, err)
		}
	}
}

func TestClustersMadeAtOnceDoNotCollide(t *testing.T) {
	b := newBed(t, func(c *process.Config) { c.AnyPort, c.BasePort, c.BaseSentinelPort = false, 9000, 9000 })
	names := []wire.ClusterName{"a", "b", "c", "d"}
	var all sync.WaitGroup
	for _, name := range names {
		all.Go(func() {
			if err := b.Apply(b.ctx, name, slow(2)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	all.Wait()
	ports := map[int]string{}
	for _, name := range names {
		b.synced(name, 2)
		for _, m := range b.observe(name) {
			for _, port := range []int{m.Redis.Port, m.Sentinel.Port} {
				if other := ports[port]; other != "" || port < 9000 {
					t.Errorf("%s and %s have port %d", m.ID, other, port)
				}
				ports[port] = string(m.ID)
			}
		}
	}
	found, err := b.List(b.ctx)
	if err != nil || len(found) != 4 || found[0].Name != "a" || found[3].Name != "d" {
		t.Errorf("list: %v, %v", found, err)
	}
}

func TestStopOnClose(t *testing.T) {
	b := newBed(t, func(c *process.Config) { c.StopOnClose = true })
	members := b.create("alpha", slow(3))
	// A hung server does not hold up the end.
	if err := syscall.Kill(b.pid(members[1].Redis), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := b.Close(b.ctx); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("Close took %v", took)
	}
	if left := b.processes(); len(left) != 0 {
		t.Errorf("processes %v are left", left)
	}
	if err := b.Apply(b.ctx, "alpha", slow(3)); !errors.Is(err, wire.ErrUnavailable) {
		t.Errorf("Apply after Close: %v", err)
	}
}

func TestWaitingForTheTurnEndsWithTheContext(t *testing.T) {
	b := newBed(t)
	members := b.create("alpha", slow(1))
	if err := syscall.Kill(b.pid(members[0].Redis), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	removed := make(chan error)
	go func() { removed <- b.Remove(b.ctx, "alpha") }() // takes the grace of 5 s
	b.eventually(func() error {
		ctx, cancel := context.WithTimeout(b.ctx, 10*time.Millisecond)
		defer cancel()
		if _, err := b.Observe(ctx, "alpha"); !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("observe gives %v", err)
		}
		return nil
	})
	if err := <-removed; err != nil {
		t.Error(err)
	}
}
