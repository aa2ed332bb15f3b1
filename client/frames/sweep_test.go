package frames_test

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

// clock is one that a test moves; it ticks, so that no two looks are at once.
type clock struct{ at time.Time }

func (c *clock) now() time.Time {
	c.at = c.at.Add(time.Microsecond)
	return c.at
}

func (c *clock) advance(d time.Duration) { c.at = c.at.Add(d) }

func newSweeper(c *frames.Cluster, cfg frames.SweepConfig) (*frames.Sweeper, *clock) {
	at := &clock{at: time.Unix(1e9, 0)}
	cfg.Now, cfg.Pause = at.now, time.Nanosecond
	return frames.NewSweeper(c, cfg), at
}

func mustSweep(t testing.TB, s *frames.Sweeper, rules map[wire.SourceID]frames.SourceRule) frames.Swept {
	t.Helper()
	swept, err := s.Round(t.Context(), rules)
	if err != nil {
		t.Fatalf("Round: %v", err)
	}
	return swept
}

func TestASweepEndsWhatIsLeftOverAfterTheGraceTime(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	rdb := cluster.Servers[0].Client()
	c := open(t, frames.Config{}, cluster.Members("c1"))
	putFrame(t, c, 1, "1", "8x8", "4x4")  // alive
	putFrame(t, c, 2, "0", "8x8", "4x4")  // an old client counted it down and died
	putFrame(t, c, 3, "5")                // evicted data
	putFrame(t, c, 4, "many")             // nobody can count it down: not for us
	putFrame(t, c, 5, "-1")               // DECR of what was not there
	put(t, c, key(6).Data("8x8"), "data") // its count is gone
	putFrame(t, c, 7, "0", "8x8")         // will change within the grace time
	foreign := []string{"ref__a", "x__1__8x8", "ref__a__b?1?1__1", "a__b?1?1__1__8x8", "cam?x?1__1__8x8", "cam?1?1__01__8x8",
		"cam?1?1__1__../8", "framedb:decr", "ref__cam?1?y__7", "cam?1?1__1__", "frame:cam001:00001"}
	for _, name := range foreign {
		put(t, c, name, "0")
	}
	rdb.RPush(t.Context(), "list?1?1__1__8x8", "x")
	rdb.HSet(t.Context(), "ref__hash?1?1__1", "x", "x")

	s, at := newSweeper(c, frames.SweepConfig{})
	first := mustSweep(t, s, nil)
	if n := first.Suspects; first.Unlinked != 0 || len(first.Found) != 0 || n[frames.LeftData] != 1 || n[frames.LeftCount] != 1 || n[frames.LeftSpent] != 3 {
		t.Errorf("the first round: %+v", first)
	}
	at.advance(frames.DefaultGrace - time.Second)
	if early := mustSweep(t, s, nil); early.Unlinked != 0 {
		t.Errorf("too early: %+v", early)
	}
	rdb.Decr(t.Context(), key(7).Count())
	at.advance(time.Second)
	last := mustSweep(t, s, nil)
	if want := map[frames.Leftover]int64{frames.LeftData: 1, frames.LeftCount: 1, frames.LeftSpent: 2}; last.Unlinked != 6 || !maps.Equal(last.Found, want) || last.Suspects[frames.LeftSpent] != 1 {
		t.Errorf("the last round: %+v", last)
	}
	wantKeys(t, rdb, 3, key(1).Count(), key(1).Data("8x8"), key(1).Data("4x4"))
	wantKeys(t, rdb, 0, key(2).Count(), key(2).Data("8x8"), key(2).Data("4x4"), key(3).Count(), key(5).Count(), key(6).Data("8x8"))
	wantKeys(t, rdb, 3, key(4).Count(), key(7).Count(), key(7).Data("8x8"))
	wantKeys(t, rdb, int64(len(foreign)+2), append(foreign, "list?1?1__1__8x8", "ref__hash?1?1__1")...)
	// What it saw is known now to decrements that name no sizes.
	wantResults(t, mustDecrement(t, c, "t", drop(1, 1)), wire.Decremented{Key: key(1).Count(), Deleted: 2})
}

func TestADryRoundOnlyReports(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	rdb := cluster.Servers[0].Client()
	c := open(t, frames.Config{}, cluster.Members("c1"))
	putFrame(t, c, 1, "0", "8x8")
	putFrame(t, c, 2, "1", "8x8")
	putFrame(t, c, 3, "1", "8x8")
	s, at := newSweeper(c, frames.SweepConfig{DryRun: true})
	rules := map[wire.SourceID]frames.SourceRule{source: {Keep: frames.Retention{Frames: 2}}}
	mustSweep(t, s, rules)
	at.advance(time.Hour)
	got := mustSweep(t, s, rules)
	if got.Found[frames.LeftSpent] != 1 || got.Unlinked != 0 || got.Sources[source].Retired != 1 {
		t.Errorf("got %+v", got)
	}
	wantKeys(t, rdb, 6, key(1).Count(), key(1).Data("8x8"), key(2).Count(), key(2).Data("8x8"), key(3).Count(), key(3).Data("8x8"))
}

func TestWhatWasSeenOnceIsNotSweptHoweverShortTheGrace(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	putFrame(t, c, 1, "0", "8x8")
	s, _ := newSweeper(c, frames.SweepConfig{Grace: time.Nanosecond})
	for round, want := range []int64{0, 2, 0} {
		if got := mustSweep(t, s, nil); got.Unlinked != want {
			t.Errorf("round %d: %+v", round, got)
		}
	}
}

// TestWhatCameBackIsNotSwept: the writer wrote the frame again, or its data has
// a size that nobody knew, or the key was taken by another kind.
func TestWhatCameBackIsNotSwept(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	rdb := cluster.Servers[0].Client()
	c := open(t, frames.Config{}, cluster.Members("c1"))
	put(t, c, key(1).Data("8x8"), "data")
	putFrame(t, c, 2, "3")
	putFrame(t, c, 3, "0", "8x8")
	s, at := newSweeper(c, frames.SweepConfig{})
	mustSweep(t, s, nil)
	putFrame(t, c, 1, "2", "8x8")
	put(t, c, key(2).Data("odd"), "data")
	rdb.Del(t.Context(), key(3).Count())
	rdb.LPush(t.Context(), key(3).Count(), "0")
	at.advance(time.Hour)
	if got := mustSweep(t, s, nil); got.Unlinked != 0 || got.Found[frames.LeftCount] != 0 || got.Found[frames.LeftData] != 0 {
		t.Errorf("got %+v", got)
	}
	wantKeys(t, rdb, 6, key(1).Count(), key(1).Data("8x8"), key(2).Count(), key(2).Data("odd"), key(3).Count(), key(3).Data("8x8"))
}

// TestACountIsNotLeftOverForASizeThatNobodyKnew: a scan may come to the count
// before it comes to the data that tells of the size.
func TestACountIsNotLeftOverForASizeThatNobodyKnew(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	var fill []frames.Pair
	for n := range 2000 {
		fill = append(fill, frames.Pair{Key: fmt.Sprint("fill", n)})
	}
	if err := c.Put(t.Context(), fill, frames.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	frame := func(i int) wire.FrameKey { return wire.NewFrameKey(wire.SourceID(fmt.Sprint("cam-", i)), 1, 1, 1) }
	for i := range 20 {
		put(t, c, frame(i).Count(), "1")
	}
	s, at := newSweeper(c, frames.SweepConfig{})
	if got := mustSweep(t, s, nil); got.Suspects[frames.LeftCount] != 20 {
		t.Errorf("got %+v", got)
	}
	for i := range 20 {
		put(t, c, frame(i).Data("odd"), "data")
	}
	at.advance(time.Hour)
	if got := mustSweep(t, s, nil); len(got.Found) != 0 || got.Unlinked != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestTwoSweepersAndAWriterAtOnce(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	rdb := cluster.Servers[0].Client()
	c := open(t, frames.Config{}, cluster.Members("c1"))
	for n := range 3000 {
		putFrame(t, c, n, strconv.Itoa(n%2), "8x8", "4x4") // half of them spent
	}
	ctx, stop := context.WithCancel(t.Context())
	wrote := make(chan int)
	go func() {
		n := 3000
		for ; ctx.Err() == nil; n++ {
			pairs := []frames.Pair{{Key: key(n).Count(), Value: []byte("1")}, {Key: key(n).Data("8x8"), Value: []byte("x")}}
			if err := c.Put(context.Background(), pairs, frames.PutOptions{}); err != nil {
				t.Error(err)
			}
		}
		wrote <- n
	}()
	ended := make(chan int64)
	for range 2 {
		go func() {
			s, at := newSweeper(c, frames.SweepConfig{})
			n := int64(0)
			for range 3 {
				got, err := s.Round(context.Background(), nil)
				if err != nil {
					t.Error(err)
				}
				n += got.Unlinked
				at.advance(time.Hour)
			}
			ended <- n
		}()
	}
	both := <-ended + <-ended
	stop()
	n := <-wrote
	if both != 1500*3 {
		t.Errorf("%d keys were unlinked, want %d", both, 1500*3)
	}
	if left, want := rdb.DBSize(t.Context()).Val(), int64(1500*3+(n-3000)*2+1); left != want {
		t.Errorf("%d keys are left, want %d", left, want)
	}
}

func TestRetentionEndsTheOldestFrames(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	rdb := cluster.Servers[0].Client()
	c := open(t, frames.Config{}, cluster.Members("c1"))
	sized := func(source wire.SourceID, restarts, n uint64, bytes int) {
		k := wire.NewFrameKey(source, 1, restarts, n)
		put(t, c, k.Count(), "9", k.Data("8x8"), string(make([]byte, bytes)), k.Data("4x4"), string(make([]byte, bytes)))
	}
	left := func(source wire.SourceID) int {
		return len(rdb.Keys(t.Context(), "ref__"+string(source)+"[?]*").Val())
	}
	for n := range uint64(300) {
		sized("age", 1, n, 1)
		sized("frames", 1+n/200, n%200, 1) // a writer that was restarted
		sized("bytes", 1, n, 500)
		sized("none", 1, n, 1)
	}
	rules := map[wire.SourceID]frames.SourceRule{
		"age":    {Keep: frames.Retention{Age: time.Minute}},
		"frames": {Keep: frames.Retention{Frames: 250}},
		"bytes":  {Keep: frames.Retention{Bytes: 100_500}},
		"none":   {Sizes: []string{"8x8"}},
		"empty":  {Keep: frames.Retention{Frames: 1}},
	}
	s, at := newSweeper(c, frames.SweepConfig{})
	got := mustSweep(t, s, rules).Sources
	if want := (frames.Kept{Frames: 250, Bytes: 500, Retired: 50, RetiredBytes: 100}); got["frames"] != want {
		t.Errorf("by frames: %+v", got["frames"])
	}
	if want := (frames.Kept{Frames: 100, Bytes: 100_000, Retired: 200, RetiredBytes: 200_000}); got["bytes"] != want {
		t.Errorf("by bytes: %+v", got["bytes"])
	}
	wantKeys(t, rdb, 0, wire.NewFrameKey("frames", 1, 1, 49).Count(), wire.NewFrameKey("frames", 1, 1, 49).Data("4x4"), wire.NewFrameKey("bytes", 1, 1, 199).Data("8x8"))
	wantKeys(t, rdb, 3, wire.NewFrameKey("frames", 1, 1, 50).Count(), wire.NewFrameKey("bytes", 1, 1, 200).Count(), wire.NewFrameKey("frames", 1, 2, 99).Data("8x8"))
	at.advance(50 * time.Second)
	for n := range uint64(10) {
		sized("age", 1, 1000+n, 1)
		sized("frames", 0, n, 1) // a writer whose counter went back: these are the newest
	}
	got = mustSweep(t, s, rules).Sources
	if got["age"].Retired != 0 || got["frames"].Retired != 10 {
		t.Errorf("the second round: %+v", got)
	}
	wantKeys(t, rdb, 1, wire.NewFrameKey("frames", 1, 0, 0).Count())
	at.advance(10 * time.Second)
	if got = mustSweep(t, s, rules).Sources; got["age"] != (frames.Kept{Frames: 10, Bytes: 20, Retired: 300, RetiredBytes: 600}) {
		t.Errorf("by age: %+v", got["age"])
	}
	if left("age") != 10 || left("frames") != 250 || left("bytes") != 100 || left("none") != 300 {
		t.Errorf("left are %d, %d, %d, %d", left("age"), left("frames"), left("bytes"), left("none"))
	}
}

// TestASweepThatLosesItsMasterLeavesTheLivingAlone: it begins anew, or fails.
func TestASweepThatLosesItsMasterLeavesTheLivingAlone(t *testing.T) {
	t.Parallel()
	_, proxy, members := proxied(t)
	c := open(t, frames.Config{}, members)
	for n := range 2000 {
		putFrame(t, c, n, "1", "8x8")
	}
	s, at := newSweeper(c, frames.SweepConfig{})
	for i := range 4 {
		proxy.LoseReplies([]string{"SCAN", "MGET"}[i%2], 1)
		if got := mustSweep(t, s, nil); got.Unlinked != 0 || got.Keys < 4000 || got.Keys > 4100 {
			t.Errorf("round %d: %+v", i, got)
		}
		at.advance(time.Hour)
	}
	if proxy.Lost() < 4 {
		t.Errorf("%d answers were lost: the test is none", proxy.Lost())
	}
}

// TestAFailoverTakesALeaseAndItsCountsTogether kills the master after a replica
// has the uses that were taken, and those that came after it has not.
func TestAFailoverTakesALeaseAndItsCountsTogether(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	c := open(t, frames.Config{RetryFor: 30 * time.Second}, cluster.Members("c1"))
	for n := range 50 {
		putFrame(t, c, n, "10", "8x8")
	}
	for n := range 25 {
		mustTake(t, c, fmt.Sprint("t", n), "l", true, use(n, 2))
	}
	was := cluster.Master()
	if n, err := was.Client().Wait(t.Context(), 2, 10*time.Second).Result(); err != nil || n != 2 {
		t.Fatalf("%d replicas, %v", n, err)
	}
	taken := make(chan error, 1)
	go func() {
		for n := 25; n < 50; n++ {
			u := frames.Take{Lease: "l", For: time.Hour, Uses: []frames.Use{use(n, 2)}, Add: true}
			if _, err := c.TakeLease(context.Background(), wire.RequestID(fmt.Sprint("t", n)), u); err != nil {
				taken <- err
				return
			}
		}
		taken <- nil
	}()
	was.Kill()
	if err := <-taken; err != nil {
		t.Fatal(err)
	}
	rdb := cluster.Master().Client()
	rdb.ZAddXX(t.Context(), "framedb:leases", redis.Z{Score: 1, Member: "l"})
	for {
		back, err := c.LapseLease(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if back.Lease == "" {
			break
		}
	}
	for n := range 50 {
		wantCount(t, rdb, n, "10") // each use that was added was given back
	}
	for n := range 25 { // and the tokens are still known
		got := mustTake(t, c, fmt.Sprint("t", n), "l", true, use(n, 2))
		if got[0].Count != 12 {
			t.Errorf("the answer to take %d is %+v", n, got)
		}
		wantCount(t, rdb, n, "10")
	}
}
