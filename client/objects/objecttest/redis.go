package objecttest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Redis is an old client of one, which knows strings, and a look behind.
type Redis struct{ *redis.Client }

func (u Redis) Write(t testing.TB, key string, data []byte) {
	t.Helper()
	if err := u.Set(context.Background(), key, data, 0).Err(); err != nil {
		t.Fatal(err)
	}
}

func (u Redis) Remove(t testing.TB, key string) {
	t.Helper()
	if err := u.Del(context.Background(), key).Err(); err != nil {
		t.Fatal(err)
	}
}

func (u Redis) Read(t testing.TB, key string) []byte {
	t.Helper()
	data, err := u.Get(context.Background(), key).Bytes()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	return data
}

func (u Redis) Damage(t testing.TB, key string) {
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

func (u Redis) Hidden(t testing.TB) int {
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
