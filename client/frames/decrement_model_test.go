package frames_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

// TestDecrementIsAsTheModelSays runs random batches, retries and old clients'
// decrements against a model.
func TestDecrementIsAsTheModelSays(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	rdb := cluster.Servers[0].Client()
	ctx := t.Context()
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		m := &model{counts: map[int]int64{}, data: map[string]bool{}, tokens: map[string]applied{}}
		base := run * 100
		for step := range rapid.IntRange(1, 8).Draw(rt, "steps") {
			switch rapid.IntRange(0, 3).Draw(rt, "kind") {
			case 0:
				n, count := base+rapid.IntRange(0, 7).Draw(rt, "frame"), rapid.Int64Range(-2, 5).Draw(rt, "count")
				putFrame(t, c, n, strconv.FormatInt(count, 10), "8x8", "4x4")
				m.put(n, count)
			case 1:
				n := base + rapid.IntRange(0, 7).Draw(rt, "frame")
				if _, there := m.counts[n]; there {
					rdb.Decr(ctx, key(n).Count())
					m.counts[n]--
				}
			default:
				token := fmt.Sprintf("m%d-%d", run, rapid.IntRange(0, step).Draw(rt, "token"))
				before, again := m.tokens[token]
				batch, want := before.batch, before.results
				if !again {
					batch = drawBatch(rt, base)
					want = m.apply(batch)
					m.tokens[token] = applied{batch, want}
				}
				got, err := c.Decrement(ctx, wire.RequestID(token), batch)
				if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
					rt.Fatalf("batch %+v\ngot  %+v (%v)\nwant %+v", batch, got, err, want)
				}
			}
		}
		m.compare(rt, rdb, base)
	})
}

func drawBatch(rt *rapid.T, base int) []wire.Decrement {
	var batch []wire.Decrement
	for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(0, 7), 1, 8, rapid.ID).Draw(rt, "frames") {
		sizes := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"8x8", "4x4", "2x2"}), 0, 3, rapid.ID).Draw(rt, "sizes")
		batch = append(batch, drop(base+n, rapid.Int64Range(1, 4).Draw(rt, "by"), sizes...))
	}
	return batch
}

type model struct {
	counts map[int]int64
	data   map[string]bool
	tokens map[string]applied
}

type applied struct {
	batch   []wire.Decrement
	results []wire.Decremented
}

func (m *model) put(n int, count int64) {
	m.counts[n] = count
	m.data[key(n).Data("8x8")] = true
	m.data[key(n).Data("4x4")] = true
}

func (m *model) apply(batch []wire.Decrement) []wire.Decremented {
	var out []wire.Decremented
	for _, d := range batch {
		k, _ := wire.ParseCountKey(d.Key)
		n := int(k.Number)
		r := wire.Decremented{Key: d.Key}
		count, there := m.counts[n]
		switch {
		case !there:
			r.Missing = true
		case count > d.By:
			m.counts[n] = count - d.By
			r.Remaining = count - d.By
		default:
			delete(m.counts, n)
			for _, s := range d.Sizes {
				if m.data[k.Data(s)] {
					delete(m.data, k.Data(s))
					r.Deleted++
				}
			}
		}
		out = append(out, r)
	}
	return out
}

func (m *model) compare(rt *rapid.T, rdb *redis.Client, base int) {
	for n := base; n < base+8; n++ {
		got, err := rdb.Get(context.Background(), key(n).Count()).Int64()
		want, there := m.counts[n]
		if there != (err == nil) || got != want {
			rt.Fatalf("count %d is %d (%v), want %d, %v", n, got, err, want, there)
		}
		for _, size := range []string{"8x8", "4x4"} {
			data := key(n).Data(size)
			if there := rdb.Exists(context.Background(), data).Val() == 1; there != m.data[data] {
				rt.Fatalf("%s is there: %v, want %v", data, there, m.data[data])
			}
		}
	}
}
