package frames_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

var sizes = []struct {
	name  string
	bytes int
}{{"1KiB", 1 << 10}, {"100KiB", 100 << 10}, {"1MiB", 1 << 20}, {"6MiB", 6 << 20}}

// each runs the benchmark over TCP and the unix socket, for each size.
func each(b *testing.B, f func(b *testing.B, c *frames.Cluster, plain *redis.Client, size int)) {
	cluster := redistest.StartCluster(b, 1)
	members := cluster.Members("bench")
	for _, network := range []string{"tcp", "unix"} {
		addr := cluster.Servers[0].Addr()
		if network == "unix" {
			addr = members[0].Socket
		} else {
			members[0].Socket = ""
		}
		plain := redis.NewClient(&redis.Options{Network: network, Addr: addr, Password: redistest.Password,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}})
		c := frames.New(frames.Config{Password: redistest.Password}, "bench", members)
		members = cluster.Members("bench")
		for _, size := range sizes {
			b.Run(network+"/"+size.name, func(b *testing.B) { f(b, c, plain, size.bytes) })
		}
		plain.Close()
		c.Close()
	}
}

func BenchmarkGet(b *testing.B) {
	each(b, func(b *testing.B, c *frames.Cluster, plain *redis.Client, size int) {
		ctx := context.Background()
		if err := plain.Set(ctx, "k", make([]byte, size), 0).Err(); err != nil {
			b.Fatal(err)
		}
		b.Run("framedb", func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				batch, err := c.Get(ctx, "k")
				if err != nil || len(batch.Frames[0].Data) != size {
					b.Fatal(err)
				}
				batch.Release()
			}
		})
		b.Run("go-redis", func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if v, err := plain.Get(ctx, "k").Bytes(); err != nil || len(v) != size {
					b.Fatal(err)
				}
			}
		})
	})
}

func BenchmarkPut(b *testing.B) {
	each(b, func(b *testing.B, c *frames.Cluster, plain *redis.Client, size int) {
		ctx := context.Background()
		value := make([]byte, size)
		b.Run("framedb", func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Put(ctx, []frames.Pair{{Key: "k", Value: value}}, frames.PutOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("go-redis", func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if err := plain.Set(ctx, "k", value, 0).Err(); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

func BenchmarkDecrement(b *testing.B) {
	cluster := redistest.StartCluster(b, 1)
	c := frames.New(frames.Config{Password: redistest.Password}, "bench", cluster.Members("bench"))
	defer c.Close()
	const n = 1000
	batch := make([]wire.Decrement, n)
	for i := range batch {
		key := wire.NewFrameKey("cam-1", 1, 1, uint64(i))
		batch[i] = wire.Decrement{Key: key.Count(), By: 1, Sizes: []string{"1920x1080", "608x608"}}
		if err := c.Put(context.Background(), []frames.Pair{{Key: key.Count(), Value: []byte("100000000")}}, frames.PutOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	i := 0
	for b.Loop() {
		i++
		if _, err := c.Decrement(context.Background(), wire.RequestID(fmt.Sprint(i)), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "keys/s")
}
