package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// childEnv makes the test binary an agent: its flags stand in the arguments.
const childEnv = "FRAMEDB_TEST_AGENT"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child())
	}
	os.Exit(m.Run())
}

func child() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	flags := pflag.NewFlagSet("agent", pflag.ContinueOnError)
	Flags(flags)
	err := flags.Parse(os.Args[1:])
	var cfg Config
	if err == nil {
		cfg, err = Load(flags, os.Environ())
	}
	if size := os.Getenv(tmpfsEnv); size != "" && err == nil {
		err = mountTmpfs(cfg.DataDir, size)
	}
	if err == nil {
		err = Run(ctx, cfg, NewLogger(cfg, os.Stderr), func(c Config) { fmt.Println("ready", c.Listen) })
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "framedb:", err)
		return 1
	}
	return 0
}

// proc is an agent in a process of its own, with real Redis below it.
type proc struct {
	t   *testing.T
	dir string
	env []string
	// within is what runs the agent, such as "ip netns exec x"; it must not
	// fork.
	within []string
	cmd    *exec.Cmd
	attr   *syscall.SysProcAttr
	log    *lockedBuffer
	addr   string // of the REST API, once ready
	ready  <-chan string
}

// newProc prepares an agent on a short fresh directory. At the end of the test
// everything that ran below it is ended.
func newProc(t *testing.T) *proc {
	t.Helper()
	dir, err := os.MkdirTemp("", "fdb")
	if err != nil {
		t.Fatal(err)
	}
	p := &proc{t: t, dir: dir, log: &lockedBuffer{}}
	t.Cleanup(p.cleanup)
	return p
}

func (p *proc) cleanup() {
	p.kill()
	for _, pid := range append(p.redisPIDs(), p.pidsOf("mariadb")...) {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	if p.t.Failed() {
		p.t.Logf("the agent's log, without requests:\n%s", p.log.without("msg=request"))
	}
	os.RemoveAll(p.dir)
}

// start runs the agent without waiting for it.
func (p *proc) start(args ...string) {
	p.t.Helper()
	line := append(append(p.within, os.Args[0], "--dev", "--data-dir", p.dir, "--listen", "127.0.0.1:0"), args...)
	p.cmd = exec.Command(line[0], line[1:]...)
	p.cmd.Env = append(append(os.Environ(), childEnv+"=1", "FRAMEDB_REDIS_PORT=0", "FRAMEDB_LOG_LEVEL=debug"), p.env...)
	p.cmd.Stderr = p.log
	p.cmd.SysProcAttr = p.attr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	p.addr = ""
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	ready := make(chan string, 1)
	go func() {
		var addr string
		fmt.Fscanf(out, "ready %s\n", &addr)
		ready <- addr
		io.Copy(io.Discard, out)
	}()
	p.ready = ready
}

// up runs the agent and waits until it is ready.
func (p *proc) up(args ...string) {
	p.t.Helper()
	p.start(args...)
	p.awaitReady()
}

// awaitReady waits until an agent that was started is ready.
func (p *proc) awaitReady() {
	p.t.Helper()
	select {
	case p.addr = <-p.ready:
	case <-time.After(60 * time.Second):
	}
	if p.addr == "" {
		p.t.Fatalf("the agent did not start:\n%s", p.log)
	}
}

// fails runs an agent that must end by itself, and returns what it said.
func (p *proc) fails(args ...string) string {
	p.t.Helper()
	p.start(args...)
	err := p.wait(30 * time.Second)
	if err == nil {
		p.t.Fatalf("the agent ended well:\n%s", p.log)
	}
	return p.log.String()
}

// wait returns how the agent ended.
func (p *proc) wait(within time.Duration) error {
	p.t.Helper()
	done := make(chan error, 1)
	cmd := p.cmd
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		p.cmd = nil
		return err
	case <-time.After(within):
		p.t.Fatalf("the agent did not end within %v", within)
		return nil
	}
}

func (p *proc) kill() {
	if p.cmd != nil {
		p.cmd.Process.Kill()
		p.cmd.Wait()
		p.cmd = nil
	}
}

// term ends the agent as Kubernetes and systemd do.
func (p *proc) term() {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	if err := p.wait(10 * time.Second); err != nil {
		p.t.Fatalf("SIGTERM: %v", err)
	}
}

// redisPIDs finds the Redis and Sentinel processes whose files are below the
// data directory.
func (p *proc) redisPIDs() []int { return p.pidsOf("redis") }

// pidsOf finds the processes of a program whose files are below the data
// directory.
func (p *proc) pidsOf(program string) []int {
	var pids []int
	dirs, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, d := range dirs {
		var pid int
		fmt.Sscanf(d, "/proc/%d/cwd", &pid)
		exe, _ := os.Readlink(filepath.Join(filepath.Dir(d), "exe"))
		cwd, err := os.Readlink(d)
		cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(d), "cmdline"))
		below := err == nil && strings.HasPrefix(cwd, p.dir+"/") || bytes.Contains(cmdline, []byte(p.dir+"/"))
		if below && strings.Contains(filepath.Base(exe), program) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// call sends one request; body is JSON text. It returns the status and the
// decoded answer.
func (p *proc) call(method, path, body string) (int, map[string]any) {
	p.t.Helper()
	req, err := http.NewRequest(method, "http://"+p.addr+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := p.http().Do(req)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	answer := map[string]any{}
	if err := json.Unmarshal(b, &answer); err != nil {
		p.t.Fatalf("%s %s: %s: %v", method, path, b, err)
	}
	return res.StatusCode, answer
}

// http reaches the agent over its socket: its network may be another one.
func (p *proc) http() *http.Client {
	if len(p.within) == 0 {
		return http.DefaultClient
	}
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(p.dir, "agent.sock"))
		},
	}}
}

// post is a call of one of the first FrameDB's endpoints that must succeed.
func (p *proc) post(path, body string) any {
	p.t.Helper()
	status, answer := p.call(http.MethodPost, path, body)
	if status != 200 || answer["success"] != true {
		p.t.Fatalf("POST %s %s: %d %v", path, body, status, answer)
	}
	return answer["result"]
}

// eventually polls until f returns nil.
func eventually(t *testing.T, within time.Duration, f func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still not after %v: %v", within, err)
		}
		<-tick.C
	}
}

// lockedBuffer keeps what the agent logs.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// without is what was logged, less the lines that hold word.
func (b *lockedBuffer) without(word string) string {
	var kept strings.Builder
	for line := range strings.Lines(b.String()) {
		if !strings.Contains(line, word) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// password is the one that the agent made.
func (p *proc) password() string {
	p.t.Helper()
	b, err := os.ReadFile(filepath.Join(p.dir, "password"))
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}
