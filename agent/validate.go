package agent

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"

	"github.com/framedb/framedb/client/wire"
)

// maxSocketPath is how long a unix socket path may be on Linux (sun_path is
// 108 bytes with the NUL behind it).
const maxSocketPath = 107

// Validate returns an ErrInvalidArgument whose Field is the first key at fault.
func (c *Config) Validate() error {
	checks := []struct {
		key string
		err error
	}{
		{"listen", checkHostPort(c.Listen)},
		{"socket", checkSocket(c.Socket)},
		{"socket_dir", checkSocketDir(c.SocketDir, c.NodeTags)},
		{"node_name", optional(c.NodeName, c.NodeName.Validate)},
		{"node_tag", checkTags(c.NodeTags)},
		{"driver", oneOf(c.Driver, "process")},
		{"namespace", wire.FrameDBID(c.Namespace).Validate()},
		{"password_file", checkReadable(c.PasswordFile)},
		{"raft_bind", checkHostPort(c.RaftBind)},
		{"gossip_bind", checkHostPort(c.GossipBind)},
		{"gossip_key_file", checkReadable(c.GossipKeyFile)},
		{"join", checkEach(c.Join, checkHostPort)},
		{"redis_port", optional(c.RedisPort, func() error { return checkPort(c.RedisPort) })},
		{"sentinel_port", checkPort(c.SentinelPort)},
		{"log_level", oneOf(c.LogLevel, "debug", "info", "warn", "error")},
		{"log_format", oneOf(c.LogFormat, "text", "json")},
	}
	for _, check := range checks {
		if check.err != nil {
			return wire.InField(check.key, asInvalid(check.err))
		}
	}
	return nil
}

// asInvalid gives foreign errors the code of a bad value.
func asInvalid(err error) error {
	var e *wire.Error
	if errors.As(err, &e) {
		return err
	}
	return wire.Errorf(wire.CodeInvalidArgument, "%v", err)
}

func optional[T comparable](value T, check func() error) error {
	var zero T
	if value == zero {
		return nil
	}
	return check()
}

func oneOf(value string, allowed ...string) error {
	if !slices.Contains(allowed, value) {
		return wire.Errorf(wire.CodeInvalidArgument, "%q is unknown: give one of %v", value, allowed)
	}
	return nil
}

func checkHostPort(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		var n int
		if n, err = strconv.Atoi(port); err == nil && (n < 0 || n > 65535) {
			err = errors.New("port out of range")
		}
	}
	if err != nil {
		return wire.Errorf(wire.CodeInvalidArgument, "%q is no address: give host:port, for instance 127.0.0.1:5000", addr)
	}
	return nil
}

func checkPort(n int) error {
	if n < 1 || n > 65535 {
		return wire.Errorf(wire.CodeInvalidArgument, "%d is out of range: give 1 to 65535", n)
	}
	return nil
}

func checkSocket(path string) error {
	if len(path) > maxSocketPath {
		return wire.Errorf(wire.CodeInvalidArgument, "%s has %d bytes, a unix socket path at most %d: give a shorter one", path, len(path), maxSocketPath)
	}
	return nil
}

// checkSocketDir sees to it that <dir>/<tag>.sock fits for every tag.
func checkSocketDir(dir string, tags []wire.NodeTag) error {
	for _, tag := range tags {
		if err := checkSocket(dir + "/" + string(tag) + ".sock"); err != nil {
			return err
		}
	}
	return nil
}

func checkTags(tags []wire.NodeTag) error {
	return checkEach(tags, wire.NodeTag.Validate)
}

func checkEach[T any](values []T, check func(T) error) error {
	for _, v := range values {
		if err := check(v); err != nil {
			return err
		}
	}
	return nil
}

// checkReadable sees to it that a file can be opened; no file is no error.
func checkReadable(path string) error {
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot be read: %w", err)
	}
	return f.Close()
}
