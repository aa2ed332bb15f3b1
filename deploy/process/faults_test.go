package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
	"github.com/framedb/framedb/deploy/process"
)

// occupy listens where a server should.
func occupy(t *testing.T, p deploy.Process) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", p.Host, p.Port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestPortTakenMeanwhile(t *testing.T) {
	b := newBed(t)
	members := b.create("alpha", slow(2))
	b.kill("alpha", members[1].Redis)
	foreign := occupy(t, members[1].Redis)
	err := b.Apply(b.ctx, "alpha", slow(2))
	if !errors.Is(err, wire.ErrUnavailable) {
		t.Errorf("apply: %v", err)
	}
	m := b.observe("alpha")[1]
	for _, want := range []string{fmt.Sprintf("port %d", members[1].Redis.Port), "taken by another program", "ss -ltnp"} {
		if m.Redis.Running || !strings.Contains(m.Redis.Reason, want) {
			t.Errorf("reason %q lacks %q", m.Redis.Reason, want)
		}
	}
	foreign.Close()
	b.apply("alpha", slow(2))
	b.synced("alpha", 2)
}

func TestNewMembersPassOverTakenPorts(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	base := taken.Addr().(*net.TCPAddr).Port
	b := newBed(t, func(c *process.Config) { c.AnyPort, c.BasePort, c.BaseSentinelPort = false, base, base })
	m := b.create("alpha", slow(1))[0]
	if m.Redis.Port <= base || m.Sentinel.Port <= m.Redis.Port {
		t.Errorf("ports %d and %d, with %d taken", m.Redis.Port, m.Sentinel.Port, base)
	}
}

// TestForeignProcessGetsNoSignal puts a foreign pid where a server's was: in a
// pid file of an earlier boot or of an earlier process.
func TestForeignProcessGetsNoSignal(t *testing.T) {
	b := newBed(t)
	b.create("alpha", slow(1))
	b.killEverything("alpha")
	foreign := exec.CommandContext(b.ctx, "sleep", "100")
	if err := foreign.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- foreign.Wait() }()
	pidFile := filepath.Join(b.cfg.Dir, "alpha", "0", "redis.pid")
	var id map[string]any
	content, err := os.ReadFile(pidFile)
	if err != nil || json.Unmarshal(content, &id) != nil {
		t.Fatalf("%s: %s, %v", pidFile, content, err)
	}
	id["pid"] = foreign.Process.Pid
	for _, boot := range []any{id["boot_id"], "00000000-0000-0000-0000-000000000000"} {
		id["boot_id"] = boot
		content, _ = json.Marshal(id)
		if err := os.WriteFile(pidFile, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if b.observe("alpha")[0].Redis.Running {
			t.Error("a foreign process is reported as the member")
		}
		if err := b.Remove(b.ctx, "alpha"); err != nil {
			t.Fatal(err)
		}
		b.create("alpha", slow(1))
		b.killEverything("alpha")
	}
	select {
	case err := <-ended:
		t.Errorf("the foreign process ended: %v", err)
	default:
		foreign.Process.Kill()
		<-ended
	}
}

// TestInterruptedStart: the driver died after the fork, before it could note
// the pid.
func TestInterruptedStart(t *testing.T) {
	b := newBed(t)
	b.create("alpha", slow(2))
	before := b.pids("alpha")
	for _, file := range []string{"0/redis.pid", "0/sentinel.pid", "1/redis.pid"} {
		if err := os.WriteFile(filepath.Join(b.cfg.Dir, "alpha", file), []byte(`{"pid":0}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// This one was lost altogether.
	if err := os.Remove(filepath.Join(b.cfg.Dir, "alpha", "1", "sentinel.pid")); err != nil {
		t.Fatal(err)
	}
	b.open()
	b.apply("alpha", slow(2))
	if after := b.pids("alpha"); !maps.Equal(before, after) {
		t.Errorf("pids were %v and are %v", before, after)
	}
	if n := len(b.processes()); n != 4 {
		t.Errorf("%d processes run, want 4", n)
	}
	// And when the fork had not happened, it happens now.
	b.kill("alpha", b.observe("alpha")[1].Redis)
	if err := os.WriteFile(filepath.Join(b.cfg.Dir, "alpha", "1", "redis.pid"), []byte(`{"pid":0}`), 0o600); err != nil {
		t.Fatal(err)
	}
	b.create("alpha", slow(2))
}

func TestHalfDoneCreate(t *testing.T) {
	b := newBed(t)
	b.create("alpha", slow(3))
	b.killEverything("alpha")
	// As far as the first Apply had come: the spec and one member's ports.
	dir := filepath.Join(b.cfg.Dir, "alpha")
	for _, name := range []string{"born", "1", "2"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if d, err := b.Observe(b.ctx, "alpha"); err != nil || !d.Exists || len(d.Members) != 1 {
		t.Errorf("observe: %+v, %v", d, err)
	}
	b.create("alpha", slow(3))
	if err := os.Remove(filepath.Join(dir, "born")); err != nil {
		t.Fatal(err)
	}
	b.apply("alpha", slow(3))
	if err := b.Remove(b.ctx, "alpha"); err != nil || len(b.processes()) != 0 {
		t.Errorf("remove: %v, and %v run", err, b.processes())
	}

	// Only the directory was made, or a Remove was cut off.
	for _, left := range []string{"alpha", ".removed-beta"} {
		if err := os.MkdirAll(filepath.Join(b.cfg.Dir, left, "0"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	b.open()
	if found, err := b.List(b.ctx); err != nil || len(found) != 0 {
		t.Errorf("list: %v, %v", found, err)
	}
	if err := b.Remove(b.ctx, "alpha"); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(b.cfg.Dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestDiskFull(t *testing.T) {
	b := newBed(t)
	b.create("alpha", slow(1))
	// Real ENOSPC: the file that is to be written leads to /dev/full.
	full := func(path string) {
		t.Helper()
		if err := os.Symlink("/dev/full", filepath.Join(b.cfg.Dir, path+".new")); err != nil {
			t.Fatal(err)
		}
	}
	cases := []struct {
		file string
		do   func()
	}{
		{"alpha/spec.json", func() {}},
		{"alpha/0/redis.conf", func() { b.kill("alpha", b.observe("alpha")[0].Redis) }},
		{"alpha/0/sentinel.pid", func() { b.kill("alpha", b.observe("alpha")[0].Sentinel) }},
	}
	s := slow(1)
	for i, c := range cases {
		c.do()
		full(c.file)
		s.Quorum, s.MaxMemory = 1, int64(i+1)<<30
		err := b.Apply(b.ctx, "alpha", s)
		if !errors.Is(err, wire.ErrDiskFull) || !strings.Contains(err.Error(), "free some there") || !strings.Contains(err.Error(), b.cfg.Dir) {
			t.Errorf("%s: %v", c.file, err)
		}
		b.create("alpha", s)
	}
	if n := len(b.processes()); n != 2 {
		t.Errorf("%d processes run, want 2", n)
	}
}

// brokenRedis is a program that is asked for its version and else fails.
func brokenRedis(t *testing.T, version, complaint string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "redis-server")
	script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = --version ] && echo 'Redis server v=%s sha=0' && exit 0\necho '%s' >&2\nexit 3\n", version, complaint)
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestServerThatEndsAtItsStart(t *testing.T) {
	broken := brokenRedis(t, "7.0.15", "Fatal: no luck")
	b := newBed(t, func(c *process.Config) { c.RedisServer = broken })
	err := b.Apply(b.ctx, "alpha", slow(2))
	for _, want := range []string{"alpha-redis-node-0", "status 3", "Fatal: no luck", "redis.log"} {
		if !errors.Is(err, wire.ErrUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
	members := b.observe("alpha")
	if !strings.Contains(members[0].Redis.Reason, "no luck") || !strings.Contains(members[1].Redis.Reason, "to start first") {
		t.Errorf("members are %+v", members)
	}
	// With the remedy it goes on from there.
	b.cfg.RedisServer = ""
	b.open()
	b.create("alpha", slow(2))
}

func TestRefusedNamesChangeNothing(t *testing.T) {
	b := newBed(t)
	for _, name := range []wire.ClusterName{"", "../x", "Alpha", wire.ClusterName(strings.Repeat("a", 300))} {
		_, observed := b.Observe(b.ctx, name)
		for what, err := range map[string]error{"apply": b.Apply(b.ctx, name, slow(1)), "remove": b.Remove(b.ctx, name), "observe": observed} {
			if !errors.Is(err, wire.ErrInvalidArgument) {
				t.Errorf("%s %q: %v", what, name, err)
			}
		}
	}
	if err := b.Apply(b.ctx, "alpha", wire.ClusterSpec{}); !errors.Is(err, wire.ErrInvalidArgument) {
		t.Errorf("apply an empty spec: %v", err)
	}
	if left, err := os.ReadDir(b.cfg.Dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// envApply makes this test program apply a cluster and be killed on the way.
const envApply = "FRAMEDB_TEST_APPLY"

// TestDriverKilledAnywhere kills the program of a driver at many moments of
// an Apply and of a Remove; the next driver brings both to their end, with no
// process twice and none forgotten.
func TestDriverKilledAnywhere(t *testing.T) {
	b := newBed(t, func(c *process.Config) { c.DieWithParent = false })
	for i := range 12 {
		b.killedDuring("apply", time.Duration(i*12)*time.Millisecond)
		b.open()
		b.create("alpha", slow(3))
		if n := len(b.processes()); n != 6 {
			t.Fatalf("killed after %d ms: %d processes, want 6", i*12, n)
		}
		b.killedDuring("remove", time.Duration(i*4)*time.Millisecond)
		b.open()
		if err := b.Remove(b.ctx, "alpha"); err != nil {
			t.Fatal(err)
		}
		left, err := os.ReadDir(b.cfg.Dir)
		if n := len(b.processes()); n != 0 || len(left) != 0 || err != nil {
			t.Fatalf("killed after %d ms: %d processes, %v, %v are left", i*4, n, left, err)
		}
	}
}

func (b *bed) killedDuring(what string, after time.Duration) {
	b.t.Helper()
	program, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	cfg, err := json.Marshal(map[string]string{"what": what, "dir": b.cfg.Dir, "sockets": b.cfg.SocketDir})
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.CommandContext(b.ctx, program)
	cmd.Env = append(os.Environ(), envApply+"="+string(cfg))
	ready, err := cmd.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	ready.Read(make([]byte, 1)) // it says when it begins
	<-time.After(after)
	cmd.Process.Kill()
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		b.t.Fatal(err)
	}
}

// applyInChild is the program that is killed.
func applyInChild(arguments string) error {
	var args map[string]string
	if err := json.Unmarshal([]byte(arguments), &args); err != nil {
		return err
	}
	d, err := process.New(process.Config{Dir: args["dir"], SocketDir: args["sockets"], Password: password, AnyPort: true})
	if err != nil {
		return err
	}
	fmt.Print(".")
	switch args["what"] {
	case "remove":
		return d.Remove(context.Background(), "alpha")
	case "apply storage":
		return d.ApplyStorage(context.Background(), disk, storageSpec(), secret("first"))
	case "remove storage":
		return d.RemoveStorage(context.Background(), disk)
	}
	return d.Apply(context.Background(), "alpha", slow(3))
}

func TestServeTag(t *testing.T) {
	b := newBed(t)
	link := filepath.Join(b.cfg.SocketDir, "Rack_7.b.sock")
	members := b.create("alpha", slow(2))
	for _, m := range append(members, members[0]) {
		if err := b.ServeTag(b.ctx, "Rack_7.b", m.ID); err != nil {
			t.Fatal(err)
		}
		if target, err := filepath.EvalSymlinks(link); err != nil || target != m.Redis.Socket {
			t.Errorf("the link leads to %s, %v", target, err)
		}
	}
	if conn, err := net.Dial("unix", link); err != nil {
		t.Error(err)
	} else {
		conn.Close()
	}
	for range 2 {
		if err := b.ServeTag(b.ctx, "Rack_7.b", ""); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(link); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the link is there still: %v", err)
		}
	}
	agent, err := net.Listen("unix", filepath.Join(b.cfg.SocketDir, "agent.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer agent.Close()
	for tag, want := range map[wire.NodeTag]error{
		"alpha-redis-node-0":                    wire.ErrInvalidArgument, // a member's own socket
		"beta-redis-node-7":                     wire.ErrInvalidArgument, // one that may come
		"../x":                                  wire.ErrInvalidArgument,
		"":                                      wire.ErrInvalidArgument,
		"agent":                                 wire.ErrConflict,
		wire.NodeTag(strings.Repeat("t", 63)):   nil,
		wire.NodeTag("alpha-redis-node-00"):     nil,
		wire.NodeTag("Alpha.redis-node-0.sock"): nil,
	} {
		for _, member := range []wire.FrameDBID{members[0].ID, ""} {
			if err := b.ServeTag(b.ctx, tag, member); !errors.Is(err, want) {
				t.Errorf("tag %q, member %q: %v, want %v", tag, member, err, want)
			}
		}
	}
	b.synced("alpha", 2)
	if info, err := os.Lstat(members[0].Redis.Socket); err != nil || info.Mode().Type() != fs.ModeSocket {
		t.Errorf("the member's socket is %v, %v", info, err)
	}
}
