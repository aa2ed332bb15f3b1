package refcount_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/framedb/framedb/actors/refcount"
	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{}) // it tells of each failed dial
	goleak.VerifyTestMain(m)
}

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// fast has tests wait for nothing but Redis.
var fast = refcount.Timing{
	Queues: 5 * time.Millisecond, Leases: 5 * time.Millisecond, Sizes: 5 * time.Millisecond,
	Sweep: 20 * time.Millisecond, MaxBackoff: 50 * time.Millisecond,
}

func key(n int) wire.FrameKey { return wire.NewFrameKey("cam-1", 1, 2, uint64(n)) }

// bed is a cluster with a way to it that each service gets for itself.
type bed struct {
	*redistest.Cluster
	t testing.TB
}

func (b bed) open() *frames.Cluster {
	c := frames.New(frames.Config{Password: redistest.Password, RetryFor: time.Second}, "c1", b.Members("c1"))
	b.t.Cleanup(func() { c.Close() })
	return c
}

func (b bed) old() *redis.Client {
	s := b.Master()
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr(), Password: redistest.Password, DB: frames.DeleteQueueDB, Protocol: 2})
	b.t.Cleanup(func() { rdb.Close() })
	return rdb
}

// run runs a service until the test ends, or stop is called, which waits.
func (b bed) run(reg prometheus.Registerer, sources func() map[wire.SourceID]frames.SourceRule) (stop func()) {
	c := b.open()
	s := refcount.New(refcount.Config{
		Cluster: "c1", Frames: c, Sources: sources, Timing: fast, Registerer: reg,
		Sweeper: frames.NewSweeper(c, frames.SweepConfig{Grace: 100 * time.Millisecond, Pause: time.Nanosecond}),
	})
	ctx, cancel := context.WithCancel(b.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	done := false
	stop = func() {
		cancel()
		if done {
			return
		}
		done = true
		if err := <-ended; !errors.Is(err, context.Canceled) {
			b.t.Errorf("Run: %v", err)
		}
	}
	b.t.Cleanup(stop)
	return stop
}

func (b bed) put(n int, count string, sizes ...string) {
	b.t.Helper()
	pairs := []any{key(n).Count(), count}
	for _, s := range sizes {
		pairs = append(pairs, key(n).Data(s), "data")
	}
	if err := b.Master().Client().MSet(context.Background(), pairs...).Err(); err != nil {
		b.t.Fatal(err)
	}
}

// wants waits until exactly these frames are there, with these counts.
func (b bed) wants(what string, want map[int]string) {
	b.t.Helper()
	rdb := b.Master().Client()
	redistest.Eventually(b.t, 30*time.Second, what, func() error {
		keys, err := rdb.Keys(context.Background(), "*cam-1[?]*").Result()
		if err != nil {
			return err
		}
		counts := 0
		for _, k := range keys {
			if !strings.HasPrefix(k, "ref__") {
				continue
			}
			counts++
			frame, _ := wire.ParseCountKey(k)
			if got := rdb.Get(context.Background(), k).Val(); got != want[int(frame.Number)] {
				return fmt.Errorf("%s is %q, want %q", k, got, want[int(frame.Number)])
			}
		}
		if counts != len(want) || len(keys) != 2*len(want) {
			return fmt.Errorf("there are %q, want %d frames", keys, len(want))
		}
		return nil
	})
}

func sources() map[wire.SourceID]frames.SourceRule {
	return map[wire.SourceID]frames.SourceRule{"cam-1": {Sizes: []string{"8x8"}}}
}

func TestTheServiceDoesAllThatWaits(t *testing.T) {
	t.Parallel()
	b := bed{redistest.StartCluster(t, 1), t}
	rdb, old := b.Master().Client(), b.old()
	b.put(1, "2", "8x8") // an entry of the list
	b.put(2, "1", "8x8") // of the stream
	b.put(3, "0", "8x8") // del_queue
	b.put(4, "3", "8x8") // a lease
	b.put(5, "0", "8x8") // an old client died in between
	b.put(6, "7", "8x8") // nobody
	c := b.open()
	if _, err := c.TakeLease(t.Context(), "t", frames.Take{Lease: "l", For: frames.MinLease, Uses: []frames.Use{{Key: key(4).Count(), By: 2}}}); err != nil {
		t.Fatal(err)
	}
	rdb.LPush(t.Context(), refcount.ListKey, `{"`+key(1).Count()+`":[1,["8x8"]]}`, "nonsense")
	rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: refcount.StreamKey, Values: []any{"batch", `{"` + key(2).Count() + `":[1]}`}})
	old.LPush(t.Context(), frames.DeleteQueue, key(3).Count(), key(3).Data("8x8"), "nonsense")
	reg := prometheus.NewRegistry()
	stop := b.run(reg, sources)
	b.wants("all is done", map[int]string{1: "1", 4: "1", 6: "7"})
	redistest.Eventually(t, 10*time.Second, "the metrics tell", func() error {
		return differs(metricsOf(t, reg), map[string]float64{
			"queue_decrements_total": 2, "frames_ended_total queue": 1, "poison_total del_queue": 1, "poison_total framedb:decr": 1,
			"leases_lapsed_total": 1, "lease_frames_given_back_total": 1, "leaks_found_total spent": 1,
			"unlinked_keys_total del_queue": 2, "unlinked_keys_total queue": 2, "unlinked_keys_total sweep": 2,
		})
	})
	if n := rdb.LLen(t.Context(), frames.PoisonKey).Val(); n != 2 {
		t.Errorf("%d entries were set aside", n)
	}
	stop()
	if left, _ := reg.Gather(); len(left) > 0 {
		t.Errorf("%d metrics are left when it has ended", len(left))
	}
}

func metricsOf(t testing.TB, reg *prometheus.Registry) map[string]float64 {
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "framedb_refcount_")
			for _, l := range m.GetLabel() {
				if l.GetName() != "cluster" {
					name += " " + l.GetValue()
				} else if l.GetValue() != "c1" {
					name += " of another cluster"
				}
			}
			all[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return all
}

func differs(got, want map[string]float64) error {
	for name, n := range want {
		if got[name] != n {
			return fmt.Errorf("%s is %v, want %v; all are %v", name, got[name], n, got)
		}
	}
	return nil
}

func TestRetentionIsThatOfTheSource(t *testing.T) {
	t.Parallel()
	b := bed{redistest.StartCluster(t, 1), t}
	for n := range 20 {
		b.put(n, "5", "8x8")
	}
	reg := prometheus.NewRegistry()
	b.run(reg, func() map[wire.SourceID]frames.SourceRule {
		return map[wire.SourceID]frames.SourceRule{"cam-1": {Keep: frames.Retention{Frames: 3}}}
	})
	b.wants("the newest three", map[int]string{17: "5", 18: "5", 19: "5"})
	redistest.Eventually(t, 10*time.Second, "the metrics tell", func() error {
		return differs(metricsOf(t, reg), map[string]float64{
			"retention_frames_total cam-1": 17, "retention_bytes_total cam-1": 17 * 4, "source_frames cam-1": 3, "source_bytes cam-1": 12,
		})
	})
}

// TestTwoAgentsAtOnceCountOnce: for a moment both believe that the cluster is
// theirs; producers push all the time, and one agent dies again and again.
func TestTwoAgentsAtOnceCountOnce(t *testing.T) {
	t.Parallel()
	b := bed{redistest.StartCluster(t, 1), t}
	rdb, old := b.Master().Client(), b.old()
	const each = 400
	for n := range 4 {
		b.put(n, fmt.Sprint(2*each+1), "8x8")
	}
	b.put(4, "0", "8x8")
	b.run(nil, sources)
	stop := b.run(nil, sources)
	for i := range each {
		batch := fmt.Sprintf(`{"token":"t%d","decrements":[{"key":%q,"by":1},{"key":%q,"by":1},{"key":%q,"by":1},{"key":%q,"by":1}]}`,
			i, key(0).Count(), key(1).Count(), key(2).Count(), key(3).Count())
		other := strings.Replace(batch, `"token":"t`, `"token":"u`, 1)
		_, err := rdb.Pipelined(t.Context(), func(p redis.Pipeliner) error {
			p.LPush(t.Context(), refcount.ListKey, batch, batch) // written twice
			p.XAdd(t.Context(), &redis.XAddArgs{Stream: refcount.StreamKey, Values: []any{"batch", other}})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if i%40 == 0 {
			stop()
			stop = b.run(nil, sources)
		}
	}
	old.LPush(t.Context(), frames.DeleteQueue, key(4).Count(), key(4).Data("8x8"))
	b.wants("one use of each is left", map[int]string{0: "1", 1: "1", 2: "1", 3: "1"})
}

func TestTheServiceFollowsAFailover(t *testing.T) {
	t.Parallel()
	b := bed{redistest.StartCluster(t, 3), t}
	reg := prometheus.NewRegistry()
	b.put(1, "9", "8x8")
	b.run(reg, sources)
	push := func() {
		rdb := b.Master().Client()
		rdb.LPush(t.Context(), refcount.ListKey, `{"`+key(1).Count()+`":[1]}`)
	}
	push()
	b.wants("one use is gone", map[int]string{1: "8"})
	was := b.Master()
	if n, err := was.Client().Wait(t.Context(), 2, 10*time.Second).Result(); err != nil || n != 2 {
		t.Fatalf("%d replicas, %v", n, err)
	}
	was.Kill()
	redistest.Eventually(t, 30*time.Second, "another master", func() error {
		if b.Master() == was {
			return errors.New("not yet")
		}
		return nil
	})
	push()
	b.wants("another one is gone", map[int]string{1: "7"})
}

func TestMetricsThatAreTakenAreToldAtOnce(t *testing.T) {
	t.Parallel()
	b := bed{redistest.StartCluster(t, 1), t}
	reg := prometheus.NewRegistry()
	stop := b.run(reg, nil)
	redistest.Eventually(t, 10*time.Second, "it runs", func() error {
		if len(metricsOf(t, reg)) == 0 {
			return errors.New("no metrics")
		}
		return nil
	})
	if err := refcount.New(refcount.Config{Cluster: "c1", Registerer: reg}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "c1") {
		t.Errorf("got %v", err)
	}
	stop()
}
