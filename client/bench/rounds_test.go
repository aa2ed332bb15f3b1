package main

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

func TestMedianIsTheMiddleOne(t *testing.T) {
	cases := []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 3, 2}, 2}}
	for _, c := range cases {
		if got := median(slices.Clone(c.values)); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.values, got, c.want)
		}
	}
}

// A machine that halves its speed in the middle of the run must not change the
// ratio.
func TestRatiosAreTakenWithinARound(t *testing.T) {
	ours := []sample{{rate: 200}, {rate: 210}, {rate: 100}, {rate: 90}, {rate: 110}}
	theirs := []sample{{rate: 100}, {rate: 100}, {rate: 50}, {rate: 50}, {rate: 50}}
	if got, want := ratios(ours, theirs), (spread{2, 1.8, 2.2}); got != want {
		t.Errorf("ratios = %+v, want %+v", got, want)
	}
}

// The values are those of the tables for the sign test.
func TestCutOffKeeps95Percent(t *testing.T) {
	for n, want := range map[int]int{1: 0, 5: 0, 6: 0, 8: 0, 9: 1, 11: 1, 12: 2, 15: 3, 20: 5, 31: 9, 100: 39} {
		if got := cutOff(n); got != want {
			t.Errorf("cutOff(%d) = %d, want %d", n, got, want)
		}
	}
}

func TestTypicalTakesEachNumberByItself(t *testing.T) {
	got := typical([]sample{{1, 30, 3, 100}, {2, 10, 9, 300}, {3, 20, 6, 200}})
	if want := (sample{2, 20, 6, 200}); got != want {
		t.Errorf("typical = %+v, want %+v", got, want)
	}
}

func TestRoundsTurnTheOrder(t *testing.T) {
	var order string
	turn := func(name string) contestant {
		return contestant{name, func(context.Context, time.Duration) (sample, error) {
			order += name
			return sample{rate: float64(len(order))}, nil
		}}
	}
	before := func(context.Context) error { order += "|"; return nil }
	got, err := compare(t.Context(), 3, time.Millisecond, before, []contestant{turn("a"), turn("b"), turn("c")})
	if err != nil || order != "|abc|cba|abc" {
		t.Fatalf("ran in the order %q: %v", order, err)
	}
	if a := got[0]; len(a) != 3 || a[0].rate != 2 || a[1].rate != 8 || a[2].rate != 10 {
		t.Errorf("a's samples are %+v", a)
	}
}

func TestFailingContestantIsNamed(t *testing.T) {
	boom := errors.New("boom")
	bad := contestant{"peer", calls(1, func(context.Context) error { return boom })}
	_, err := compare(t.Context(), 1, time.Millisecond, func(context.Context) error { return nil }, []contestant{bad})
	if !errors.Is(err, boom) || err.Error() != "peer: boom" {
		t.Errorf("got %v", err)
	}
}

func TestSlotCountsThingsAndBytes(t *testing.T) {
	var kept []byte
	s, err := timed(t.Context(), 10, func(n int, _ time.Duration) bool { return n < 100 }, func(context.Context) error {
		kept = make([]byte, 100_000)
		return nil
	})
	if err != nil || len(kept) == 0 {
		t.Fatal(err)
	}
	if s.calls != 100 || s.alloc < 100_000 || s.alloc > 200_000 || s.p50 <= 0 {
		t.Errorf("sample is %+v", s)
	}
	if took := s.calls * 10 / s.rate; took < s.p50.Seconds()*50 {
		t.Errorf("100 calls of %v at the median took %v s", s.p50, took)
	}
}
