package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/wire"
)

func TestADeleteChannelAppliesAllAndCloseWaits(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	c := p.addCluster(t, "c1", 1)
	p.write(cam, "tag-a", "c1", `{"ref_count":401}`)
	db := p.open(t)
	if err := db.RegisterFrameDeleteChannel(cam); err != nil {
		t.Fatal(err)
	}
	if err := db.RegisterFrameDeleteChannel(cam); !errors.Is(err, wire.ErrAlreadyExists) {
		t.Errorf("a second one: got %v", err)
	}
	if _, err := db.DecrBatchKeys(t.Context(), cam, []wire.Decrement{drop1(1), {Key: "x", By: 1}}); !errors.Is(err, wire.ErrInvalidArgument) {
		t.Errorf("a bad key: got %v", err)
	}
	rdb := c.Servers[0].Client()
	rdb.Set(t.Context(), frame(99).Count(), "no integer", 0)
	for n := range 10 {
		mustPut(t, db, n, map[string][]byte{"8x8": []byte("x"), "4x4": []byte("x")})
	}
	var work sync.WaitGroup
	for g := range 4 {
		work.Go(func() {
			size := []string{"8x8", "4x4"}[g%2]
			for range 100 {
				batch := []wire.Decrement{drop1(99), drop1(1000)}
				for n := range 10 {
					batch = append(batch, drop1(n, size))
				}
				if got, err := db.DecrBatchKeys(t.Context(), cam, batch); err != nil || got != nil {
					t.Errorf("got %v, %v", got, err)
				}
			}
		})
	}
	work.Wait()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for n := range 10 {
		want(t, "the count", rdb.Get(t.Context(), frame(n).Count()).Val(), "1")
	}
	want(t, "the count that is none", rdb.Get(t.Context(), frame(99).Count()).Val(), "no integer")
	if _, err := db.DecrBatchKeys(t.Context(), cam, []wire.Decrement{drop1(1)}); !errors.Is(err, wire.ErrUnavailable) {
		t.Errorf("after Close: got %v", err)
	}
}

func TestCloseSaysWhatItCouldNotCountDown(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	c := p.addCluster(t, "c1", 1)
	p.write(cam, "tag-a", "c1", "")
	db, err := client.Open(t.Context(), client.Config{Addrs: []string{p.URL}, RetryFor: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, db, 1, map[string][]byte{"8x8": nil})
	c.Servers[0].Kill()
	if err := db.RegisterFrameDeleteChannel(cam); err != nil {
		t.Fatal(err)
	}
	if _, err := db.DecrBatchKeys(t.Context(), cam, []wire.Decrement{drop1(1), drop1(2)}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); !errors.Is(err, wire.ErrUnavailable) {
		t.Errorf("Close: got %v, want it to tell of two decrements", err)
	}
}

func TestAsyncReadsCallBackOnceInOrder(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.addCluster(t, "c1", 1)
	p.write(cam, "tag-a", "c1", "")
	db := p.open(t)
	for n := range 10 {
		mustPut(t, db, n, map[string][]byte{"8x8": fmt.Append(nil, n)})
	}
	if err := db.GetFramesAsync(t.Context(), cam, nil, nil, nil); !errors.Is(err, wire.ErrConflict) {
		t.Errorf("without a channel: got %v", err)
	}
	const many = 2000 // more than wait at once
	var mu sync.Mutex
	var order []int
	all := make(chan struct{})
	callback := func(r client.FramesResult) {
		mu.Lock()
		defer mu.Unlock()
		n := r.Extra.(int)
		order = append(order, n)
		if r.Err != nil || fmt.Sprint(contents(r.Frames)) != fmt.Sprintf("[%d -]", n%10) || r.Source != cam {
			t.Errorf("read %d: %v, %v", n, contents(r.Frames), r.Err)
		}
		if len(order) == many {
			close(all)
		}
	}
	if err := db.RegisterFramesChannel(cam, callback); err != nil {
		t.Fatal(err)
	}
	if err := db.RegisterFramesChannel(cam, callback); !errors.Is(err, wire.ErrAlreadyExists) {
		t.Errorf("a second channel: got %v", err)
	}
	for n := range many {
		if err := db.GetFramesAsync(t.Context(), cam, []string{frame(n % 10).Data("8x8"), "none"}, n, nil); err != nil {
			t.Fatal(err)
		}
	}
	<-all
	if !slices.IsSorted(order) {
		t.Error("callbacks came out of order")
	}
}

func TestAFullChannelWaitsAndCloseCallsBackTheRest(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.addCluster(t, "c1", 1)
	p.write(cam, "tag-a", "c1", "")
	db := p.open(t)
	begun, goOn := make(chan struct{}), make(chan struct{})
	var calls, failed atomic.Int64
	var once sync.Once
	callback := func(r client.FramesResult) {
		once.Do(func() { close(begun); <-goOn })
		calls.Add(1)
		if r.Err != nil {
			failed.Add(1)
			if !errors.Is(r.Err, wire.ErrUnavailable) {
				t.Errorf("called back with %v", r.Err)
			}
		}
	}
	if err := db.RegisterFramesChannel(cam, callback); err != nil {
		t.Fatal(err)
	}
	taken := int64(0)
	for ; ; taken++ {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		err := db.GetFramesAsync(ctx, cam, []string{"k"}, nil, nil)
		cancel()
		if errors.Is(err, wire.ErrOverloaded) {
			break
		}
		if err != nil || taken > 5000 {
			t.Fatalf("%d were taken, then %v", taken, err)
		}
	}
	<-begun
	ended := make(chan error, 1)
	go func() { ended <- db.Close() }()
	close(goOn)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if calls.Load() != taken || failed.Load() == 0 {
		t.Errorf("%d of %d were called back, %d of them refused", calls.Load(), taken, failed.Load())
	}
}
