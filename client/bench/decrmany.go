package main

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/wire"
)

const (
	// decrCallers call at once where a node's rate is asked for: one caller
	// leaves Redis idle while it makes its batch.
	decrCallers = 4
	// decrClientRate and decrAgentRate are the figures, in keys a second.
	decrClientRate = 500_000
	decrAgentRate  = 250_000
	// plainFunction counts each key down and remembers and removes nothing.
	plainFunction = "#!lua name=bench_plain\n" +
		"redis.register_function('bench_plain', function(keys) for i = 1, #keys do redis.call('DECR', keys[i]) end return #keys end)\n"
)

// measureDecrementNode measures what one node counts down for several callers,
// straight from the client and through the agent.
func measureDecrementNode(ctx context.Context, b *bench) error {
	to := b.at.targets[len(b.at.targets)-1] // the unix socket
	b.say("decrement, %d callers", decrCallers)
	defer unlinkCounts(context.WithoutCancel(ctx), to)
	batches := make([][]wire.Decrement, decrCallers)
	for i := range batches {
		batches[i] = decrements(i)
		if err := putCounts(ctx, to, batches[i], highCount); err != nil {
			return err
		}
	}
	if err := to.redis.Do(ctx, "FUNCTION", "LOAD", "REPLACE", plainFunction).Err(); err != nil {
		return err
	}
	defer to.redis.Do(context.WithoutCancel(ctx), "FUNCTION", "DELETE", "bench_plain")
	all := []contestant{
		{by: "FrameDB client, Redis' unix socket", slot: callers(ctx, func(caller int) func(context.Context) error {
			return decrement(to, func() []wire.Decrement { return batches[caller] }, false)
		})},
		{by: "FrameDB agent, its unix socket, JSON", slot: callers(ctx, func(caller int) func(context.Context) error {
			return throughAgent(b, batches[caller])
		})},
		{by: "a plain function (FCALL by go-redis), Redis' unix socket", slot: callers(ctx, func(caller int) func(context.Context) error {
			return plainly(to.redis, batches[caller])
		})},
	}
	got, err := compare(ctx, b.rounds, b.slot, func(context.Context) error { return nil }, all)
	if err != nil {
		return err
	}
	measured := fmt.Sprintf("decrement %d keys a call, %d callers", decrKeys, decrCallers)
	for i, c := range all {
		s := typical(got[i])
		r := row{Group: "decr", Measured: measured, By: c.by, Result: s.rate, Unit: "keys/s", P50: s.p50, CPU: s.cpu, Alloc: s.alloc}
		switch i {
		case 0:
			r.Asked = &figure{Text: fmt.Sprintf("≥ %s/s", thousands(decrClientRate)), Verdict: judge(s.rate >= decrClientRate)}
		case 1:
			r.Asked = &figure{Text: fmt.Sprintf("≥ %s/s", thousands(decrAgentRate)), Verdict: judge(s.rate >= decrAgentRate)}
		default:
			ratio := ratios(got[0], got[i])
			r.Ratio = &ratio
		}
		b.rows.add(r)
	}
	return nil
}

// callers has decrCallers call at once; a sample's rate is in keys.
func callers(ctx context.Context, op func(caller int) func(context.Context) error) func(context.Context, time.Duration) (sample, error) {
	writers := make([]writer, decrCallers)
	for i := range writers {
		call := op(i)
		writers[i] = func(int) error { return call(ctx) }
	}
	run := together(writers)
	return func(ctx context.Context, d time.Duration) (sample, error) {
		before := cpuOfThis()
		s, err := run(ctx, d)
		s.rate *= decrKeys
		s.cpu = time.Duration(float64(cpuOfThis()-before) / s.calls)
		return s, err
	}
}

func throughAgent(b *bench, batch []wire.Decrement) func(context.Context) error {
	return func(ctx context.Context) error {
		done, err := b.at.db.Client().DecrementFrames(ctx, benchSource, wire.DecrementFrames{NodeTag: benchTag, Decrements: batch})
		if err == nil && (len(done) != decrKeys || done[0].Missing) {
			err = fmt.Errorf("%d results, the first is %+v", len(done), done[0])
		}
		return err
	}
}

func plainly(rdb *redis.Client, batch []wire.Decrement) func(context.Context) error {
	keys := make([]string, len(batch))
	for i, d := range batch {
		keys[i] = d.Key
	}
	return func(ctx context.Context) error {
		n, err := rdb.FCall(ctx, "bench_plain", keys).Int()
		if err == nil && n != len(keys) {
			err = fmt.Errorf("it counted %d keys down", n)
		}
		return err
	}
}
