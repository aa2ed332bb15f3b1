package instance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/sentinel"
	"github.com/framedb/framedb/client/wire"
)

// observe looks at a cluster: at what is deployed, then at every Redis and
// Sentinel that runs, all at once. It takes a second or two at most behind the
// driver.
func (w *worker) observe(ctx context.Context, spec *wire.ClusterSpec) Observation {
	o := Observation{At: w.now()}
	d, err := w.cfg.Driver.Observe(ctx, w.cfg.Cluster)
	if err != nil {
		o.Err = err
		return o
	}
	o.Exists, o.FilesLost = d.Exists, d.FilesLost
	for _, m := range d.Members {
		o.Members = append(o.Members, Member{Member: m, Says: sentinel.Report{Err: errNotRunning}, InfoErr: errNotRunning})
	}
	parameters := append(slices.Sorted(maps.Keys(spec.Settings)), priorityName)
	var asking sync.WaitGroup
	asking.Go(func() { w.askSentinels(ctx, &o) })
	for i := range o.Members {
		if m := &o.Members[i]; m.Redis.Running {
			asking.Go(func() { m.Info, m.InfoErr = w.askRedis(ctx, m.redis(), parameters) })
		}
	}
	asking.Wait()
	w.cfg.Record.conns.Keep(endpoints(o.Members))
	return o
}

var errNotRunning = wire.Errorf(wire.CodeUnavailable, "it does not run")

// askSentinels fills in what each Sentinel that runs says.
func (w *worker) askSentinels(ctx context.Context, o *Observation) {
	reports := w.cfg.Sentinels.Ask(ctx, o.sentinels())
	next := 0
	for i := range o.Members {
		if o.Members[i].Sentinel.Running {
			o.Members[i].Says = reports[next]
			next++
		}
	}
}

// priorityName is the parameter that INFO does not tell of a master.
const priorityName = "replica-priority"

func (w *worker) askRedis(ctx context.Context, e wire.Endpoint, parameters []string) (Info, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var info *redis.StringCmd
	settings := redis.NewMapStringStringCmd(ctx, append([]any{"CONFIG", "GET"}, anys(parameters)...)...)
	_, err := w.cfg.Record.conns.At(e).Pipelined(ctx, func(p redis.Pipeliner) error {
		info = p.Info(ctx)
		return p.Process(ctx, settings)
	})
	if err != nil {
		return Info{}, fmt.Errorf("ask the Redis at %s: %w", address(e), plain(err))
	}
	return parseInfo(info.Val(), settings.Val()), nil
}

func anys(words []string) []any {
	all := make([]any, len(words))
	for i, word := range words {
		all[i] = word
	}
	return all
}

func endpoints(members []Member) []wire.Endpoint {
	all := make([]wire.Endpoint, len(members))
	for i := range members {
		all[i] = members[i].redis()
	}
	return all
}

// plain leaves out what differs each time, like our own port, so that a reason
// in the store stays the same while nothing changes.
func plain(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
