package frames_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

func key(n int) wire.FrameKey { return wire.NewFrameKey(source, 1, 2, uint64(n)) }

// putFrame stores frame n with a count, in the sizes.
func putFrame(t testing.TB, c *frames.Cluster, n int, count string, sizes ...string) {
	t.Helper()
	pairs := []string{key(n).Count(), count}
	for _, s := range sizes {
		pairs = append(pairs, key(n).Data(s), "data")
	}
	put(t, c, pairs...)
}

func drop(n int, by int64, sizes ...string) wire.Decrement {
	return wire.Decrement{Key: key(n).Count(), By: by, Sizes: sizes}
}

func mustDecrement(t testing.TB, c *frames.Cluster, token string, batch ...wire.Decrement) []wire.Decremented {
	t.Helper()
	got, err := c.Decrement(t.Context(), wire.RequestID(token), batch)
	if err != nil {
		t.Fatalf("Decrement: %v", err)
	}
	return got
}

func wantResults(t testing.TB, got []wire.Decremented, want ...wire.Decremented) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func wantKeys(t testing.TB, rdb *redis.Client, want int64, keys ...string) {
	t.Helper()
	if n, err := rdb.Exists(t.Context(), keys...).Result(); err != nil || n != want {
		t.Errorf("%d of %q exist (%v), want %d", n, keys, err, want)
	}
}

func TestDecrementAppliesABatchInItsOrder(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	rdb := cluster.Servers[0].Client()
	c := open(t, frames.Config{}, cluster.Members("c1"))
	putFrame(t, c, 1, "3", "8x8", "4x4")
	putFrame(t, c, 2, "1", "8x8", "4x4")
	putFrame(t, c, 4, "2", "8x8", "4x4")
	putFrame(t, c, 5, "-7", "8x8")
	putFrame(t, c, 6, "0", "8x8")
	got := mustDecrement(t, c, "t1",
		drop(1, 1, "8x8"), drop(2, 1, "8x8", "4x4", "2x2"), drop(3, 1, "8x8"), drop(4, 5, "8x8"), drop(5, 1, "8x8"), drop(6, 1, "8x8"))
	wantResults(t, got,
		wire.Decremented{Key: key(1).Count(), Remaining: 2},
		wire.Decremented{Key: key(2).Count(), Deleted: 2},
		wire.Decremented{Key: key(3).Count(), Missing: true},
		wire.Decremented{Key: key(4).Count(), Deleted: 1},
		wire.Decremented{Key: key(5).Count(), Deleted: 1},
		wire.Decremented{Key: key(6).Count(), Deleted: 1})
	wantKeys(t, rdb, 3, key(1).Count(), key(1).Data("8x8"), key(1).Data("4x4"))
	wantKeys(t, rdb, 0, key(2).Count(), key(2).Data("8x8"), key(2).Data("4x4"), key(3).Count())
	wantKeys(t, rdb, 1, key(4).Data("4x4")) // nobody named it
	wantKeys(t, rdb, 0, key(5).Count(), key(5).Data("8x8"), key(6).Count(), key(6).Data("8x8"))
}

func TestDecrementKeepsAnExpiryAndLargeCounts(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	rdb := cluster.Servers[0].Client()
	c := open(t, frames.Config{}, cluster.Members("c1"))
	putFrame(t, c, 1, "9")
	putFrame(t, c, 2, strconv.FormatInt(1<<53+3, 10))
	rdb.Expire(t.Context(), key(1).Count(), time.Hour)
	mustDecrement(t, c, "t", drop(1, 1), drop(2, 1))
	if ttl := rdb.TTL(t.Context(), key(1).Count()).Val(); ttl < 50*time.Minute {
		t.Errorf("the count expires in %v, want an hour", ttl)
	}
	if got := rdb.Get(t.Context(), key(2).Count()).Val(); got != strconv.FormatInt(1<<53+2, 10) {
		t.Errorf("the large count is %s", got)
	}
}

func TestATokenAnswersAgainForTenMinutesAndChangesNothing(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	rdb := cluster.Servers[0].Client()
	c := open(t, frames.Config{}, cluster.Members("c1"))
	putFrame(t, c, 1, "5", "8x8")
	putFrame(t, c, 2, "1", "8x8")
	batch := []wire.Decrement{drop(1, 1, "8x8"), drop(2, 1, "8x8"), drop(3, 1)}
	first := mustDecrement(t, c, "t1", batch...)
	for range 3 {
		wantResults(t, mustDecrement(t, c, "t1", batch...), first...)
	}
	if n, _ := rdb.Get(t.Context(), key(1).Count()).Int(); n != 4 {
		t.Errorf("the count is %d, want 4", n)
	}
	token := tokenKeys(t, rdb)[0]
	if ttl := rdb.PTTL(t.Context(), token).Val(); ttl < 9*time.Minute || ttl > 10*time.Minute {
		t.Errorf("the token expires in %v, want ten minutes", ttl)
	}
	// Once it has expired it is a new batch.
	rdb.PExpire(t.Context(), token, time.Millisecond)
	redistest.Eventually(t, 5*time.Second, "the token has expired", func() error {
		return errIf(rdb.Exists(t.Context(), token).Val() != 0, "it is there")
	})
	wantResults(t, mustDecrement(t, c, "t1", batch...),
		wire.Decremented{Key: key(1).Count(), Remaining: 3},
		wire.Decremented{Key: key(2).Count(), Missing: true},
		wire.Decremented{Key: key(3).Count(), Missing: true})
	// Without a token nothing is remembered.
	mustDecrement(t, c, "", drop(1, 1))
	mustDecrement(t, c, "", drop(1, 1))
	if n, _ := rdb.Get(t.Context(), key(1).Count()).Int(); n != 1 {
		t.Errorf("the count is %d, want 1", n)
	}
	if keys := tokenKeys(t, rdb); len(keys) != 1 {
		t.Errorf("%q are there, want one token", keys)
	}
	wantKeys(t, rdb, 0, "")
}

func tokenKeys(t testing.TB, rdb *redis.Client) []string {
	t.Helper()
	keys, err := rdb.Keys(t.Context(), frames.TokenPrefix+"*").Result()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestAnotherBatchUnderTheSameTokenCountsToo: programs that know nothing of each
// other chose the same token, or one made a mistake.
func TestAnotherBatchUnderTheSameTokenCountsToo(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	rdb := cluster.Servers[0].Client()
	c := open(t, frames.Config{}, cluster.Members("c1"))
	other := wire.NewFrameKey("cam-2", 1, 2, 1).Count()
	put(t, c, other, "100")
	for n := 1; n <= 3; n++ {
		putFrame(t, c, n, "100", "8x8")
	}
	batches := [][]wire.Decrement{
		{drop(1, 1, "8x8")},
		{drop(1, 1, "8x8"), drop(2, 1, "8x8")},
		{drop(2, 1, "8x8"), drop(1, 1, "8x8")},
		{drop(1, 2, "8x8")},
		{drop(1, 1, "4x4")},
		{drop(1, 1, "8x8", "4x4")},
		{drop(1, 1)},
		{drop(3, 1, "8x8")},
		{{Key: other, By: 1, Sizes: []string{"8x8"}}},
		{drop(1, 1, "8x8"), drop(2, 1, "8x8"), drop(3, 2, "8x8")},
		{drop(1, 1, "8x8"), drop(2, 2, "8x8"), drop(3, 2, "8x8")},
	}
	var first [][]wire.Decremented
	for _, batch := range batches {
		first = append(first, mustDecrement(t, c, "same", batch...))
	}
	for i, batch := range batches {
		wantResults(t, mustDecrement(t, c, "same", batch...), first[i]...)
	}
	for k, want := range map[string]string{key(1).Count(): "90", key(2).Count(): "95", key(3).Count(): "95", other: "99"} {
		if got := rdb.Get(t.Context(), k).Val(); got != want {
			t.Errorf("%s is %s, want %s", k, got, want)
		}
	}
	if n := len(tokenKeys(t, rdb)); n != len(batches) {
		t.Errorf("%d tokens, want %d", n, len(batches))
	}
}

func TestARetryMayComeWithOtherUsualSizes(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	rdb := cluster.Servers[0].Client()
	c := open(t, frames.Config{}, cluster.Members("c1"))
	putFrame(t, c, 1, "2", "8x8", "4x4")
	batch := []wire.Decrement{drop(1, 1)}
	want := wire.Decremented{Key: key(1).Count(), Remaining: 1}
	for _, sizes := range [][]string{{"8x8"}, {"8x8", "4x4"}, nil} {
		got, err := c.DecrementIn(t.Context(), "t", batch, sizes)
		if err != nil {
			t.Fatal(err)
		}
		wantResults(t, got, want)
	}
	got, err := c.DecrementIn(t.Context(), "t2", append(batch, drop(2, 1, "2x2")), []string{"8x8", "4x4"})
	if err != nil {
		t.Fatal(err)
	}
	wantResults(t, got, wire.Decremented{Key: key(1).Count(), Deleted: 2}, wire.Decremented{Key: key(2).Count(), Missing: true})
	wantKeys(t, rdb, 0, key(1).Count(), key(1).Data("8x8"), key(1).Data("4x4"))
	if _, err := c.DecrementIn(t.Context(), "t3", batch, []string{""}); !errors.Is(err, wire.ErrInvalidArgument) || wire.AsError(err).Field != "sizes" {
		t.Errorf("a bad usual size: got %v", err)
	}
}

// TestCountsAreToldExactly: as text where Lua's numbers round, and where a byte
// of another count only looks like that.
func TestCountsAreToldExactly(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	counts := []int64{2, 203, 208, 1<<53 - 1, 1 << 53, 1<<53 + 1, 1<<53 + 2, 1<<60 + 3, math.MaxInt64 - 512, math.MaxInt64 - 511, math.MaxInt64}
	var batch []wire.Decrement
	var want []wire.Decremented
	for n, count := range counts {
		putFrame(t, c, n, strconv.FormatInt(count, 10))
		one := []wire.Decrement{drop(n, 1)}
		left := wire.Decremented{Key: key(n).Count(), Remaining: count - 1}
		for range 2 {
			wantResults(t, mustDecrement(t, c, "alone", one...), left)
		}
		batch = append(batch, drop(n, 1+int64(n%2)))
		left.Remaining -= 1 + int64(n%2)
		want = append(want, left)
	}
	want[0] = wire.Decremented{Key: key(0).Count()}
	for range 2 {
		wantResults(t, mustDecrement(t, c, "together", batch...), want...)
	}
}

func errIf(bad bool, text string) error {
	if bad {
		return errors.New(text)
	}
	return nil
}

func TestACountThatIsNoIntegerChangesNothing(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	rdb := cluster.Servers[0].Client()
	c := open(t, frames.Config{}, cluster.Members("c1"))
	for i, bad := range []string{"abc", "", "1.5", "1e3", " 1", "1 ", "0x10", "007", "-0", "nan", "99999999999999999999", "-9223372036854775808"} {
		n := 10 * i
		putFrame(t, c, n+1, "5", "8x8")
		putFrame(t, c, n+2, "1", "8x8")
		putFrame(t, c, n+3, bad, "8x8")
		putFrame(t, c, n+4, "2", "8x8")
		for _, batch := range [][]wire.Decrement{
			{drop(n+1, 1, "8x8"), drop(n+2, 7, "8x8"), drop(n+5, 3), drop(n+3, 1), drop(n+4, 1, "8x8")},
			{drop(n+1, 1), drop(n+4, 1), drop(n+3, 1)}, // the one before it was there
			{drop(n+3, 1), drop(n+1, 1), drop(n+4, 1)}, // none before it
		} {
			_, err := c.Decrement(t.Context(), "t", batch)
			if !errors.Is(err, wire.ErrInvalidArgument) || wire.AsError(err).Field != key(n+3).Count() {
				t.Errorf("%q: got %v", bad, err)
			}
		}
		for m, want := range map[int]string{n + 1: "5", n + 2: "1", n + 3: bad, n + 4: "2"} {
			if got, err := rdb.Get(t.Context(), key(m).Count()).Result(); err != nil || got != want {
				t.Errorf("%q: count %d is %q (%v), want %q", bad, m, got, err, want)
			}
		}
		if keys := tokenKeys(t, rdb); len(keys) > 0 {
			t.Errorf("%q: %q are there", bad, keys)
		}
		wantKeys(t, rdb, 0, key(n+5).Count())
		wantKeys(t, rdb, 1, key(n+2).Data("8x8"))
	}
	rdb.RPush(t.Context(), key(1000).Count(), "x")
	_, err := c.Decrement(t.Context(), "t", []wire.Decrement{drop(1000, 1)})
	if !errors.Is(err, wire.ErrInvalidArgument) {
		t.Errorf("a list: got %v", err)
	}
}

func TestBadBatchesAreRefused(t *testing.T) {
	t.Parallel()
	c := open(t, frames.Config{}, nil) // nothing is asked
	many := make([]wire.Decrement, wire.MaxDecrements+1)
	for i := range many {
		many[i] = drop(i, 1)
	}
	for name, batch := range map[string][]wire.Decrement{
		"no count key": {{Key: "cam-1?1?2__1", By: 1}},
		"data key":     {{Key: key(1).Data("8x8"), By: 1}},
		"leading zero": {{Key: "ref__cam-1?1?2__01", By: 1}, {Key: "ref__cam-1?1?2__1", By: 1}},
		"after a good": {drop(1, 1), {Key: "ref__cam-1?1?2__+2", By: 1}},
		"zero":         {drop(1, 0)},
		"negative":     {drop(1, -1)},
		"too much":     {drop(1, wire.MaxDecrementBy+1)},
		"twice":        {drop(1, 1), drop(2, 1), drop(1, 1)},
		"empty size":   {drop(1, 1, "")},
		"odd size":     {drop(1, 1, "8__8")},
		"after others": {drop(1, 1, "8x8"), drop(2, 1, "8x8"), drop(3, 1, "../1")},
		"many sizes":   {drop(1, 1, strings.Fields(strings.Repeat("8x8 ", 65))...)},
	} {
		_, err := c.Decrement(t.Context(), "t", batch)
		if !errors.Is(err, wire.ErrInvalidArgument) || wire.AsError(err).Field == "" {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := c.Decrement(t.Context(), "t", many); !errors.Is(err, wire.ErrTooLarge) {
		t.Errorf("too many: got %v", err)
	}
	if _, err := c.Decrement(t.Context(), "a b", many[:1]); !errors.Is(err, wire.ErrInvalidArgument) {
		t.Errorf("bad token: got %v", err)
	}
	if got, err := c.Decrement(t.Context(), "t", nil); err != nil || len(got) != 0 {
		t.Errorf("nothing: got %v, %v", got, err)
	}
}

func TestALostAnswerCountsOnce(t *testing.T) {
	t.Parallel()
	server, proxy, members := proxied(t)
	c := open(t, frames.Config{}, members)
	putFrame(t, c, 1, "100", "8x8")
	mustDecrement(t, c, "warm", drop(1, 1)) // the function is loaded
	for i := range 10 {
		proxy.LoseReplies("FCALL", 1+i%3)
		got := mustDecrement(t, c, fmt.Sprint("t", i), drop(1, 1, "8x8"), drop(2, 1))
		wantResults(t, got,
			wire.Decremented{Key: key(1).Count(), Remaining: int64(98 - i)},
			wire.Decremented{Key: key(2).Count(), Missing: true})
	}
	if got := proxy.Lost(); got != 19 {
		t.Errorf("%d replies were lost, want 19: the test is none", got)
	}
	// Without a token it must not be repeated.
	proxy.LoseReplies("FCALL", 1)
	if _, err := c.Decrement(t.Context(), "", []wire.Decrement{drop(1, 1)}); !errors.Is(err, wire.ErrOutcomeUnknown) {
		t.Errorf("without a token: got %v", err)
	}
	if n, _ := server.Client().Get(t.Context(), key(1).Count()).Int(); n != 88 {
		t.Errorf("the count is %d, want 88", n)
	}
}

func TestAnAnswerThatStaysLostIsUnknown(t *testing.T) {
	t.Parallel()
	server, proxy, members := proxied(t)
	c := open(t, frames.Config{RetryFor: 200 * time.Millisecond}, members)
	putFrame(t, c, 1, "100", "8x8")
	mustDecrement(t, c, "warm", drop(1, 1))
	proxy.LoseReplies("FCALL", 1000)
	if _, err := c.Decrement(t.Context(), "t", []wire.Decrement{drop(1, 1)}); !errors.Is(err, wire.ErrOutcomeUnknown) {
		t.Errorf("got %v, want outcome unknown", err)
	}
	proxy.LoseReplies("", 0)
	wantResults(t, mustDecrement(t, c, "t", drop(1, 1)), wire.Decremented{Key: key(1).Count(), Remaining: 98})
	if n, _ := server.Client().Get(t.Context(), key(1).Count()).Int(); n != 98 {
		t.Errorf("the count is %d, want 98", n)
	}
}

func TestCountsAreExactNextToOldClients(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	rdb := cluster.Servers[0].Client()
	const many, each = 20, 30
	for n := range many {
		putFrame(t, c, n, strconv.Itoa(4*each+1), "8x8")
	}
	var work sync.WaitGroup
	for g := range 4 {
		work.Go(func() {
			for i := range each {
				if g%2 == 0 { // as an old client does it
					for n := range many {
						rdb.Decr(context.Background(), key(n).Count())
					}
					continue
				}
				var batch []wire.Decrement
				for n := range many {
					batch = append(batch, drop(n, 1, "8x8"))
				}
				if _, err := c.Decrement(context.Background(), wire.RequestID(fmt.Sprint(g, "-", i)), batch); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
	for n := range many {
		if got := rdb.Get(t.Context(), key(n).Count()).Val(); got != "1" {
			t.Errorf("count %d is %s, want 1", n, got)
		}
		wantResults(t, mustDecrement(t, c, "", drop(n, 1, "8x8")), wire.Decremented{Key: key(n).Count(), Deleted: 1})
	}
	if n := rdb.DBSize(t.Context()).Val(); n != 2*each {
		t.Errorf("%d keys are left, want the %d tokens", n, 2*each)
	}
}

func TestTheFunctionIsLoadedAgainWhenItIsGone(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	putFrame(t, c, 1, "100")
	for i := range 3 {
		wantResults(t, mustDecrement(t, c, "", drop(1, 1)), wire.Decremented{Key: key(1).Count(), Remaining: int64(99 - i)})
		if err := cluster.Servers[0].Client().FunctionFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestALargeBatchIsOneStep(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	batch := make([]wire.Decrement, wire.MaxDecrements)
	for i := range batch {
		batch[i] = drop(i, int64(1+i%3), []string{"8x8", "4x4", "2x2"}[:i%4]...)
		if i%7 != 0 {
			putFrame(t, c, i, "2", "8x8", "4x4")
		}
	}
	first := mustDecrement(t, c, "t", batch...)
	for i, got := range first {
		want := wire.Decremented{Key: batch[i].Key}
		switch by := 1 + i%3; {
		case i%7 == 0:
			want.Missing = true
		case by == 1:
			want.Remaining = 1
		default:
			want.Deleted = int64(min(i%4, 2))
		}
		if got != want {
			t.Fatalf("result %d is %+v, want %+v", i, got, want)
		}
	}
	wantResults(t, mustDecrement(t, c, "t", batch...), first...)
}

func TestABatchIsOfOneSource(t *testing.T) {
	t.Parallel()
	good := []wire.Decrement{drop(1, 1, "8x8"), drop(7, 2)}
	if err := frames.CheckDecrements(source, good); err != nil {
		t.Error(err)
	}
	for what, bad := range map[string]wire.Decrement{
		"another source": {Key: wire.NewFrameKey("cam-2", 1, 2, 3).Count(), By: 1},
		"a longer one":   {Key: wire.NewFrameKey("cam-11", 1, 2, 3).Count(), By: 1},
		"no count key":   {Key: "cam-1?1?2__3", By: 1},
		"no frame":       {Key: "ref__cam-1?1__3", By: 1},
		"by zero":        drop(3, 0),
		"twice":          drop(1, 1),
	} {
		err := frames.CheckDecrements(source, append(good, bad))
		if !errors.Is(err, wire.ErrInvalidArgument) || wire.AsError(err).Field != "decrements[2]" {
			t.Errorf("%s: got %v", what, err)
		}
	}
}
