package ingest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

func TestADestinationThatIsDown(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	g := &gate{Destination: b.memory}
	target := b.target("rack-1")
	target.Destination = g
	b.routes.set(source, Settings{}, target)
	b.take(master, frame(source, 0))
	b.redis.Servers[0].Kill()
	for n := 1; n < 40; n++ {
		level := []ingest.Level{master, received, durable, {Promise: ingest.Replicated, Replicas: 1}}[n%4]
		if level.Promise == ingest.Replicated {
			level = master
		}
		r := b.take(level, frame(source, n))[0]
		if want := map[bool]ingest.Level{true: received, false: durable}[level == received]; r.Level != want {
			t.Errorf("frame %d: %+v, want %s", n, r, want)
		}
	}
	b.eventually("it is told", func() error {
		if st := b.service.Status(); st.Spooling != 1 || len(st.Trouble) != 1 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	b.redis.Servers[0].Restart()
	b.idle()
	for n := 1; n < 40; n++ {
		if err := b.has(frame(source, n), "1"); err != nil {
			t.Error(err)
		}
	}
	want := make([]string, 40)
	for n := range want {
		want[n] = frame(source, n).Key.String()
	}
	if got := g.order(); !slices.Equal(got, want) {
		t.Errorf("order %q", got)
	}
	b.eventually("frames are written straight again", func() error {
		if st := b.service.Status(); st.Spooling != 0 || len(st.Trouble) != 0 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	if r := b.take(master, frame(source, 100))[0]; r.Level != master {
		t.Errorf("%+v", r)
	}
	b.nothingDropped()
}

func TestADestinationThatIsSlow(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *Config) { c.SpillAfter = 100 * time.Millisecond })
	g := &gate{Destination: b.memory, closed: make(chan struct{})}
	target := b.target("rack-1")
	target.Destination = g
	b.routes.set(source, Settings{}, target)
	// The write hangs; the frame goes to disk meanwhile, and what comes behind it.
	for n := range 5 {
		if r := b.take(master, frame(source, n))[0]; r.Level != durable {
			t.Errorf("frame %d: %+v", n, r)
		}
	}
	g.set(func() { close(g.closed); g.closed = nil })
	b.idle()
	var want []string
	for n := range 5 {
		want = append(want, frame(source, n).Key.String())
		if err := b.has(frame(source, n), "1"); err != nil {
			t.Error(err)
		}
	}
	if got := g.order(); !slices.Equal(got, want) {
		t.Errorf("written were %q", got)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *Config) { c.MemoryBytes = 40_000; c.SpoolDir = "" })
	g := &gate{Destination: b.memory, closed: make(chan struct{})}
	target := b.target("rack-1")
	target.Destination = g
	b.routes.set(source, Settings{}, target)
	var err error
	n := 0
	for ; err == nil && n < 100; n++ {
		_, err = b.service.Ingest(t.Context(), source, []ingest.Frame{frame(source, n)}, Options{Level: received})
	}
	if e := wire.AsError(err); !errors.Is(err, wire.ErrOverloaded) || e.RetryAfter <= 0 || n < 10 || n > 20 {
		t.Fatalf("after %d frames of 2 KB: %v", n, err)
	}
	if _, err := b.service.Admit(20_000); !errors.Is(err, wire.ErrOverloaded) {
		t.Errorf("Admit: %v", err)
	}
	g.set(func() { close(g.closed); g.closed = nil })
	b.idle()
	big := frame(source, 1000)
	big.Sizes[0].Data = make([]byte, 100_000)
	freed := make(chan struct{})
	grant, err := b.service.Admit(int64(big.Bytes()))
	if err != nil {
		t.Fatalf("a frame that is larger than all memory: %v", err)
	}
	if _, err := b.service.Ingest(t.Context(), source, []ingest.Frame{big}, Options{Grant: grant, Done: func() { close(freed) }}); err != nil {
		t.Fatal(err)
	}
	<-freed
	for i := range n - 1 {
		if err := b.has(frame(source, i), "1"); err != nil {
			t.Error(err)
		}
	}
}

func TestWithoutASpool(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *Config) { c.SpoolDir = "" })
	r, err := b.service.Ingest(t.Context(), source, []ingest.Frame{frame(source, 1)}, Options{Level: durable})
	if err != nil || r[0].Error == nil || r[0].Error.Field != "level" {
		t.Errorf("durable: %+v, %v", r, err)
	}
	b.redis.Servers[0].Kill()
	r, err = b.service.Ingest(t.Context(), source, []ingest.Frame{frame(source, 1)}, Options{Level: master})
	if err != nil || !errors.Is(r[0].Error, wire.ErrOutcomeUnknown) && !errors.Is(r[0].Error, wire.ErrUnavailable) {
		t.Errorf("down: %+v, %v", r, err)
	}
	b.redis.Servers[0].Restart()
	b.take(master, frame(source, 1))
}

func TestAFullSpoolRefusesAndEndsByItself(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *Config) { c.SpoolBytes = 50_000 })
	b.redis.Servers[0].Kill()
	taken := 0
	var refused *wire.Error
	for refused == nil && taken < 100 {
		r, err := b.service.Ingest(t.Context(), source, []ingest.Frame{frame(source, taken)}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if refused = r[0].Error; refused == nil {
			taken++
		}
	}
	if refused == nil || refused.RetryAfter <= 0 || refused.Code != wire.CodeOverloaded && refused.Code != wire.CodeOutcomeUnknown {
		t.Fatalf("after %d frames: %+v", taken, refused)
	}
	// A frame that was acknowledged as received is not lost; it waits.
	b.redis.Servers[0].Restart()
	b.idle()
	for n := range taken {
		if err := b.has(frame(source, n), "1"); err != nil {
			t.Error(err)
		}
	}
	b.eventually("more is taken", func() error {
		r, err := b.service.Ingest(t.Context(), source, []ingest.Frame{frame(source, 1000)}, Options{})
		if err != nil {
			return err
		}
		if r[0].Error != nil {
			return r[0].Error
		}
		return nil
	})
	b.nothingDropped()
}

func TestWhatIsInMemoryAtTheEnd(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *Config) { c.FlushFor = 50 * time.Millisecond; c.SpillAfter = time.Hour })
	g := &gate{Destination: b.memory, closed: make(chan struct{})}
	target := b.target("rack-1")
	target.Destination = g
	b.routes.set(source, Settings{}, target)
	for n := range 10 {
		b.take(received, frame(source, n))
	}
	b.stop() // the FrameDB hangs: it goes to disk
	b.nothingDropped()
	if _, err := b.service.Ingest(t.Context(), source, []ingest.Frame{frame(source, 10)}, Options{}); !errors.Is(err, wire.ErrUnavailable) {
		t.Errorf("after the end: %v", err)
	}
	g.set(func() { close(g.closed); g.closed = nil })
	b.start()
	b.idle()
	for n := range 10 {
		if err := b.has(frame(source, n), "1"); err != nil {
			t.Error(err)
		}
	}
}

func TestASourceThatMovesTakesItsSpoolAlong(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	b.redis.Servers[0].Kill()
	for n := range 10 {
		b.take(master, frame(source, n))
	}
	other := newBed(t, nil)
	b.routes.set(source, Settings{}, other.target("rack-1"))
	b.idle()
	for n := range 10 {
		if err := other.has(frame(source, n), "1"); err != nil {
			t.Error(err)
		}
	}
}

func TestTwoTagsAreIndependent(t *testing.T) {
	t.Parallel()
	b, other := newBed(t, nil), newBed(t, nil)
	b.routes.set(source, Settings{}, b.target("rack-1"), other.target("rack-2"))
	if r := b.take(master, frame(source, 0))[0]; r.Level != master {
		t.Errorf("%+v", r)
	}
	other.redis.Servers[0].Kill()
	for n := 1; n < 10; n++ {
		if r := b.take(master, frame(source, n))[0]; r.Level != durable {
			t.Errorf("%+v", r)
		}
		if err := b.has(frame(source, n), "1"); err != nil {
			t.Errorf("the tag that is well: %v", err)
		}
	}
	other.redis.Servers[0].Restart()
	b.idle()
	for n := 1; n < 10; n++ {
		if err := other.has(frame(source, n), "1"); err != nil {
			t.Error(err)
		}
	}
}

func TestReplicated(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *Config) { c.ReplicaTimeout, c.SpillAfter = time.Second, time.Hour })
	pair := redistest.StartCluster(t, 2)
	c := frames.New(frames.Config{Password: redistest.Password}, "c2", pair.Members("c2"))
	t.Cleanup(func() { c.Close() })
	b.routes.set(source, Settings{}, Target{Name: OfTag("rack-2"), NodeTag: "rack-2", Destination: NewMemory(c)})
	one := ingest.Level{Promise: ingest.Replicated, Replicas: 1}
	if r := b.take(one, frame(source, 1))[0]; r.Level != one {
		t.Errorf("%+v", r)
	}
	replica := pair.Servers[1].Client()
	if got := replica.Get(t.Context(), frame(source, 1).Key.Count()).Val(); got != "1" {
		t.Errorf("the replica has the count %q", got)
	}
	pair.Servers[1].Pause()
	r, err := b.service.Ingest(t.Context(), source, []ingest.Frame{frame(source, 2)}, Options{Level: one})
	if err != nil || !fewReplicas(r[0].Error) {
		t.Errorf("without the replica: %+v, %v", r, err)
	}
	b.take(master, frame(source, 3))
	pair.Servers[1].Resume()
	b.eventually("the retry reaches the replica", func() error {
		r, err := b.service.Ingest(t.Context(), source, []ingest.Frame{frame(source, 2)}, Options{Level: one})
		if err != nil || r[0].Error != nil {
			return fmt.Errorf("%+v, %v", r, err)
		}
		return nil
	})
}

func TestReceivedFramesWaitWhenTheSpoolIsFull(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *Config) { c.SpoolBytes = 20_000 })
	g := &gate{Destination: b.memory, closed: make(chan struct{}), refuse: wire.Errorf(wire.CodeUnavailable, "it is down")}
	closed := g.closed
	target := b.target("rack-1")
	target.Destination = g
	b.routes.set(source, Settings{}, target)
	taken := 0
	for ; taken < 30; taken++ { // while the first write hangs all of it is in memory
		b.take(received, frame(source, taken))
	}
	g.set(func() { g.closed = nil })
	close(closed) // now the write fails, and what is in memory does not fit on disk
	b.eventually("the spool is full", func() error {
		r, err := b.service.Ingest(t.Context(), source, []ingest.Frame{frame(source, 1000)}, Options{Level: received})
		if err != nil || r[0].Error == nil {
			return fmt.Errorf("%+v, %v", r, err)
		}
		return nil
	})
	g.set(func() { g.refuse = nil })
	b.idle()
	for n := range taken {
		if err := b.has(frame(source, n), "1"); err != nil {
			t.Error(err)
		}
	}
	b.nothingDropped()
}
