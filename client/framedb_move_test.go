package client_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

func TestAMovedSourceLosesNothing(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.addCluster(t, "old", 1)
	p.addCluster(t, "new", 1)
	p.write(cam, "tag-a", "old", "")
	db := p.open(t)
	reads := &asyncReads{calls: map[int]int{}}
	if err := db.RegisterFramesChannel(cam, reads.callback); err != nil {
		t.Fatal(err)
	}
	const many = 300
	for n := range many {
		if n == many/3 {
			p.write(cam, "tag-a", "new", "")
		}
		mustPut(t, db, n, map[string][]byte{"8x8": fmt.Append(nil, n)})
		if err := db.GetFramesAsync(t.Context(), cam, []string{frame(n).Data("8x8")}, n, nil); err != nil {
			t.Fatal(err)
		}
	}
	redistest.Eventually(t, 5*time.Second, "the move is followed", func() error {
		_, m, err := db.Cluster(t.Context(), cam)
		if m.Cluster != "new" {
			return fmt.Errorf("it goes to %q, %v", m.Cluster, err)
		}
		return nil
	})
	for n := range many { // those on the old cluster as well
		if got := read(t, db, frame(n).Data("8x8")); got[0] != fmt.Sprint(n) {
			t.Fatalf("frame %d is %q", n, got)
		}
	}
	reads.wantOnceEach(t, many) // before their frames go
	countDownTwice(t, db, many)
}

func TestAMoveIsHeardOfThroughAnotherAgent(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.second(t)
	p.addCluster(t, "old", 1)
	p.addCluster(t, "new", 1)
	p.write(cam, "tag-a", "old", "")
	db := p.open(t)
	mustPut(t, db, 1, map[string][]byte{"8x8": []byte("one")})
	p.CloseClientConnections()
	p.Server.Close()
	p.write(cam, "tag-a", "new", "")
	redistest.Eventually(t, 5*time.Second, "the move is followed", func() error {
		_, m, err := db.Cluster(t.Context(), cam)
		if m.Cluster != "new" {
			return fmt.Errorf("it goes to %q, %v", m.Cluster, err)
		}
		return nil
	})
	want(t, "the frame that was left behind", read(t, db, frame(1).Data("8x8")), []string{"one"})
}

// countDownTwice drops the frames' only use, and repeats that.
func countDownTwice(t *testing.T, db *client.FrameDB, many int) {
	t.Helper()
	batch := make([]wire.Decrement, many)
	for n := range batch {
		batch[n] = drop1(n, "8x8")
	}
	for range 2 {
		got, err := db.DecrBatchKeys(client.WithRequestID(t.Context(), "once"), cam, batch)
		if err != nil {
			t.Fatal(err)
		}
		for n, r := range got {
			if r.Deleted != 1 {
				t.Fatalf("frame %d: %+v", n, r)
			}
		}
	}
}

// asyncReads counts the callbacks of reads that gave their number as Extra.
type asyncReads struct {
	mu    sync.Mutex
	calls map[int]int // guarded by mu
	bad   int         // guarded by mu: those without their frame
}

func (a *asyncReads) callback(r client.FramesResult) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls[r.Extra.(int)]++
	if r.Err != nil || contents(r.Frames)[0] != fmt.Sprint(r.Extra) {
		a.bad++
	}
}

func (a *asyncReads) wantOnceEach(t *testing.T, many int) {
	t.Helper()
	redistest.Eventually(t, 5*time.Second, "all are called back", func() error {
		a.mu.Lock()
		defer a.mu.Unlock()
		if len(a.calls) != many {
			return fmt.Errorf("%d of %d", len(a.calls), many)
		}
		return nil
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	for n, c := range a.calls {
		if c != 1 {
			t.Errorf("read %d was called back %d times", n, c)
		}
	}
	want(t, "the number of reads without their frame", a.bad, 0)
}

func TestARemovedClusterIsLeftAtOnce(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	gone := p.addCluster(t, "gone", 1)
	p.addCluster(t, "next", 1)
	p.write(cam, "tag-a", "gone", "")
	db := p.open(t)
	mustPut(t, db, 1, map[string][]byte{"8x8": nil})
	gone.Servers[0].Kill()
	begin := time.Now()
	put := make(chan error, 1)
	go func() {
		_, err := db.PutFrame(t.Context(), frame(2), map[string][]byte{"8x8": []byte("x")}, frames.PutOptions{})
		put <- err
	}()
	p.write(cam, "tag-a", "next", "")
	p.removeCluster("gone")
	if err := <-put; err != nil {
		t.Errorf("PutFrame: %v", err)
	}
	want(t, "the frame", read(t, db, frame(2).Data("8x8")), []string{"x"})
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("took %v: it waited for the dead master", took)
	}
}

func TestKnownRoutesServeOnWithoutAnAgent(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.addCluster(t, "c1", 1)
	p.write(cam, "tag-a", "c1", "")
	db, err := client.Open(t.Context(), client.Config{Addrs: []string{p.URL}, RetryFor: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	mustPut(t, db, 1, map[string][]byte{"8x8": []byte("x")})
	p.setDown(true)
	p.write(cam, "tag-a", "c1", "{}")
	asked := p.askedFor()
	redistest.Eventually(t, 5*time.Second, "the route is in doubt", func() error {
		want(t, "the frame", read(t, db, frame(1).Data("8x8")), []string{"x"})
		if p.askedFor() == asked {
			return errors.New("the agent is not asked")
		}
		return nil
	})
	if _, _, err := db.Cluster(t.Context(), "other"); !errors.Is(err, wire.ErrUnavailable) {
		t.Errorf("an unknown route: got %v", err)
	}
}
