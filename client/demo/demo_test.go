package demo

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/jpeg"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/framedb/framedb/client/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// twoSizes is material of small pictures.
type twoSizes struct{ jpg []byte }

func newTwoSizes(t *testing.T) twoSizes {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, 8, 8)), nil); err != nil {
		t.Fatal(err)
	}
	return twoSizes{b.Bytes()}
}

func (m twoSizes) sizes() []string { return []string{"8x8", "4x4"} }

func (m twoSizes) frame(n uint64) ([]picture, error) {
	return []picture{{"8x8", stamp(m.jpg, n)}, {"4x4", stamp(m.jpg, n)}}, nil
}

// runOn does the job with 40 frames on a store.
func runOn(t *testing.T, s *faultyStore) (Report, error) {
	t.Helper()
	o := Defaults()
	o.Frames, o.FPS = 40, 1000
	path := func(context.Context) (store, error) { return s, nil }
	return newJob(o, newTwoSizes(t), []access{path, path, path}).run(t.Context())
}

func TestAGoodRun(t *testing.T) {
	t.Parallel()
	s := newFaultyStore()
	s.data["ref__demo-cam?0?1__5"] = []byte("2") // of another run
	r, err := runOn(t, s)
	if err != nil || r.Err() != nil {
		t.Fatalf("%v, %v", err, r.Err())
	}
	if r.Frames != 40 || r.Reads != 80 || r.BytesEqual != 2*r.BytesWritten || r.BytesWritten == 0 || len(s.data) != 1 {
		t.Errorf("%+v, keys left: %d", r, len(s.data))
	}
	if r.P50 <= 0 || r.P99 < r.P50 || r.FramesPerSec <= 0 || r.ReadRate <= 0 || r.WriteRate <= 0 {
		t.Errorf("figures: %+v", r)
	}
}

func TestFaultsAreFound(t *testing.T) {
	t.Parallel()
	is := func(key string, n string, size string) bool { return strings.HasSuffix(key, "__"+n+"__"+size) }
	cases := []struct {
		name  string
		fault func(*faultyStore)
		want  func(*Report) bool
	}{
		{"lost", func(s *faultyStore) {
			s.onGet = func(k string, v []byte) []byte {
				if is(k, "7", "8x8") {
					return nil
				}
				return v
			}
		}, func(r *Report) bool { return r.Lost == readers && r.Changed == 0 }},
		{"one bit", func(s *faultyStore) {
			s.onGet = func(k string, v []byte) []byte {
				if is(k, "7", "4x4") {
					v[len(v)-3] ^= 1
				}
				return v
			}
		}, func(r *Report) bool { return r.Changed == readers && r.Lost == 0 }},
		{"swapped for another frame", func(s *faultyStore) {
			s.onGet = func(k string, v []byte) []byte {
				if is(k, "7", "8x8") {
					return s.data[strings.Replace(k, "__7__", "__6__", 1)]
				}
				return v
			}
		}, func(r *Report) bool { return r.Lost+r.Changed == readers }},
		{"left over", func(s *faultyStore) {
			s.onDecr = func(n int) error {
				if n == 2*40 {
					stray := s.seen
					stray.Number = 999
					s.data[stray.Count()], s.data[stray.Data("8x8")] = []byte("1"), []byte("x")
				}
				return nil
			}
		}, func(r *Report) bool { return r.LeftOver == 2 }},
		{"counted twice", func(s *faultyStore) {
			s.onGet = func(k string, v []byte) []byte {
				frame, size, _ := wire.ParseDataKey(k)
				if frame.Number == 9 && size == "4x4" {
					delete(s.data, frame.Count())
				}
				return v
			}
		}, func(r *Report) bool { return r.Miscounted == readers && r.LeftOver == 2 }},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newFaultyStore()
			tc.fault(s)
			r, err := runOn(t, s)
			if err != nil {
				t.Fatal(err)
			}
			if r.Err() == nil || !tc.want(&r) {
				t.Errorf("%v: %+v", r.Err(), r)
			}
			if tc.name == "left over" && len(s.data) != 0 {
				t.Errorf("%d keys were not taken away", len(s.data))
			}
		})
	}
}

func TestUnknownOutcomesAreRepeatedSafely(t *testing.T) {
	t.Parallel()
	s := newFaultyStore()
	every := func(k int) func(int) error {
		return func(n int) error {
			if n%k == 0 {
				return wire.Errorf(wire.CodeOutcomeUnknown, "no answer")
			}
			return nil
		}
	}
	s.onPut, s.onDecr = every(5), every(3)
	if r, err := runOn(t, s); err != nil || r.Err() != nil || len(s.data) != 0 {
		t.Errorf("%v, %+v", err, r)
	}
}

func TestAFailureEndsTheRunAndCleansUp(t *testing.T) {
	t.Parallel()
	s := newFaultyStore()
	s.onPut = func(n int) error {
		if n == 20 {
			return wire.Errorf(wire.CodeOverloaded, "memory is full")
		}
		return nil
	}
	r, err := runOn(t, s)
	if !errors.Is(err, wire.ErrOverloaded) || r.Frames != 19 || r.Err() == nil {
		t.Errorf("%v, %+v", err, r)
	}
	if len(s.data) != 0 {
		t.Errorf("%d keys are left", len(s.data))
	}
}

func TestAnInterruptedRunCleansUp(t *testing.T) {
	t.Parallel()
	s := newFaultyStore()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.onPut = func(n int) error {
		if n == 10 {
			cancel()
		}
		return nil
	}
	o := Defaults()
	o.Frames, o.FPS = 1000, 100
	path := func(context.Context) (store, error) { return s, nil }
	_, err := newJob(o, newTwoSizes(t), []access{path, path, path}).run(ctx)
	if !errors.Is(err, context.Canceled) || len(s.data) != 0 {
		t.Errorf("%v; %d keys are left", err, len(s.data))
	}
}

func TestFramesComeAtTheirTime(t *testing.T) {
	t.Parallel()
	s := newFaultyStore()
	o := Defaults()
	o.Frames, o.FPS = 20, 50
	path := func(context.Context) (store, error) { return s, nil }
	start := time.Now()
	r, err := newJob(o, newTwoSizes(t), []access{path, path, path}).run(t.Context())
	if took := time.Since(start); err != nil || took < 380*time.Millisecond {
		t.Errorf("20 frames at 50/s took %v, %v", took, err)
	}
	if r.FramesPerSec > 51 {
		t.Errorf("%.1f frames/s, asked for 50", r.FramesPerSec)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for field, spoil := range map[string]func(*Options){
		"frames": func(o *Options) { o.Frames = 0 },
		"fps":    func(o *Options) { o.FPS = -1 },
		"":       func(o *Options) { o.Source = "a?b" },
	} {
		o := Defaults()
		spoil(&o)
		if err := o.validate(); !errors.Is(err, wire.ErrInvalidArgument) || wire.AsError(err).Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestQuantiles(t *testing.T) {
	t.Parallel()
	var d []time.Duration
	for i := range 200 {
		d = append(d, time.Duration(i+1))
	}
	for percent, want := range map[int]time.Duration{50: 100, 99: 198, 100: 200} {
		if got := quantile(d, percent); got != want {
			t.Errorf("p%d of 1..200 is %d", percent, got)
		}
	}
	if quantile(nil, 99) != 0 || quantile(d[:1], 50) != 1 {
		t.Error("few values")
	}
}

func TestTheSummarySaysWhatMatters(t *testing.T) {
	t.Parallel()
	r := Report{Frames: 2, Reads: 4, FramesPerSec: 25, BytesWritten: 10, BytesEqual: 20, WriteRate: 1.25, ReadRate: 2.5, P50: time.Millisecond, P99: 2 * time.Millisecond, LeftOver: 1, Problems: []string{"k is missing"}}
	var b bytes.Buffer
	r.Print(&b)
	want := `frames written       2, 25.0 a second
frames read          4, by 2 readers
write                1.2 MB/s
read                 2.5 MB/s
read latency         p50 1ms, p99 2ms (all sizes of a frame)
bytes checked equal  20 of 20
keys lost            0
keys changed         0
keys left over       1
  k is missing
`
	if b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
}
