package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/sentinel"
	"github.com/framedb/framedb/internal/redistest"
)

// testTarget is a real master over its unix socket.
func testTarget(t *testing.T) *target {
	t.Helper()
	c := redistest.StartCluster(t, 1)
	m := c.Servers[0]
	sentinels := sentinel.New(sentinel.Config{Password: redistest.Password})
	t.Cleanup(func() { sentinels.Close() })
	db := frames.New(frames.Config{Password: redistest.Password, Sentinels: sentinels}, benchCluster, c.Members(benchCluster))
	t.Cleanup(func() { db.Close() })
	rdb := redis.NewClient(&redis.Options{Network: "unix", Addr: m.Socket, Password: redistest.Password})
	t.Cleanup(func() { rdb.Close() })
	return &target{transport: "unix", port: m.Port, socket: m.Socket, password: redistest.Password, framedb: db, redis: rdb}
}

func shortBench() *bench {
	return &bench{options: options{rounds: 2, slot: 20 * time.Millisecond}, stderr: new(strings.Builder)}
}

func TestDataCasesRunAndLeaveNothing(t *testing.T) {
	t.Parallel()
	to := testTarget(t)
	for _, c := range []dataCase{{to, 1 << 10, false, 1}, {to, 100 << 10, true, 1}, {to, 1 << 10, false, 16}} {
		rows, err := c.measure(t.Context(), shortBench())
		if err != nil {
			t.Fatalf("%v: %v", c, err)
		}
		if len(rows) != 3 || rows[1].Asked == nil || rows[2].Ratio == nil || strings.Contains(rows[2].By, redistest.Password) {
			t.Errorf("%v: rows are %+v", c, rows)
		}
		for _, r := range rows {
			if r.Result <= 0 || r.MB <= 0 || r.P50 <= 0 {
				t.Errorf("%v: %+v has no numbers", c, r)
			}
		}
	}
	leftOver(t, to.redis, "bench*")
}

func TestDecrementRunsAndLeavesNothing(t *testing.T) {
	t.Parallel()
	to := testTarget(t)
	b := shortBench()
	if err := decrementOver(t.Context(), b, to); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, r := range b.rows.rows {
		if r.Asked != nil {
			asked++
		}
	}
	if len(b.rows.rows) != 6 || asked != 1 {
		t.Errorf("rows are %+v", b.rows.rows)
	}
	leftOver(t, to.redis, "*bench*")
}

func leftOver(t *testing.T, rdb *redis.Client, pattern string) {
	t.Helper()
	keys, err := rdb.Keys(context.Background(), pattern).Result()
	if err != nil || len(keys) > 0 {
		t.Errorf("left over: %d keys, such as %.3q: %v", len(keys), keys, err)
	}
}
