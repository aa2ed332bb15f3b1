package process_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

// lose removes what matches the patterns, below the directory of all clusters.
func (b *bed) lose(patterns ...string) {
	b.t.Helper()
	for _, pattern := range patterns {
		paths, err := filepath.Glob(filepath.Join(b.cfg.Dir, pattern))
		if err != nil || len(paths) == 0 {
			b.t.Fatalf("nothing to remove at %s, %v", pattern, err)
		}
		for _, path := range paths {
			if err := os.RemoveAll(path); err != nil {
				b.t.Fatal(err)
			}
		}
	}
}

// found tells that the driver sees all members run, and the files missing.
func (b *bed) found(name wire.ClusterName, pids map[string]int) {
	b.t.Helper()
	d, err := b.Observe(b.ctx, name)
	if err != nil || !d.Exists || !d.FilesLost {
		b.t.Errorf("observe: %+v, %v", d, err)
	}
	if seen := b.pids(name); !maps.Equal(pids, seen) {
		b.t.Errorf("pids were %v and are %v", pids, seen)
	}
}

// restored tells that after an Apply the same processes run, and a driver can
// go on from the files.
func (b *bed) restored(name wire.ClusterName, s wire.ClusterSpec, pids map[string]int) {
	b.t.Helper()
	b.apply(name, s)
	b.open()
	d, err := b.Observe(b.ctx, name)
	if err != nil || d.FilesLost || len(d.Members) != s.Replicas {
		b.t.Errorf("observe: %+v, %v", d, err)
	}
	if seen := b.pids(name); !maps.Equal(pids, seen) {
		b.t.Errorf("pids were %v and are %v", pids, seen)
	}
	if n := len(b.processes()); n != len(pids) {
		b.t.Errorf("%d processes run, want %d", n, len(pids))
	}
}

func TestMasterWithoutItsDirectoryIsFoundAgain(t *testing.T) {
	b := newBed(t)
	members := b.create("alpha", spec(3))
	b.do(members[0].Redis, "SET", "frame", "content")
	b.hasFrame(members)
	pids := b.pids("alpha")
	b.lose("alpha/0")
	b.found("alpha", pids)
	b.restored("alpha", spec(3), pids)
	// And it fails over as any other.
	b.kill("alpha", members[0].Redis)
	b.eventually(func() error {
		b.apply("alpha", spec(3))
		if m := b.observe("alpha")[0]; !m.Redis.Running {
			return errors.New(m.Redis.Reason)
		}
		return nil
	})
	b.synced("alpha", 3)
	b.hasFrame(b.observe("alpha"))
}

func TestClusterWithoutItsDirectoryIsFoundAgain(t *testing.T) {
	b := newBed(t)
	b.create("alpha", spec(3))
	pids := b.pids("alpha")
	b.lose("alpha")
	b.open()
	b.found("alpha", pids)
	b.restored("alpha", spec(3), pids)
	b.lose("alpha")
	if err := b.Remove(b.ctx, "alpha"); err != nil {
		t.Error(err)
	}
	if left := b.processes(); len(left) != 0 {
		t.Errorf("processes %v are left", left)
	}
}

// TestLostDirectoryOfADeadMaster: with the member's directory its address is
// gone, which its Sentinel still names.
func TestLostDirectoryOfADeadMaster(t *testing.T) {
	b := newBed(t)
	m := b.create("alpha", slow(1))[0]
	b.kill("alpha", m.Redis)
	b.lose("alpha/0")
	b.apply("alpha", slow(1))
	b.synced("alpha", 1)
	if got := fmt.Sprint(b.sentinelMaster(0)); !strings.Contains(got, fmt.Sprint(b.observe("alpha")[0].Redis.Port)) {
		t.Errorf("the Sentinel names %s", got)
	}
}

// TestEmptyMemberDoesNotStartBeforeDataOnDisk: the master that the Sentinels
// name has lost all, the other member has its append-only file.
func TestEmptyMemberDoesNotStartBeforeDataOnDisk(t *testing.T) {
	b := newBed(t)
	s := slow(2)
	s.Backup = true
	members := b.create("alpha", s)
	b.do(members[0].Redis, "SET", "frame", "content")
	b.hasFrame(members)
	b.kill("alpha", members[0].Redis, members[1].Redis)
	b.lose("alpha/0")
	b.apply("alpha", s)
	for _, m := range b.observe("alpha") {
		if m.Redis.Running || !strings.Contains(m.Redis.Reason, "to start first") || !m.Sentinel.Running {
			t.Errorf("%s: %+v", m.ID, m)
		}
	}
}

// TestLostFilesOfTheCluster loses what is about all members, in each way, when
// another than the first is master.
func TestLostFilesOfTheCluster(t *testing.T) {
	b := newBed(t)
	s := slow(3)
	s.Backup = true
	b.create("alpha", s)
	b.failover("alpha", 2)
	members := b.observe("alpha")
	b.do(members[2].Redis, "SET", "frame", "content")
	b.hasFrame(members)
	pids := b.pids("alpha")
	for _, files := range [][]string{{"alpha/spec.json"}, {"alpha/born"}, {"alpha/spec.json", "alpha/born", "alpha/*/ports.json", "alpha/*/*.pid"}} {
		b.lose(files...)
		b.found("alpha", pids)
		b.restored("alpha", s, pids)
	}
	if err := os.WriteFile(filepath.Join(b.cfg.Dir, "alpha", "spec.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.found("alpha", pids)
	b.restored("alpha", s, pids)

	b.eventually(func() error {
		if info := b.do(members[2].Redis, "INFO", "persistence"); !strings.Contains(info, "aof_pending_bio_fsync:0") {
			return errors.New(info)
		}
		return nil
	})
	b.killEverything("alpha")
	b.lose("alpha/spec.json", "alpha/born", "alpha/*/ports.json")
	b.apply("alpha", s)
	if m := b.synced("alpha", 3); m.Ordinal != 2 || m.Redis.Port != members[2].Redis.Port {
		t.Errorf("the master is %+v, was %+v", m, members[2])
	}
	b.hasFrame(b.observe("alpha"))
}

// TestRemoveEndsAllOfTheClusterAndNobodyElse: a second server runs from the
// member's file, and somebody reads that.
func TestRemoveEndsAllOfTheClusterAndNobodyElse(t *testing.T) {
	b := newBed(t)
	b.create("alpha", slow(1))
	conf := filepath.Join(b.cfg.Dir, "alpha", "0", "redis.conf")
	l := occupy(t, deploy.Process{Host: "127.0.0.1"})
	second := deploy.Process{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port}
	l.Close()
	reader := exec.CommandContext(b.ctx, "tail", conf, "-f")
	server := exec.CommandContext(b.ctx, "redis-server", conf, "--bind", second.Host, "--port", strconv.Itoa(second.Port))
	for _, cmd := range []*exec.Cmd{reader, server} {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	b.eventually(func() error {
		if _, err := b.ask(second, "PING"); err != nil {
			return fmt.Errorf("the second server: %w", err)
		}
		return nil
	})
	if err := b.Remove(b.ctx, "alpha"); err != nil {
		t.Error(err)
	}
	if left := b.processes(); len(left) != 1 || left[0] != reader.Process.Pid {
		t.Errorf("processes %v are left, want the reader %d", left, reader.Process.Pid)
	}
	reader.Process.Kill()
	reader.Wait()
	server.Wait() // the driver has reaped it
}

func TestLostSocketComesBackByARestart(t *testing.T) {
	b := newBed(t)
	members := b.create("alpha", slow(2))
	b.do(members[0].Redis, "SET", "frame", "content")
	b.hasFrame(members)
	if err := os.RemoveAll(b.cfg.SocketDir); err != nil {
		t.Fatal(err)
	}
	for _, m := range b.observe("alpha") {
		if p := m.Redis; !p.Running || !p.NeedsRestart || p.Socket != "" || !strings.Contains(p.Reason, "socket") || m.Sentinel.NeedsRestart {
			t.Errorf("%s: %+v", m.ID, m)
		}
	}
	for id, want := range map[wire.FrameDBID]error{
		members[0].ID:        wire.ErrConflict, // the master
		"alpha-redis-node-7": wire.ErrNotFound, "beta-redis-node-0": wire.ErrNotFound, "node-1": wire.ErrInvalidArgument,
	} {
		if err := b.Restart(b.ctx, id); !errors.Is(err, want) {
			t.Errorf("restart %s: %v, want %v", id, err, want)
		}
	}
	pid := b.pid(members[0].Redis)
	if err := b.Restart(b.ctx, members[1].ID); err != nil {
		t.Fatal(err)
	}
	b.synced("alpha", 2)
	b.hasFrame(members)
	if p := b.observe("alpha")[1].Redis; p.NeedsRestart || p.Socket != members[1].Redis.Socket || p.Reason != "" {
		t.Errorf("after the restart: %+v", p)
	}
	if now := b.pid(members[0].Redis); now != pid {
		t.Errorf("the master was restarted")
	}
	// The master hands over first.
	b.failover("alpha", 1)
	if err := b.Restart(b.ctx, members[0].ID); err != nil {
		t.Fatal(err)
	}
	b.synced("alpha", 2)
	b.hasFrame(members)
	for _, m := range members {
		if info, err := os.Lstat(m.Redis.Socket); err != nil || info.Mode().Type() != fs.ModeSocket {
			t.Errorf("the socket of %s is %v, %v", m.ID, info, err)
		}
	}
}

func TestNoReplicaIsRestartedWithoutItsMaster(t *testing.T) {
	b := newBed(t)
	members := b.create("alpha", slow(2))
	b.kill("alpha", members[0].Redis)
	pid := b.pid(members[1].Redis)
	if err := b.Restart(b.ctx, members[1].ID); !errors.Is(err, wire.ErrUnavailable) || !strings.Contains(err.Error(), "does not run") {
		t.Errorf("restart: %v", err)
	}
	b.kill("alpha", members[0].Sentinel, members[1].Sentinel)
	if err := b.Restart(b.ctx, members[1].ID); !errors.Is(err, wire.ErrUnavailable) || !strings.Contains(err.Error(), "no master") {
		t.Errorf("restart: %v", err)
	}
	if now := b.pid(members[1].Redis); now != pid {
		t.Error("the replica was restarted")
	}
}

func TestLostBackupComesBackByARestart(t *testing.T) {
	b := newBed(t)
	s := slow(2)
	s.Backup = true
	members := b.create("alpha", s)
	b.lose("alpha/1")
	b.apply("alpha", s)
	if m := b.observe("alpha"); m[0].Redis.NeedsRestart || !m[1].Redis.NeedsRestart || !strings.Contains(m[1].Redis.Reason, "backed up") {
		t.Errorf("members are %+v", m)
	}
	if err := b.Restart(b.ctx, members[1].ID); err != nil {
		t.Fatal(err)
	}
	b.synced("alpha", 2)
	if _, err := os.Stat(filepath.Join(b.cfg.Dir, "alpha", "1", "appendonlydir")); err != nil {
		t.Error(err)
	}
	if m := b.observe("alpha"); m[1].Redis.NeedsRestart {
		t.Errorf("members are %+v", m)
	}
}

// emptySentinels ends all Sentinels and all that they know.
func (b *bed) emptySentinels(members []deploy.Member, also ...deploy.Process) {
	b.t.Helper()
	for _, m := range members {
		also = append(also, m.Sentinel)
	}
	b.kill("alpha", also...)
	for _, m := range members {
		if err := os.WriteFile(filepath.Join(b.cfg.Dir, "alpha", fmt.Sprint(m.Ordinal), "sentinel.conf"), nil, 0o600); err != nil {
			b.t.Fatal(err)
		}
	}
}

func TestSentinelsLearnFromTheMembersWhomTheyFollow(t *testing.T) {
	b := newBed(t)
	b.create("alpha", spec(3))
	b.failover("alpha", 2)
	members := b.observe("alpha")
	b.do(members[2].Redis, "SET", "frame", "content")
	b.hasFrame(members)
	b.emptySentinels(members)
	b.apply("alpha", spec(3))
	if m := b.synced("alpha", 3); m.Ordinal != 2 {
		t.Errorf("%s is master", m.ID)
	}
	for i := range members {
		if got := fmt.Sprint(b.sentinelMaster(i)); !strings.Contains(got, fmt.Sprint(members[2].Redis.Port)) {
			t.Errorf("Sentinel %d names %s, want port %d", i, got, members[2].Redis.Port)
		}
	}
	// The master with them: the others still say whom they followed.
	b.emptySentinels(members, members[2].Redis)
	b.eventually(func() error {
		b.apply("alpha", spec(3))
		if m := b.observe("alpha")[2]; !m.Redis.Running {
			return errors.New(m.Redis.Reason)
		}
		return nil
	})
	if m := b.synced("alpha", 3); m.Ordinal == 2 {
		t.Error("the empty member is master")
	}
	b.hasFrame(members)
}

func TestNobodyIsBelievedWhenTheMembersDisagree(t *testing.T) {
	b := newBed(t)
	members := b.create("alpha", slow(3))
	b.emptySentinels(members)
	b.do(members[1].Redis, "REPLICAOF", "NO", "ONE")
	b.apply("alpha", slow(3))
	for _, m := range b.observe("alpha") {
		if m.Sentinel.Running || !strings.Contains(m.Sentinel.Reason, "could be asked") {
			t.Errorf("the Sentinel of %s: %+v", m.ID, m.Sentinel)
		}
	}
}
