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

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/objecttest"
	"github.com/framedb/framedb/client/objects/redisstore"
	"github.com/framedb/framedb/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
			return objects.New(redisstore.New(redisstore.Config{Master: fixed{rdb}, UploadTTL: 20 * time.Second, ReadGrace: 100 * time.Millisecond, PartSize: partSize})), under{rdb}
		},
		Limits:  []int64{redisstore.BlockSize, partSize},
		Largest: partSize + 5<<20,
	})
}

// partSize is smaller than in earnest, for tests that are quick.
const partSize = 2 * redisstore.BlockSize

// under is an old client, which knows strings, and a look behind.
type under struct{ *redis.Client }

func (u under) Write(t testing.TB, key string, data []byte) {
	t.Helper()
	if err := u.Set(context.Background(), key, data, 0).Err(); err != nil {
		t.Fatal(err)
	}
}

func (u under) Remove(t testing.TB, key string) {
	t.Helper()
	if err := u.Del(context.Background(), key).Err(); err != nil {
		t.Fatal(err)
	}
}

func (u under) Read(t testing.TB, key string) []byte {
	t.Helper()
	data, err := u.Get(context.Background(), key).Bytes()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	return data
}

func (u under) Damage(t testing.TB, key string) {
	t.Helper()
	ctx := context.Background()
	part := "framedb:part:" + u.HGet(ctx, "framedb:object:"+key, "version").Val() + ":0"
	was, err := u.GetRange(ctx, part, 5<<20, 5<<20).Bytes()
	if err != nil || len(was) != 1 {
		t.Fatalf("%q: %v", was, err)
	}
	if err := u.SetRange(ctx, part, 5<<20, string([]byte{was[0] + 1})).Err(); err != nil {
		t.Fatal(err)
	}
}

func (u under) Hidden(t testing.TB) int {
	t.Helper()
	ctx := context.Background()
	hidden := 0
	versions := map[string]bool{}
	metas, err := u.Keys(ctx, "framedb:object:*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range metas {
		versions[u.HGet(ctx, m, "version").Val()] = true
	}
	parts, err := u.Keys(ctx, "framedb:part:*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		if v, _, _ := strings.Cut(strings.TrimPrefix(p, "framedb:part:"), ":"); !versions[v] {
			hidden++
		}
	}
	return hidden
}
