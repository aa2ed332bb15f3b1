package main

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"
)

// contestant is one side of a comparison.
type contestant struct {
	// by names it in the table, with the exact command of a peer.
	by string
	// slot does the work for about d.
	slot func(ctx context.Context, d time.Duration) (sample, error)
}

// sample is what one slot, or the median of several, came to.
type sample struct {
	calls float64       // how many were made
	rate  float64       // things (frames, keys) a second
	p50   time.Duration // of one call; 0 when unknown
	alloc float64       // bytes allocated a call; negative when unknown
}

// calls makes a slot of calls to op, each of which does `things` things.
func calls(things int, op func(context.Context) error) func(context.Context, time.Duration) (sample, error) {
	return func(ctx context.Context, d time.Duration) (sample, error) {
		return timed(ctx, things, func(n int, spent time.Duration) bool { return n < minCalls || spent < d }, op)
	}
}

// minCalls keeps a median meaningful where one call takes long.
const minCalls = 5

// timed calls op while more says so. Only the calls themselves are counted.
func timed(ctx context.Context, things int, more func(n int, spent time.Duration) bool, op func(context.Context) error) (sample, error) {
	took := make([]time.Duration, 0, 1<<16)
	var spent time.Duration
	runtime.GC()
	before := allocated()
	for more(len(took), spent) {
		start := time.Now()
		err := op(ctx)
		d := time.Since(start)
		if err != nil {
			return sample{}, err
		}
		spent += d
		took = append(took, d)
	}
	bytes := allocated() - before
	n := float64(len(took))
	return sample{
		calls: n,
		rate:  n * float64(things) / spent.Seconds(),
		p50:   median(took),
		alloc: max(0, float64(bytes)) / n,
	}, nil
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// compare runs the contestants in rounds, as the package comment says, and
// returns their samples: [contestant][round]. before is called before each
// round.
func compare(ctx context.Context, rounds int, slot time.Duration, before func(context.Context) error, all []contestant) ([][]sample, error) {
	got := make([][]sample, len(all))
	for r := range rounds {
		if err := before(ctx); err != nil {
			return nil, err
		}
		for i := range all {
			if r%2 == 1 {
				i = len(all) - 1 - i
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			s, err := all[i].slot(ctx, slot)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", all[i].by, err)
			}
			got[i] = append(got[i], s)
		}
	}
	return got, nil
}

// median is the middle value, of an even number the lower one of the two, and
// of none the zero value. It sorts values.
func median[T int64 | float64 | time.Duration](values []T) T {
	if len(values) == 0 {
		var zero T
		return zero
	}
	slices.Sort(values)
	return values[(len(values)-1)/2]
}

// typical is the median of each number on its own.
func typical(samples []sample) sample {
	field := func(f func(sample) float64) float64 {
		var all []float64
		for _, s := range samples {
			all = append(all, f(s))
		}
		return median(all)
	}
	return sample{
		calls: field(func(s sample) float64 { return s.calls }),
		rate:  field(func(s sample) float64 { return s.rate }),
		p50:   time.Duration(field(func(s sample) float64 { return float64(s.p50) })),
		alloc: field(func(s sample) float64 { return s.alloc }),
	}
}

// spread is a median and where it may really lie: with 95 % confidence between
// Low and High, if there are six values or more.
type spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// ratios compares rates round by round.
func ratios(ours, theirs []sample) spread {
	var all []float64
	for i := range ours {
		all = append(all, ours[i].rate/theirs[i].rate)
	}
	m := median(all) // sorts
	cut := cutOff(len(all))
	return spread{Median: m, Low: all[cut], High: all[len(all)-1-cut]}
}

// cutOff is how many of n sorted values may be left out at each end so that the
// true median lies between the others with 95 % confidence, whatever the values
// are spread like: each of them is as likely to be above it as below.
func cutOff(n int) int {
	p, below := math.Pow(0.5, float64(n)), 0.0 // p: exactly k values are below it
	for k := range n {
		if below += p; below > 0.025 {
			return max(0, k-1)
		}
		p *= float64(n-k) / float64(k+1)
	}
	return 0
}
