package main

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// contestant is one side of a comparison.
type contestant struct {
	// by names it in the table, with the exact command of a peer.
	by string
	// slot does the work for about d.
	slot func(ctx context.Context, d time.Duration) (sample, error)
	// turn is how long it runs at a time within its slot, by turns with others
	// that have one; 0 is all of its slot at once.
	turn time.Duration
}

// turns is how many it has in a slot.
func (c *contestant) turns(slot time.Duration) int {
	if c.turn == 0 {
		return 1
	}
	return max(1, int(slot/c.turn))
}

// sample is what one slot, or the median of several, came to.
type sample struct {
	calls float64       // how many were made
	rate  float64       // things (frames, keys) a second
	p50   time.Duration // of one call; 0 when unknown
	cpu   time.Duration // of this process, a call; 0 when unknown
	alloc float64       // bytes allocated a call; negative when unknown
	turns []float64     // the rates of its turns; nil when it took none
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
	before, used := allocated(), cpuOfThis()
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
	used = cpuOfThis() - used
	bytes := allocated() - before
	n := float64(len(took))
	return sample{
		calls: n,
		rate:  n * float64(things) / spent.Seconds(),
		p50:   median(took),
		cpu:   time.Duration(float64(used) / n),
		alloc: max(0, float64(bytes)) / n,
	}, nil
}

// cpuOfThis is what this process has used, in user and system mode.
func cpuOfThis() time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &r) // fails for a wrong argument only
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
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
		samples, err := round(ctx, r, slot, all)
		if err != nil {
			return nil, err
		}
		for i, s := range samples {
			got[i] = append(got[i], joined(s))
		}
	}
	return got, nil
}

// round gives each contestant its slot, turn by turn. Who is first changes with
// each turn and with each round.
func round(ctx context.Context, r int, slot time.Duration, all []contestant) ([][]sample, error) {
	parts := make([][]sample, len(all))
	for turn, left := r, true; left; turn++ {
		left = false
		for i := range all {
			if turn%2 == 1 {
				i = len(all) - 1 - i
			}
			turns := all[i].turns(slot)
			if len(parts[i]) == turns {
				continue
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			s, err := all[i].slot(ctx, slot/time.Duration(turns))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", all[i].by, err)
			}
			parts[i] = append(parts[i], s)
			left = left || len(parts[i]) < turns
		}
	}
	return parts, nil
}

// joined is one sample of the parts of a slot: all calls over all their time.
// Its median time of a call is the median of the parts'.
func joined(parts []sample) sample {
	if len(parts) == 1 {
		return parts[0]
	}
	var calls, spent, cpu, alloc float64
	var turns []float64
	for _, p := range parts {
		turns = append(turns, p.rate)
		calls += p.calls
		spent += p.calls / p.rate
		cpu += p.calls * float64(p.cpu)
		alloc += p.calls * p.alloc
	}
	return sample{calls, calls / spent, typical(parts).p50, time.Duration(cpu / calls), alloc / calls, turns}
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
		cpu:   time.Duration(field(func(s sample) float64 { return float64(s.cpu) })),
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
		all = append(all, ratio(ours[i], theirs[i]))
	}
	m := median(all) // sorts
	cut := cutOff(len(all))
	return spread{Median: m, Low: all[cut], High: all[len(all)-1-cut]}
}

// ratio compares turn with turn where both took turns, and then says the median.
func ratio(ours, theirs sample) float64 {
	if ours.turns == nil || theirs.turns == nil {
		return ours.rate / theirs.rate
	}
	var all []float64
	for i := range ours.turns {
		all = append(all, ours.turns[i]/theirs.turns[i])
	}
	return median(all)
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
