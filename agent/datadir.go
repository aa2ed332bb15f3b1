package agent

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/framedb/framedb/client/wire"
)

// dataDir is the agent's directory while it holds the lock on it:
//
//	agent.lock   locked while an agent runs
//	node-name    the identity, written at the first start
//	password     the Redis password, unless password_file names another
//	agent.sock   the unix socket, unless socket says otherwise
//	sockets/     the Redis sockets, unless socket_dir says otherwise
//	raft/        the log and the snapshots
//	process/     what the process driver runs
//	spool/       frames on their way to a FrameDB that is down or slow
//	storage/     persistent FrameDBs, their data above all
type dataDir struct {
	path string
	lock *os.File
}

// Parts of a dataDir.
const (
	nameFile     = "node-name"
	passwordFile = "password"
	raftDir      = "raft"
	storageDir   = "storage"
	spoolDir     = "spool"
)

// openDataDir makes the directory where needed and locks it.
//
// Errors: ErrConflict (another agent has it), ErrDiskFull, ErrInvalidArgument
// (it cannot be made or written to).
func openDataDir(path string) (*dataDir, error) {
	if err := os.MkdirAll(path, 0o750); err != nil {
		return nil, dirError(path, err)
	}
	lock, err := os.OpenFile(filepath.Join(path, "agent.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, dirError(path, err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, wire.InField("data_dir", wire.Errorf(wire.CodeConflict,
			"another agent runs on %s: end it, or give this one a directory of its own", path))
	}
	return &dataDir{path: path, lock: lock}, nil
}

// dirError says what to do about an error at the data directory.
func dirError(path string, err error) error {
	code := wire.CodeInvalidArgument
	remedy := "give a directory that the agent may write to"
	if errors.Is(err, syscall.ENOSPC) {
		code, remedy = wire.CodeDiskFull, "free some space or give a directory on another disk"
	}
	return wire.InField("data_dir", fmt.Errorf("%w: %s: %w", wire.Errorf(code, "%s", remedy), path, err))
}

// close unlocks the directory and, when it was made for this run only, removes
// it.
func (d *dataDir) close(remove bool) error {
	err := d.lock.Close()
	if remove {
		err = errors.Join(err, os.RemoveAll(d.path))
	}
	return err
}

func (d *dataDir) join(name string) string { return filepath.Join(d.path, name) }

// nodeName returns the identity that the directory belongs to, and keeps it at
// the first start. The Raft log is bound to it.
//
// Errors: ErrConflict (another name is asked for than the directory has).
func (d *dataDir) nodeName(asked wire.NodeName) (wire.NodeName, error) {
	name, kept, err := d.chooseName(asked)
	if err != nil || kept {
		return name, err
	}
	return name, d.write(d.join(nameFile), string(name)+"\n")
}

// chooseName is nodeName without keeping it.
func (d *dataDir) chooseName(asked wire.NodeName) (name wire.NodeName, kept bool, err error) {
	b, err := os.ReadFile(d.join(nameFile))
	switch {
	case err == nil:
		name = wire.NodeName(strings.TrimSpace(string(b)))
		if asked != "" && asked != name {
			return "", true, wire.InField("node_name", wire.Errorf(wire.CodeConflict,
				"%s belongs to node %q, not %q: keep that name, or give this node a directory of its own", d.path, name, asked))
		}
		return name, true, name.Validate()
	case !errors.Is(err, fs.ErrNotExist):
		return "", false, dirError(d.path, err)
	case asked == "":
		asked = hostName()
	}
	return asked, false, nil
}

var notInName = regexp.MustCompile(`[^a-z0-9.-]+`)

// hostName is the host's name in the form of a node name.
func hostName() wire.NodeName {
	host, _ := os.Hostname()
	name := wire.NodeName(strings.Trim(notInName.ReplaceAllString(strings.ToLower(host), "-"), "-."))
	if name.Validate() != nil {
		return "node"
	}
	return name
}

// password reads the deployment's password. The directory's own file is made at
// the first start.
func (d *dataDir) password(file string) (string, error) {
	b, err := os.ReadFile(file)
	if file == d.join(passwordFile) && errors.Is(err, fs.ErrNotExist) {
		password := rand.Text()
		return password, d.write(file, password+"\n")
	}
	if err != nil {
		return "", wire.InField("password_file", asInvalid(err))
	}
	password := strings.TrimSpace(string(b))
	if password == "" || strings.ContainsAny(password, " \t\r\n\"'\\") {
		return "", wire.InField("password_file", wire.Errorf(wire.CodeInvalidArgument,
			"%s: give one line without spaces, quotes and backslashes, which Redis' configuration cannot hold", file))
	}
	return password, nil
}

// write makes a file that is there whole or not at all.
func (d *dataDir) write(file, content string) error {
	tmp := file + ".tmp"
	err := os.WriteFile(tmp, []byte(content), 0o600)
	if err == nil {
		err = os.Rename(tmp, file)
	}
	if err != nil {
		return dirError(d.path, err)
	}
	return nil
}

// NewLogger makes the agent's logger from the configuration.
func NewLogger(c Config, w *os.File) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel)) // validated; info otherwise
	opts := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
