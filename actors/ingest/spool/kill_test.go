package spool

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// childEnv names the directory in which a process of this test works on a log
// until it is killed.
const childEnv = "FRAMEDB_SPOOL_CHILD"

// child appends numbers and drains them, and says so on its standard output:
// "a n" when n was appended, "d n" when n was read and before it is done.
func child(dir string) {
	out := func(format string, args ...any) { os.Stdout.WriteString(fmt.Sprintf(format, args...)) }
	l, err := Open(filepath.Join(dir, "l"), Config{SegmentBytes: 20_000, OnDamage: func(d Damage) {
		if !d.Torn {
			out("damage %v\n", d)
		}
	}})
	if err != nil {
		out("open %v\n", err)
		return
	}
	out("open\n")
	go func() {
		filler := strings.Repeat("x", 3000)
		for n := l.next; ; n++ {
			if _, err := l.Append(payloads(fmt.Sprintf("%d %s", n, filler[:rand.IntN(len(filler))])), n%4 > 0); err != nil {
				out("append %v\n", err)
				return
			}
			out("a %d\n", n)
		}
	}()
	var buf []byte
	for {
		var b Batch
		if b, buf, err = l.Read(buf, 10); err != nil {
			out("read %v\n", err)
			return
		}
		for _, r := range b.Records {
			number, _, _ := strings.Cut(string(r.Payload), " ")
			out("d %s\n", number)
		}
		if len(b.Records) == 0 {
			time.Sleep(time.Millisecond)
		} else if err := l.Ack(b); err != nil {
			out("ack %v\n", err)
		}
	}
}

// TestKilledAtAnyPoint kills a process that appends and drains, again and
// again: what it said was appended is drained by it or by the next one, in
// order, and at most the one batch again that was drained when it died.
func TestKilledAtAnyPoint(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	appended, drained, again := 0, 0, 0 // both count from 0: the next number
	for range 50 {
		dead := runChild(t, dir)
		first := true
		for line := range strings.Lines(dead) {
			var kind string
			var n int
			if _, err := fmt.Sscanf(line, "%s %d\n", &kind, &n); err != nil {
				if strings.HasPrefix(line, "open\n") || !strings.HasSuffix(line, "\n") {
					continue
				}
				t.Fatalf("the process says %q", line)
			}
			switch {
			case kind == "a":
				appended = max(appended, n+1)
			case kind == "d" && first && n < drained && n >= drained-10:
				again++
				drained, first = n+1, false
			case kind == "d" && n == drained:
				drained, first = n+1, false
			default:
				t.Fatalf("%q after %d were drained and %d appended", line, drained, appended)
			}
		}
		appended = max(appended, drained) // it died before it said so
	}
	if appended < 100 {
		t.Errorf("only %d were appended in 50 lives", appended)
	}
	var left []string
	l := open(t, filepath.Join(dir, "l"), Config{})
	for _, s := range drain(t, l, true) {
		number, _, _ := strings.Cut(s, " ")
		left = append(left, number)
	}
	closeIt(t, l)
	if len(left) > 0 {
		drained, _ = strconv.Atoi(left[len(left)-1])
		drained++
	}
	if drained < appended {
		t.Errorf("%d were appended and %d came out", appended, drained)
	}
	t.Logf("%d records, %d batches twice", appended, again)
}

// runChild runs a child for some milliseconds, kills it, and returns what it
// said.
func runChild(t *testing.T, dir string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	line, err := r.ReadString('\n')
	if err != nil || line != "open\n" {
		t.Errorf("the process says %q, %v", line, err)
	}
	timer := time.AfterFunc(time.Duration(rand.IntN(20_000))*time.Microsecond, func() { cmd.Process.Kill() })
	defer timer.Stop()
	rest, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	cmd.Wait()
	return string(rest)
}
