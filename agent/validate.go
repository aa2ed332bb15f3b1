package agent

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// maxSocketPath is how long a unix socket path may be on Linux (sun_path is
// 108 bytes with the NUL behind it).
const maxSocketPath = 107

// Validate returns an ErrInvalidArgument whose Field is the first key at fault
// and whose message names all of them, one on a line.
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
		{"driver", oneOf(c.Driver, processDriver, kubernetesDriver)},
		{"namespace", wire.FrameDBID(c.Namespace).Validate()},
		{"password_file", errors.Join(checkPassword(c.PasswordFile, c.DataDir), c.checkShared())},
		{"advertise", checkAdvertise(c.Advertise)},
		{"expect", checkExpect(c.Expect)},
		{"max_voters", checkVoters(c.MaxVoters)},
		{"raft_bind", checkHostPort(c.RaftBind)},
		{"gossip_bind", checkHostPort(c.GossipBind)},
		{"gossip_key_file", checkReadable(c.GossipKeyFile)},
		{"join", checkEach(c.Join, checkJoin)},
		{"redis_port", optional(c.RedisPort, func() error { return checkPort(c.RedisPort) })},
		{"sentinel_port", checkPort(c.SentinelPort)},
		{"storage_port", checkPort(c.StoragePort)},
		{"ingest_memory_bytes", checkRange(c.IngestMemoryBytes, 16<<20, 1<<40)},
		{"ingest_spool_bytes", checkRange(c.IngestSpoolBytes, 64<<20, 1<<50)},
		{"ingest_spool_age", checkRange(c.IngestSpoolAge, time.Minute, maxSpoolAge)},
		{"ingest_spool_min_free", checkRange(c.IngestSpoolMinFree, 1<<20, 1<<50)},
		{"ingest_sync_every", checkRange(c.IngestSyncEvery, 0, time.Minute)},
		{"ingest_spill_after", checkRange(c.IngestSpillAfter, time.Millisecond, time.Hour)},
		{"log_level", oneOf(c.LogLevel, "debug", "info", "warn", "error")},
		{"log_format", oneOf(c.LogFormat, "text", "json")},
	}
	var wrong []error
	for _, check := range checks {
		if check.err != nil {
			wrong = append(wrong, wire.InField(check.key, asInvalid(check.err)))
		}
	}
	return errors.Join(append(wrong, checkBackupTargets(c.BackupTargets)...)...)
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

func checkAdvertise(host string) error {
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		return wire.Errorf(wire.CodeInvalidArgument, "%q is no IP address that other machines can connect to: give one of this machine", host)
	}
	return nil
}

func checkExpect(n int) error {
	if n < 0 {
		return wire.Errorf(wire.CodeInvalidArgument, "it is %d: give how many agents found a FrameDB together, or leave it out", n)
	}
	return nil
}

func checkVoters(n int) error {
	if n < 1 || n%2 == 0 {
		return wire.Errorf(wire.CodeInvalidArgument, "it is %d: give an odd number, such as 3 or 5", n)
	}
	return nil
}

func checkJoin(addr string) error {
	if path, ok := strings.CutPrefix(addr, "file:"); ok {
		if path == "" {
			return wire.Errorf(wire.CodeInvalidArgument, "%q names no file", addr)
		}
		return nil
	}
	return checkHostPort(addr)
}

// maxSpoolAge is less than the time for which FrameDBs remember how far an
// agent's frames have come.
const maxSpoolAge = 29 * 24 * time.Hour

func checkRange[T int64 | time.Duration](n, least, most T) error {
	if n < least || n > most {
		return wire.Errorf(wire.CodeInvalidArgument, "%v is out of range: give %v to %v", n, least, most)
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

// checkPassword leaves the data directory's own file to the start, which makes
// it.
func checkPassword(file, dir string) error {
	if file == filepath.Join(dir, passwordFile) {
		return nil
	}
	return checkReadable(file)
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
