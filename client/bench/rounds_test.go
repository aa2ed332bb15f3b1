package main

import (
	"context"
	"errors"
	"reflect"
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
	got := typical([]sample{{1, 30, 3, 7, 100, nil}, {2, 10, 9, 9, 300, nil}, {3, 20, 6, 8, 200, nil}})
	if want := (sample{2, 20, 6, 8, 200, nil}); !reflect.DeepEqual(got, want) {
		t.Errorf("typical = %+v, want %+v", got, want)
	}
}

func TestRoundsTurnTheOrder(t *testing.T) {
	var order string
	turn := func(name string) contestant {
		return contestant{by: name, slot: func(context.Context, time.Duration) (sample, error) {
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

// Those that take turns share the time; the third has its slot at once.
func TestTurnsAlternateWithinASlot(t *testing.T) {
	var order string
	contender := func(name string, turn time.Duration) contestant {
		return contestant{by: name, turn: turn, slot: func(_ context.Context, d time.Duration) (sample, error) {
			order += name + d.String() + " "
			return sample{calls: 1, rate: 1}, nil
		}}
	}
	all := []contestant{contender("a", 2*time.Millisecond), contender("b", 2*time.Millisecond), contender("c", 0)}
	before := func(context.Context) error { order += "|"; return nil }
	got, err := compare(t.Context(), 2, 6*time.Millisecond, before, all)
	if want := "|a2ms b2ms c6ms b2ms a2ms a2ms b2ms |c6ms b2ms a2ms a2ms b2ms b2ms a2ms "; err != nil || order != want {
		t.Fatalf("ran in the order %q, want %q: %v", order, want, err)
	}
	if len(got) != 3 || len(got[0]) != 2 || got[0][0].calls != 3 || got[2][0].calls != 1 {
		t.Errorf("the samples are %+v", got)
	}
}

func TestJoinedIsAllCallsOverAllTheirTime(t *testing.T) {
	// 100 calls in a second and 300 in half of one.
	got := joined([]sample{{100, 100, 5, 10, 50, nil}, {300, 600, 3, 30, 10, nil}})
	if want := (sample{400, 400 / 1.5, 3, 25, 20, []float64{100, 600}}); !reflect.DeepEqual(got, want) {
		t.Errorf("joined = %+v, want %+v", got, want)
	}
}

// One turn in which the machine stood still must not change the ratio.
func TestTurnsAreComparedWithTheirNeighbours(t *testing.T) {
	ours := sample{rate: 40, turns: []float64{50, 1, 100}}
	theirs := sample{rate: 80, turns: []float64{40, 80, 80}}
	if got := ratio(ours, theirs); got != 1.25 {
		t.Errorf("ratio = %v, want 1.25", got)
	}
	if got := ratio(ours, sample{rate: 80}); got != 0.5 {
		t.Errorf("ratio to one without turns = %v, want 0.5", got)
	}
}

func TestFailingContestantIsNamed(t *testing.T) {
	boom := errors.New("boom")
	bad := contestant{by: "peer", slot: calls(1, func(context.Context) error { return boom })}
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
	if s.cpu <= 0 {
		t.Errorf("100 calls that clear 100 kB used %v", s.cpu)
	}
	if s.calls != 100 || s.alloc < 100_000 || s.alloc > 200_000 || s.p50 <= 0 {
		t.Errorf("sample is %+v", s)
	}
	if took := s.calls * 10 / s.rate; took < s.p50.Seconds()*50 {
		t.Errorf("100 calls of %v at the median took %v s", s.p50, took)
	}
}
