package kubernetes

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// member is a real Redis and a real Sentinel with the files that their pod would
// mount, on a loopback address of their own.
type realMember struct {
	t   *testing.T
	ip  string
	dir string
}

const peer = "the-clusters-own"

func startMember(t *testing.T, name wire.ClusterName) *realMember {
	t.Helper()
	m := &realMember{t: t, dir: t.TempDir()}
	data := filepath.Join(m.dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	m.ip = fmt.Sprintf("127.%d.%d.%d", 1+rand.N(250), rand.N(250), 2+rand.N(250))
	p := Passwords{Deployment: password, Peer: peer}
	s := spec(2)
	start := startSentinel(sentinelID("ns", name), "invalid")
	for file, content := range map[string]string{
		redisConfKey: redisConf(&s), sentinelConfKey: sentinelConf(), startSentinelKey: start, readyKey: ready(),
		redisAuthKey: redisAuth(p), sentinelAuthKey: sentinelAuth(p), monitorAuthKey: monitorAuth(p), peerKey: peer,
	} {
		content = strings.NewReplacer(
			confDir+"/", m.dir+"/", "dir "+dataDir, "dir "+data, "file="+dataDir, "file="+data,
			"bind * -::*", "bind "+m.ip, "redis-cli ", "redis-cli -h "+m.ip+" ", "%s.invalid", m.ip,
		).Replace(content)
		if err := os.WriteFile(filepath.Join(m.dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m.start("redis-server", filepath.Join(m.dir, redisConfKey), "--replica-announce-ip", m.ip)
	return m
}

func (m *realMember) start(program string, args ...string) {
	m.t.Helper()
	log, err := os.OpenFile(filepath.Join(m.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "POD_NAME=alpha-redis-node-0")
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
}

func (m *realMember) seen(name string, ask func(context.Context, string, string, *seen) error) seen {
	m.t.Helper()
	var s seen
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := ask(context.Background(), m.ip, peer, &s)
		if err == nil {
			return s
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("%s: %v; %s", name, err, m.log())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// cli runs redis-cli as an application does.
func (m *realMember) cli(args ...string) string {
	out, _ := exec.Command("redis-cli", append([]string{"-h", m.ip, "--no-auth-warning", "-a", password}, args...)...).Output()
	return strings.TrimSpace(string(out))
}

func (m *realMember) log() string {
	b, err := os.ReadFile(filepath.Join(m.dir, "log"))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(b)
}

func (m *realMember) eventually(what string, ok func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("%s: not in time; %s", what, m.log())
		}
	}
}

// isReady runs the readiness probe.
func (m *realMember) isReady() bool {
	return exec.Command("sh", filepath.Join(m.dir, readyKey)).Run() == nil
}

func TestAHeldRedisGivesNothingAndIsToldItsMaster(t *testing.T) {
	first, second := startMember(t, "alpha"), startMember(t, "alpha")
	servers := realServers{}
	ctx := context.Background()
	for _, m := range []*realMember{first, second} {
		if s := m.seen("redis", servers.redis); s.redis != held || s.data {
			t.Fatalf("a Redis that just started: %+v", s)
		}
		if m.isReady() {
			t.Error("a member without data is ready")
		}
	}
	s := spec(2)
	at := func(m *realMember) wire.Endpoint { return wire.Endpoint{Host: m.ip, Port: redisPort} }
	// One that follows a held member gets no data from it, and loses none.
	if err := servers.tell(ctx, second.ip, peer, order{master: at(second), promotes: true}, &s); err != nil {
		t.Fatal(err)
	}
	second.cli("set", "frame", "kept")
	if err := servers.tell(ctx, second.ip, peer, order{master: at(first)}, &s); err != nil {
		t.Fatal(err)
	}
	second.eventually("it was refused a copy", func() bool {
		return strings.Contains(second.log(), "NOMASTERLINK")
	})
	if got := second.cli("get", "frame"); got != "kept" {
		t.Errorf("who asked a held member for a copy has %q now", got)
	}
	if err := servers.tell(ctx, second.ip, peer, order{master: at(second), promotes: true}, &s); err != nil {
		t.Fatal(err)
	}
	if err := servers.tell(ctx, first.ip, peer, order{master: at(second)}, &s); err != nil {
		t.Fatal(err)
	}
	first.eventually("it has copied", func() bool { return first.isReady() && first.cli("get", "frame") == "kept" })
	if got := second.seen("redis", servers.redis); got.redis != active || got.follows.Port != 0 {
		t.Errorf("a master: %+v", got)
	}
	if got := first.seen("redis", servers.redis); got.redis != active || got.follows != at(second) {
		t.Errorf("a replica: %+v", got)
	}
	if got, err := servers.peerPassword(ctx, first.ip, password); err != nil || got != peer {
		t.Errorf("it tells the password %q, %v", got, err)
	}
	var wrong seen
	if err := servers.redis(ctx, first.ip, "another-clusters", &wrong); err == nil || wrong.redis == active {
		t.Error("another cluster's driver was let in")
	}
}

func TestASentinelWaitsToBeToldAndKeepsWhatItLearnt(t *testing.T) {
	m := startMember(t, "alpha")
	servers := realServers{}
	ctx := context.Background()
	s := spec(1)
	m.seen("redis", servers.redis)
	if err := servers.tell(ctx, m.ip, peer, order{promotes: true}, &s); err != nil {
		t.Fatal(err)
	}
	m.start("sh", filepath.Join(m.dir, startSentinelKey))
	if got := m.seen("sentinel", servers.sentinel); got.sentinel != held {
		t.Fatalf("a Sentinel that knows nobody: %+v", got)
	}
	master := wire.Endpoint{Host: m.ip, Port: redisPort}
	if err := servers.tell(ctx, m.ip, peer, order{master: master, sentinel: true}, &s); err != nil {
		t.Fatal(err)
	}
	if got := m.seen("sentinel", servers.sentinel); got.sentinel != active || got.claim.Master != master {
		t.Fatalf("told: %+v", got)
	}
	m.cli("-p", "26379", "shutdown")
	m.start("sh", filepath.Join(m.dir, startSentinelKey))
	if got := m.seen("sentinel", servers.sentinel); got.sentinel != active || got.claim.Master != master {
		t.Errorf("after a restart: %+v", got)
	}
}
