package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
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

// scan finds the running process that was started with this configuration
// file. It goes through all processes, so only for when there is no better
// way. Redis' own children (for its copies) have the same command line; they
// lead no session.
func (d *Driver) scan(conf string) (identity, bool, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return identity{}, false, fmt.Errorf("look for the process of %s: %w", conf, err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil {
			continue // it ended meanwhile
		}
		argv := strings.Split(string(cmdline), "\x00")
		if len(argv) < 2 || argv[1] != conf {
			continue
		}
		if s, err := readStat(pid); err == nil && s.session == pid && !s.gone() {
			return identity{PID: pid, StartTicks: s.startTicks, Boot: d.boot}, true, nil
		}
	}
	return identity{}, false, nil
}
