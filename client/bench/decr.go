package main

import (
	"context"
	"fmt"
	"time"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
)

const (
	// decrKeys are counted down in one call.
	decrKeys = 1000
	// decrAsked is the part of redis-benchmark's rate that is asked for.
	decrAsked = 0.6
	// zeroCalls bounds the frames that are made for one slot of the variant in
	// which they go away: each call needs fresh ones.
	zeroCalls = 50
	// highCount stays above zero, however long it is counted down here.
	highCount = 1_000_000_000
	decrSize  = "608x608"
)

func measureDecrement(ctx context.Context, b *bench) error {
	for _, to := range b.at.targets {
		b.say("decrement, %s", to.transport)
		if err := decrementOver(ctx, b, to); err != nil {
			return fmt.Errorf("%s: %w", to.transport, err)
		}
	}
	return measureDecrementNode(ctx, b)
}

// decrementOver compares both variants with the same peers.
func decrementOver(ctx context.Context, b *bench, to *target) error {
	defer unlinkCounts(context.WithoutCancel(ctx), to)
	batch := decrements(0)
	if err := putCounts(ctx, to, batch, highCount); err != nil {
		return err
	}
	above := contestant{by: "FrameDB Decrement, no count reaches 0", slot: calls(decrKeys, decrement(to, func() []wire.Decrement { return batch }, false))}
	zero := contestant{by: "FrameDB Decrement, all reach 0, count and data go", slot: func(ctx context.Context, d time.Duration) (sample, error) {
		return toZero(ctx, to, d)
	}}
	peers, err := decrPeers(ctx, to, b.slot)
	if err != nil {
		return err
	}
	// What is compared most strictly has its slots side by side.
	got, err := compare(ctx, b.rounds, b.slot, to.redial, append([]contestant{zero, above}, peers...))
	if err != nil {
		return err
	}
	got[0], got[1] = got[1], got[0]
	b.rows.add(decrRows(to, above, zero, peers, got)...)
	return nil
}

// decrRows names the peer with the highest rate, whose ratio counts.
func decrRows(to *target, above, zero contestant, peers []contestant, got [][]sample) []row {
	best := 0
	for i := range peers {
		if typical(got[2+i]).rate > typical(got[2+best]).rate {
			best = i
		}
	}
	var rows []row
	for i, variant := range []contestant{above, zero} {
		measured := fmt.Sprintf("decrement %d keys a call, %s", decrKeys, to.transport)
		if i == 1 {
			measured = fmt.Sprintf("the same to zero, %s", to.transport)
		}
		ours := typical(got[i])
		rows = append(rows, row{Group: "decr", Measured: measured, By: variant.by, Result: ours.rate, Unit: "keys/s", P50: ours.p50, CPU: ours.cpu, Alloc: ours.alloc})
		for j, p := range peers {
			if i == 1 && j != best {
				continue
			}
			s, r := typical(got[2+j]), ratios(got[i], got[2+j])
			peer := row{Group: "decr", Measured: measured, By: p.by, Result: s.rate, Unit: "keys/s", P50: s.p50, Alloc: -1, Ratio: &r}
			if i == 0 && j == best {
				peer.Asked = atLeast(r, decrAsked)
			}
			rows = append(rows, peer)
		}
	}
	return rows
}

// decrPeers are redis-benchmark's pipelined DECR over as many keys, what is
// likely the fastest first.
func decrPeers(ctx context.Context, to *target, slot time.Duration) ([]contestant, error) {
	var peers []contestant
	for _, depth := range []int{1000, 100, 16} {
		r, err := redisBenchmark{to: *to,
			args: []string{"-P", fmt.Sprint(depth), "-r", fmt.Sprint(decrKeys), "DECR", "bench:__rand_int__"},
		}.paced(ctx, slot, depth)
		if err != nil {
			return nil, err
		}
		peers = append(peers, r.contestant())
	}
	return peers, nil
}

// decrements is the n-th batch of frames.
func decrements(n int) []wire.Decrement {
	batch := make([]wire.Decrement, decrKeys)
	for i := range batch {
		batch[i] = wire.Decrement{Key: decrFrame(n, i).Count(), By: 1, Sizes: []string{decrSize}}
	}
	return batch
}

func decrFrame(n, i int) wire.FrameKey {
	return wire.NewFrameKey(benchSource, uint64(n), 1, uint64(i))
}

// putCounts makes the batch's frames: each with a count and 1 KiB of data.
func putCounts(ctx context.Context, to *target, batch []wire.Decrement, count int) error {
	data := randomBytes(1 << 10)
	var pairs []frames.Pair
	for _, d := range batch {
		k, ok := wire.ParseCountKey(d.Key)
		if !ok {
			return fmt.Errorf("%q is no count key", d.Key)
		}
		pairs = append(pairs, frames.Pair{Key: d.Key, Value: []byte(fmt.Sprint(count))}, frames.Pair{Key: k.Data(decrSize), Value: data})
	}
	return to.framedb.Put(ctx, pairs, frames.PutOptions{})
}

// decrement is one call with a token of its own; gone says what it must do.
func decrement(to *target, next func() []wire.Decrement, gone bool) func(context.Context) error {
	return func(ctx context.Context) error {
		done, err := to.framedb.Decrement(ctx, client.NewRequestID(), next())
		if err != nil {
			return err
		}
		if len(done) != decrKeys || done[0].Missing || (done[0].Remaining == 0) != gone || (done[0].Deleted == 1) != gone {
			return fmt.Errorf("%d results, the first is %+v", len(done), done[0])
		}
		return nil
	}
}

// toZero makes fresh frames, which is not timed, and counts them down to zero.
func toZero(ctx context.Context, to *target, d time.Duration) (sample, error) {
	made, used := make([][]wire.Decrement, zeroCalls), 0
	for i := range made {
		made[i] = decrements(i + 1)
		if err := putCounts(ctx, to, made[i], 1); err != nil {
			return sample{}, err
		}
	}
	next := func() []wire.Decrement { used++; return made[used-1] }
	more := func(n int, spent time.Duration) bool { return n < zeroCalls && (n < minCalls || spent < d) }
	return timed(ctx, decrKeys, more, decrement(to, next, true))
}

// unlinkCounts drops what the group stored.
func unlinkCounts(ctx context.Context, to *target) {
	for _, pattern := range []string{"ref__bench*", "bench*"} {
		it := to.redis.Scan(ctx, 0, pattern, 1000).Iterator()
		for it.Next(ctx) {
			to.redis.Unlink(ctx, it.Val())
		}
	}
}
