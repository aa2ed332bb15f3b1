package frames_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

// What a call adds to its two system calls must stay small next to them. It is
// not parallel: all of the process is counted.
func TestASmallFrameCostsFewAllocations(t *testing.T) {
	cluster := redistest.StartCluster(t, 1)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	pairs := []frames.Pair{{Key: "k", Value: make([]byte, 1<<10)}}
	write := testing.AllocsPerRun(200, func() {
		if err := c.Put(t.Context(), pairs, frames.PutOptions{}); err != nil {
			t.Error(err)
		}
	})
	read := testing.AllocsPerRun(200, func() {
		batch, err := c.Get(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		batch.Release()
	})
	if write > 3 || read > 7 { // 2 and 5, and some for the race detector
		t.Errorf("a write allocates %v times, a read %v times", write, read)
	}
}

func TestWhatWasPutIsReadAndMissingIsTold(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	random := rand.NewChaCha8([32]byte{1})
	var pairs []frames.Pair
	var keys []string
	// Around every border there is: buffer classes, small and large values, the
	// read buffer, and more keys than go into one MGET.
	for i, size := range []int{0, 1, 511, 512, 513, 1 << 10, 8<<10 - 1, 8 << 10, 16<<10 - 1, 16 << 10, 64<<10 - 2, 64 << 10, 1 << 20, 1<<20 + 1, 6 << 20} {
		value := make([]byte, size)
		random.Read(value)
		for n := range 6 {
			key := fmt.Sprintf("k%d-%d", i, n)
			pairs = append(pairs, frames.Pair{Key: key, Value: value})
			keys = append(keys, key, "no-"+key)
		}
	}
	if err := c.Put(t.Context(), pairs, frames.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for range 3 { // the second time in buffers that were used before
		batch, err := c.Get(t.Context(), keys...)
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range batch.Frames {
			want := pairs[i/2]
			switch {
			case f.Key != keys[i]:
				t.Fatalf("frame %d is %q, want %q", i, f.Key, keys[i])
			case i%2 == 1 && (!f.Missing || f.Data != nil):
				t.Errorf("%q is not told missing", f.Key)
			case i%2 == 0 && (f.Missing || !bytes.Equal(f.Data, want.Value)):
				t.Errorf("%q of %d bytes came back as %d bytes, equal: %v", f.Key, len(want.Value), len(f.Data), bytes.Equal(f.Data, want.Value))
			}
		}
		batch.Release()
		batch.Release()
	}
}

func TestCallsAtOnceDoNotMixAnswers(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	c := open(t, frames.Config{PoolSize: 3}, cluster.Members("c1"))
	errs := make(chan error, 8)
	for g := range cap(errs) {
		go func() {
			errs <- func() error {
				value := bytes.Repeat([]byte{byte('a' + g)}, 30_000+g)
				for i := range 50 {
					key := fmt.Sprintf("k-%d-%d", g, i)
					if err := c.Put(context.Background(), []frames.Pair{{Key: key, Value: value}}, frames.PutOptions{}); err != nil {
						return err
					}
					batch, err := c.Get(context.Background(), key)
					if err != nil {
						return err
					}
					if !bytes.Equal(batch.Frames[0].Data, value) {
						return fmt.Errorf("%s holds another's data", key)
					}
					batch.Release()
				}
				return nil
			}()
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestTooLargeIsRefused(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	large := make([]byte, wire.MaxFrame+1)
	err := c.Put(t.Context(), []frames.Pair{{Key: "k", Value: large}}, frames.PutOptions{})
	if !errors.Is(err, wire.ErrTooLarge) {
		t.Errorf("Put: got %v", err)
	}
	err = c.Put(t.Context(), slices.Repeat([]frames.Pair{{Key: "k", Value: large[1:]}}, 9), frames.PutOptions{})
	if !errors.Is(err, wire.ErrTooLarge) {
		t.Errorf("Put of 9 of the largest: got %v", err)
	}
	err = c.Put(t.Context(), []frames.Pair{{Key: "", Value: nil}}, frames.PutOptions{})
	if !errors.Is(err, wire.ErrInvalidArgument) {
		t.Errorf("Put without a key: got %v", err)
	}
	if err := cluster.Servers[0].Client().SetRange(t.Context(), "k", wire.MaxFrame, "x").Err(); err != nil {
		t.Fatal(err)
	}
	_, err = c.Get(t.Context(), "a", "k", "b")
	if !errors.Is(err, wire.ErrTooLarge) || wire.AsError(err).Field != "k" {
		t.Errorf("Get: got %v", err)
	}
	if batch, err := c.Get(t.Context(), "a"); err != nil || !batch.Frames[0].Missing {
		t.Errorf("Get after it: %v", err)
	}
}

func TestFullMemoryIsOverloadAndCanBeCountedDown(t *testing.T) {
	t.Parallel()
	for _, loaded := range []bool{true, false} {
		cluster := redistest.StartCluster(t, 1, "--maxmemory", "8mb")
		c := open(t, frames.Config{}, cluster.Members("c1"))
		if loaded {
			mustDecrement(t, c, "first", drop(1, 1))
		}
		value := strings.Repeat("x", 100_000)
		n := 0
		for ; ; n++ {
			err := c.Put(t.Context(), []frames.Pair{
				{Key: key(n).Count(), Value: []byte("1")},
				{Key: key(n).Data("8x8"), Value: []byte(value)},
			}, frames.PutOptions{})
			if errors.Is(err, wire.ErrOverloaded) {
				break
			}
			if err != nil || n > 1000 {
				t.Fatalf("Put %d: %v", n, err)
			}
		}
		// Whatever Redis' own bookkeeping leaves free is used up.
		for size := 64 << 10; size > 8; size /= 2 {
			for c.Put(t.Context(), []frames.Pair{{Key: fmt.Sprint("fill", size), Value: make([]byte, size)}}, frames.PutOptions{}) == nil {
				size++
			}
		}
		for i := range n {
			got := mustDecrement(t, c, fmt.Sprint(i), drop(i, 1, "8x8"))
			if got[0].Deleted != 1 {
				t.Fatalf("loaded %v: %+v", loaded, got)
			}
		}
		put(t, c, "k", value)
	}
}

func TestTooFewReplicasAreToldAndTheWriteIsThere(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 2)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	pair := []frames.Pair{{Key: "k", Value: []byte("v")}}
	if err := c.Put(t.Context(), pair, frames.PutOptions{Replicas: 1}); err != nil {
		t.Errorf("with the replica there is: %v", err)
	}
	err := c.Put(t.Context(), pair, frames.PutOptions{Replicas: 2, ReplicaTimeout: 50 * time.Millisecond})
	if !errors.Is(err, wire.ErrUnavailable) || wire.AsError(err).Field != "replicas" {
		t.Errorf("with one more: got %v", err)
	}
	if batch, err := c.Get(t.Context(), "k"); err != nil || batch.Frames[0].Missing {
		t.Errorf("the write is not on the master: %v", err)
	}
}

func TestUnixSocketIsUsed(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	ep, socket, err := c.Master(t.Context())
	if err != nil || ep != cluster.Servers[0].Endpoint || socket != cluster.Servers[0].Socket {
		t.Errorf("master is %v through %q, %v", ep, socket, err)
	}
	put(t, c, "k", "v")
	clients, err := cluster.Servers[0].Client().ClientList(t.Context()).Result()
	if err != nil || !strings.Contains(clients, cluster.Servers[0].Socket) {
		t.Errorf("no client on the socket: %v\n%s", err, clients)
	}
}

func TestStaleSocketIsNotUsed(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	other := redistest.Start(t) // a master too, and another server
	for what, socket := range map[string]string{
		"of another server": other.Socket,
		"that is no more":   filepath.Join(t.TempDir(), "gone"),
	} {
		members := cluster.Members("c1")
		members[0].Socket = socket
		c := open(t, frames.Config{}, members)
		put(t, c, "k", what)
		if _, socket, err := c.Master(t.Context()); err != nil || socket != "" {
			t.Errorf("a socket %s: %q is used, %v", what, socket, err)
		}
		got, err := cluster.Servers[0].Client().Get(t.Context(), "k").Result()
		if got != what {
			t.Errorf("a socket %s: the master holds %q, %v", what, got, err)
		}
	}
}

func TestARestartedServerIsFoundAgain(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	put(t, c, "k", "v")
	cluster.Servers[0].Kill()
	cluster.Servers[0].Restart()
	batch, err := c.Get(t.Context(), "k")
	if err != nil || !batch.Frames[0].Missing {
		t.Errorf("Get: %v", err)
	}
	put(t, c, "k", "v")
}

func TestALostAnswerToAWriteIsUnknownAndNotRepeated(t *testing.T) {
	t.Parallel()
	server, proxy, members := proxied(t)
	c := open(t, frames.Config{}, members)
	put(t, c, "k", "1")
	proxy.LoseReplies("MSET", 1)
	err := c.Put(t.Context(), []frames.Pair{{Key: "k", Value: []byte("2")}}, frames.PutOptions{})
	if !errors.Is(err, wire.ErrOutcomeUnknown) {
		t.Errorf("got %v, want outcome unknown", err)
	}
	stats, err := server.Client().Info(t.Context(), "commandstats").Result()
	if !strings.Contains(stats, "cmdstat_mset:calls=2,") {
		t.Errorf("MSET was not called twice: %v\n%s", err, stats)
	}
	proxy.LoseReplies("MGET", 2)
	batch, err := c.Get(t.Context(), "k")
	if err != nil || string(batch.Frames[0].Data) != "2" {
		t.Errorf("Get: %v", err)
	}
	if proxy.Lost() != 3 {
		t.Errorf("%d replies were lost, want 3: the test is none", proxy.Lost())
	}
}

func TestAConnectionThatBrokeWhileIdleIsNotUsedForAWrite(t *testing.T) {
	t.Parallel()
	_, proxy, members := proxied(t)
	c := open(t, frames.Config{}, members)
	for i := range 20 {
		put(t, c, "k", fmt.Sprint(i))
		proxy.Cut()
	}
}

func TestWithoutAMasterCallsEndInTime(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	c := open(t, frames.Config{RetryFor: 300 * time.Millisecond}, cluster.Members("c1"))
	put(t, c, "k", "v")
	cluster.Servers[0].Kill()
	for _, c := range []struct {
		what string
		call func(context.Context) error
	}{
		{"Get", func(ctx context.Context) error { _, err := c.Get(ctx, "k"); return err }},
		{"Put", func(ctx context.Context) error {
			return c.Put(ctx, []frames.Pair{{Key: "k"}}, frames.PutOptions{})
		}},
		{"Decrement", func(ctx context.Context) error {
			_, err := c.Decrement(ctx, "t", []wire.Decrement{{Key: "ref__cam?0?0__1", By: 1}})
			return err
		}},
		{"Redis", func(ctx context.Context) error { _, err := c.Redis(ctx); return err }},
		{"Master", func(ctx context.Context) error { _, _, err := c.Master(ctx); return err }},
	} {
		begin := time.Now()
		if err := c.call(t.Context()); !errors.Is(err, wire.ErrUnavailable) {
			t.Errorf("%s: got %v, want unavailable", c.what, err)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("%s took %v", c.what, took)
		}
		if err := c.call(within(t, 20*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s with a deadline: got %v", c.what, err)
		}
	}
}

func TestAHungMasterDoesNotOutliveTheCallersContext(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	put(t, c, "k", "v")
	cluster.Servers[0].Pause()
	defer cluster.Servers[0].Resume()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	err := c.Put(ctx, []frames.Pair{{Key: "k"}}, frames.PutOptions{})
	if !errors.Is(err, wire.ErrOutcomeUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("Put: got %v, want outcome unknown and canceled", err)
	}
	if _, err := c.Get(within(t, 50*time.Millisecond), "k"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Get: got %v", err)
	}
}

func TestAWrongPasswordIsForbiddenAtOnce(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	c := frames.New(frames.Config{Password: "guessed"}, "c1", cluster.Members("c1"))
	defer c.Close()
	begin := time.Now()
	_, err := c.Get(t.Context(), "k")
	if wire.CodeOf(err) != wire.CodeForbidden || strings.Contains(err.Error(), "guessed") {
		t.Errorf("got %v, want forbidden", err)
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestRedisGivesPubSub(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	rdb, err := c.Redis(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sub := rdb.Subscribe(t.Context(), wire.RoutingChannel(source))
	defer sub.Close()
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := rdb.Publish(t.Context(), wire.RoutingChannel(source), "hello").Err(); err != nil {
		t.Fatal(err)
	}
	if m, err := sub.ReceiveMessage(t.Context()); err != nil || m.Payload != "hello" {
		t.Errorf("received %v, %v", m, err)
	}
}

func TestCallsAfterCloseAreRefused(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	put(t, c, "k", "v")
	closeIt(t, c)
	if _, err := c.Get(t.Context(), "k"); !errors.Is(err, wire.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}
