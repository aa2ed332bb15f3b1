package client_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

const cam = wire.SourceID("cam-1")

func frame(n int) wire.FrameKey { return wire.NewFrameKey(cam, 1, 1, uint64(n)) }

func drop1(n int, sizes ...string) wire.Decrement {
	return wire.Decrement{Key: frame(n).Count(), By: 1, Sizes: sizes}
}

func mustPut(t *testing.T, db *client.FrameDB, n int, sizes map[string][]byte) []wire.Mapping {
	t.Helper()
	done, err := db.PutFrame(t.Context(), frame(n), sizes, frames.PutOptions{})
	if err != nil {
		t.Fatalf("PutFrame: %v", err)
	}
	return done
}

// read returns what GetFramesFrom gives, "-" for what is missing.
func read(t *testing.T, db *client.FrameDB, keys ...string) []string {
	t.Helper()
	batch, err := db.GetFramesFrom(t.Context(), cam, keys)
	if err != nil {
		t.Fatalf("GetFramesFrom: %v", err)
	}
	defer batch.Release()
	return contents(batch.Frames)
}

func contents(fs []frames.Frame) []string {
	var got []string
	for _, f := range fs {
		if f.Missing {
			got = append(got, "-")
		} else {
			got = append(got, string(f.Data))
		}
	}
	return got
}

func want[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

func TestAFrameGoesThroughItsLife(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	near, far := p.addCluster(t, "near", 1), p.addCluster(t, "far", 1)
	p.write(cam, "tag-a", "far", `{"sizes":["8x8"],"ref_count":5}`)
	p.write(cam, "tag-b", "near", `{"sizes":["8x8","4x4"],"ref_count":2}`)
	p.write(cam, "tag-c", "far", `{"ref_count":0}`)
	db := p.open(t, "tag-b")

	done := mustPut(t, db, 1, map[string][]byte{"8x8": []byte("large"), "4x4": []byte("small"), "2x2": []byte("tiny")})
	want(t, "the mappings that have it", len(done), 2)
	want(t, "the keys on the far cluster", far.Servers[0].Client().DBSize(t.Context()).Val(), 2)
	want(t, "the far count", far.Servers[0].Client().Get(t.Context(), frame(1).Count()).Val(), "5")
	want(t, "the keys on the near cluster", near.Servers[0].Client().DBSize(t.Context()).Val(), 3)

	want(t, "the frame", read(t, db, frame(1).Data("8x8"), frame(2).Data("8x8"), frame(1).Data("4x4")), []string{"large", "-", "small"})
	want(t, "the whole frame without sizes", read(t, db, frame(1).String()), []string{"-"})
	db.SetRequiredSizes("4x4", "8x8")
	want(t, "the whole frame", read(t, db, frame(1).String(), "x"), []string{"small", "large", "-"})

	got, err := db.DecrBatchKeys(t.Context(), cam, []wire.Decrement{drop1(1, "8x8"), drop1(2)})
	want(t, "the first drop", got, []wire.Decremented{{Key: frame(1).Count(), Remaining: 1}, {Key: frame(2).Count(), Missing: true}})
	want(t, "its error", err, nil)
	got, err = db.DecrBatchKeys(t.Context(), cam, []wire.Decrement{drop1(1)}) // in the required sizes
	want(t, "the second drop", got, []wire.Decremented{{Key: frame(1).Count(), Deleted: 2}})
	want(t, "its error", err, nil)

	db.SetRequiredSizes()
	mustPut(t, db, 3, map[string][]byte{"8x8": nil, "4x4": nil})
	got, _ = db.DecrBatchKeys(t.Context(), cam, []wire.Decrement{{Key: frame(3).Count(), By: 2}}) // in the metadata's
	want(t, "a drop without sizes", got, []wire.Decremented{{Key: frame(3).Count(), Deleted: 2}})

	want(t, "how often the agent was asked", p.askedFor(), 1)
}

func TestWithoutATagOfItsOwnAProgramTakesTheFirst(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.addCluster(t, "c1", 1)
	p.write(cam, "tag-b", "c1", "")
	p.write(cam, "tag-a", "c1", "")
	for tags, first := range map[wire.NodeTag]wire.NodeTag{"": "tag-a", "tag-b": "tag-b", "other": "tag-a"} {
		var own []wire.NodeTag
		if tags != "" {
			own = []wire.NodeTag{"none", tags}
		}
		db := p.open(t, own...)
		_, m, err := db.Cluster(t.Context(), cam)
		if err != nil || m.NodeTag != first {
			t.Errorf("with tag %q: the mapping on %q (%v), want %q", tags, m.NodeTag, err, first)
		}
	}
}

func TestPutFrameRefusesWhatTheMetadataForbid(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	c := p.addCluster(t, "c1", 1)
	p.write(cam, "tag-a", "c1", "")
	p.write(cam, "tag-b", "c1", `{"sizes":["8x8","16x16"]}`)
	db := p.open(t)
	_, err := db.PutFrame(t.Context(), frame(1), map[string][]byte{"8x8": nil}, frames.PutOptions{})
	if !errors.Is(err, wire.ErrInvalidArgument) || wire.AsError(err).Field != "sizes" {
		t.Errorf("a size too few: got %v", err)
	}
	for _, metadata := range []string{`{"sizes":"8x8"}`, `{"ref_count":-1}`, `{"ref_count":"x"}`} {
		p.write(cam, "tag-b", "c1", metadata)
		redistest.Eventually(t, 5*time.Second, "the metadata are heard of", func() error {
			_, err := db.PutFrame(t.Context(), frame(1), map[string][]byte{"8x8": nil}, frames.PutOptions{})
			if !errors.Is(err, wire.ErrConflict) {
				return fmt.Errorf("metadata %s: got %v", metadata, err)
			}
			return nil
		})
	}
	want(t, "the number of keys", c.Servers[0].Client().DBSize(t.Context()).Val(), 0)
	if _, err := db.PutFrame(t.Context(), wire.NewFrameKey("other", 0, 0, 0), nil, frames.PutOptions{}); !errors.Is(err, wire.ErrNotFound) {
		t.Errorf("an unmapped source: got %v", err)
	}
}

func TestPutFrameTellsWhichTagFailed(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.addCluster(t, "good", 1)
	full := redistest.StartCluster(t, 1, "--maxmemory", "1mb")
	p.members["full"] = full.Members("full")
	p.write(cam, "tag-a", "full", "")
	p.write(cam, "tag-b", "good", "")
	db := p.open(t)
	done, err := db.PutFrame(t.Context(), frame(1), map[string][]byte{"8x8": make([]byte, 1<<20)}, frames.PutOptions{})
	if !errors.Is(err, wire.ErrOverloaded) || len(done) != 1 || done[0].NodeTag != "tag-b" {
		t.Errorf("got %v, %v; want overloaded for tag-a alone", done, err)
	}
}

func TestPushSyncSerializes(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.addCluster(t, "c1", 1)
	p.write(cam, "tag-a", "c1", "")
	db := p.open(t)
	if err := db.PushSync(t.Context(), cam, map[string][]byte{"a": []byte("1"), "b": []byte("2")}); err != nil {
		t.Fatal(err)
	}
	db.SetOutputSerializer(func(in map[string][]byte) (map[string][]byte, error) {
		return map[string][]byte{"b": append([]byte("x"), in["b"]...)}, nil
	})
	if err := db.PushSync(t.Context(), cam, map[string][]byte{"b": []byte("3")}); err != nil {
		t.Fatal(err)
	}
	refusal := errors.New("no")
	db.SetOutputSerializer(func(map[string][]byte) (map[string][]byte, error) { return nil, refusal })
	if err := db.PushSync(t.Context(), cam, map[string][]byte{"b": []byte("4")}); !errors.Is(err, refusal) {
		t.Errorf("got %v", err)
	}
	want(t, "what is stored", read(t, db, "a", "b"), []string{"1", "x3"})
}

func TestLargeDecrementsGoInSteps(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.addCluster(t, "c1", 1)
	p.write(cam, "tag-a", "c1", "")
	db := p.open(t)
	n := wire.MaxDecrements + 1
	mustPut(t, db, 0, map[string][]byte{"8x8": nil})
	mustPut(t, db, n-1, map[string][]byte{"8x8": nil})
	batch := make([]wire.Decrement, n)
	for i := range batch {
		batch[i] = drop1(i, "8x8")
	}
	ctx := client.WithRequestID(t.Context(), "mine")
	for range 2 { // the same token gives the same answers
		got, err := db.DecrBatchKeys(ctx, cam, batch)
		if err != nil || len(got) != n {
			t.Fatalf("%d results, %v", len(got), err)
		}
		want(t, "the first result", got[0], wire.Decremented{Key: frame(0).Count(), Deleted: 1})
		want(t, "the one between", got[1], wire.Decremented{Key: frame(1).Count(), Missing: true})
		want(t, "the last result", got[n-1], wire.Decremented{Key: frame(n - 1).Count(), Deleted: 1})
	}
}

func TestADeleteChannelAppliesAllAndCloseWaits(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	c := p.addCluster(t, "c1", 1)
	p.write(cam, "tag-a", "c1", `{"ref_count":400}`)
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
		// The one that came to zero named its sizes; merged ones name both.
		want(t, "count and data", rdb.Exists(t.Context(), frame(n).Count()).Val(), 0)
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

func TestAMovedSourceLosesNothing(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.addCluster(t, "old", 1)
	p.addCluster(t, "new", 1)
	p.write(cam, "tag-a", "old", "")
	db := p.open(t)
	var mu sync.Mutex
	calls := map[int]int{}
	bad := 0
	if err := db.RegisterFramesChannel(cam, func(r client.FramesResult) {
		mu.Lock()
		defer mu.Unlock()
		calls[r.Extra.(int)]++
		if r.Err != nil || contents(r.Frames)[0] != fmt.Sprint(r.Extra) {
			bad++
		}
	}); err != nil {
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
	redistest.Eventually(t, 5*time.Second, "all are called back", func() error {
		mu.Lock()
		defer mu.Unlock()
		if len(calls) != many {
			return fmt.Errorf("%d of %d", len(calls), many)
		}
		return nil
	})
	for n, c := range calls {
		if c != 1 {
			t.Errorf("read %d was called back %d times", n, c)
		}
	}
	want(t, "the number of reads without their frame", bad, 0)
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

func TestThePasswordComesFromAFile(t *testing.T) {
	p := newPlane(t)
	p.addCluster(t, "c1", 1)
	p.write(cam, "tag-a", "c1", "")
	path := filepath.Join(t.TempDir(), "password")
	for content, code := range map[string]wire.Code{redistest.Password + "\n": "", "wrong": wire.CodeForbidden} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv(client.EnvPasswordFile, path)
		db := p.open(t)
		_, err := db.GetFramesFrom(t.Context(), cam, []string{"k"})
		if wire.CodeOf(err) != code {
			t.Errorf("with %q: got %v, want code %q", content, err, code)
		}
	}
	t.Setenv(client.EnvPasswordFile, path+".none")
	_, err := client.Open(t.Context(), client.Config{Addrs: []string{p.URL}})
	if !errors.Is(err, wire.ErrInvalidArgument) || wire.AsError(err).Field != client.EnvPasswordFile {
		t.Errorf("without the file: got %v", err)
	}
}
