package main

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"
)

func sampleTable() *table {
	t := &table{notes: []string{"a note"}}
	t.add(
		row{Group: "data", Measured: "read 1 MiB, unix", By: "FrameDB Get", Result: 3456.7, Unit: "frames/s", MB: 3624.6, P50: 287400, CPU: 151_300, Alloc: 216},
		row{Group: "data", Measured: "read 1 MiB, unix", By: "go-redis", Result: 1100, Unit: "frames/s", MB: 1153.4, P50: 1270 * time.Microsecond,
			Alloc: 1_060_000, Ratio: &spread{3.14, 2.9, 3.3}, Asked: atLeast(spread{3.14, 2.9, 3.3}, 2.5)},
		row{Group: "agent", Measured: "memory", By: "VmRSS", Result: 61.25, Unit: "MiB", Alloc: -1, Asked: &figure{"≤ 60 MiB", judge(false)}},
	)
	return t
}

func TestTableIsWhatAPersonReads(t *testing.T) {
	var out bytes.Buffer
	if err := sampleTable().write(&out); err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"MEASURED", "BY", "RESULT", "MB/s", "P50", "CPU/CALL", "ALLOC/CALL", "FRAMEDB ÷ THIS (95 %)", "ASKED"},
		{"read 1 MiB, unix", "FrameDB Get", "3,457 frames/s", "3624.6", "287.4 µs", "151.3 µs", "216", "-", "-"},
		{"", "go-redis", "1,100 frames/s", "1153.4", "1.27 ms", "-", "1,060,000", "3.14 (2.90-3.30)", "≥ 2.5: met"},
		{"memory", "VmRSS", "61.25 MiB", "-", "-", "-", "-", "-", "≤ 60 MiB: MISSED"},
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != len(want)+2 || lines[4] != "a note" || lines[5] != "Figures: 1 met, 0 within noise, 1 missed." {
		t.Fatalf("printed\n%s", out.String())
	}
	for i, cells := range want {
		for j, want := range cells {
			if got := cell(lines, i, j); got != want {
				t.Errorf("line %d, column %d is %q, want %q:\n%s", i, j, got, want, out.String())
			}
		}
	}
}

// cell cuts a column out of a line; columns stand two blanks apart under the
// names in the first line.
func cell(lines []string, i, column int) string {
	var starts []int
	for _, at := range regexp.MustCompile(`(^|  )\S`).FindAllStringIndex(lines[0], -1) {
		starts = append(starts, len([]rune(lines[0][:at[1]]))-1)
	}
	line := []rune(lines[i])
	end := len(line)
	if column+1 < len(starts) {
		end = min(end, starts[column+1])
	}
	return strings.TrimSpace(string(line[min(starts[column], end):end]))
}

func TestJSONHasEveryRow(t *testing.T) {
	var out bytes.Buffer
	if err := sampleTable().writeJSON(&out); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Rows []struct {
			Measured string
			Ratio    *spread
			Asked    *figure
		}
		Notes []string
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Rows) != 3 || got.Rows[1].Ratio.High != 3.3 || got.Rows[1].Asked.Verdict != met || got.Rows[0].Asked != nil || len(got.Notes) != 1 {
		t.Errorf("read back %+v", got)
	}
}

func TestThousandsAreSetApart(t *testing.T) {
	for f, want := range map[float64]string{0: "0", 999.4: "999", 1000: "1,000", 123456: "123,456", 1234567: "1,234,567"} {
		if got := thousands(f); got != want {
			t.Errorf("thousands(%v) = %q, want %q", f, got, want)
		}
	}
}

func TestVerdicts(t *testing.T) {
	for s, want := range map[spread]verdict{
		{1.0, 0.9, 1.1}: met, {0.99, 0.9, 1.1}: unclear, {0.99, 0.9, 1.0}: unclear, {0.9, 0.8, 0.95}: missed,
	} {
		if got := atLeast(s, 1); got.Verdict != want {
			t.Errorf("%+v is %q, want %q", s, got.Verdict, want)
		}
	}
}
