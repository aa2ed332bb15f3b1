package ingest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

// childEnv tells a process of this test to take frames in until it is killed.
const childEnv = "FRAMEDB_INGEST_CHILD"

// childSpec is what it is to do.
type childSpec struct {
	Dir     string
	Members []wire.Instance
	Next    map[wire.SourceID]int // the first frame that was not acknowledged
}

// killFrame is frame n of a source, with bytes that are its own.
func killFrame(s wire.SourceID, n int) ingest.Frame {
	data := []byte(strings.Repeat(fmt.Sprintf("%s %d ", s, n), 200+n%7*100))
	return ingest.Frame{Key: wire.NewFrameKey(s, 1, 1, uint64(n)), Sizes: []ingest.Size{{Name: "1x1", Data: data[:50]}, {Name: "2x2", Data: data}}}
}

// child takes in frames of some sources and says which were acknowledged. Like a
// producer, it repeats those that were not in its last life.
func child(text string) {
	var spec childSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		panic(err)
	}
	cluster := frames.New(frames.Config{Password: redistest.Password, RetryFor: 100 * time.Millisecond}, "c1", spec.Members)
	target := Target{Name: OfTag("rack-1"), NodeTag: "rack-1", Destination: NewMemory(cluster)}
	var router routes
	for s := range spec.Next {
		router.set(s, Settings{BatchFrames: 5}, target)
	}
	service, err := New(Config{Router: &router, SpoolDir: filepath.Join(spec.Dir, "spool"), SpillAfter: 20 * time.Millisecond, SpoolMinFree: -1})
	if err != nil {
		panic(err)
	}
	go func() { panic(service.Run(context.Background())) }()
	for service.live() != nil {
		time.Sleep(time.Millisecond)
	}
	fmt.Println("runs")
	for s, next := range spec.Next {
		go produce(service, s, next)
	}
	select {}
}

func produce(service *Service, s wire.SourceID, next int) {
	for n := next; ; {
		var fs []ingest.Frame
		for range 1 + rand.IntN(5) {
			fs = append(fs, killFrame(s, n))
			n++
		}
		level := ingest.Level{Promise: []ingest.Promise{ingest.Durable, ingest.Master}[rand.IntN(2)]}
		results, err := service.Ingest(context.Background(), s, fs, Options{Level: level})
		if err != nil {
			panic(err)
		}
		for i, r := range results {
			if r.Error != nil {
				panic(r.Error)
			}
			os.Stdout.WriteString(fmt.Sprintf("%s %d\n", s, int(fs[i].Key.Number)))
		}
	}
}

// reader counts frames down as they come, and remembers them.
type reader struct {
	*bed
	seen map[string]int
}

func (r *reader) readAll() {
	r.t.Helper()
	ctx := r.t.Context()
	rdb := r.rdb()
	counts, err := rdb.Keys(ctx, "ref__*").Result()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, c := range counts {
		k, _ := wire.ParseCountKey(c)
		if err := r.has(killFrame(k.Source(), int(k.Number)), "1"); err != nil {
			r.t.Errorf("not whole: %v", err)
		}
		if r.seen[k.String()]++; r.seen[k.String()] > 1 {
			r.t.Errorf("%s came %d times", k, r.seen[k.String()])
		}
		if _, err := r.cluster.Decrement(ctx, "", []wire.Decrement{{Key: c, By: 1, Sizes: []string{"1x1", "2x2"}}}); err != nil {
			r.t.Fatal(err)
		}
	}
}

// TestKilledAtAnyPoint kills the process in the middle of spool writes, drains
// and batches: what was acknowledged as durable or master is read once.
func TestKilledAtAnyPoint(t *testing.T) {
	const lives = 50
	dir := t.TempDir()
	b := newBed(t, func(c *Config) { c.SpoolDir = filepath.Join(dir, "spool") })
	b.stop()
	r := &reader{b, map[string]int{}}
	next := map[wire.SourceID]int{"cam-1": 0, "cam-2": 0, "cam-3": 0}
	for range lives {
		said := runChild(t, childSpec{dir, b.redis.Members("c1"), next}, b.redis.Servers[0])
		for line := range strings.Lines(said) {
			var s string
			var n int
			if _, err := fmt.Sscanf(line, "%s %d\n", &s, &n); err != nil {
				if strings.HasSuffix(line, "\n") {
					t.Fatalf("the process says %q", line)
				}
				continue // cut when it died
			}
			next[wire.SourceID(s)] = n + 1
		}
		r.readAll()
	}
	for s := range next {
		b.routes.set(s, Settings{}, b.target("rack-1"))
	}
	b.start()
	total := 0
	for s, n := range next {
		b.eventually("the spool is drained", func() error {
			if bl := b.service.Backlog(s); bl.SpoolFrames > 0 || bl.MemoryFrames > 0 {
				return fmt.Errorf("%+v", bl)
			}
			return nil
		})
		r.readAll()
		for i := range n {
			if k := killFrame(s, i).Key.String(); r.seen[k] != 1 {
				t.Errorf("%s was acknowledged and came %d times", k, r.seen[k])
			}
		}
		total += n
	}
	b.nothingDropped()
	if total < 3*lives {
		t.Errorf("only %d frames were acknowledged in %d lives", total, lives)
	}
	t.Logf("%d frames in %d lives", total, lives)
}

// runChild lets a child live for some milliseconds, some of which Redis hangs.
func runChild(t *testing.T, spec childSpec, server *redistest.Server) string {
	t.Helper()
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err != nil || line != "runs\n" {
		t.Fatalf("the process says %q, %v", line, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		wait := func(most int) { <-time.After(time.Duration(rand.IntN(most)) * time.Microsecond) }
		wait(100_000)
		if rand.IntN(2) == 0 {
			server.Pause()
			wait(60_000)
			server.Resume()
			wait(30_000)
		}
		cmd.Process.Kill()
	}()
	said, err := io.ReadAll(lines)
	if err != nil {
		t.Error(err)
	}
	<-done
	cmd.Wait()
	return string(said)
}
