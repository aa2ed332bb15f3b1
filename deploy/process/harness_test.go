package process_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.uber.org/goleak"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
	"github.com/framedb/framedb/deploy/process"
)

const password = "s3cret-of-the-test"

func TestMain(m *testing.M) {
	if arguments := os.Getenv(envApply); arguments != "" {
		if err := applyInChild(arguments); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// bed is one directory and the driver that works on it now.
type bed struct {
	*process.Driver
	t   *testing.T
	ctx context.Context
	cfg process.Config
}

func newBed(t *testing.T, change ...func(*process.Config)) *bed {
	t.Helper()
	t.Parallel()
	dir, err := os.MkdirTemp("", "f")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Second)
	b := &bed{t: t, ctx: ctx, cfg: process.Config{
		Dir: filepath.Join(dir, "data"), SocketDir: filepath.Join(dir, "s"), Password: password,
		Node: "node-1", AnyPort: true, DieWithParent: true,
	}}
	for _, c := range change {
		c(&b.cfg)
	}
	b.open()
	t.Cleanup(func() {
		defer cancel()
		b.dumpLogs()
		b.stopAll()
		os.RemoveAll(dir)
	})
	return b
}

// open makes the driver anew, as an agent that starts again does.
func (b *bed) open() {
	b.t.Helper()
	if b.Driver != nil {
		if err := b.Close(b.ctx); err != nil {
			b.t.Fatalf("close: %v", err)
		}
	}
	d, err := process.New(b.cfg)
	if err != nil {
		b.t.Fatalf("new: %v", err)
	}
	b.Driver = d
}

func (b *bed) stopAll() {
	b.Close(b.ctx)
	cfg := b.cfg
	cfg.StopOnClose = true
	d, err := process.New(cfg)
	if err != nil {
		b.t.Errorf("clean up: %v", err)
		return
	}
	if err := d.Close(context.Background()); err != nil {
		b.t.Errorf("clean up: %v", err)
	}
	if left := b.processes(); len(left) > 0 {
		b.t.Errorf("processes %v are left behind", left)
		for _, pid := range left {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func (b *bed) dumpLogs() {
	if !b.t.Failed() {
		return
	}
	logs, _ := filepath.Glob(filepath.Join(b.cfg.Dir, "*", "*", "*.log"))
	for _, path := range logs {
		content, _ := os.ReadFile(path)
		lines := strings.Split(strings.TrimSpace(string(content)), "\n")
		b.t.Logf("%s:\n%s", path, strings.Join(lines[max(0, len(lines)-25):], "\n"))
	}
}

// processes finds the running processes with the bed's directory in their
// command line, independently of the driver.
func (b *bed) processes() []int {
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		cmdline, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(cmdline), b.cfg.Dir+"/") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// spec has a failover within a few seconds.
func spec(replicas int) wire.ClusterSpec {
	s := wire.ClusterSpec{NodeTag: "node-1", Replicas: replicas, Quorum: replicas/2 + 1, DownAfter: 1500, FailoverTimeout: 3000}
	s.ApplyDefaults()
	return s
}

func (b *bed) apply(name wire.ClusterName, s wire.ClusterSpec) {
	b.t.Helper()
	if err := b.Apply(b.ctx, name, s); err != nil {
		b.t.Fatalf("apply %s: %v", name, err)
	}
}

func (b *bed) observe(name wire.ClusterName) []deploy.Member {
	b.t.Helper()
	d, err := b.Observe(b.ctx, name)
	if err != nil {
		b.t.Fatalf("observe %s: %v", name, err)
	}
	return d.Members
}

// create applies and waits until all replicas are in sync.
func (b *bed) create(name wire.ClusterName, s wire.ClusterSpec) []deploy.Member {
	b.t.Helper()
	b.apply(name, s)
	b.synced(name, s.Replicas)
	return b.observe(name)
}

// synced waits until one master has all the others as its online replicas.
func (b *bed) synced(name wire.ClusterName, replicas int) deploy.Member {
	b.t.Helper()
	var master deploy.Member
	b.eventually(func() error {
		members := b.observe(name)
		if len(members) != replicas {
			return fmt.Errorf("%d members, want %d", len(members), replicas)
		}
		masters := 0
		for _, m := range members {
			if !m.Redis.Running || !m.Sentinel.Running {
				return fmt.Errorf("%s: %q, Sentinel: %q", m.ID, m.Redis.Reason, m.Sentinel.Reason)
			}
			info, err := b.ask(m.Redis, "INFO", "replication")
			if err != nil {
				return err
			}
			if strings.Contains(info, "role:master") {
				masters++
				master = m
				if got := strings.Count(info, "state=online"); got != replicas-1 {
					return fmt.Errorf("%d replicas are online, want %d", got, replicas-1)
				}
			} else if !strings.Contains(info, "master_link_status:up") {
				return fmt.Errorf("%s has no link to its master", m.ID)
			}
		}
		if masters != 1 {
			return fmt.Errorf("%d masters", masters)
		}
		return nil
	})
	return master
}

// eventually polls until check is content.
func (b *bed) eventually(check func() error) {
	b.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			b.t.Fatalf("not within 30 s: %v", err)
		}
	}
}

// client connects by TCP; the test ends with it closed.
func client(e deploy.Process, password string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: net.JoinHostPort(e.Host, strconv.Itoa(e.Port)), Password: password, Protocol: 2, MaxRetries: -1, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		DialTimeout:              time.Second, ReadTimeout: 2 * time.Second, DialerRetries: 1,
	})
}

func (b *bed) ask(e deploy.Process, args ...any) (string, error) {
	c := client(e, password)
	defer c.Close()
	return c.Do(b.ctx, args...).Text()
}

func (b *bed) do(e deploy.Process, args ...any) string {
	b.t.Helper()
	answer, err := b.ask(e, args...)
	if err != nil {
		b.t.Fatalf("%v: %v", args, err)
	}
	return answer
}

// pid asks the server itself.
func (b *bed) pid(e deploy.Process) int {
	b.t.Helper()
	_, rest, _ := strings.Cut(b.do(e, "INFO", "server"), "process_id:")
	line, _, _ := strings.Cut(rest, "\r\n")
	pid, err := strconv.Atoi(line)
	if err != nil {
		b.t.Fatal(err)
	}
	return pid
}

func (b *bed) pids(name wire.ClusterName) map[string]int {
	b.t.Helper()
	pids := map[string]int{}
	for _, m := range b.observe(name) {
		pids[string(m.ID)] = b.pid(m.Redis)
		pids[string(m.ID)+" sentinel"] = b.pid(m.Sentinel)
	}
	return pids
}

// kill is kill -9, and waits until the driver sees it.
func (b *bed) kill(name wire.ClusterName, processes ...deploy.Process) {
	b.t.Helper()
	for _, p := range processes {
		if err := syscall.Kill(b.pid(p), syscall.SIGKILL); err != nil {
			b.t.Fatal(err)
		}
	}
	b.eventually(func() error {
		for _, m := range b.observe(name) {
			for _, p := range processes {
				if m.Redis.Port == p.Port && m.Redis.Running || m.Sentinel.Port == p.Port && m.Sentinel.Running {
					return fmt.Errorf("port %d is still reported to run", p.Port)
				}
			}
		}
		return nil
	})
}

// sentinelMaster is the address that the Sentinel of a member names.
func (b *bed) sentinelMaster(ordinal int) []any {
	b.t.Helper()
	c := client(b.observe("alpha")[ordinal].Sentinel, password)
	defer c.Close()
	says, err := c.Do(b.ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster").Slice()
	if err != nil {
		b.t.Fatal(err)
	}
	return says
}
