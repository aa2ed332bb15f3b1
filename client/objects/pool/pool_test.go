package pool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/mysqltest"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

// TestMain leaves out go-redis' look whether a server is back, which sees up to a
// second late that its pool was closed.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// fixed is a Locator that a test fills.
type fixed struct {
	mu      sync.Mutex
	places  map[wire.FrameDBID]Place // guarded by mu
	doubted []wire.FrameDBID         // guarded by mu
}

func (f *fixed) Locate(_ context.Context, id wire.FrameDBID) (Place, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, found := f.places[id]
	if !found {
		return p, wire.Errorf(wire.CodeNotFound, "FrameDB %q is unknown", id)
	}
	return p, nil
}

func (f *fixed) Doubt(id wire.FrameDBID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.doubted = append(f.doubted, id)
}

func (f *fixed) set(id wire.FrameDBID, p Place) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.ID = id
	f.places[id] = p
}

// memory is a cluster that is not dialled before it is used.
func memory(name wire.ClusterName, password string) Place {
	return Place{Kind: wire.KindMemory, Cluster: name, Passwords: []string{password}}
}

func take(t *testing.T, p *Pool, place Place) *opened {
	t.Helper()
	o, err := p.acquire(t.Context(), place)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// closed reports whether an open one was closed.
func closed(p *Pool, o *opened) func() bool {
	done := make(chan struct{})
	<-o.ready
	inner := o.close
	o.close = func() error { close(done); return inner() }
	return func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
}

func TestIdleOnesClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Locator: &fixed{}, IdleFor: time.Minute})
		defer p.Close()
		o := take(t, p, memory("a", "x"))
		gone := closed(p, o)
		time.Sleep(time.Hour) // of the bubble's clock
		if p.Open() != 1 {
			t.Error("what is in use was closed")
		}
		p.release(o)
		time.Sleep(59 * time.Second)
		if again := take(t, p, memory("a", "x")); again != o {
			t.Error("an idle one was opened again")
		}
		time.Sleep(time.Minute)
		p.release(o)
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if p.Open() != 1 || gone() {
			t.Error("closed before its time")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if p.Open() != 0 || !gone() {
			t.Errorf("%d are open, closed: %v", p.Open(), gone())
		}
	})
}

func TestAtMostSoManyAreOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Locator: &fixed{}, MaxOpen: 2})
		defer p.Close()
		a, b := take(t, p, memory("a", "x")), take(t, p, memory("b", "x"))
		if _, err := p.acquire(t.Context(), memory("c", "x")); !errors.Is(err, wire.ErrOverloaded) || wire.AsError(err).RetryAfter == 0 {
			t.Errorf("a third one: %v", err)
		}
		p.release(a)
		time.Sleep(time.Second)
		p.release(b)
		c := take(t, p, memory("c", "x"))
		if p.Open() != 2 || p.open["memory/a"] != nil {
			t.Errorf("%d are open; the one idle longest has to go", p.Open())
		}
		p.release(c)
	})
}

// What was opened for a place that changed serves those who have it, and nobody
// else.
func TestAChangedPlaceIsOpenedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Locator: &fixed{}})
		defer p.Close()
		old := take(t, p, memory("a", "before"))
		gone := closed(p, old)
		next := take(t, p, memory("a", "after"))
		synctest.Wait()
		if next == old || p.Open() != 1 || gone() {
			t.Errorf("same: %v, open: %d, closed: %v", next == old, p.Open(), gone())
		}
		p.release(old)
		if !gone() {
			t.Error("its last user has left and it is open")
		}
		p.release(next)
		moved := memory("a", "after")
		moved.Members = []wire.Instance{{Host: "h", Port: 1, SentinelPort: 2}}
		if o := take(t, p, moved); o != next {
			t.Error("members that move do not need another connection")
		} else {
			p.release(o)
		}
	})
}

func TestCloseEndsAll(t *testing.T) {
	p := New(Config{Locator: &fixed{}})
	used, unused := take(t, p, memory("a", "x")), take(t, p, memory("b", "x"))
	usedGone, unusedGone := closed(p, used), closed(p, unused)
	p.release(unused)
	p.Close()
	if usedGone() || !unusedGone() {
		t.Errorf("after Close: used is closed: %v, unused: %v", usedGone(), unusedGone())
	}
	if _, err := p.acquire(t.Context(), memory("a", "x")); !errors.Is(err, wire.ErrUnavailable) {
		t.Errorf("after Close: %v", err)
	}
	p.release(used)
	if !usedGone() {
		t.Error("its last user has left and it is open")
	}
}

// storageAt is a persistent FrameDB on a server.
func storageAt(s *mysqltest.Server) Place {
	return Place{
		Kind: wire.KindStorage, Address: net.JoinHostPort(s.Host, strconv.Itoa(s.Port)), Socket: s.Socket,
		User: "root", Database: "framedb", Passwords: []string{"a", "b"},
	}
}

func TestStoresOfAnyKind(t *testing.T) {
	s := mysqltest.Start(t, "--innodb-flush-log-at-trx-commit=0")
	rc := redistest.StartCluster(t, 1)
	mem := memory("mem", redistest.Password)
	mem.Members = rc.Members("mem")
	stale := storageAt(s)
	stale.Socket = filepath.Join(t.TempDir(), "stale")
	if err := os.WriteFile(stale.Socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := &fixed{places: map[wire.FrameDBID]Place{}}
	f.set("mem", mem)
	f.set("disk", storageAt(s))
	f.set("stale", stale)
	p := New(Config{Locator: f})
	defer p.Close()
	for _, id := range []wire.FrameDBID{"mem", "disk", "stale"} {
		store := p.Store(id)
		if _, err := store.Put(t.Context(), "k", strings.NewReader("v"), objects.PutOptions{}); err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		if got, _, err := store.ReadAll(t.Context(), "k", 9); err != nil || string(got) != "v" {
			t.Errorf("%s: %q, %v", id, got, err)
		}
		if _, err := store.List(t.Context(), objects.ListOptions{}); err != nil {
			t.Error(err)
		}
		if _, err := store.Sweep(t.Context(), objects.DefaultSweepAges()); err != nil {
			t.Error(err)
		}
		if err := store.Delete(t.Context(), "k", objects.Condition{}); err != nil {
			t.Error(err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, o := range p.open {
		if o.users != 0 {
			t.Errorf("%s has %d users", key, o.users)
		}
	}
}

// Many who want one that is not open wait for one opening, and all hear why it
// failed; the next one tries again.
func TestOneOpensForAll(t *testing.T) {
	s := mysqltest.Start(t, "--innodb-flush-log-at-trx-commit=0")
	f := &fixed{places: map[wire.FrameDBID]Place{}}
	nowhere := storageAt(s)
	nowhere.Address, nowhere.Socket = "127.0.0.1:1", ""
	f.set("disk", nowhere)
	p := New(Config{Locator: f})
	defer p.Close()
	all := func() (errs []error) {
		results := make(chan error, 16)
		for range cap(results) {
			go func() {
				_, err := p.Store("disk").Exists(t.Context(), "k")
				results <- err
			}()
		}
		for range cap(results) {
			if err := <-results; err != nil {
				errs = append(errs, err)
			}
		}
		return errs
	}
	errs := all()
	if len(errs) != 16 || !errors.Is(errs[0], wire.ErrUnavailable) || p.Open() != 0 {
		t.Errorf("%d errors, %v; %d are open", len(errs), errs, p.Open())
	}
	f.mu.Lock()
	if len(f.doubted) == 0 {
		t.Error("nobody doubts the place")
	}
	f.mu.Unlock()
	f.set("disk", storageAt(s))
	if errs := all(); len(errs) > 0 || p.Open() != 1 {
		t.Errorf("%v; %d are open", errs, p.Open())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Store("disk").Exists(ctx, "k"); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if _, err := p.Store("nobody").Exists(t.Context(), "k"); err == nil && fmt.Sprint(err) == "" {
		t.Error(err)
	}
}

// A reader keeps its FrameDB open until it is closed, however often.
func TestReadersKeepItOpen(t *testing.T) {
	s := mysqltest.Start(t, "--innodb-flush-log-at-trx-commit=0")
	f := &fixed{places: map[wire.FrameDBID]Place{}}
	f.set("disk", storageAt(s))
	p := New(Config{Locator: f})
	store := p.Store("disk")
	size := int64(20 << 20)
	if _, err := store.Put(t.Context(), "k", strings.NewReader(strings.Repeat("x", int(size))), objects.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	r, err := store.Get(t.Context(), "k", objects.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	if n, err := r.WriteTo(discard{}); n != size || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
	r.Close()
	r.Close()
	if _, err := store.Exists(t.Context(), "k"); !errors.Is(err, wire.ErrUnavailable) {
		t.Errorf("after Close: %v", err)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
