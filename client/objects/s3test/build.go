package s3test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// version of the server. It is not in go.mod: nobody who imports FrameDB needs
// its modules.
const (
	module  = "github.com/versity/versitygw/cmd/versitygw"
	version = "v1.8.0"
)

// buildWithin bounds the build: three minutes of one core, and the download.
const buildWithin = 15 * time.Minute

// Prepare builds the server unless it is there, and says so.
func Prepare(w io.Writer) error {
	if _, err := os.Stat(path()); err == nil {
		return nil
	}
	fmt.Fprintf(w, "building the S3 server of the tests, once, in some minutes: %s@%s\n", module, version)
	_, err := Binary()
	return err
}

// path is where the program is kept.
func path() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	return filepath.Join(cache, "framedb", "versitygw-"+version, "versitygw")
}

// Binary gives the path of the server's program and builds it when it is not
// there: once for a machine and user, whatever number of test processes asks.
// `make test` does that first, by the program in prepare.
func Binary() (string, error) {
	exe := path()
	dir := filepath.Dir(exe)
	if _, err := os.Stat(exe); err == nil {
		return exe, nil
	}
	if _, err := exec.LookPath("go"); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(exe); err == nil {
		return exe, nil // another process has built it meanwhile
	}
	return exe, build(dir, exe)
}

// build installs into a directory of its own, so that exe is whole or absent.
func build(dir, exe string) error {
	tmp, err := os.MkdirTemp(dir, "build")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	ctx, cancel := context.WithTimeout(context.Background(), buildWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "install", "-trimpath", "-ldflags=-s -w", module+"@"+version)
	cmd.Dir = tmp                                                      // outside of every module
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // when the test is over its time
	cmd.Env = append(clean(os.Environ()), "GOFLAGS=-mod=mod", "GOBIN="+tmp, "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go install %s@%s: %w\n%s", module, version, err, out)
	}
	return os.Rename(filepath.Join(tmp, "versitygw"), exe)
}

// clean drops what `go test` sets for the module under test.
func clean(env []string) []string {
	var kept []string
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		switch name {
		case "GOFLAGS", "GOBIN", "GOWORK", "GOOS", "GOARCH", "CGO_ENABLED":
		default:
			kept = append(kept, e)
		}
	}
	return kept
}

func lock(file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
