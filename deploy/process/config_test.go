package process_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy/process"
)

func TestNewRefusesWhatCannotWork(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sockets, err := os.MkdirTemp("", "f")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(sockets)
	old := brokenRedis(t, "6.0.16", "")
	cases := []struct {
		field  string
		spoil  func(*process.Config)
		remedy string
		code   wire.Code
	}{
		{"redis_server", func(c *process.Config) { c.RedisServer = "/nonexistent/redis-server" }, "apt-get install redis-server", wire.CodeUnavailable},
		{"redis_server", func(c *process.Config) { c.RedisServer = "/bin/true" }, "set redis_server", wire.CodeUnavailable},
		{"redis_server", func(c *process.Config) { c.RedisServer = old }, "install version 7", wire.CodeUnavailable},
		{"redis_sentinel", func(c *process.Config) { c.RedisSentinel = "/nonexistent/redis-sentinel" }, "redis_sentinel empty", wire.CodeUnavailable},
		{"socket_dir", func(c *process.Config) { c.SocketDir = "/tmp/" + strings.Repeat("x", 43) }, "at most 47", wire.CodeInvalidArgument},
		{"socket_dir", func(c *process.Config) { c.Dir, c.SocketDir = sockets, filepath.Join(sockets, "alpha") }, "another directory", wire.CodeInvalidArgument},
		{"socket_dir", func(c *process.Config) { c.SocketDir = file }, "", wire.CodeInvalidArgument},
		{"dir", func(c *process.Config) { c.Dir = "" }, "name the data directory", wire.CodeInvalidArgument},
		{"dir", func(c *process.Config) { c.Dir = file }, "", wire.CodeInvalidArgument},
		{"password", func(c *process.Config) { c.Password = "" }, "", wire.CodeInvalidArgument},
		{"password", func(c *process.Config) { c.Password = `with "quotes"` }, "printable ASCII", wire.CodeInvalidArgument},
		{"password", func(c *process.Config) { c.Password = "line\nbreak" }, "printable ASCII", wire.CodeInvalidArgument},
		{"host", func(c *process.Config) { c.Host = "localhost" }, "IP address", wire.CodeInvalidArgument},
		{"host", func(c *process.Config) { c.Host = "0.0.0.0" }, "IP address", wire.CodeInvalidArgument},
		{"base_port", func(c *process.Config) { c.BasePort = 70000 }, "1 to 65535", wire.CodeInvalidArgument},
		{"base_sentinel_port", func(c *process.Config) { c.BaseSentinelPort = -1 }, "1 to 65535", wire.CodeInvalidArgument},
		{"repl_backlog", func(c *process.Config) { c.ReplBacklog = -1 }, "", wire.CodeInvalidArgument},
		{"replica_buffer", func(c *process.Config) { c.ReplicaBuffer = -1 }, "", wire.CodeInvalidArgument},
	}
	for _, c := range cases {
		cfg := process.Config{Dir: filepath.Join(dir, "data"), SocketDir: sockets, Password: password}
		c.spoil(&cfg)
		_, err := process.New(cfg)
		e := wire.AsError(err)
		if e == nil || e.Field != c.field || e.Code != c.code || !strings.Contains(e.Message, c.remedy) {
			t.Errorf("want %s on %s with %q, got %+v", c.code, c.field, c.remedy, e)
		}
	}
}

// TestMissingRedis is alone with its environment, so not parallel.
func TestMissingRedis(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	_, err := process.New(process.Config{Dir: dir, SocketDir: "/tmp", Password: password})
	if !errors.Is(err, wire.ErrUnavailable) || !strings.Contains(err.Error(), "redis-server is not in PATH: install Redis (apt-get install redis-server) or set redis_server") {
		t.Errorf("got %v", err)
	}
}

func TestSentinelByRedisServer(t *testing.T) {
	server, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal(err)
	}
	b := newBed(t, func(c *process.Config) { c.RedisSentinel = server })
	b.create("alpha", slow(1))
}
