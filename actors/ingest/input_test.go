package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
)

// fetching runs a fetcher until the returned function is called.
func (b *bed) fetching(in Input) (stop func()) {
	b.t.Helper()
	if err := in.validate(); err != nil {
		b.t.Fatal(err)
	}
	f := &Fetcher{Service: b.service, Source: source, Input: in, Queues: b.cluster}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	b.t.Cleanup(stop)
	return stop
}

func encoded(fs ...ingest.Frame) string {
	var w bytes.Buffer
	for i := range fs {
		fs[i].Write(&w)
	}
	return w.String()
}

func (b *bed) stored(from, to int) {
	b.t.Helper()
	for n := from; n < to; n++ {
		b.eventually(fmt.Sprint("frame ", n), func() error { return b.has(frame(source, n), "1") })
	}
}

func (b *bed) length(key string, want int64) {
	b.t.Helper()
	b.eventually(key, func() error {
		kind := b.rdb().Type(b.t.Context(), key).Val()
		n := int64(0)
		switch kind {
		case "list":
			n = b.rdb().LLen(b.t.Context(), key).Val()
		case "stream":
			n = b.rdb().XLen(b.t.Context(), key).Val()
		}
		if n != want {
			return fmt.Errorf("it has %d elements, want %d", n, want)
		}
		return nil
	})
}

func TestAListIsAQueue(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	rdb := b.rdb()
	ctx := t.Context()
	stop := b.fetching(Input{Kind: InputList, Cluster: "c1", Key: "q"})
	for n := range 100 {
		rdb.LPush(ctx, "q", encoded(frame(source, n)))
	}
	b.stored(0, 100)
	rdb.LPush(ctx, "q", "nonsense", encoded(frame("cam-2", 1)), encoded(frame(source, 100)))
	b.stored(100, 101)
	b.length("q:bad", 2)
	b.length("q", 0)
	b.length("q:taken:agent", 0)
	stop()
	// It died before it removed what it had taken, and another time before it
	// took it. What was counted down does not come back.
	if _, err := b.cluster.Decrement(ctx, "", []wire.Decrement{{Key: frame(source, 0).Key.Count(), By: 1, Sizes: []string{"1x1", "2x2"}}}); err != nil {
		t.Fatal(err)
	}
	rdb.LPush(ctx, "q:taken:agent", encoded(frame(source, 0)), encoded(frame(source, 101)))
	rdb.LPush(ctx, "q", encoded(frame(source, 102)))
	b.fetching(Input{Kind: InputList, Cluster: "c1", Key: "q"})
	b.stored(101, 103)
	b.length("q:taken:agent", 0)
	if b.has(frame(source, 0), "1") == nil {
		t.Error("a frame that was counted down is back")
	}
}

func TestAQueueIsReadAgainAfterItsServerWasDown(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	b.fetching(Input{Kind: InputList, Cluster: "c1", Key: "q"})
	b.redis.Servers[0].Kill()
	b.redis.Servers[0].Restart()
	b.rdb().LPush(t.Context(), "q", encoded(frame(source, 1)))
	b.stored(1, 2)
}

func TestAStreamIsAQueue(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	rdb := b.rdb()
	ctx := t.Context()
	add := func(field, value string) string {
		t.Helper()
		id, err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: "s", Values: []string{field, value}}).Result()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	in := Input{Kind: InputStream, Cluster: "c1", Key: "s", Group: "g"}
	for n := range 50 {
		add("frame", encoded(frame(source, n)))
	}
	stop := b.fetching(in)
	b.stored(0, 50)
	add("frame", "nonsense")
	add("other", "x")
	add("frame", encoded(frame(source, 50)))
	b.stored(50, 51)
	b.length("s:bad", 2)
	b.length("s", 0)
	stop()
	// An entry without a key that was delivered and not acknowledged.
	unnamed := ingest.Frame{Sizes: []ingest.Size{{Name: "1x1", Data: []byte("x")}}}
	id := add("frame", encoded(unnamed))
	if err := rdb.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "g", Consumer: "agent", Streams: []string{"s", ">"}}).Err(); err != nil {
		t.Fatal(err)
	}
	unnamed.ID = wire.RequestID("stream:" + id)
	first := b.take(master, unnamed)[0]
	before := rdb.DBSize(ctx).Val()
	b.fetching(in)
	b.length("s", 0)
	if n := rdb.DBSize(ctx).Val(); n != before {
		t.Errorf("%d keys instead of %d: %s was stored twice", n, before, first.Frame)
	}
}

func TestADirectoryIsWatched(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	dir := t.TempDir()
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var img bytes.Buffer
	if err := png.Encode(&img, image.NewGray(image.Rect(0, 0, 4, 3))); err != nil {
		t.Fatal(err)
	}
	key := wire.NewFrameKey(source, 1, 1, 7)
	write(key.String()+".png", img.Bytes())
	write("a.png", img.Bytes())
	write("two.frames", []byte(encoded(frame(source, 1), frame(source, 2))))
	write("cut.frames", []byte(encoded(frame(source, 3), frame(source, 4)))[:3000])
	write("bad.png", img.Bytes()[:20])
	write("empty.png", nil)
	write("other.txt", nil)
	write(".hidden.png", img.Bytes())
	stop := b.fetching(Input{Kind: InputDirectory, Path: dir, Glob: "*.[pf]*", After: AfterMove})
	b.stored(1, 4)
	names := func(dir string) string {
		entries, _ := os.ReadDir(dir)
		var all []string
		for _, e := range entries {
			if !e.IsDir() {
				all = append(all, e.Name())
			}
		}
		return strings.Join(all, " ")
	}
	want := map[string]string{dir: ".hidden.png other.txt", dir + "/done": "a.png " + key.String() + ".png two.frames", dir + "/bad": "bad.png cut.frames empty.png"}
	b.eventually("files are moved", func() error {
		for d, w := range want {
			if got := names(d); got != w {
				return fmt.Errorf("%s has %q, want %q", d, got, w)
			}
		}
		return nil
	})
	if got := b.rdb().Get(t.Context(), key.Data("4x3")).Val(); got != img.String() {
		t.Errorf("the image has %d bytes", len(got))
	}
	stop()
	// The agent died between taking a file and removing it.
	before := b.rdb().DBSize(t.Context()).Val()
	if err := os.Rename(filepath.Join(dir, "done", "a.png"), filepath.Join(dir, "a.png")); err != nil {
		t.Fatal(err)
	}
	b.fetching(Input{Kind: InputDirectory, Path: dir, Glob: "*.png"})
	b.eventually("it is deleted", func() error {
		if _, err := os.Stat(filepath.Join(dir, "a.png")); !os.IsNotExist(err) {
			return errors.New("it is there")
		}
		return nil
	})
	if n := b.rdb().DBSize(t.Context()).Val(); n != before {
		t.Errorf("%d keys instead of %d", n, before)
	}
}

func TestFromStream(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	var text strings.Builder
	for n := range 300 {
		if n == 7 {
			text.WriteString(encoded(frame("cam-2", 1)))
		}
		if n == 9 {
			text.WriteString("\x00\x00\x00\x02\x00\x00\x00\x01{}x")
		}
		text.WriteString(encoded(frame(source, n)))
	}
	var results []ingest.Result
	each := func(r ingest.Result) error { results = append(results, r); return nil }
	if err := b.service.FromStream(t.Context(), source, strings.NewReader(text.String()), master, each); err != nil {
		t.Fatal(err)
	}
	good := 0
	for i, r := range results {
		if (r.Error != nil) != (i == 7 || i == 10) {
			t.Errorf("frame %d: %+v", i, r)
		}
		if r.Error == nil {
			if want := frame(source, good).Key.String(); r.Frame != want {
				t.Errorf("frame %d is %s, want %s", i, r.Frame, want)
			}
			good++
		}
	}
	if len(results) != 302 {
		t.Errorf("%d results", len(results))
	}
	b.stored(0, 300)
	results = nil
	cut := encoded(frame(source, 300), frame(source, 301))
	err := b.service.FromStream(t.Context(), source, strings.NewReader(cut[:len(cut)-1]), master, each)
	if wire.CodeOf(err) != wire.CodeMalformed || len(results) != 1 || results[0].Error != nil {
		t.Errorf("cut: %+v, %v", results, err)
	}
	stopped := errors.New("enough")
	err = b.service.FromStream(t.Context(), source, strings.NewReader(text.String()), master, func(ingest.Result) error { return stopped })
	if !errors.Is(err, stopped) {
		t.Errorf("the caller's error: %v", err)
	}
	if err := b.service.FromStream(t.Context(), "nobody", strings.NewReader(cut), master, each); !errors.Is(err, wire.ErrNotFound) {
		t.Errorf("an unknown source: %v", err)
	}
	if used := b.service.memory.inUse(); used != 0 {
		t.Errorf("%d bytes of memory are in use", used)
	}
}

func TestFromImages(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	var stream bytes.Buffer
	for range 5 {
		if err := png.Encode(&stream, image.NewGray(image.Rect(0, 0, 4, 3))); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	err := b.service.FromImages(t.Context(), source, &stream, master, func(r ingest.Result) error {
		seen[r.Frame] = r.Error == nil && b.rdb().Exists(t.Context(), r.Frame+"__4x3", "ref__"+r.Frame).Val() == 2
		return nil
	})
	if err != nil || len(seen) != 5 {
		t.Fatalf("%v, %v", seen, err)
	}
	for f, ok := range seen {
		if !ok {
			t.Errorf("%s is not there", f)
		}
	}
}

func TestAStreamWaitsForMemory(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *Config) { c.MemoryBytes = 20_000; c.SpoolDir = "" })
	g := &gate{Destination: b.memory, closed: make(chan struct{})}
	target := b.target("rack-1")
	target.Destination = g
	b.routes.set(source, Settings{}, target)
	r, w := io.Pipe()
	sent := make(chan int)
	go func() {
		defer w.Close()
		for n := range 50 {
			io.WriteString(w, encoded(frame(source, n)))
			select {
			case sent <- n:
			default:
			}
		}
		close(sent)
	}()
	done := make(chan error, 1)
	go func() {
		done <- b.service.FromStream(context.Background(), source, r, received, func(ingest.Result) error { return nil })
	}()
	b.eventually("memory is full", func() error {
		if b.service.memory.inUse() < 13_000 {
			return errors.New("not yet")
		}
		return nil
	})
	select {
	case err := <-done:
		t.Fatalf("50 frames of 2 KB fit into 15 KB: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	g.set(func() { close(g.closed); g.closed = nil })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	b.stored(0, 50)
}
