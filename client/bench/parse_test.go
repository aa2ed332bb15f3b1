package main

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
	"time"
)

const csvHeader = `"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"` + "\n"

func TestRedisBenchmarkCSV(t *testing.T) {
	cases := []struct {
		out  string
		rate float64
		p50  time.Duration
	}{
		{csvHeader + `"GET k","76923.08","0.012","0.008","0.015","0.015","0.015","0.087"` + "\n", 76923.08, 15 * time.Microsecond},
		{`"SET","52631.58"` + "\n", 52631.58, 0}, // before 6.2
	}
	for _, c := range cases {
		s, err := parseCSV(c.out)
		if err != nil || s.rate != c.rate || s.p50 != c.p50 || s.alloc >= 0 {
			t.Errorf("%q: %+v, %v", c.out, s, err)
		}
	}
	for _, bad := range []string{"", csvHeader, "ERR\n", `"GET","many"` + "\n", `"GET","0"` + "\n", `"GET","inf"` + "\n", `"GET","nan"` + "\n", `"GET`, csvHeader + `"GET","1","1","1","x"` + "\n"} {
		if s, err := parseCSV(bad); err == nil {
			t.Errorf("%q is read as %+v", bad, s)
		}
	}
}

func TestProcFiles(t *testing.T) {
	rss, err := parseRSS("Name:\tframedb\nVmHWM:\t   99999 kB\nVmRSS:\t   35840 kB\nRssAnon:\t 1 kB\n")
	if err != nil || rss != 35 {
		t.Errorf("RSS is %v MiB: %v", rss, err)
	}
	cpu, err := parseCPU("42 (a) b) S 1 42 42 0 -1 4194560 1 0 0 0 150 25 0 0 20 0 9 0 100 0 0")
	if err != nil || cpu != 1750*time.Millisecond {
		t.Errorf("CPU time is %v: %v", cpu, err)
	}
	if _, err := parseRSS("Name:\tframedb\n"); err == nil {
		t.Error("no VmRSS is no error")
	}
	if _, err := parseCPU("42 (a) S 1"); err == nil {
		t.Error("a short stat is no error")
	}
}

func TestAnswersAreReadToTheirEnd(t *testing.T) {
	one := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ncontent-length: 5\r\n\r\n12345"
	many := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1A\r\n" + strings.Repeat("x", 26) + "\r\n0\r\n\r\n"
	in := bufio.NewReader(strings.NewReader(one + many + one))
	for i := range 3 {
		if err := readAnswer(in); err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
	}
	if in.Buffered() != 0 {
		t.Errorf("%d bytes are left over", in.Buffered())
	}
	for _, bad := range []string{
		"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n123",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
	} {
		if err := readAnswer(bufio.NewReader(strings.NewReader(bad))); err == nil {
			t.Errorf("%q is taken for an answer", bad)
		}
	}
}

func TestFlags(t *testing.T) {
	var stderr bytes.Buffer
	o, err := parseFlags([]string{"-run", "decr,data", "-slot", "50ms"}, &stderr)
	if err != nil || len(o.groups) != 2 || o.slot != 50*time.Millisecond || o.agent != "bin/framedb" {
		t.Errorf("%+v, %v", o, err)
	}
	for _, bad := range []string{"-run=x", "-rounds=0", "-slot=1h", "-starts=99", "-idle=-1s", "data", "-x"} {
		if _, err := parseFlags([]string{bad}, &stderr); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
