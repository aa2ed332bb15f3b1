package process

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/framedb/framedb/client/wire"
)

// identity names one process for ever: a pid alone is given to another process
// later.
type identity struct {
	// PID is 0 in a file that was written before a start whose outcome was not
	// written.
	PID int `json:"pid"`
	// StartTicks is when it started, in clock ticks since Boot (proc(5), field
	// 22 of /proc/<pid>/stat).
	StartTicks uint64 `json:"start_ticks"`
	// Boot is the kernel's boot_id: ticks begin anew with each boot.
	Boot string `json:"boot_id"`
}

// procStat is what we need of /proc/<pid>/stat.
type procStat struct {
	state      byte
	parent     int
	session    int
	threads    int
	startTicks uint64
}

// gone tells of a process that has ended, though its parent has not asked yet.
// While other threads are still ending, so are its sockets: they hold its port.
func (s procStat) gone() bool { return s.state == 'X' || s.state == 'Z' && s.threads <= 1 }

func isNoProcess(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}

// readStat gives an error for which isNoProcess holds when there is none.
func readStat(pid int) (procStat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return procStat{}, err
	}
	// The command, in parentheses, may hold anything; all behind it is numbers.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 20 {
		return procStat{}, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	s := procStat{state: fields[0][0]}
	var errs [4]error
	s.parent, errs[0] = strconv.Atoi(fields[1])
	s.session, errs[1] = strconv.Atoi(fields[3])
	s.threads, errs[2] = strconv.Atoi(fields[17])
	s.startTicks, errs[3] = strconv.ParseUint(fields[19], 10, 64)
	return s, errors.Join(errs[:]...)
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("learn the machine's boot ID: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// alive tells whether the very process still runs. An own child that has ended
// is reaped, and why tells how it ended.
func (d *Driver) alive(id identity) (alive bool, why string, err error) {
	if id.Boot != d.boot {
		return false, "", nil
	}
	s, err := readStat(id.PID)
	switch {
	case err != nil && isNoProcess(err):
		return false, "", nil
	case err != nil:
		return false, "", fmt.Errorf("look at process %d: %w", id.PID, err)
	case s.startTicks != id.StartTicks:
		return false, "", nil // another process has the pid now
	case !s.gone():
		return true, "", nil
	case s.parent == os.Getpid():
		return false, reap(id.PID), nil
	}
	return false, "", nil
}

// reap takes an ended child from the process table and says how it ended.
func reap(pid int) string {
	var status syscall.WaitStatus
	if got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil); err != nil || got != pid {
		return ""
	}
	if status.Signaled() {
		return fmt.Sprintf("killed by signal %d (%s)", int(status.Signal()), status.Signal())
	}
	return fmt.Sprintf("exited with status %d", status.ExitStatus())
}

// proc is a process that was found in the process table, with the address on
// its command line.
type proc struct {
	identity
	wire.Endpoint
}

// table holds servers that run from below our directories, by configuration
// file; of several with the same, the one that runs longest is the first.
type table map[string][]proc

// scan finds the servers of clusters.
func (d *Driver) scan() (table, error) { return d.scanBy(d.serverOf) }

// scanFor finds the servers of the same sort as s.
func (d *Driver) scanFor(s server) (table, error) {
	if s.kind == redisServer || s.kind == sentinelServer {
		return d.scan()
	}
	return d.scanStorage()
}

// scanBy goes through all processes for those that a driver on this directory
// started, as the command line tells, so it is for when files do not tell. It
// takes some 10 µs for each process of the machine.
func (d *Driver) scanBy(serverOf func(argv []string) (server, bool)) (table, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("look for processes: %w", err)
	}
	procs := table{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil {
			continue // it ended meanwhile
		}
		s, ok := serverOf(strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00"))
		if !ok {
			continue
		}
		if id, ok := d.leader(pid); ok {
			procs[s.conf()] = append(procs[s.conf()], proc{id, s.Endpoint})
		}
	}
	for _, same := range procs {
		slices.SortFunc(same, func(a, b proc) int { return cmp.Compare(a.StartTicks, b.StartTicks) })
	}
	return procs, nil
}

// serverOf is the server that has exactly this command line. That nobody has
// by chance, as somebody has who reads the configuration file.
func (d *Driver) serverOf(argv []string) (server, bool) {
	if len(argv) < 6 {
		return server{}, false
	}
	dir, file := filepath.Split(argv[1])
	port, err := strconv.Atoi(argv[5])
	s := server{kind: kind(strings.TrimSuffix(file, ".conf")), dir: filepath.Clean(dir), Endpoint: wire.Endpoint{Host: argv[3], Port: port}}
	if err != nil || s.kind != redisServer && s.kind != sentinelServer || !slices.Equal(argv[1:], s.args()) {
		return server{}, false
	}
	cluster, ordinal := filepath.Split(s.dir)
	home, name := filepath.Split(filepath.Clean(cluster))
	_, ok := parseOrdinal(ordinal)
	return s, ok && wire.ClusterName(name).Validate() == nil && filepath.Clean(home) == d.cfg.Dir
}

// leader identifies a process that leads its session, which Redis' own children
// do not, and that has our root directory: to one in a container the same path
// is another file.
func (d *Driver) leader(pid int) (identity, bool) {
	s, err := readStat(pid)
	if err != nil || s.session != pid || s.gone() {
		return identity{}, false
	}
	ours, ourErr := os.Stat("/")
	its, err := os.Stat(fmt.Sprintf("/proc/%d/root", pid))
	if err != nil || ourErr != nil || !os.SameFile(ours, its) {
		return identity{}, false
	}
	return identity{PID: pid, StartTicks: s.startTicks, Boot: d.boot}, true
}
