package client_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

// manySizes are n sizes from "<from>x1" on.
func manySizes(from, n int) []string {
	var sizes []string
	for i := range n {
		sizes = append(sizes, fmt.Sprintf("%dx1", from+i))
	}
	return sizes
}

// queueDrops puts the batch into the source's delete channel.
func queueDrops(t *testing.T, db *client.FrameDB, batch ...wire.Decrement) {
	t.Helper()
	if _, err := db.DecrBatchKeys(t.Context(), cam, batch); err != nil {
		t.Fatalf("DecrBatchKeys: %v", err)
	}
}

// wantCount waits until the count of frame n is as told, "" when it is gone.
func wantCount(t *testing.T, rdb *redis.Client, n int, count string) {
	t.Helper()
	redistest.Eventually(t, 5*time.Second, "the count", func() error {
		if got := rdb.Get(t.Context(), frame(n).Count()).Val(); got != count {
			return fmt.Errorf("that of frame %d is %q, want %q", n, got, count)
		}
		return nil
	})
}

// deleter is a FrameDB with a delete channel on a source with these metadata,
// and frames 0 to 2 that are used twice.
func deleter(t *testing.T, metadata string) (*client.FrameDB, *plane, *redis.Client) {
	t.Helper()
	p := newPlane(t)
	c := p.addCluster(t, "c1", 1)
	p.write(cam, "tag-a", "c1", metadata)
	db := p.open(t)
	if err := db.RegisterFrameDeleteChannel(cam); err != nil {
		t.Fatal(err)
	}
	rdb := c.Servers[0].Client()
	for n := range 3 {
		if err := rdb.MSet(t.Context(), frame(n).Count(), 2, frame(n).Data("8x8"), "x").Err(); err != nil {
			t.Fatal(err)
		}
	}
	return db, p, rdb
}

func TestDropsThatHaveTooManySizesTogetherAreApplied(t *testing.T) {
	t.Parallel()
	db, _, rdb := deleter(t, "")
	queueDrops(t, db, drop1(0, append(manySizes(1, 39), "8x8")...), drop1(1, "8x8"))
	queueDrops(t, db, drop1(0, append(manySizes(100, 39), "8x8")...), drop1(1, "8x8"))
	for n := range 2 {
		wantCount(t, rdb, n, "")
		want(t, "the data that are left", rdb.Exists(t.Context(), frame(n).Data("8x8")).Val(), 0)
	}
}

// TestUsualSizesOfNoUseHoldUpNothingElse: a drop that needs them is left out.
func TestUsualSizesOfNoUseHoldUpNothingElse(t *testing.T) {
	t.Parallel()
	tooMany := `{"sizes":["` + strings.Join(manySizes(1, 65), `","`) + `"]}`
	for _, metadata := range []string{`{"sizes":[""]}`, `{"sizes":["8x8","a__b"]}`, `{"sizes":"8x8"}`, tooMany} {
		db, p, rdb := deleter(t, metadata)
		queueDrops(t, db, drop1(0), drop1(1, "8x8"), drop1(0, "8x8"))
		queueDrops(t, db, drop1(1, "8x8"))
		wantCount(t, rdb, 1, "")
		wantCount(t, rdb, 0, "1")
		// What is not about sizes does not matter, and good ones are used.
		p.write(cam, "tag-a", "c1", `{"sizes":["8x8"],"ref_count":-1}`)
		redistest.Eventually(t, 5*time.Second, "the sizes are used", func() error {
			queueDrops(t, db, wire.Decrement{Key: frame(2).Count(), By: 2})
			if rdb.Exists(t.Context(), frame(2).Data("8x8")).Val() == 1 {
				return errors.New("the data are there")
			}
			return nil
		})
	}
}

func TestRequiredSizesOfNoUseAreRefused(t *testing.T) {
	t.Parallel()
	db, _, rdb := deleter(t, "")
	db.SetRequiredSizes("")
	_, err := db.DecrBatchKeys(t.Context(), cam, []wire.Decrement{drop1(0, "8x8"), drop1(1)})
	if !errors.Is(err, wire.ErrInvalidArgument) || wire.AsError(err).Field != "decrements[1]" {
		t.Errorf("got %v", err)
	}
	queueDrops(t, db, drop1(2, "8x8"))
	wantCount(t, rdb, 2, "1")
	db.SetRequiredSizes("8x8")
	queueDrops(t, db, drop1(0), drop1(1))
	queueDrops(t, db, drop1(0), drop1(2))
	wantCount(t, rdb, 0, "")
	wantCount(t, rdb, 1, "1")
	wantCount(t, rdb, 2, "")
}

// TestRequiredSizesThatTurnBadHoldUpNothingElse: they are set while a drop for
// the usual sizes waits for its route.
func TestRequiredSizesThatTurnBadHoldUpNothingElse(t *testing.T) {
	t.Parallel()
	db, p, rdb := deleter(t, "")
	p.setDown(true)
	queueDrops(t, db, drop1(0))
	db.SetRequiredSizes("")
	queueDrops(t, db, drop1(1, "8x8"))
	p.setDown(false)
	wantCount(t, rdb, 1, "1")
	wantCount(t, rdb, 0, "2")
}

// TestABadCountThatWasLeftBehindHoldsUpNothingElse: nor does what is counted
// down where the source writes now count twice.
func TestABadCountThatWasLeftBehindHoldsUpNothingElse(t *testing.T) {
	t.Parallel()
	db, p, old := deleter(t, "")
	next := p.addCluster(t, "next", 1).Servers[0].Client()
	queueDrops(t, db, drop1(0, "8x8"))
	wantCount(t, old, 0, "1")
	old.Set(t.Context(), frame(1).Count(), "x", 0)
	p.write(cam, "tag-a", "next", "")
	redistest.Eventually(t, 5*time.Second, "the move is followed", func() error {
		_, m, err := db.Cluster(t.Context(), cam)
		if m.Cluster != "next" {
			return fmt.Errorf("it goes to %q, %v", m.Cluster, err)
		}
		return nil
	})
	next.Set(t.Context(), frame(3).Count(), 5, 0)
	queueDrops(t, db, drop1(0, "8x8"), drop1(1, "8x8"), drop1(2, "8x8"), drop1(3, "8x8"))
	wantCount(t, old, 0, "")
	wantCount(t, old, 1, "x")
	wantCount(t, old, 2, "1")
	wantCount(t, next, 3, "4")
}

// TestARepeatedCallCountsOnceWhateverChanges: the sizes that the caller leaves
// to others are no part of what is repeated.
func TestARepeatedCallCountsOnceWhateverChanges(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.addCluster(t, "c1", 1)
	p.write(cam, "tag-a", "c1", `{"sizes":["8x8"],"ref_count":9}`)
	db := p.open(t)
	mustPut(t, db, 1, map[string][]byte{"8x8": nil})
	ctx := client.WithRequestID(t.Context(), "mine")
	drop := func(batch ...wire.Decrement) int64 {
		t.Helper()
		got, err := db.DecrBatchKeys(ctx, cam, batch)
		if err != nil {
			t.Fatal(err)
		}
		return got[0].Remaining
	}
	want(t, "the count", drop(drop1(1)), 8)
	p.write(cam, "tag-a", "c1", `{"sizes":["8x8","4x4"]}`)
	redistest.Eventually(t, 5*time.Second, "the metadata are heard of", func() error {
		_, m, err := db.Cluster(t.Context(), cam)
		if !strings.Contains(string(m.Metadata), "4x4") {
			return fmt.Errorf("they are %s, %v", m.Metadata, err)
		}
		return nil
	})
	want(t, "the count after new metadata", drop(drop1(1)), 8)
	db.SetRequiredSizes("2x2")
	want(t, "the count after new required sizes", drop(drop1(1)), 8)
	want(t, "the count after another batch", drop(drop1(1), drop1(2)), 7)
	want(t, "the count after one with a size", drop(drop1(1, "8x8")), 6)
}

func TestPutFrameRefusesWhatCouldNotBeCountedDown(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	c := p.addCluster(t, "c1", 1)
	p.write(cam, "tag-a", "c1", "")
	db := p.open(t)
	tooMany := map[string][]byte{}
	for _, size := range manySizes(1, 65) {
		tooMany[size] = nil
	}
	for _, sizes := range []map[string][]byte{{"8x8": nil, "": nil}, {"a__b": nil}, {"../1": nil}, tooMany} {
		_, err := db.PutFrame(t.Context(), frame(1), sizes, frames.PutOptions{})
		if !errors.Is(err, wire.ErrInvalidArgument) || wire.AsError(err).Field != "sizes" {
			t.Errorf("%d sizes: got %v", len(sizes), err)
		}
	}
	for n, metadata := range []string{`{"sizes":["8x8",""]}`, `{"sizes":["a__b"]}`} {
		other := wire.SourceID(fmt.Sprint("other-", n))
		p.write(other, "tag-a", "c1", metadata)
		_, err := db.PutFrame(t.Context(), wire.NewFrameKey(other, 0, 0, 1), map[string][]byte{"8x8": nil}, frames.PutOptions{})
		if !errors.Is(err, wire.ErrConflict) || wire.AsError(err).Field != "metadata" {
			t.Errorf("metadata %s: got %v", metadata, err)
		}
		_, err = db.DecrBatchKeys(t.Context(), other, []wire.Decrement{drop1(1)})
		if !errors.Is(err, wire.ErrConflict) || wire.AsError(err).Field != "metadata" {
			t.Errorf("a drop with metadata %s: got %v", metadata, err)
		}
	}
	want(t, "the number of keys", c.Servers[0].Client().DBSize(t.Context()).Val(), 0)
}
