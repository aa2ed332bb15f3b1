package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// row is one line of the table.
type row struct {
	Group    string `json:"group"`
	Measured string `json:"measured"`
	// By is FrameDB's part that was measured, or the peer and its exact command.
	By     string  `json:"by"`
	Result float64 `json:"result"`
	Unit   string  `json:"unit"`
	// MB is megabytes (10^6) a second; 0 when it does not apply.
	MB float64 `json:"mb_per_second,omitempty"`
	// P50 is the median time of one call; 0 when it does not apply.
	P50 time.Duration `json:"p50_ns,omitempty"`
	// CPU is what this process used for one call; 0 when it is not known.
	CPU time.Duration `json:"cpu_ns_per_call,omitempty"`
	// Alloc is bytes allocated a call; negative when it is not known.
	Alloc float64 `json:"alloc_per_call"`
	// Ratio is FrameDB's rate over this peer's.
	Ratio *spread `json:"ratio,omitempty"`
	Asked *figure `json:"asked,omitempty"`
}

// figure is what was asked for.
type figure struct {
	Text    string  `json:"text"`
	Verdict verdict `json:"verdict"`
}

// verdict says whether a figure was met.
type verdict string

const (
	met    verdict = "met"
	missed verdict = "MISSED"
	// unclear is a ratio below the figure by less than the noise of this run.
	unclear verdict = "within noise"
)

// judge is the verdict on a number without noise.
func judge(ok bool) verdict {
	if ok {
		return met
	}
	return missed
}

// atLeast is a figure for a ratio.
func atLeast(got spread, want float64) *figure {
	f := &figure{Text: fmt.Sprintf("≥ %.1f", want), Verdict: judge(got.Median >= want)}
	if f.Verdict == missed && got.High >= want {
		f.Verdict = unclear
	}
	return f
}

func (f *figure) String() string {
	if f == nil {
		return "-"
	}
	return f.Text + ": " + string(f.Verdict)
}

// table is what is printed: the rows and, below, what their words mean.
type table struct {
	rows  []row
	notes []string
}

func (t *table) add(rows ...row) { t.rows = append(t.rows, rows...) }

func (t *table) write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "MEASURED\tBY\tRESULT\tMB/s\tP50\tCPU/CALL\tALLOC/CALL\tFRAMEDB ÷ THIS (95 %)\tASKED")
	for i, r := range t.rows {
		measured := r.Measured
		if i > 0 && t.rows[i-1].Measured == measured {
			measured = ""
		}
		fmt.Fprintln(tw, strings.Join([]string{measured, r.By, r.result(), r.megabytes(), short(r.P50), short(r.CPU), r.alloc(), r.ratio(), r.Asked.String()}, "\t"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, n := range append(t.notes, t.summary()) {
		if _, err := fmt.Fprintln(w, n); err != nil {
			return err
		}
	}
	return nil
}

func (t *table) summary() string {
	count := map[verdict]int{}
	for _, r := range t.rows {
		if r.Asked != nil {
			count[r.Asked.Verdict]++
		}
	}
	return fmt.Sprintf("Figures: %d met, %d within noise, %d missed.", count[met], count[unclear], count[missed])
}

func (t *table) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(struct {
		Rows  []row    `json:"rows"`
		Notes []string `json:"notes"`
	}{t.rows, t.notes})
}

func (r *row) result() string {
	if r.Result >= 100 {
		return thousands(r.Result) + " " + r.Unit
	}
	return strconv.FormatFloat(r.Result, 'f', 2, 64) + " " + r.Unit
}

func (r *row) megabytes() string {
	if r.MB == 0 {
		return "-"
	}
	return strconv.FormatFloat(r.MB, 'f', 1, 64)
}

// short is a time with three or four digits; "-" where there is none.
func short(d time.Duration) string {
	switch {
	case d <= 0:
		return "-"
	case d < time.Millisecond:
		return fmt.Sprintf("%.1f µs", float64(d)/1e3)
	}
	return fmt.Sprintf("%.2f ms", float64(d)/1e6)
}

func (r *row) alloc() string {
	if r.Alloc < 0 {
		return "-"
	}
	return thousands(r.Alloc)
}

func (r *row) ratio() string {
	if r.Ratio == nil {
		return "-"
	}
	return fmt.Sprintf("%.2f (%.2f-%.2f)", r.Ratio.Median, r.Ratio.Low, r.Ratio.High)
}

// thousands writes a number without fraction, 1234567 as 1,234,567.
func thousands(f float64) string {
	s := strconv.FormatFloat(f, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
