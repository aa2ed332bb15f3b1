package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// readyWithin bounds the start of an agent, which is asked to take 2 s.
	readyWithin = 30 * time.Second
	// stopWithin is what an agent promises for SIGTERM, and some more.
	stopWithin = 15 * time.Second
	// The ports of members begin here, away from those that a FrameDB of this
	// machine's user takes.
	firstRedisPort    = 17379
	firstSentinelPort = 27379
)

// agentProcess is an agent of our own.
type agentProcess struct {
	binary string
	dir    string // its data directory, ours to remove
	args   []string
	env    []string
	cmd    *exec.Cmd
	ended  chan struct{} // closed when cmd has ended
}

// newAgentProcess makes the data directory; its name is short because a unix
// socket path ends at 107 bytes.
func newAgentProcess(binary string) (*agentProcess, error) {
	path, err := exec.LookPath(binary)
	if err != nil {
		return nil, fmt.Errorf("%w: run make build, or give -agent", err)
	}
	dir, err := os.MkdirTemp("", "fdbb")
	if err != nil {
		return nil, err
	}
	return &agentProcess{binary: path, dir: dir}, nil
}

func (a *agentProcess) socket() string  { return filepath.Join(a.dir, "agent.sock") }
func (a *agentProcess) logFile() string { return filepath.Join(a.dir, "bench.log") }

// start spawns the agent and returns how long it took until /readyz said 200.
func (a *agentProcess) start(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	if err := a.spawn(); err != nil {
		return 0, err
	}
	if err := a.waitReady(ctx); err != nil {
		return 0, errors.Join(err, a.stop())
	}
	return time.Since(began), nil
}

func (a *agentProcess) spawn() error {
	log, err := os.OpenFile(a.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(a.binary, append([]string{"agent", "--dev", "--data-dir", a.dir, "--listen", "127.0.0.1:0"}, a.args...)...)
	cmd.Env = append(append(foreignEnv(), a.env...), "FRAMEDB_STOP_PROCESSES_ON_EXIT=true",
		fmt.Sprintf("FRAMEDB_REDIS_PORT=%d", firstRedisPort), fmt.Sprintf("FRAMEDB_SENTINEL_PORT=%d", firstSentinelPort))
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own: Ctrl-C is for us, and we end the agent in our order.
	// Should we be killed, it hears so.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return err
	}
	a.cmd, a.ended = cmd, make(chan struct{})
	go func(ended chan struct{}) { cmd.Wait(); close(ended) }(a.ended)
	return nil
}

// foreignEnv is the environment without what would change the agent.
func foreignEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "FRAMEDB_") {
			env = append(env, kv)
		}
	}
	return env
}

func (a *agentProcess) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	hc := socketHTTP(a.socket())
	defer hc.CloseIdleConnections()
	for {
		err := readyz(ctx, hc)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the agent is not ready: %w%s", err, a.logTail())
		case <-a.ended:
			return fmt.Errorf("the agent ended: %v%s", a.cmd.ProcessState, a.logTail())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func socketHTTP(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
}

func readyz(ctx context.Context, hc *http.Client) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent/readyz", nil)
	if err != nil {
		return err
	}
	res, err := hc.Do(req)
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz says %s", res.Status)
	}
	return nil
}

func (a *agentProcess) logTail() string {
	b, _ := os.ReadFile(a.logFile())
	if len(b) > 2000 {
		b = b[len(b)-2000:]
	}
	return "\n" + string(bytes.TrimSpace(b))
}

// stop ends the agent, which ends its Redis processes, and does so itself with
// what the agent left. It may be called again.
func (a *agentProcess) stop() error {
	if a.cmd == nil {
		return nil
	}
	defer func() { a.cmd = nil }()
	a.cmd.Process.Signal(syscall.SIGTERM)
	var err error
	select {
	case <-a.ended:
	case <-time.After(stopWithin):
		a.cmd.Process.Kill()
		<-a.ended
		err = fmt.Errorf("the agent did not end within %v of SIGTERM and was killed", stopWithin)
	}
	for _, pid := range a.leftRedis() {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	return err
}

// remove ends the agent and removes its directory.
func (a *agentProcess) remove() error { return errors.Join(a.stop(), os.RemoveAll(a.dir)) }

// leftRedis finds Redis processes that work in our directory, and no others.
func (a *agentProcess) leftRedis() []int {
	var pids []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(d))
		cwd, err := os.Readlink(filepath.Join(d, "cwd"))
		exe, _ := os.Readlink(filepath.Join(d, "exe"))
		if err == nil && strings.HasPrefix(cwd, a.dir+"/") && strings.Contains(filepath.Base(exe), "redis") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// residentMiB is VmRSS of /proc/<pid>/status.
func residentMiB(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return parseRSS(string(b))
}

func parseRSS(status string) (float64, error) {
	for line := range strings.Lines(status) {
		if rest, found := strings.CutPrefix(line, "VmRSS:"); found {
			var kb float64
			if _, err := fmt.Sscanf(rest, "%g kB", &kb); err != nil {
				return 0, fmt.Errorf("VmRSS %q: %w", rest, err)
			}
			return kb / 1024, nil
		}
	}
	return 0, errors.New("/proc/<pid>/status has no VmRSS")
}

// clockTick is USER_HZ, which is 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// cpuTime is what a process has used, from /proc/<pid>/stat.
func cpuTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseCPU(string(b))
}

func parseCPU(stat string) (time.Duration, error) {
	// The second field, the name in brackets, may hold spaces and brackets.
	fields := strings.Fields(stat[strings.LastIndex(stat, ")")+1:])
	if len(fields) < 13 {
		return 0, errors.New("/proc/<pid>/stat is too short")
	}
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	return time.Duration(user+system) * clockTick, errors.Join(err1, err2)
}
