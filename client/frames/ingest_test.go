package frames_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

// laneFrame is frame n, at place n of its lane, with a token of its own.
func laneFrame(n uint64, value string) frames.LaneFrame {
	k := wire.NewFrameKey(source, 1, 1, n)
	return frames.LaneFrame{
		Seq: frames.LaneSeq{Epoch: 1, N: n}, Frame: k.String(), Token: frames.FrameToken{byte(n), 1},
		Pairs: []frames.Pair{{Key: k.Count(), Value: []byte("1")}, {Key: k.Data("1x1"), Value: []byte(value)}, {Key: k.Data("2x2"), Value: []byte(value)}},
	}
}

func lane(id string, fs ...frames.LaneFrame) []frames.Lane {
	return []frames.Lane{{ID: id, Frames: fs}}
}

// storeOnce stores and returns which were duplicates, as "0" and "1".
func storeOnce(t testing.TB, c *frames.Cluster, lanes []frames.Lane) string {
	t.Helper()
	got, err := c.StoreOnce(t.Context(), lanes, frames.PutOptions{})
	if err != nil {
		t.Fatalf("StoreOnce: %v", err)
	}
	return duplicates(got)
}

func duplicates(lanes [][]frames.Stored) string {
	var b strings.Builder
	for _, l := range lanes {
		for _, s := range l {
			if s.Duplicate {
				b.WriteByte('1')
			} else {
				b.WriteByte('0')
			}
		}
	}
	return b.String()
}

func keys(t testing.TB, rdb *redis.Client) int {
	t.Helper()
	all, err := rdb.Keys(t.Context(), string(source)+"*").Result()
	counts, err2 := rdb.Keys(t.Context(), "ref__*").Result()
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return len(all) + len(counts)
}

func TestAFrameIsStoredOnce(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	rdb := cluster.Servers[0].Client()
	if got := storeOnce(t, c, lane("a", laneFrame(1, "x"), laneFrame(2, strings.Repeat("y", 100_000)))); got != "00" {
		t.Errorf("first: %s", got)
	}
	if v, err := rdb.Get(t.Context(), laneFrame(2, "").Pairs[2].Key).Result(); err != nil || len(v) != 100_000 {
		t.Errorf("%d bytes, %v", len(v), err)
	}
	for _, key := range []string{frames.LanePrefix + "a", frames.FrameTokenPrefix + "*"} {
		all, err := rdb.Keys(t.Context(), key).Result()
		if err != nil || len(all) == 0 {
			t.Fatal(key, all, err)
		}
		if ttl := rdb.PTTL(t.Context(), all[0]).Val(); ttl < 9*time.Minute {
			t.Errorf("%s lives for %v", all[0], ttl)
		}
	}
	// All of them are read and counted down; neither their lane nor another
	// one brings them back.
	for _, n := range []uint64{1, 2} {
		d := wire.Decrement{Key: laneFrame(n, "").Pairs[0].Key, By: 1, Sizes: []string{"1x1", "2x2"}}
		if _, err := c.Decrement(t.Context(), "", []wire.Decrement{d}); err != nil {
			t.Fatal(err)
		}
	}
	if got := storeOnce(t, c, lane("a", laneFrame(1, "x"), laneFrame(2, "y"), laneFrame(3, "z"))); got != "110" {
		t.Errorf("by the same lane: %s", got)
	}
	if got := storeOnce(t, c, append(lane("b", laneFrame(2, "y"), laneFrame(4, "z"), laneFrame(4, "z")), lane("c", laneFrame(4, "z"))...)); got != "1011" {
		t.Errorf("by other lanes: %s", got)
	}
	if n := keys(t, rdb); n != 6 {
		t.Errorf("%d keys, want those of frames 3 and 4", n)
	}
}

func TestTheFirstKeyIsTold(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	storeOnce(t, c, lane("a", laneFrame(1, "x")))
	again := laneFrame(7, "x")
	again.Token = laneFrame(1, "").Token
	got, err := c.StoreOnce(t.Context(), lane("b", again), frames.PutOptions{})
	if err != nil || got[0][0] != (frames.Stored{Frame: laneFrame(1, "").Frame, Duplicate: true}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestTheLaneRemembersLongerThanTokens(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	rdb := cluster.Servers[0].Client()
	storeOnce(t, c, lane("a", laneFrame(1, "x"), laneFrame(2, "x")))
	all, err := rdb.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range all {
		if !strings.HasPrefix(key, frames.LanePrefix) {
			rdb.Del(t.Context(), key)
		}
	}
	later := laneFrame(1, "x")
	later.Seq = frames.LaneSeq{Epoch: 2, N: 1}
	if got := storeOnce(t, c, lane("a", laneFrame(1, "x"), laneFrame(2, "x"), later)); got != "110" {
		t.Errorf("%s", got)
	}
}

func TestALostReplyStoresOnce(t *testing.T) {
	t.Parallel()
	server, proxy, members := proxied(t)
	c := open(t, frames.Config{}, members)
	for i, word := range []string{"WATCH", "MULTI", "MULTI", "WATCH"} {
		proxy.LoseReplies(word, 1)
		n := uint64(10 * i)
		got := storeOnce(t, c, lane("a", laneFrame(n+1, "x"), laneFrame(n+2, "y")))
		if want := map[string]string{"WATCH": "00", "MULTI": "11"}[word]; got != want || proxy.Lost() != i+1 {
			t.Errorf("%s: %s with %d lost replies", word, got, proxy.Lost())
		}
	}
	if n := keys(t, server.Client()); n != 24 {
		t.Errorf("%d keys", n)
	}
}

func TestManyStoreTheSameFrames(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	var mu sync.Mutex
	fresh := map[uint64]int{}
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for n := uint64(1); n <= 30; n++ {
				f := laneFrame(n, "x")
				got, err := c.StoreOnce(t.Context(), lane(fmt.Sprint(w), f), frames.PutOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				if !got[0][0].Duplicate {
					mu.Lock()
					fresh[n]++
					mu.Unlock()
				}
			}
		})
	}
	writers.Wait()
	for n := uint64(1); n <= 30; n++ {
		if fresh[n] != 1 {
			t.Errorf("frame %d was stored %d times", n, fresh[n])
		}
	}
}

func TestAFullFrameDBStoresNothingOfABatch(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1, "--maxmemory", "5mb")
	c := open(t, frames.Config{}, cluster.Members("c1"))
	var err error
	n := uint64(1)
	for ; err == nil && n < 100; n += 2 {
		_, err = c.StoreOnce(t.Context(), lane("a", laneFrame(n, strings.Repeat("x", 100_000)), laneFrame(n+1, "y")), frames.PutOptions{})
	}
	if !errors.Is(err, wire.ErrOverloaded) {
		t.Fatalf("%v", err)
	}
	rdb := cluster.Servers[0].Client()
	if k := keys(t, rdb); k != int(n-3)*3 {
		t.Errorf("%d keys after %d frames", k, n-3)
	}
	if err := rdb.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	if got := storeOnce(t, c, lane("a", laneFrame(n-2, "x"), laneFrame(n-1, "y"))); got != "00" {
		t.Errorf("when there is room again: %s", got)
	}
}

func TestStoreOnceWaitsForReplicas(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 2)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	opts := frames.PutOptions{Replicas: 1, ReplicaTimeout: 5 * time.Second}
	if _, err := c.StoreOnce(t.Context(), lane("a", laneFrame(1, "x")), opts); err != nil {
		t.Fatal(err)
	}
	cluster.Servers[1].Pause()
	opts.ReplicaTimeout = 50 * time.Millisecond
	// The second time, on a connection that wrote nothing, it is a duplicate,
	// which no replica has either.
	for _, c := range []*frames.Cluster{c, open(t, frames.Config{}, cluster.Members("c1"))} {
		_, err := c.StoreOnce(t.Context(), lane("a", laneFrame(2, "x")), opts)
		if e := wire.AsError(err); e == nil || e.Code != wire.CodeUnavailable || e.Field != "replicas" {
			t.Errorf("without a replica: %v", err)
		}
	}
	cluster.Servers[1].Resume()
	opts.ReplicaTimeout = 10 * time.Second
	got, err := c.StoreOnce(t.Context(), lane("a", laneFrame(2, "x")), opts)
	if err != nil || duplicates(got) != "1" {
		t.Errorf("with a replica: %v, %v", got, err)
	}
}

func TestAFrameWithALife(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	rdb := cluster.Servers[0].Client()
	short, long := laneFrame(1, "x"), laneFrame(2, "x")
	short.TTL, long.TTL = time.Millisecond, time.Hour
	storeOnce(t, c, lane("a", short, long, laneFrame(3, "x")))
	redistest.Eventually(t, 5*time.Second, "the short one is gone", func() error {
		if n := keys(t, rdb); n != 6 {
			return fmt.Errorf("%d keys", n)
		}
		return nil
	})
	for _, p := range long.Pairs {
		if ttl := rdb.PTTL(t.Context(), p.Key).Val(); ttl < 59*time.Minute {
			t.Errorf("%s lives for %v", p.Key, ttl)
		}
	}
	if ttl := rdb.PTTL(t.Context(), laneFrame(3, "").Pairs[0].Key).Val(); ttl != -1 {
		t.Errorf("one without lives for %v", ttl)
	}
}

func TestStoreOnceSurvivesTheMastersDeath(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	c := open(t, frames.Config{RetryFor: 30 * time.Second}, cluster.Members("c1"))
	opts := frames.PutOptions{Replicas: 1, ReplicaTimeout: 5 * time.Second}
	for n := uint64(1); n <= 40; n++ {
		if n == 20 {
			cluster.Servers[0].Kill()
		}
		for {
			_, err := c.StoreOnce(t.Context(), lane("a", laneFrame(n, "x")), opts)
			if err == nil {
				break
			}
			if !errors.Is(err, wire.ErrUnavailable) && !errors.Is(err, wire.ErrOutcomeUnknown) {
				t.Fatalf("frame %d: %v", n, err)
			}
		}
	}
	if n := keys(t, cluster.Master().Client()); n != 120 {
		t.Errorf("%d keys of 40 frames after a failover", n)
	}
}

// BenchmarkStoreOnce compares it with pipelined SETs by go-redis: 40 values of
// 100 KiB at once.
func BenchmarkStoreOnce(b *testing.B) {
	const n = 40
	cluster := redistest.StartCluster(b, 1)
	members := cluster.Members("bench")
	value := make([]byte, 100<<10)
	for _, network := range []string{"tcp", "unix"} {
		if network == "tcp" {
			members[0].Socket = ""
		} else {
			members = cluster.Members("bench")
		}
		c := frames.New(frames.Config{Password: redistest.Password}, "bench", members)
		seq := uint64(0)
		for _, how := range []string{"once", "put"} {
			b.Run(network+"/"+how, func(b *testing.B) {
				b.SetBytes(n * 100 << 10)
				for b.Loop() {
					l := frames.Lane{ID: "bench"}
					var pairs []frames.Pair
					for i := range uint64(n) {
						k := wire.NewFrameKey(source, 1, 1, i)
						seq++
						ps := []frames.Pair{{Key: k.Count(), Value: []byte("1")}, {Key: k.Data("1x1"), Value: value}}
						l.Frames = append(l.Frames, frames.LaneFrame{Seq: frames.LaneSeq{Epoch: 1, N: seq}, Frame: k.String(),
							Token: frames.FrameToken{byte(seq), byte(seq >> 8), byte(seq >> 16)}, Pairs: ps})
						pairs = append(pairs, ps...)
					}
					var err error
					if how == "put" {
						err = c.Put(b.Context(), pairs, frames.PutOptions{})
					} else {
						_, err = c.StoreOnce(b.Context(), []frames.Lane{l}, frames.PutOptions{})
					}
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		c.Close()
	}
}
