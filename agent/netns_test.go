package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/wire"
)

// lab is a network of our own: a namespace with a bridge, and one more for
// each agent, joined to it by a pair of virtual devices.
type lab struct {
	t    *testing.T
	name string
	size int
}

// newLab needs root: without, the test ends with a message.
func newLab(t *testing.T, size int) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("network namespaces need ip, of iproute2")
	}
	l := &lab{t: t, name: fmt.Sprint("fdb", os.Getpid()), size: size}
	t.Cleanup(l.remove)
	l.ip("netns add %s", l.name)
	l.ip("-n %s link add bridge type bridge", l.name)
	l.ip("-n %s link set bridge up", l.name)
	for i := 1; i <= size; i++ {
		l.ip("netns add %s", l.netns(i))
		l.ip("-n %s link add eth0 type veth peer name port%d netns %s", l.netns(i), i, l.name)
		l.ip("-n %s link set port%d master bridge up", l.name, i)
		l.ip("-n %s link set lo up", l.netns(i))
		l.ip("-n %s addr add %s/24 dev eth0", l.netns(i), addrOf(i))
		l.ip("-n %s link set eth0 up", l.netns(i))
	}
	return l
}

func (l *lab) remove() {
	for i := l.size; i >= 1; i-- {
		exec.Command("ip", "netns", "del", l.netns(i)).Run()
	}
	exec.Command("ip", "netns", "del", l.name).Run()
}

func (l *lab) netns(i int) string { return fmt.Sprintf("%s-%d", l.name, i) }

func addrOf(i int) string { return fmt.Sprint("10.88.0.", i) }

func (l *lab) ip(format string, args ...any) {
	l.t.Helper()
	words := strings.Fields(fmt.Sprintf(format, args...))
	if out, err := exec.Command("ip", words...).CombinedOutput(); err != nil {
		l.t.Fatalf("ip %v: %v: %s", words, err, out)
	}
}

// cut takes an agent off the network, or puts it back.
func (l *lab) cut(i int, off bool) {
	to := "up"
	if off {
		to = "down"
	}
	l.ip("-n %s link set port%d %s", l.name, i, to)
}

// mute keeps an agent from sending to the others: it hears them still.
func (l *lab) mute(i int, off bool) {
	do := "del"
	if off {
		do = "add"
	}
	for j := 1; j <= l.size; j++ {
		if j != i {
			l.ip("-n %s route %s blackhole %s/32", l.netns(i), do, addrOf(j))
		}
	}
}

// agents starts one agent in each namespace and waits until all are ready.
func (l *lab) agents() []*proc {
	l.t.Helper()
	all := make([]*proc, l.size+1) // from 1
	for i := 1; i <= l.size; i++ {
		all[i] = newProc(l.t)
		all[i].within = []string{"ip", "netns", "exec", l.netns(i)}
		l.start(all[i], i)
	}
	for i := 1; i <= l.size; i++ {
		all[i].awaitReady()
	}
	return all
}

func (l *lab) start(p *proc, i int) {
	l.t.Helper()
	p.start("--listen", addrOf(i)+":5000", "--advertise", addrOf(i), "--join", addrOf(1)+":5002", "--join", addrOf(2)+":5002",
		"--expect", fmt.Sprint(l.size), "--node-name", fmt.Sprint("node-", i), "--node-tag", fmt.Sprint("node-", i))
}

// socket is how the test reaches an agent, whatever becomes of its network.
func (p *proc) socket() string { return "unix://" + p.dir + "/agent.sock" }

// TestFiveAgentsInNamespaces has real agents on a real network and real
// faults: what was acknowledged stays, once, and changes go on.
func TestFiveAgentsInNamespaces(t *testing.T) {
	l := newLab(t, 5)
	agents := l.agents()
	w := newWriters(t, agents[1:])
	defer w.stop()

	leader := func() int {
		var at int
		eventually(t, 30*time.Second, func() error {
			for i := 1; i < len(agents); i++ {
				if status, answer := agents[i].call(http.MethodGet, "/v1/raft", ""); status == 200 && answer["leader"] == fmt.Sprint("node-", i) {
					at = i
					return nil
				}
			}
			return errors.New("nobody says that it leads")
		})
		return at
	}
	faults := []struct {
		name       string
		begin, end func(i int)
	}{
		{"kill -9", func(i int) { agents[i].kill() }, func(i int) { l.start(agents[i], i); agents[i].awaitReady() }},
		{"SIGSTOP", func(i int) { agents[i].cmd.Process.Signal(syscall.SIGSTOP) }, func(i int) { agents[i].cmd.Process.Signal(syscall.SIGCONT) }},
		{"a cut cable", func(i int) { l.cut(i, true) }, func(i int) { l.cut(i, false) }},
		{"one way only", func(i int) { l.mute(i, true) }, func(i int) { l.mute(i, false) }},
	}
	for _, f := range faults {
		at := leader()
		w.sees(50, "before "+f.name)
		f.begin(at)
		w.sees(200, "while the leader has "+f.name)
		f.end(at)
		w.sees(50, "after "+f.name)
	}
	w.stop()
	for _, a := range agents[1:] {
		w.check(a)
	}
}

// writers map sources through all agents until they are stopped.
type writers struct {
	t      *testing.T
	client *client.Client
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu    sync.Mutex
	acked []wire.SourceID
	wrong []error
}

func newWriters(t *testing.T, agents []*proc) *writers {
	t.Helper()
	var addrs []string
	for _, a := range agents {
		addrs = append(addrs, a.socket())
	}
	c, err := client.New(client.Config{Addrs: addrs, AddrsOnly: true, Timeout: 5 * time.Second, RetryFor: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	ctx, cancel := context.WithCancel(context.Background())
	w := &writers{t: t, client: c, cancel: cancel}
	if _, err := c.CreateCluster(ctx, wire.CreateCluster{Name: "alpha", ClusterSpec: wire.ClusterSpec{NodeTag: "node-1", Replicas: 1, Quorum: 1}}, time.Minute); err != nil {
		t.Fatal(err)
	}
	for n := range 8 {
		w.done.Go(func() { w.write(ctx, n) })
	}
	return w
}

func (w *writers) write(ctx context.Context, n int) {
	for i := 0; ctx.Err() == nil; i++ {
		source := wire.SourceID(fmt.Sprintf("w%d-%d", n, i))
		_, err := w.client.CreateMapping(ctx, source, wire.CreateMapping{NodeTag: "node-1"})
		w.mu.Lock()
		switch {
		case err == nil:
			w.acked = append(w.acked, source)
		case ctx.Err() == nil && !errors.Is(err, wire.ErrOutcomeUnknown):
			w.wrong = append(w.wrong, fmt.Errorf("%s: %w", source, err))
		}
		w.mu.Unlock()
	}
}

// sees waits for further acknowledged changes.
func (w *writers) sees(more int, when string) {
	w.t.Helper()
	w.mu.Lock()
	from := len(w.acked)
	w.mu.Unlock()
	eventually(w.t, 30*time.Second, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if n := len(w.acked) - from; n < more {
			return fmt.Errorf("%s: %d changes, want %d; failures: %v", when, n, more, errors.Join(w.wrong...))
		}
		return nil
	})
}

func (w *writers) stop() {
	w.cancel()
	w.done.Wait()
}

// check sees to it that an agent has everything that was acknowledged.
func (w *writers) check(a *proc) {
	w.t.Helper()
	for _, err := range w.wrong {
		w.t.Errorf("a change failed, or was made twice: %v", err)
	}
	c, err := client.New(client.Config{Addrs: []string{a.socket()}, AddrsOnly: true})
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	eventually(w.t, 30*time.Second, func() error {
		has := map[wire.SourceID]bool{}
		for s, err := range c.Sources(w.t.Context(), "w") {
			if err != nil {
				return err
			}
			has[s.Source] = true
		}
		for _, s := range w.acked {
			if !has[s] {
				return fmt.Errorf("%s lacks %s, one of %d that were acknowledged", a.dir, s, len(w.acked))
			}
		}
		return nil
	})
}
