package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/framedb/framedb/client/wire"
)

// TestMain looks for goroutines that stayed. memberlist does not wait for its
// own, the longest of which ends a probe interval after Close.
func TestMain(m *testing.M) {
	code := m.Run()
	deadline := time.Now().Add(10 * time.Second)
	err := goleak.Find()
	for err != nil && time.Now().Before(deadline) {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func config(name wire.NodeName, join ...string) Config {
	return Config{Node: name, Label: "test", Bind: "127.0.0.1:0", Join: join, Meta: Meta{API: "127.0.0.1:5000", Raft: "127.0.0.1:7000", Version: string(name) + "-v1"}}
}

func open(t *testing.T, cfg Config) *Cluster {
	t.Helper()
	c, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close %s: %v", cfg.Node, err)
		}
	})
	return c
}

// eventually waits for the members of c to be as wanted.
func eventually(t *testing.T, c *Cluster, limit time.Duration, what string, ok func([]Member) bool) {
	t.Helper()
	timeout := time.After(limit)
	for {
		changed := c.Changed()
		members := c.Members()
		if ok(members) {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("not within %v: %s; members are %+v", limit, what, members)
		}
	}
}

func find(members []Member, name wire.NodeName) (Member, bool) {
	i := slices.IndexFunc(members, func(m Member) bool { return m.Name == name })
	if i < 0 {
		return Member{}, false
	}
	return members[i], true
}

func isAlive(name wire.NodeName) func([]Member) bool {
	return func(all []Member) bool { m, ok := find(all, name); return ok && m.Alive }
}

func isGone(name wire.NodeName) func([]Member) bool {
	return func(all []Member) bool { m, ok := find(all, name); return ok && !m.Alive }
}

// poll waits for what nobody tells of.
func poll(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(limit)
	for !ok() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

func TestTwoAgentsMeet(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"", keyFile(t, key1)} {
		first := config("a")
		first.KeyFile = file
		a := open(t, first)
		second := config("b", a.Addr())
		second.KeyFile = file
		b := open(t, second)
		eventually(t, a, 5*time.Second, "a sees b", isAlive("b"))
		eventually(t, b, 5*time.Second, "b sees a", isAlive("a"))
		members := a.Members()
		if len(members) != 2 || members[0].Name != "a" || members[1].Name != "b" {
			t.Fatalf("members are %+v", members)
		}
		if m := members[1]; m.Meta != second.Meta || m.Addr != b.Addr() {
			t.Errorf("b is %+v, want %+v at %s", m, second.Meta, b.Addr())
		}
		if err := errors.Join(a.JoinError(), b.JoinError()); err != nil {
			t.Errorf("they met, and joining gave %v", err)
		}
	}
}

func TestAFirstAgentHasNobodyToMeet(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	_ = l.Close()
	a := open(t, config("a", nobody))
	poll(t, 5*time.Second, "a tells that nobody answered", func() bool { return a.JoinError() != nil })
	if err := a.JoinError(); !errors.Is(err, wire.ErrUnavailable) || !strings.Contains(err.Error(), nobody) || strings.Contains(err.Error(), "\n") {
		t.Errorf("joining gave %q", err)
	}
	b := open(t, config("b", nobody, a.Addr()))
	eventually(t, b, 5*time.Second, "b sees a", isAlive("a"))
	if err := errors.Join(a.JoinError(), b.JoinError()); err != nil {
		t.Errorf("they met, and joining gave %v", err)
	}
}

// TestOpenAndCloseDoNotWait has somebody to join who takes the connection and
// never answers.
func TestOpenAndCloseDoNotWait(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	start := time.Now()
	a := open(t, config("a", l.Addr().String()))
	held, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > tcpTimeout/2 {
		t.Errorf("took %v", took)
	}
}

func TestLeavingIsSeenAtOnce(t *testing.T) {
	t.Parallel()
	a := open(t, config("a"))
	b := open(t, config("b", a.Addr()))
	eventually(t, a, 5*time.Second, "a sees b", isAlive("b"))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := b.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	// A crash takes more than 4 s to be seen.
	eventually(t, a, 3*time.Second, "b left", isGone("b"))
	if err := errors.Join(b.Close(), b.Leave(ctx)); err != nil {
		t.Errorf("close, and leave again: %v", err)
	}
}

func TestLeavingAloneDoesNotWait(t *testing.T) {
	t.Parallel()
	a := open(t, config("a"))
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout/2)
	defer cancel()
	if err := errors.Join(a.Leave(ctx), a.Leave(ctx)); err != nil {
		t.Error(err)
	}
}

// TestACrashIsSeenAndTheNameComesBack is the restart of an agent that was
// killed: same name, another port.
func TestACrashIsSeenAndTheNameComesBack(t *testing.T) {
	t.Parallel()
	a := open(t, config("a"))
	b := open(t, config("b", a.Addr()))
	eventually(t, a, 5*time.Second, "a sees b", isAlive("b"))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	again := config("b", a.Addr())
	again.Meta.Version = "b-v2"
	back := open(t, again)
	if back.Addr() == b.Addr() {
		t.Fatal("the port is the same: the test shows nothing")
	}
	sawGone := false
	eventually(t, a, 10*time.Second, "b is back at its new address", func(all []Member) bool {
		m, _ := find(all, "b")
		sawGone = sawGone || !m.Alive
		return m.Alive && m.Addr == back.Addr() && m.Meta.Version == "b-v2"
	})
	if !sawGone {
		t.Error("the crash was never seen")
	}
}

func TestOpenRefusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	taken := open(t, config("a"))
	cases := []struct {
		name  string
		spoil func(*Config)
		want  error
		field string
	}{
		{"no label", func(c *Config) { c.Label = "" }, wire.ErrInvalidArgument, "label"},
		{"long label", func(c *Config) { c.Label = strings.Repeat("l", 256) }, wire.ErrInvalidArgument, "label"},
		{"no name", func(c *Config) { c.Node = "" }, wire.ErrInvalidArgument, "node"},
		{"no key file", func(c *Config) { c.KeyFile = "/nonexistent/key" }, wire.ErrInvalidArgument, "key_file"},
		{"join without port", func(c *Config) { c.Join = []string{"127.0.0.1"} }, wire.ErrInvalidArgument, "join"},
		{"join a file without name", func(c *Config) { c.Join = []string{"file:"} }, wire.ErrInvalidArgument, "join"},
		{"advertise all addresses", func(c *Config) { c.Advertise = "0.0.0.0:7946" }, wire.ErrInvalidArgument, "advertise"},
		{"no port", func(c *Config) { c.Bind = "127.0.0.1" }, wire.ErrInvalidArgument, "bind"},
		{"foreign address", func(c *Config) { c.Bind = "192.0.2.1:0" }, wire.ErrInvalidArgument, "bind"},
		{"port taken", func(c *Config) { c.Bind = taken.Addr() }, wire.ErrConflict, "bind"},
		{"large metadata", func(c *Config) { c.Meta.API = strings.Repeat("h", 600) }, wire.ErrTooLarge, "meta"},
	}
	for _, c := range cases {
		cfg := config("b")
		c.spoil(&cfg)
		b, err := Open(cfg)
		if err == nil {
			_ = b.Close()
		}
		if !errors.Is(err, c.want) || field(err) != c.field {
			t.Errorf("%s: got %v, want %v in field %q", c.name, err, c.want, c.field)
		}
	}
}

// field is the field that err names.
func field(err error) string {
	var e *wire.Error
	if errors.As(err, &e) {
		return e.Field
	}
	return ""
}

func TestLinesKeepTheirLevel(t *testing.T) {
	for line, want := range map[string]slog.Level{
		"[DEBUG] memberlist: Stream connection": slog.LevelDebug,
		"[INFO] memberlist: Suspect b":          slog.LevelDebug,
		"[WARN] memberlist: refuting":           slog.LevelWarn,
		"[ERR] memberlist: failed":              slog.LevelError,
		"no level":                              slog.LevelDebug,
	} {
		level, msg := splitLine(line)
		if level != want || strings.Contains(msg, "memberlist:") || strings.Contains(msg, "[") {
			t.Errorf("%q became %v %q", line, level, msg)
		}
	}
}

func TestMetricsComeAndGo(t *testing.T) {
	registry := prometheus.NewRegistry()
	cfg := config("a")
	cfg.Registerer = registry
	for range 2 {
		c := open(t, cfg)
		families, err := registry.Gather()
		if err != nil || len(families) != 1 || families[0].GetMetric()[0].GetGauge().GetValue() != 1 {
			t.Errorf("metrics are %v, %v", families, err)
		}
		if _, err := Open(cfg); err == nil {
			t.Error("the same metrics twice")
		}
		if families, _ := registry.Gather(); len(families) != 1 {
			t.Error("the refused one took the other's metrics away")
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
