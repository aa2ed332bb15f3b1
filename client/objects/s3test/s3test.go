// Package s3test starts real S3 servers (versitygw on a directory) for tests
// and ends them with the test. The program is built at first use, which takes
// minutes, and kept in the user's cache directory.
//
//	s := s3test.Start(t)            one server, plain HTTP on a free port
//	s.Endpoint                      host:port
//	s.AccessKeyFile                 and SecretKeyFile, as backup.Target wants them
//	s.MakeBucket("b")
//	s.Files("b")                    paths of what is stored, to damage it
//	s.Kill(), s.Restart()           SIGKILL; again, with its data
//	p := s.Proxy(); p.Fail(...)     the same server behind faults
package s3test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// upWithin bounds one start; a loaded machine is slow.
const upWithin = 60 * time.Second

// The server's only user.
const (
	AccessKey = "framedb-test"
	SecretKey = "s3test-secret-0123456789"
)

// Server is one versitygw process.
type Server struct {
	Endpoint                     string // host:port
	AccessKeyFile, SecretKeyFile string

	t    testing.TB
	exe  string
	dir  string
	cmd  *exec.Cmd
	gone chan struct{} // closed when cmd has ended
}

// Start starts an empty server.
func Start(t testing.TB) *Server {
	t.Helper()
	exe, err := Binary()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "s3") // not t.TempDir: that may be in memory
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &Server{
		t: t, exe: exe, dir: dir,
		AccessKeyFile: filepath.Join(dir, "access"), SecretKeyFile: filepath.Join(dir, "secret"),
	}
	for _, d := range []string{s.data(), s.sidecar()} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for path, text := range map[string]string{s.AccessKeyFile: AccessKey, s.SecretKeyFile: SecretKey + "\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.startOnFreePort()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("versitygw: %s", s.Log())
		}
		s.Kill()
	})
	return s
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// sidecar holds the objects' attributes, for file systems without user xattrs.
func (s *Server) sidecar() string { return filepath.Join(s.dir, "sidecar") }

func (s *Server) startOnFreePort() {
	s.t.Helper()
	var err error
	for range 5 {
		s.Endpoint = freeAddress(s.t)
		if err = s.start(); err == nil {
			return
		}
	}
	s.t.Fatalf("versitygw does not start: %v\n%s", err, s.Log())
}

// start returns when the server answers.
func (s *Server) start() error {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command(s.exe, "--port", s.Endpoint, "--health", "/health", "--quiet",
		"posix", "--sidecar", s.sidecar(), s.data())
	s.cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+AccessKey, "ROOT_SECRET_KEY="+SecretKey)
	s.cmd.Dir = s.dir
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
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	deadline := time.After(upWithin)
	for {
		if res, err := client.Get("http://" + s.Endpoint + "/health"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-s.gone:
			return fmt.Errorf("the process ended: %v", s.cmd.ProcessState)
		case <-deadline:
			s.Kill()
			return fmt.Errorf("no answer within %v", upWithin)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Kill ends the process with SIGKILL. It is safe to call more than once.
func (s *Server) Kill() {
	if s.gone != nil {
		s.cmd.Process.Kill()
		<-s.gone
	}
}

// Restart starts a killed server again, on its port and with its data.
func (s *Server) Restart() {
	s.t.Helper()
	if err := s.start(); err != nil {
		s.t.Fatalf("restart: %v\n%s", err, s.Log())
	}
}

// Log is the end of what the process wrote.
func (s *Server) Log() string {
	log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	if i := len(log) - 4000; i > 0 {
		log = log[i:]
	}
	return string(bytes.TrimSpace(log))
}

// MakeBucket makes an empty bucket.
func (s *Server) MakeBucket(name string) {
	s.t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	c, err := minio.New(s.Endpoint, &minio.Options{
		Creds: credentials.NewStaticV4(AccessKey, SecretKey, ""), Region: "us-east-1", Transport: transport,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := c.MakeBucket(context.Background(), name, minio.MakeBucketOptions{}); err != nil {
		s.t.Fatalf("bucket %q: %v", name, err)
	}
}

// Files lists the files of a bucket's objects whose keys have the word in
// them. The file of an object holds its bytes and nothing else.
func (s *Server) Files(bucket, word string) []string {
	s.t.Helper()
	root := filepath.Join(s.data(), bucket)
	var files []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == ".sgwtmp" { // the server's own
			return fs.SkipDir
		}
		if err == nil && !d.IsDir() && strings.Contains(strings.TrimPrefix(path, root), word) {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return files
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
