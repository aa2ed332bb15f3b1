package frames_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

// TestKillingTheMasterLosesNoAcknowledgedWrite writes with WAIT 1, reads and
// counts down while the master is killed.
func TestKillingTheMasterLosesNoAcknowledgedWrite(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	c := open(t, frames.Config{RetryFor: 30 * time.Second}, cluster.Members("c1"))
	for n := range 5 {
		putFrame(t, c, n, "1000000", "8x8")
	}
	load := &load{c: c, acked: map[string]string{}}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for g := range 3 {
		load.work.Go(func() { load.write(ctx, g) })
	}
	load.work.Go(func() { load.read(ctx) })
	load.work.Go(func() { load.countDown(ctx) })
	load.moreThan(t, 100)
	was := cluster.Master()
	was.Kill()
	redistest.Eventually(t, 20*time.Second, "another master", func() error {
		return errIf(cluster.Master() == was, "not yet")
	})
	load.moreThan(t, load.count()+100)
	stop()
	load.work.Wait()
	// On a machine that is busy enough the Sentinels fail over once more, and a
	// demoted master still answers reads: ask the one that counts.
	redistest.Eventually(t, 20*time.Second, "calls go to the master", func() error {
		ep, _, err := c.Master(t.Context())
		want := cluster.Master().Endpoint
		return errIf(err != nil || ep != want, fmt.Sprintf("they go to %v (%v), want %v", ep, err, want))
	})
	load.check(t)
}

// load is writers, a reader and a counter on one cluster.
type load struct {
	c    *frames.Cluster
	work sync.WaitGroup

	mu      sync.Mutex
	acked   map[string]string
	unknown int
	errs    []error
	dropped int64 // batches of one for each of five frames
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

func (l *load) moreThan(t *testing.T, n int) {
	t.Helper()
	redistest.Eventually(t, 40*time.Second, "writes go on", func() error {
		return errIf(l.count() <= n, fmt.Sprintf("%d of %d", l.count(), n))
	})
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errs = append(l.errs, err)
}

func (l *load) write(ctx context.Context, g int) {
	for i := 0; ctx.Err() == nil; i++ {
		k, v := fmt.Sprintf("w%d-%d", g, i), fmt.Sprintf("value %d of %d", i, g)
		err := l.c.Put(ctx, []frames.Pair{{Key: k, Value: []byte(v)}}, frames.PutOptions{Replicas: 1})
		l.mu.Lock()
		switch {
		case err == nil:
			l.acked[k] = v
		case errors.Is(err, wire.ErrOutcomeUnknown) || wire.AsError(err).Field == "replicas":
			l.unknown++
		case ctx.Err() == nil:
			l.errs = append(l.errs, fmt.Errorf("put: %w", err))
		}
		l.mu.Unlock()
	}
}

func (l *load) read(ctx context.Context) {
	for ctx.Err() == nil {
		l.mu.Lock()
		var k, want string
		for k, want = range l.acked {
			break
		}
		l.mu.Unlock()
		batch, err := l.c.Get(ctx, k)
		if ctx.Err() != nil || k == "" {
			continue
		}
		if err != nil || string(batch.Frames[0].Data) != want {
			l.fail(fmt.Errorf("get %s: %w", k, err))
			return
		}
		batch.Release()
	}
}

func (l *load) countDown(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		var batch []wire.Decrement
		for n := range 5 {
			batch = append(batch, drop(n, 1, "8x8"))
		}
		got, err := l.c.Decrement(context.WithoutCancel(ctx), wire.RequestID(fmt.Sprint("fo-", i)), batch)
		if err != nil {
			l.fail(fmt.Errorf("decrement: %w", err))
			return
		}
		l.mu.Lock()
		l.dropped++
		// A batch that died with the old master is gone with its token; one
		// that was acknowledged may be, too: it did not wait for a replica.
		if got[0].Remaining < 1000000-l.dropped || got[0] != (wire.Decremented{Key: key(0).Count(), Remaining: got[4].Remaining}) {
			l.errs = append(l.errs, fmt.Errorf("after %d batches: %+v", l.dropped, got))
		}
		l.mu.Unlock()
	}
}

func (l *load) check(t *testing.T) {
	t.Helper()
	for _, err := range l.errs {
		t.Error(err)
	}
	lost := 0
	for k, want := range l.acked {
		batch, err := l.c.Get(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		if string(batch.Frames[0].Data) != want {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d acknowledged writes are lost", lost, len(l.acked))
	}
	t.Logf("%d acknowledged, %d unknown, %d batches counted down", len(l.acked), l.unknown, l.dropped)
}

func TestAPlannedFailoverIsFollowed(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 2)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	put(t, c, "k", "v")
	before, err := c.Redis(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // there and back again
		cluster.Failover()
		put(t, c, "k", "v2")
		ep, socket, err := c.Master(t.Context())
		if err != nil || ep != cluster.Master().Endpoint || socket != cluster.Master().Socket {
			t.Errorf("calls go to %v through %q (%v), want %v", ep, socket, err, cluster.Master().Endpoint)
		}
	}
	if err := before.Ping(t.Context()).Err(); err == nil {
		t.Error("the plain client of the former master is still open")
	}
}

// TestAHungMasterIsLeftWhenSentinelSaysSo: nothing comes back from it, and no
// connection breaks.
func TestAHungMasterIsLeftWhenSentinelSaysSo(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	c := open(t, frames.Config{RetryFor: 30 * time.Second}, cluster.Members("c1"))
	if err := c.Put(t.Context(), []frames.Pair{{Key: "k", Value: []byte("v")}}, frames.PutOptions{Replicas: 2}); err != nil {
		t.Fatal(err)
	}
	was := cluster.Servers[0]
	was.Pause()
	defer was.Resume()
	begin := time.Now()
	batch, err := c.Get(t.Context(), "k")
	if err != nil || string(batch.Frames[0].Data) != "v" {
		t.Fatalf("Get: %v", err)
	}
	t.Logf("took %v", time.Since(begin))
	if ep, _, _ := c.Master(t.Context()); ep == was.Endpoint {
		t.Error("calls still go to the hung master")
	}
}

func TestMembersThatMoveAreFound(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	dead := cluster.Members("c1")
	dead[0].SentinelPort = 1
	c := open(t, frames.Config{}, dead)
	time.AfterFunc(100*time.Millisecond, func() { c.SetMembers(cluster.Members("c1")) })
	put(t, c, "k", "v")
	c.SetMembers(dead) // the connection that works stays
	put(t, c, "k", "v")
}

// TestAHungMasterBreaksOffWhatWaitsForIt: WAIT may last a minute, the failover
// does not.
func TestAHungMasterBreaksOffWhatWaitsForIt(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	put(t, c, "k", "v")
	cluster.Servers[0].Pause()
	defer cluster.Servers[0].Resume()
	err := c.Put(within(t, 40*time.Second), []frames.Pair{{Key: "k"}}, frames.PutOptions{Replicas: 2, ReplicaTimeout: time.Minute})
	if !errors.Is(err, wire.ErrOutcomeUnknown) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want outcome unknown before the deadline", err)
	}
}

// TestADemotedMasterIsLeft: its connections stay open, it only refuses writes.
func TestADemotedMasterIsLeft(t *testing.T) {
	t.Parallel()
	a, b := redistest.Start(t), redistest.Start(t)
	member := func(s *redistest.Server) []wire.Instance {
		// With a wrong password a Sentinel changes nothing.
		sentry := redistest.StartSentinel(t, s.Endpoint, 1, "wrong")
		return []wire.Instance{{Host: s.Host, Port: s.Port, SentinelPort: sentry.Port}}
	}
	c := open(t, frames.Config{}, member(a))
	put(t, c, "k", "v")
	if err := a.Client().ReplicaOf(t.Context(), b.Host, fmt.Sprint(b.Port)).Err(); err != nil {
		t.Fatal(err)
	}
	c.SetMembers(member(b))
	put(t, c, "k", "v2")
	if got := b.Client().Get(t.Context(), "k").Val(); got != "v2" {
		t.Errorf("the new master holds %q", got)
	}
}

// TestASocketThatChangesHandsIsLeft: the path leads to another master all of a
// sudden, while the connections to the first are being replaced.
func TestASocketThatChangesHandsIsLeft(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	other := redistest.Start(t)
	path := filepath.Join(filepath.Dir(cluster.Servers[0].Socket), "link")
	members := cluster.Members("c1")
	members[0].Socket = path
	if err := os.Symlink(cluster.Servers[0].Socket, path); err != nil {
		t.Fatal(err)
	}
	c := open(t, frames.Config{}, members)
	put(t, c, "k", "v")
	if _, socket, _ := c.Master(t.Context()); socket != path {
		t.Fatalf("the socket is not used but %q", socket)
	}
	if err := errors.Join(os.Remove(path), os.Symlink(other.Socket, path)); err != nil {
		t.Fatal(err)
	}
	cluster.Servers[0].Client().ClientKillByFilter(t.Context(), "TYPE", "normal")
	put(t, c, "k", "v2")
	if got := cluster.Servers[0].Client().Get(t.Context(), "k").Val(); got != "v2" {
		t.Errorf("the master holds %q", got)
	}
	if n := other.Client().DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("%d keys went to another server", n)
	}
}
