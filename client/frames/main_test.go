package frames_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

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

const source = wire.SourceID("cam-1")

func open(t testing.TB, cfg frames.Config, members []wire.Instance) *frames.Cluster {
	t.Helper()
	cfg.Password = redistest.Password
	c := frames.New(cfg, "c1", members)
	t.Cleanup(func() { closeIt(t, c) })
	return c
}

func closeIt(t testing.TB, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// proxied is a cluster of one member that is reached through a proxy.
func proxied(t *testing.T) (*redistest.Server, *redistest.Proxy, []wire.Instance) {
	t.Helper()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Endpoint)
	// With a wrong password it only ever repeats what it was told.
	sentry := redistest.StartSentinel(t, proxy.Endpoint, 1, "wrong")
	return server, proxy, []wire.Instance{{
		ID: "c1-redis-node-0", Cluster: "c1", Host: proxy.Host, Port: proxy.Port, SentinelPort: sentry.Port,
	}}
}

func put(t testing.TB, c *frames.Cluster, pairs ...string) {
	t.Helper()
	var ps []frames.Pair
	for i := 0; i < len(pairs); i += 2 {
		ps = append(ps, frames.Pair{Key: pairs[i], Value: []byte(pairs[i+1])})
	}
	if err := c.Put(t.Context(), ps, frames.PutOptions{}); err != nil {
		t.Fatalf("Put: %v", err)
	}
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
