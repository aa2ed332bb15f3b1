package demo

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// maxProblems bounds how many problems a report tells one by one.
const maxProblems = 10

// Report is how a run went.
type Report struct {
	Frames       int     `json:"frames"` // written and acknowledged
	FramesPerSec float64 `json:"frames_per_second"`
	BytesWritten int64   `json:"bytes_written"`
	Reads        int     `json:"reads"` // of a frame by a reader
	// BytesEqual is what the readers read and found equal to what was written.
	BytesEqual int64 `json:"bytes_checked_equal"`
	// WriteRate and ReadRate are in MB (10^6 bytes) a second, over the time
	// from the first to the last write or read.
	WriteRate float64 `json:"write_mb_per_second"`
	ReadRate  float64 `json:"read_mb_per_second"`
	// P50 and P99 are how long the reading of all sizes of one frame took.
	P50 time.Duration `json:"read_p50_ns"`
	P99 time.Duration `json:"read_p99_ns"`
	// Lost and Changed count data keys that a reader missed or found different,
	// Miscounted the counts that were gone too early.
	Lost       int `json:"lost"`
	Changed    int `json:"changed"`
	Miscounted int `json:"miscounted"`
	// LeftOver counts the keys of this run that were there at the end.
	LeftOver int      `json:"keys_left_over"`
	Problems []string `json:"problems,omitempty"`

	wanted            int
	latencies         []time.Duration
	firstPut, lastPut time.Time
	firstGet, lastGet time.Time
}

func (r *Report) wrote(from, to time.Time, bytes int) {
	if r.Frames == 0 {
		r.firstPut = from
	}
	r.lastPut = to
	r.Frames++
	r.BytesWritten += int64(bytes)
}

func (r *Report) saw(c checked) {
	if r.Reads == 0 || c.from.Before(r.firstGet) {
		r.firstGet = c.from
	}
	if c.to.After(r.lastGet) {
		r.lastGet = c.to
	}
	r.Reads++
	r.latencies = append(r.latencies, c.to.Sub(c.from))
	r.BytesEqual += int64(c.bytes)
	r.Lost += c.lost
	r.Changed += c.changed
	for _, p := range c.problems {
		r.problem(p)
	}
}

func (r *Report) miscounted(key string) {
	r.Miscounted++
	r.problem(key + " was gone before its readers were done")
}

func (r *Report) problem(text string) {
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, text)
	}
}

// finish computes what follows from the rest.
func (r *Report) finish(wanted, fps int) {
	r.wanted = wanted
	// The last frame has its share of time like the others.
	took := r.lastPut.Sub(r.firstPut).Seconds()
	if r.Frames > 1 {
		r.FramesPerSec = float64(r.Frames-1) / took
	}
	r.WriteRate = rate(r.BytesWritten, took+1/float64(fps))
	r.ReadRate = rate(r.BytesEqual, r.lastGet.Sub(r.firstGet).Seconds()+1/float64(fps))
	slices.Sort(r.latencies)
	r.P50, r.P99 = quantile(r.latencies, 50), quantile(r.latencies, 99)
}

func rate(bytes int64, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	return float64(bytes) / 1e6 / seconds
}

// quantile is the smallest value that percent of the sorted values do not
// exceed.
func quantile(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)*percent+99)/100-1]
}

// Err returns nil when every frame was written, read, found equal by each
// reader, counted down and gone.
func (r *Report) Err() error {
	switch {
	case r.Frames != r.wanted:
		return wire.Errorf(wire.CodeInternal, "%d of %d frames were written", r.Frames, r.wanted)
	case r.Reads != r.wanted*readers:
		return wire.Errorf(wire.CodeInternal, "%d of %d reads were done", r.Reads, r.wanted*readers)
	case r.Lost > 0 || r.Changed > 0 || r.Miscounted > 0 || r.LeftOver > 0:
		return wire.Errorf(wire.CodeInternal, "%d keys were lost, %d changed, %d miscounted, %d left over", r.Lost, r.Changed, r.Miscounted, r.LeftOver)
	}
	return nil
}

// Print writes the summary for people.
func (r *Report) Print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	line := func(what, format string, args ...any) { fmt.Fprintf(w, what+"\t"+format+"\n", args...) }
	line("frames written", "%d, %.1f a second", r.Frames, r.FramesPerSec)
	line("frames read", "%d, by %d readers", r.Reads, readers)
	line("write", "%.1f MB/s", r.WriteRate)
	line("read", "%.1f MB/s", r.ReadRate)
	line("read latency", "p50 %s, p99 %s (all sizes of a frame)", micros(r.P50), micros(r.P99))
	line("bytes checked equal", "%d of %d", r.BytesEqual, r.BytesWritten*readers)
	line("keys lost", "%d", r.Lost)
	line("keys changed", "%d", r.Changed)
	if r.Miscounted > 0 {
		line("counts gone too early", "%d", r.Miscounted)
	}
	line("keys left over", "%d", r.LeftOver)
	w.Flush()
	for _, p := range r.Problems {
		fmt.Fprintln(out, "  "+p)
	}
}

func micros(d time.Duration) string { return d.Round(10 * time.Microsecond).String() }
