// Package mysqltest starts real mariadbd processes for tests and ends them
// with the test. What runs against them are MySQL-protocol tests: MariaDB is
// not TiDB and has none of its limits.
//
//	s := mysqltest.Start(t)         one server, TCP on a free port and a unix socket
//	s.SocketDSN()                   for github.com/go-sql-driver/mysql, database "framedb"
//	s.Database()                    the same of an empty database
//	s.Settle()                      before the first Kill
//	s.Kill(), s.Restart()           SIGKILL; again, with its data
//
// There are no privilege tables: every user may do everything, over loopback.
package mysqltest

import (
	"bytes"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/framedb/framedb/client/wire"
)

// upWithin bounds one start, recovery included; a loaded machine is slow.
const upWithin = 60 * time.Second

// Server is one mariadbd process.
type Server struct {
	wire.Endpoint
	Socket string

	t    testing.TB
	dir  string
	args []string
	cmd  *exec.Cmd
	gone chan struct{} // closed when cmd has ended

	databases atomic.Int64
}

// Start starts an empty server that syncs its log at each commit; args are
// further options, such as "--max-allowed-packet=1M".
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "f") // short, for the socket; not in memory: that may be small where the tests run
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &Server{t: t, dir: dir, Socket: filepath.Join(dir, "s")}
	s.Host = "127.0.0.1"
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	s.args = append([]string{
		"--no-defaults", "--user=root", "--datadir=" + data, "--socket=" + s.Socket, "--pid-file=" + filepath.Join(dir, "pid"),
		"--bind-address=" + s.Host, "--skip-grant-tables", "--skip-name-resolve",
		"--character-set-server=utf8mb4", "--collation-server=utf8mb4_bin",
		"--innodb-buffer-pool-size=64M", "--innodb-log-file-size=96M",
	}, args...)
	s.startOnFreePort()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("mariadbd: %s\n%s", s.state(), s.Log())
		}
		s.end()
	})
	s.create()
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
	s.t.Fatalf("mariadbd does not start: %v\n%s", err, s.Log())
}

// start returns when the server answers.
func (s *Server) start() error {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command("mariadbd", append(s.args, "--port="+strconv.Itoa(s.Port))...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	cmd, gone := s.cmd, make(chan struct{})
	s.gone = gone
	go func() { cmd.Wait(); close(gone) }()
	return s.waitReady()
}

func (s *Server) waitReady() error {
	db, err := sql.Open("mysql", s.dsn("unix", s.Socket, ""))
	if err != nil {
		return err
	}
	defer db.Close()
	deadline := time.After(upWithin)
	for {
		if err := db.Ping(); err == nil {
			return nil
		}
		select {
		case <-s.gone:
			return fmt.Errorf("the process ended: %v", s.cmd.ProcessState)
		case <-deadline:
			s.end()
			return fmt.Errorf("no answer within %v", upWithin)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (s *Server) create() {
	s.t.Helper()
	db, err := sql.Open("mysql", s.dsn("unix", s.Socket, ""))
	if err != nil {
		s.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE DATABASE framedb"); err != nil {
		s.t.Fatal(err)
	}
}

// end is safe to call more than once.
func (s *Server) end() {
	if s.gone != nil {
		s.cmd.Process.Kill()
		<-s.gone
	}
}

// state says whether the process runs, and else how it ended.
func (s *Server) state() string {
	select {
	case <-s.gone:
		return s.cmd.ProcessState.String()
	default:
		return "running"
	}
}

// Kill ends the process with SIGKILL.
func (s *Server) Kill() { s.end() }

// Restart starts a killed server again, on its port and with its data.
func (s *Server) Restart() {
	s.t.Helper()
	if err := s.start(); err != nil {
		s.t.Fatalf("restart: %v\n%s", err, s.Log())
	}
}

// Settle stops the server in order and starts it again. A server that is
// killed in its first moments has not yet written its own tables down and does
// not start again; one that was settled does.
func (s *Server) Settle() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	select {
	case <-s.gone:
	case <-time.After(upWithin):
		s.t.Fatalf("mariadbd does not stop\n%s", s.Log())
	}
	s.Restart()
}

// Log is the end of what the process wrote to its log.
func (s *Server) Log() string {
	log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	if i := len(log) - 4000; i > 0 {
		log = log[i:]
	}
	return string(bytes.TrimSpace(log))
}

// Database makes an empty database and gives its DSN, over the unix socket.
func (s *Server) Database() string {
	s.t.Helper()
	name := fmt.Sprintf("t%d", s.databases.Add(1))
	db, err := sql.Open("mysql", s.dsn("unix", s.Socket, ""))
	if err != nil {
		s.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE DATABASE " + name); err != nil {
		s.t.Fatal(err)
	}
	return s.dsn("unix", s.Socket, name)
}

// SocketDSN reaches the server over its unix socket.
func (s *Server) SocketDSN() string { return s.dsn("unix", s.Socket, "framedb") }

func (s *Server) dsn(network, addr, db string) string {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Net, cfg.Addr, cfg.DBName = "root", network, addr, db
	cfg.Timeout = 5 * time.Second
	cfg.Logger = &mysql.NopLogger{}
	return cfg.FormatDSN()
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
