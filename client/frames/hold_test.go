package frames_test

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

func use(n int, by int64) frames.Use { return frames.Use{Key: key(n).Count(), By: by} }

func mustTake(t testing.TB, c *frames.Cluster, token string, id frames.LeaseID, add bool, uses ...frames.Use) []frames.Used {
	t.Helper()
	got, err := c.TakeLease(t.Context(), wire.RequestID(token), frames.Take{Lease: id, For: time.Hour, Uses: uses, Add: add})
	if err != nil {
		t.Fatalf("TakeLease: %v", err)
	}
	return got
}

func wantCount(t testing.TB, rdb *redis.Client, n int, want string) {
	t.Helper()
	if got := rdb.Get(t.Context(), key(n).Count()).Val(); got != want {
		t.Errorf("count %d is %q, want %q", n, got, want)
	}
}

func TestRetainAddsToLivingCountsOnly(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	rdb := cluster.Servers[0].Client()
	c := open(t, frames.Config{}, cluster.Members("c1"))
	for n, count := range []string{"1", "0", "-3", strconv.FormatInt(1<<53, 10)} {
		putFrame(t, c, n, count, "8x8")
	}
	rdb.Expire(t.Context(), key(0).Count(), time.Hour)
	want := fmt.Sprint([]frames.Used{
		{Key: key(0).Count(), Count: 3}, {Key: key(1).Count(), Missing: true}, {Key: key(2).Count(), Missing: true},
		{Key: key(3).Count(), Count: 1<<53 + 1}, {Key: key(4).Count(), Missing: true},
	})
	for range 2 { // the second time is a retry
		got, err := c.Retain(t.Context(), "t", []frames.Use{use(0, 2), use(1, 1), use(2, 5), use(3, 1), use(4, 1)})
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("got  %+v (%v)\nwant %s", got, err, want)
		}
	}
	wantKeys(t, rdb, 0, key(4).Count())
	wantCount(t, rdb, 2, "-3")
	if ttl := rdb.TTL(t.Context(), key(0).Count()).Val(); ttl < 50*time.Minute {
		t.Errorf("the count expires in %v, want an hour", ttl)
	}
}

func TestUsesThatCannotBeAddedChangeNothing(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	rdb := cluster.Servers[0].Client()
	c := open(t, frames.Config{}, cluster.Members("c1"))
	putFrame(t, c, 1, "2", "8x8")
	putFrame(t, c, 2, "2", "8x8")
	for n, bad := range map[int]string{3: "many", 4: strconv.FormatInt(math.MaxInt64, 10)} {
		putFrame(t, c, n, bad, "8x8")
		uses := []frames.Use{use(1, 1), use(9, 1), use(2, 3), use(n, 1)}
		_, err := c.Retain(t.Context(), "t", uses)
		if !errors.Is(err, wire.ErrInvalidArgument) || wire.AsError(err).Field != key(n).Count() {
			t.Errorf("retain of %q: got %v", bad, err)
		}
		_, err = c.TakeLease(t.Context(), "t", frames.Take{Lease: "l", For: time.Hour, Uses: uses, Add: true})
		if !errors.Is(err, wire.ErrInvalidArgument) || wire.AsError(err).Field != key(n).Count() {
			t.Errorf("take of %q: got %v", bad, err)
		}
	}
	wantCount(t, rdb, 1, "2")
	wantCount(t, rdb, 2, "2")
	if left := rdb.Keys(t.Context(), "framedb:*").Val(); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
	many := strings.Repeat("x", 129)
	for what, err := range map[string]error{
		"no lease":       second(c.TakeLease(t.Context(), "t", frames.Take{For: time.Hour})),
		"a long lease":   second(c.TakeLease(t.Context(), "t", frames.Take{Lease: frames.LeaseID(many), For: time.Hour})),
		"a short time":   second(c.TakeLease(t.Context(), "t", frames.Take{Lease: "l", For: time.Millisecond})),
		"a long time":    c.RenewLease(t.Context(), "l", 48*time.Hour),
		"a bad key":      second(c.Retain(t.Context(), "t", []frames.Use{{Key: "x", By: 1}})),
		"a use of zero":  second(c.Retain(t.Context(), "t", []frames.Use{use(1, 0)})),
		"no limit":       second(c.Leases(t.Context(), 0)),
		"put back of no": second(c.PutBack(t.Context(), "t", "", []wire.Decrement{drop(1, 1)})),
	} {
		if !errors.Is(err, wire.ErrInvalidArgument) || wire.AsError(err).Field == "" {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestALeaseGivesBackOnceWhatItHolds(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	rdb := cluster.Servers[0].Client()
	c := open(t, frames.Config{}, cluster.Members("c1"))
	if err := c.Learn(t.Context(), source, "8x8", "4x4"); err != nil {
		t.Fatal(err)
	}
	putFrame(t, c, 1, "3", "8x8", "4x4")
	putFrame(t, c, 2, "1", "8x8", "4x4")
	putFrame(t, c, 3, "5", "8x8")
	mustTake(t, c, "t1", "late", true, use(3, 2))
	mustTake(t, c, "t2", "late", false, use(1, 2), use(2, 1))
	if got := mustTake(t, c, "t3", "late", false, use(2, 1)); !got[0].Missing {
		t.Errorf("more than there is was claimed: %+v", got)
	}
	wantCount(t, rdb, 1, "3")
	wantCount(t, rdb, 3, "7")
	// One use of frame 1 is done, and more than it holds of frame 3.
	back := []wire.Decrement{drop(1, 1, "8x8"), drop(3, 9, "8x8"), drop(4, 1)}
	for range 2 {
		got, err := c.PutBack(t.Context(), "p", "late", back)
		if err != nil {
			t.Fatal(err)
		}
		wantResults(t, got, wire.Decremented{Key: key(1).Count(), Remaining: 2},
			wire.Decremented{Key: key(3).Count(), Remaining: 5}, wire.Decremented{Key: key(4).Count(), Missing: true})
	}
	leases, err := c.Leases(t.Context(), 10)
	if err != nil || len(leases) != 1 || leases[0].ID != "late" || leases[0].Frames != 2 || leases[0].Left < 59*time.Minute {
		t.Errorf("leases are %+v, %v", leases, err)
	}
	if none, err := c.LapseLease(t.Context()); err != nil || none != (frames.GivenBack{}) {
		t.Errorf("a lease lapsed too early: %+v, %v", none, err)
	}
	if err := c.RenewLease(t.Context(), "late", frames.MinLease); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, 10*time.Second, "the lease lapses", func() error {
		got, err := c.LapseLease(t.Context())
		if err == nil && got != (frames.GivenBack{Lease: "late", Frames: 2, Deleted: 2}) {
			return fmt.Errorf("it gave back %+v", got)
		}
		return err
	})
	wantCount(t, rdb, 1, "1")
	wantKeys(t, rdb, 0, key(2).Count(), key(2).Data("8x8"), key(2).Data("4x4"), "framedb:leases", "framedb:lease:late")
	if got, err := c.PutBack(t.Context(), "p2", "late", []wire.Decrement{drop(1, 1)}); err != nil || !got[0].Missing {
		t.Errorf("a use that was given back counts again: %+v, %v", got, err)
	}
	if err := c.RenewLease(t.Context(), "late", time.Hour); !errors.Is(err, wire.ErrNotFound) {
		t.Errorf("renewing it: %v", err)
	}
}

func TestALargeLeaseIsGivenBackInPieces(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	rdb := cluster.Servers[0].Client()
	c := open(t, frames.Config{}, cluster.Members("c1"))
	var uses []frames.Use
	for n := range 1200 {
		putFrame(t, c, n, "2", "8x8")
		uses = append(uses, use(n, 1))
	}
	put(t, c, key(5).Count(), "spoiled") // by somebody else, after it was taken
	if _, err := c.TakeLease(t.Context(), "t", frames.Take{Lease: "l", For: time.Hour, Uses: uses}); !errors.Is(err, wire.ErrInvalidArgument) {
		t.Errorf("a claim on a count that is no integer: %v", err)
	}
	put(t, c, key(5).Count(), "2")
	mustTake(t, c, "t2", "l", false, uses...)
	put(t, c, key(5).Count(), "spoiled")
	rdb.ZAddXX(t.Context(), "framedb:leases", redis.Z{Score: 1, Member: "l"})
	first, err := c.LapseLease(t.Context())
	if err != nil || first.Frames != 500 || first.Held != 700 {
		t.Errorf("the first piece is %+v, %v", first, err)
	}
	// What a failing release leaves is the same as what lapses.
	all, err := c.ReleaseLease(t.Context(), "l")
	if err != nil || all.Frames != 700 {
		t.Errorf("the rest is %+v, %v", all, err)
	}
	for n := range 1200 {
		if n != 5 {
			wantCount(t, rdb, n, "1")
		}
	}
	wantKeys(t, rdb, 0, "framedb:leases", "framedb:lease:l")
}

func TestAFullRedisTakesNoUsesAndGivesThemBack(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	rdb := cluster.Servers[0].Client()
	c := open(t, frames.Config{}, cluster.Members("c1"))
	putFrame(t, c, 1, "5", "8x8")
	mustTake(t, c, "t", "l", true, use(1, 3))
	rdb.ConfigSet(t.Context(), "maxmemory", "1mb")
	if _, err := c.Retain(t.Context(), "r", []frames.Use{use(1, 1)}); !errors.Is(err, wire.ErrOverloaded) {
		t.Errorf("retain: got %v", err)
	}
	if _, err := c.TakeLease(t.Context(), "r", frames.Take{Lease: "l", For: time.Hour, Uses: []frames.Use{use(1, 1)}}); !errors.Is(err, wire.ErrOverloaded) {
		t.Errorf("take: got %v", err)
	}
	if err := c.RenewLease(t.Context(), "l", time.Hour); err != nil {
		t.Errorf("renew: %v", err)
	}
	for _, loaded := range []bool{true, false} {
		if _, err := c.PutBack(t.Context(), wire.RequestID(fmt.Sprint("p", loaded)), "l", []wire.Decrement{drop(1, 1)}); err != nil {
			t.Errorf("put back, loaded %v: %v", loaded, err)
		}
		rdb.FunctionFlush(t.Context())
	}
	if got, err := c.ReleaseLease(t.Context(), "l"); err != nil || got.Frames != 1 {
		t.Errorf("release: %+v, %v", got, err)
	}
	wantCount(t, rdb, 1, "5")
}
