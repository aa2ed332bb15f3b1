package process

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy/redisconf"
	"github.com/framedb/framedb/deploy/sockets"
)

// Defaults of Config.
const (
	DefaultHost             = "127.0.0.1"
	DefaultBasePort         = 6379
	DefaultBaseSentinelPort = 26379
	DefaultBaseStoragePort  = 4000
)

const (
	// longestMember is how long a member's socket file name can be.
	longestMember = wire.MaxClusterName + len("-redis-node-99.sock")
	// oldestRedis is the first major version with functions and a replication
	// backlog that takes memory only as it fills.
	oldestRedis = 7
)

// Config says how the driver runs Redis.
type Config struct {
	// Dir holds everything of the clusters: settings, logs, append-only files.
	// One driver at a time may use it.
	Dir string
	// SocketDir holds the Redis sockets. The sockets let everyone in who has
	// the password; this directory's permissions decide who may try. It is made
	// with mode 0755 when missing. At most 47 bytes, because unix socket paths
	// end at 107. Default: <Dir>/.sockets.
	SocketDir string
	// StorageDir holds everything of the persistent FrameDBs, their data above
	// all. One driver at a time may use it. Default: <Dir>/.storage.
	StorageDir string
	// Password is asked of everyone by Redis and Sentinel. Running processes
	// keep the one that they started with: end them before it changes.
	// Printable ASCII without spaces, quotes and backslashes: Sentinel writes
	// it into its file without quotes.
	Password string
	// Host is the IP address that the processes listen on and announce. It
	// holds for clusters made from now on; others keep theirs. Default 127.0.0.1.
	Host string
	// Node is the node that members are reported to be on.
	Node wire.NodeName
	// RedisServer is the program; default redis-server, looked up in PATH.
	RedisServer string
	// RedisSentinel is the program for Sentinels; default redis-sentinel in
	// PATH and, where there is none, RedisServer: they are one program.
	RedisSentinel string
	// BasePort is where the search for a Redis port begins, default 6379;
	// BaseSentinelPort that for a Sentinel port, default 26379. A member keeps
	// its ports for life.
	BasePort         int
	BaseSentinelPort int
	// TiDBServer and MariaDB are the programs that hold persistent FrameDBs;
	// default: tidb-server in PATH, or else mariadbd in PATH or where
	// distributions put it. They are looked for when one is created.
	TiDBServer string
	MariaDB    string
	// BaseStoragePort is where the search for a port of a persistent FrameDB
	// begins, default 4000. It keeps its port for life.
	BaseStoragePort int
	// AnyPort ignores these ports and begins at a random port below those that the
	// kernel gives to outgoing connections. For tests that run side by side.
	AnyPort bool
	// ReplBacklog is Redis' repl-backlog-size in bytes: how much of the write
	// stream a replica may miss and still catch up without a full copy. It must
	// hold several frames. Each member of a cluster with replicas may use that
	// much on top of its frames, and no more than it was ever written to: an
	// idle cluster uses none. Never more than a quarter of the spec's
	// MaxMemory, because Redis counts it there. Default 256 MiB, or a 32nd of
	// the machine's memory where that is less.
	ReplBacklog int64
	// ReplicaBuffer is the hard limit, in bytes, of what a master holds for a
	// replica that reads too slowly, such as during its full copy; half of it
	// for a minute is too much as well. Small cuts replicas off in the middle
	// of their copy, again and again; large lets a stuck replica take that much
	// of the machine's memory. Default 1 GiB.
	ReplicaBuffer int64
	// StopOnClose ends all processes in Close; otherwise they run on and the
	// next driver on Dir takes them over.
	StopOnClose bool
	// DieWithParent makes the kernel kill the processes when this program
	// ends in whatever way. For tests, so that a crash leaves nothing behind.
	DieWithParent bool
	Logger        *slog.Logger // nil is silent
}

// complete fills what is left open and refuses what cannot work.
func (c *Config) complete() error {
	if runtime.GOOS != "linux" {
		return wire.Errorf(wire.CodeInvalidArgument, "the process driver needs Linux, this is %s", runtime.GOOS)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	for _, check := range []func() error{c.completeDirs, c.checkPassword, c.completeNumbers, c.completePrograms} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) completeDirs() error {
	if c.Dir == "" {
		return wire.InField("dir", wire.Errorf(wire.CodeInvalidArgument, "is empty: name the data directory"))
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return wire.InField("dir", err)
	}
	c.Dir = dir
	if c.StorageDir == "" {
		c.StorageDir = filepath.Join(c.Dir, ".storage") // no cluster is named so
	}
	if c.StorageDir, err = filepath.Abs(c.StorageDir); err != nil {
		return wire.InField("storage_dir", err)
	}
	if c.SocketDir == "" {
		c.SocketDir = filepath.Join(c.Dir, ".sockets") // no cluster is named so
	}
	if c.SocketDir, err = filepath.Abs(c.SocketDir); err != nil {
		return wire.InField("socket_dir", err)
	}
	if longest := sockets.MaxPath - 1 - longestMember; len(c.SocketDir) > longest {
		return wire.InField("socket_dir", wire.Errorf(wire.CodeInvalidArgument,
			"%s has %d bytes: unix socket paths end at %d bytes, so choose a directory of at most %d",
			c.SocketDir, len(c.SocketDir), sockets.MaxPath, longest))
	}
	if parent, base := filepath.Split(c.SocketDir); filepath.Clean(parent) == c.Dir && wire.ClusterName(base).Validate() == nil {
		return wire.InField("socket_dir", wire.Errorf(wire.CodeInvalidArgument, "%s is where a cluster named %q has its files: choose another directory", c.SocketDir, base))
	}
	if strings.ContainsAny(c.Dir+c.StorageDir+c.SocketDir, "\n\r") {
		return wire.InField("dir", wire.Errorf(wire.CodeInvalidArgument, "the path holds a line break"))
	}
	return nil
}

func (c *Config) checkPassword() error {
	if err := redisconf.CheckPassword(c.Password); err != nil {
		return wire.InField("password", err)
	}
	return nil
}

func (c *Config) completeNumbers() error {
	if c.Host == "" {
		c.Host = DefaultHost
	}
	if ip := net.ParseIP(c.Host); ip == nil || ip.IsUnspecified() {
		return wire.InField("host", wire.Errorf(wire.CodeInvalidArgument, "%q is no address that clients can connect to: give an IP address of this machine", c.Host))
	}
	orDefault(&c.BasePort, DefaultBasePort)
	orDefault(&c.BaseSentinelPort, DefaultBaseSentinelPort)
	orDefault(&c.BaseStoragePort, DefaultBaseStoragePort)
	orDefault(&c.ReplBacklog, defaultBacklog(machineMemory()))
	orDefault(&c.ReplicaBuffer, redisconf.DefaultReplicaBuffer)
	switch {
	case c.BasePort < 1 || c.BasePort > maxPort:
		return wire.InField("base_port", wire.Errorf(wire.CodeInvalidArgument, "%d is out of range: give 1 to %d", c.BasePort, maxPort))
	case c.BaseSentinelPort < 1 || c.BaseSentinelPort > maxPort:
		return wire.InField("base_sentinel_port", wire.Errorf(wire.CodeInvalidArgument, "%d is out of range: give 1 to %d", c.BaseSentinelPort, maxPort))
	case c.BaseStoragePort < 1 || c.BaseStoragePort > maxPort:
		return wire.InField("base_storage_port", wire.Errorf(wire.CodeInvalidArgument, "%d is out of range: give 1 to %d", c.BaseStoragePort, maxPort))
	case c.ReplBacklog < 0:
		return wire.InField("repl_backlog", wire.Errorf(wire.CodeInvalidArgument, "%d bytes is out of range", c.ReplBacklog))
	case c.ReplicaBuffer < 0:
		return wire.InField("replica_buffer", wire.Errorf(wire.CodeInvalidArgument, "%d bytes is out of range", c.ReplicaBuffer))
	}
	return nil
}

func defaultBacklog(memory int64) int64 {
	if memory == 0 {
		return redisconf.DefaultBacklog
	}
	return min(redisconf.DefaultBacklog, memory/32)
}

func orDefault[T int | int64](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

func (c *Config) completePrograms() error {
	server, err := lookUp(c.RedisServer, "redis-server")
	if err != nil {
		return wire.InField("redis_server", wire.Errorf(wire.CodeUnavailable, "%v: install Redis (apt-get install redis-server) or set redis_server to the program", err))
	}
	c.RedisServer = server
	sentinel, err := lookUp(c.RedisSentinel, "redis-sentinel")
	switch {
	case err == nil:
		c.RedisSentinel = sentinel
	case c.RedisSentinel == "":
		c.RedisSentinel = server
	default:
		return wire.InField("redis_sentinel", wire.Errorf(wire.CodeUnavailable, "%v: install it (apt-get install redis-sentinel) or leave redis_sentinel empty", err))
	}
	return checkVersion(c.RedisServer)
}

// Programs returns the programs that a Config with these two names runs.
//
// Errors: those of New about programs, with the key named.
func Programs(server, sentinel string) (redisServer, redisSentinel string, err error) {
	c := Config{RedisServer: server, RedisSentinel: sentinel}
	err = c.completePrograms()
	return c.RedisServer, c.RedisSentinel, err
}

func lookUp(path, name string) (string, error) {
	if path == "" {
		found, err := exec.LookPath(name)
		if err != nil {
			return "", fmt.Errorf("%s is not in PATH", name)
		}
		path = found
	} else if _, err := exec.LookPath(path); err != nil {
		return "", fmt.Errorf("%s is no program that can be run", path)
	}
	return filepath.Abs(path)
}

// checkVersion runs `redis-server --version`, which says "Redis server
// v=7.0.15 sha=…".
func checkVersion(program string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	said, err := exec.CommandContext(ctx, program, "--version").Output()
	_, rest, found := strings.Cut(string(said), "v=")
	if err != nil || !found {
		return wire.InField("redis_server", wire.Errorf(wire.CodeUnavailable, "%s --version says nothing of a Redis: set redis_server to the program", program))
	}
	version, _, _ := strings.Cut(rest, " ")
	var major int
	if _, err := fmt.Sscanf(version, "%d.", &major); err != nil || major < oldestRedis {
		return wire.InField("redis_server", wire.Errorf(wire.CodeUnavailable, "%s is Redis %s: install version %d or newer", program, version, oldestRedis))
	}
	return nil
}
