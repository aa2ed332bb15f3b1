package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy/sockets"
)

type kind string

const (
	redisServer    kind = "redis"
	sentinelServer kind = "sentinel"
	mariadbServer  kind = "mariadbd"
	tidbServer     kind = "tidb-server"
)

const (
	// startTimeout is how long a server may take to answer for the first time.
	// Redis answers while it loads an append-only file; a database that is not
	// done by then goes on starting.
	startTimeout = 10 * time.Second
	// endGrace is how long a server has between SIGTERM and SIGKILL.
	endGrace = 5 * time.Second
	// killTimeout bounds the wait after SIGKILL; beyond it the process hangs
	// in the kernel.
	killTimeout = 5 * time.Second
	// maxLog is the size in bytes above which a log is put aside at a start.
	maxLog    = 8 << 20
	pollEvery = 5 * time.Millisecond
)

// server is one process of a member, running or not.
type server struct {
	kind kind
	dir  string // the member's
	wire.Endpoint
	socket string
	found  []proc // what runs as it, where that was looked for
	// program and answers are a database's: what is run, and whether it lets
	// anyone in.
	program string
	answers func(context.Context) bool
}

func (s server) conf() string    { return s.file(".conf") }
func (s server) log() string     { return s.file(".log") }
func (s server) pidFile() string { return s.file(".pid") }

func (s server) file(suffix string) string { return filepath.Join(s.dir, string(s.kind)+suffix) }

// args are what the program is started with. The address is there for people
// who read the process table, and for scan, which has only that when the files
// are gone.
func (s server) args() []string {
	switch s.kind {
	case mariadbServer:
		return []string{"--defaults-file=" + s.conf(), "--bind-address=" + s.Host, "--port=" + strconv.Itoa(s.Port)}
	case tidbServer:
		return []string{"--config=" + s.conf(), "--host=" + s.Host, "-P=" + strconv.Itoa(s.Port)}
	}
	args := []string{s.conf(), "--bind", s.Host, "--port", strconv.Itoa(s.Port)}
	if s.kind == sentinelServer {
		args = append(args, "--sentinel")
	}
	return args
}

// noted says that the pid file names a process, running or not.
func (s server) noted() bool {
	var id identity
	return readJSON(s.pidFile(), &id) == nil && id.PID != 0
}

// find tells whether the server runs, from its pid file and from what was found
// in the process table. why says how it ended, when that is learnt just now.
func (d *Driver) find(s server) (id identity, running bool, why string, err error) {
	if readJSON(s.pidFile(), &id) == nil {
		running, why, err = d.alive(id)
	}
	for _, p := range s.found {
		if running || err != nil {
			break
		}
		id = p.identity
		running, _, err = d.alive(id)
	}
	return id, running, why, err
}

// start runs a server that does not run and waits until it answers.
func (d *Driver) start(ctx context.Context, s server, conf []byte) error {
	free, err := portIsFree(ctx, s.Endpoint)
	if err != nil {
		return err
	}
	if !free {
		if found, err := d.startedLate(s, identity{}); err != nil || found {
			return err
		}
		return wire.Errorf(wire.CodeUnavailable,
			"port %d at %s is taken by another program: end that one (ss -ltnp 'sport = :%d' names it); what has this port for life starts then by itself",
			s.Port, s.Host, s.Port)
	}
	if err := makeDir(d.cfg.SocketDir, 0o755); err != nil {
		return err // it was there when the driver was made
	}
	if err := s.sweep(); err != nil {
		return err
	}
	if err := writeFile(s.conf(), conf); err != nil {
		return err
	}
	id, err := d.fork(s)
	if err != nil {
		return err
	}
	d.log.Info("started", "kind", s.kind, "pid", id.PID, "address", address(s.Endpoint), "dir", s.dir)
	failed := d.awaitAnswer(ctx, s, id)
	if failed == nil {
		return nil
	}
	if found, err := d.startedLate(s, id); err != nil || found {
		return err
	}
	return failed
}

// startedLate finds another process than ours that was forked by a driver that
// died then, and became a server only after this one had looked for those. Who
// comes second finds the port taken.
func (d *Driver) startedLate(s server, ours identity) (bool, error) {
	procs, err := d.scanFor(s)
	if err != nil {
		return false, err
	}
	for _, p := range procs[s.conf()] {
		if p.identity != ours {
			return true, writeJSON(s.pidFile(), p.identity)
		}
	}
	return false, nil
}

// sweep deletes what interrupted full copies left in the member's directory.
func (s server) sweep() error {
	left, err := filepath.Glob(filepath.Join(s.dir, "temp-*.rdb"))
	if err != nil || s.kind != redisServer {
		return err
	}
	for _, path := range left {
		if err := sockets.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// fork starts the process. The pid file says "being started" before, so that a
// process whose pid we could not write any more is looked for, never doubled.
func (d *Driver) fork(s server) (identity, error) {
	logFile, err := openLog(s.log())
	if err != nil {
		return identity{}, err
	}
	defer logFile.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return identity{}, err
	}
	defer null.Close()
	if err := writeJSON(s.pidFile(), identity{}); err != nil {
		return identity{}, err
	}
	program := s.program
	switch s.kind {
	case redisServer:
		program = d.cfg.RedisServer
	case sentinelServer:
		program = d.cfg.RedisSentinel
	}
	attr := &os.ProcAttr{
		Dir:   s.dir,
		Env:   []string{}, // ours may hold secrets, and Redis needs none
		Files: []*os.File{null, logFile, logFile},
		Sys:   processAttr(d.cfg.DieWithParent),
	}
	p, err := os.StartProcess(program, append([]string{program}, s.args()...), attr)
	if err != nil {
		os.Remove(s.pidFile())
		return identity{}, wire.Errorf(wire.CodeUnavailable, "start %s: %v", program, err)
	}
	defer p.Release() // it is found and reaped by its identity
	stat, err := readStat(p.Pid)
	if err != nil {
		return identity{}, fmt.Errorf("look at process %d: %w", p.Pid, err)
	}
	id := identity{PID: p.Pid, StartTicks: stat.startTicks, Boot: d.boot}
	return id, writeJSON(s.pidFile(), id)
}

func openLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		os.Rename(path, path+".1")
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fileError(path, err)
	}
	return f, nil
}

// awaitAnswer returns when the process itself answers at its address.
func (d *Driver) awaitAnswer(ctx context.Context, s server, id identity) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errNoAnswer)
	defer cancel()
	for {
		alive, why, err := d.alive(id)
		if err != nil {
			return err
		}
		if !alive {
			os.Remove(s.pidFile())
			return wire.Errorf(wire.CodeUnavailable, "%s at %s %s after its start: %s", s.kind, address(s.Endpoint), orElse(why, "ended"), s.lastWords())
		}
		if d.answered(ctx, s, id) {
			return nil
		}
		if err := wait(ctx, pollEvery); err != nil {
			return fmt.Errorf("wait for %s at %s (see %s): %w", s.kind, address(s.Endpoint), s.log(), err)
		}
	}
}

func (d *Driver) answered(ctx context.Context, s server, id identity) bool {
	if s.answers != nil {
		return s.answers(ctx)
	}
	pid, err := d.askPID(ctx, s.Endpoint)
	return err == nil && pid == id.PID
}

var errNoAnswer = wire.Errorf(wire.CodeUnavailable, "it does not answer within %v", startTimeout)

// wait returns after a moment, or with ctx's cause.
func wait(ctx context.Context, moment time.Duration) error {
	t := time.NewTimer(moment)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// end ends the server, and what else runs as it: SIGTERM, and SIGKILL when it
// still runs after grace. A process that is not positively ours gets no signal.
func (d *Driver) end(ctx context.Context, s server, grace time.Duration) error {
	for {
		id, running, _, err := d.find(s)
		if err != nil {
			return err
		}
		if !running {
			break
		}
		if err := d.kill(ctx, id, grace); err != nil {
			return fmt.Errorf("end %s at %s: %w", s.kind, address(s.Endpoint), err)
		}
		d.log.Info("ended", "kind", s.kind, "pid", id.PID, "address", address(s.Endpoint))
	}
	if err := os.Remove(s.pidFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *Driver) kill(ctx context.Context, id identity, grace time.Duration) error {
	p, err := os.FindProcess(id.PID) // holds on to this very process (pidfd)
	if err != nil {
		return err
	}
	defer p.Release()
	for _, step := range []struct {
		signal os.Signal
		within time.Duration
	}{{syscall.SIGTERM, grace}, {syscall.SIGKILL, killTimeout}} {
		// Asked again only now: what p holds on to is then known to be ours.
		if alive, _, err := d.alive(id); err != nil || !alive {
			return err
		}
		if err := p.Signal(step.signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		if gone, err := d.awaitEnd(ctx, id, step.within); err != nil || gone {
			return err
		}
	}
	return wire.Errorf(wire.CodeUnavailable, "process %d does not end, not even by SIGKILL", id.PID)
}

func (d *Driver) awaitEnd(ctx context.Context, id identity, within time.Duration) (gone bool, err error) {
	limit, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		alive, _, err := d.alive(id)
		if err != nil || !alive {
			return !alive, err
		}
		if err := wait(limit, pollEvery); err != nil {
			return false, ctx.Err()
		}
	}
}

// logPrefix is what Redis puts before each message: "1234:M 25 Nov 2026
// 10:30:08.123 # ". It differs each time, and reasons should not.
var logPrefix = regexp.MustCompile(`^\d+:[A-Z] \d+ \w+ \d+ [\d:.]+ . `)

// lastLine is the end of a log, for an error message.
func lastLine(path string) string {
	b, err := os.ReadFile(path)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if last := logPrefix.ReplaceAllString(lines[len(lines)-1], ""); err == nil && last != "" {
		return fmt.Sprintf("%q (%s)", last, path)
	}
	return "see " + path
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
