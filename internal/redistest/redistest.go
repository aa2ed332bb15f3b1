// Package redistest starts real redis-server and redis-sentinel processes for
// tests and ends them with the test.
//
//	s := redistest.Start(t)                    one server, TCP and unix socket
//	c := redistest.StartCluster(t, 3)          1 master, 2 replicas, 3 Sentinels
//	c.Members("c1"), c.Sentinels()             as wire.Instance and wire.Endpoint
//	c.Master(), c.Failover()                   by ROLE; by SENTINEL FAILOVER
//	s.Kill(), s.Restart(), s.Pause(), s.Resume()
//	s.Client()                                 go-redis, closed with the test
//	redistest.Silent(t)                        an endpoint that never answers
//	redistest.NewProxy(t, s.Endpoint)          a TCP proxy that can lose replies
//	redistest.Eventually(t, d, what, f)        polls until f returns nil
//
// All servers listen on 127.0.0.1 on free ports with the password Password.
package redistest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/framedb/framedb/client/wire"
)

// Password is that of every server and Sentinel.
const Password = "redistest"

// upWithin bounds the start of one process; a loaded machine is slow.
const upWithin = 20 * time.Second

// Server is one redis-server or redis-sentinel process.
type Server struct {
	wire.Endpoint
	// Socket is the unix socket; a Sentinel has none.
	Socket string

	t    testing.TB
	dir  string
	args []string // of the program, without the port
	exe  string
	cmd  *exec.Cmd
	gone chan struct{} // closed when cmd has ended
}

// Start starts a redis-server without persistence; args are further options,
// such as "--maxmemory", "10mb".
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	dir := tempDir(t)
	s := &Server{t: t, dir: dir, exe: "redis-server", Socket: filepath.Join(dir, "s")}
	s.Host = "127.0.0.1"
	s.args = append([]string{
		"--bind", s.Host, "--unixsocket", s.Socket, "--dir", dir,
		"--save", "", "--appendonly", "no",
		"--requirepass", Password, "--masterauth", Password,
		"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1",
		"--enable-debug-command", "yes",
	}, args...)
	s.startOnFreePort()
	t.Cleanup(s.end)
	return s
}

func (s *Server) startOnFreePort() {
	s.t.Helper()
	var err error
	for range 5 {
		s.Port = freePort(s.t)
		if err = s.start(); err == nil {
			return
		}
	}
	s.t.Fatalf("%s does not start: %v\n%s", s.exe, err, s.Log())
}

// start returns when the server answers.
func (s *Server) start() error {
	args := append([]string{}, s.args...)
	if s.exe == "redis-sentinel" {
		args = append([]string{filepath.Join(s.dir, "sentinel.conf")}, args...)
	}
	s.cmd = exec.Command(s.exe, append(args, "--port", strconv.Itoa(s.Port), "--logfile", filepath.Join(s.dir, "log"))...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	cmd, gone := s.cmd, make(chan struct{})
	s.gone = gone
	go func() { cmd.Wait(); close(gone) }()
	rdb := redis.NewClient(s.options())
	defer rdb.Close()
	deadline := time.After(upWithin)
	for {
		if err := rdb.Ping(context.Background()).Err(); err == nil {
			return nil
		}
		select {
		case <-gone:
			return fmt.Errorf("the process ended: %v", s.cmd.ProcessState)
		case <-deadline:
			s.end()
			return fmt.Errorf("no answer within %v", upWithin)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// end is safe to call more than once.
func (s *Server) end() {
	if s.gone != nil {
		s.cmd.Process.Kill()
		<-s.gone
	}
}

func (s *Server) running() bool {
	select {
	case <-s.gone:
		return false
	default:
		return true
	}
}

// Kill ends the process with SIGKILL.
func (s *Server) Kill() {
	s.t.Helper()
	s.end()
	Eventually(s.t, upWithin, "the killed server's port is closed", func() error {
		conn, err := net.Dial("tcp", s.Addr())
		if err != nil {
			return nil
		}
		conn.Close()
		return fmt.Errorf("%s still answers", s.Addr())
	})
}

// Restart starts a killed server again on its port, empty.
func (s *Server) Restart() {
	s.t.Helper()
	if err := s.start(); err != nil {
		s.t.Fatalf("restart %s: %v\n%s", s.Addr(), err, s.Log())
	}
}

// Pause stops the process without ending it (SIGSTOP); Resume goes on.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("signal %v: %v", sig, err)
	}
}

// Addr is host:port.
func (s *Server) Addr() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// Log is what the process wrote to its log.
func (s *Server) Log() string {
	log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	if i := len(log) - 4000; i > 0 {
		log = log[i:]
	}
	return string(bytes.TrimSpace(log))
}

// Client is a client over TCP that never retries.
func (s *Server) Client() *redis.Client {
	rdb := redis.NewClient(s.options())
	s.t.Cleanup(func() { rdb.Close() })
	return rdb
}

func (s *Server) options() *redis.Options {
	return &redis.Options{
		Addr: s.Addr(), Password: Password, Protocol: 2, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		MaxRetries:               -1, DialerRetries: 1, ContextTimeoutEnabled: true,
		ReadTimeout: 10 * time.Second,
	}
}

// tempDir is short: a unix socket path ends at 107 bytes.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "f")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Eventually calls f until it returns nil; after the given time it fails the
// test with f's last error.
func Eventually(t testing.TB, within time.Duration, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, within, err)
		}
		<-tick.C
	}
}
