package redisstore_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/objecttest"
	"github.com/framedb/framedb/client/objects/redisstore"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

// TestMain leaves out go-redis' look whether a server is back, which sees up to a
// second late that its pool was closed.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// fixed is a master that never changes.
type fixed struct{ *redis.Client }

func (f fixed) Redis(context.Context) (*redis.Client, error) { return f.Client, nil }

// TestRedis runs the suite against a real redis-server, a database for each
// test.
func TestRedis(t *testing.T) {
	s := redistest.Start(t, "--databases", "100")
	var databases atomic.Int64
	objecttest.Run(t, objecttest.Backend{
		Open: func(t testing.TB) (*objects.Store, objecttest.Under) {
			rdb := s.Client()
			opts := *rdb.Options()
			opts.DB = int(databases.Add(1))
			rdb = redis.NewClient(&opts)
			t.Cleanup(func() { rdb.Close() })
			return objects.New(redisstore.New(redisstore.Config{Master: fixed{rdb}, UploadTTL: 20 * time.Second, ReadGrace: 100 * time.Millisecond, PartSize: partSize})), under{Client: rdb}
		},
		Limits:  []int64{redisstore.BlockSize, partSize},
		Largest: partSize + 5<<20,
	})
}

// partSize is smaller than in earnest, for tests that are quick.
const partSize = 2 * redisstore.BlockSize

type under = objecttest.Redis

// TestFrameSweepsLeaveObjectsAlone puts objects under keys that frames have: no
// sweep and no retention of their source takes them for what is left of frames.
func TestFrameSweepsLeaveObjectsAlone(t *testing.T) {
	redis := redistest.StartCluster(t, 1)
	c := frames.New(frames.Config{Password: redistest.Password}, "c1", redis.Members("c1"))
	defer c.Close()
	store := objects.New(redisstore.New(redisstore.Config{Master: c}))
	keys := []objects.Key{"cam?0?0__1__608x608", "ref__cam?0?0__2", "ref__cam?0?0__3", "ref__cam?0?0__4"}
	for i, key := range keys {
		if _, err := store.Put(t.Context(), key, strings.NewReader([]string{"pixels", "0", "3", "text"}[i]), objects.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	leak := wire.NewFrameKey("cam", 0, 0, 9).Data("608x608")
	if err := c.Put(t.Context(), []frames.Pair{{Key: leak, Value: []byte("x")}}, frames.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1e9, 0)
	sweeper := frames.NewSweeper(c, frames.SweepConfig{Pause: time.Nanosecond, Now: func() time.Time { return now }})
	rules := map[wire.SourceID]frames.SourceRule{"cam": {Keep: frames.Retention{Age: time.Hour, Frames: 1}}}
	for range 3 {
		swept, err := sweeper.Round(t.Context(), rules)
		if err != nil || swept.Suspects[frames.LeftCount]+swept.Suspects[frames.LeftSpent] != 0 || swept.Sources["cam"].Frames > 1 {
			t.Fatalf("got %+v (%v)", swept, err)
		}
		now = now.Add(2 * frames.DefaultGrace)
	}
	for _, key := range keys {
		if _, err := store.Stat(t.Context(), key); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	if _, err := store.Stat(t.Context(), objects.Key(leak)); !errors.Is(err, wire.ErrNotFound) {
		t.Errorf("what is left of a frame: %v, want %v", err, wire.ErrNotFound)
	}
}
