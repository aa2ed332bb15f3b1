package spool

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/framedb/framedb/client/wire"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		child(os.Getenv(childEnv))
		return
	}
	goleak.VerifyTestMain(m)
}

// tb is what testing.TB and *rapid.T have in common.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

func open(t tb, dir string, cfg Config) *Log {
	t.Helper()
	l, err := Open(dir, cfg)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return l
}

func closeIt(t tb, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// add appends texts, each in two pieces.
func add(t tb, l *Log, texts ...string) {
	t.Helper()
	if _, err := l.Append(payloads(texts...), true); err != nil {
		t.Fatalf("Append: %v", err)
	}
}

func payloads(texts ...string) []Payload {
	var ps []Payload
	for _, s := range texts {
		ps = append(ps, Payload{[]byte(s[:len(s)/2]), []byte(s[len(s)/2:])})
	}
	return ps
}

// drain reads all there is, and acks it if asked to.
func drain(t tb, l *Log, ack bool) []string {
	t.Helper()
	var all []string
	var buf []byte
	for {
		b, grown, err := l.Read(buf, 3)
		if err != nil {
			t.Fatalf("Read: %v", err)
		}
		buf = grown
		if len(b.Records) == 0 {
			return all
		}
		for _, r := range b.Records {
			all = append(all, string(r.Payload))
		}
		if ack {
			if err := l.Ack(b); err != nil {
				t.Fatalf("Ack: %v", err)
			}
		}
	}
}

func equal(t tb, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: %.300q, want %.300q", what, got, want)
	}
}

func TestRecordsComeInOrderUntilTheyAreDone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir, Config{})
	large := strings.Repeat("x", 300<<10)
	add(t, l, "a", "", large)
	add(t, l, "b")
	equal(t, "first", drain(t, l, false), []string{"a", "", large, "b"})
	equal(t, "read already", drain(t, l, false), nil)
	l.Rewind()
	equal(t, "rewound", drain(t, l, false), []string{"a", "", large, "b"})
	closeIt(t, l)

	l = open(t, dir, Config{})
	b, _, err := l.Read(nil, 2)
	if err != nil || len(b.Records) != 2 {
		t.Fatalf("Read gave %d records, %v", len(b.Records), err)
	}
	if err := l.Ack(b); err != nil {
		t.Fatal(err)
	}
	closeIt(t, l)

	l = open(t, dir, Config{})
	if d := l.Depth(); d.Records != 2 {
		t.Errorf("%d records are not done, want 2", d.Records)
	}
	equal(t, "after a restart", drain(t, l, true), []string{large, "b"})
	if !l.Empty() {
		t.Error("not empty")
	}
	closeIt(t, l)
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("a log that is done left its directory: %v", err)
	}
}

func TestIndexesGoOnOverRestarts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range uint64(5) {
		l := open(t, dir, Config{})
		first, err := l.Append(payloads("x"), true)
		if err != nil || first != i {
			t.Fatalf("record %d has index %d, %v", i, first, err)
		}
		if i%2 == 0 {
			drain(t, l, true)
			add(t, l) // nothing
		}
		l.closeFiles() // as a crash does
	}
}

func TestSpaceComesBack(t *testing.T) {
	t.Parallel()
	q := NewQuota(1 << 20)
	dir := t.TempDir()
	l := open(t, dir, Config{SegmentBytes: 1000, Quota: q})
	for range 20 {
		add(t, l, strings.Repeat("x", 300))
	}
	if n := len(segments(t, dir)); n < 5 {
		t.Errorf("%d files of 1000 bytes hold 6000", n)
	}
	drain(t, l, true)
	if used, _ := q.Used(); used != l.Depth().Bytes || used > 1000 {
		t.Errorf("%d bytes are taken when all is done, the log has %d", used, l.Depth().Bytes)
	}
	if n := len(segments(t, dir)); n > 1 {
		t.Errorf("%d files are left", n)
	}
	closeIt(t, l)
	if used, _ := q.Used(); used != 0 {
		t.Errorf("a closed log takes %d bytes", used)
	}
}

func segments(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	return files
}

func TestBounds(t *testing.T) {
	t.Parallel()
	now := time.Now()
	quota := NewQuota(500)
	for name, c := range map[string]struct {
		cfg  Config
		code wire.Code
	}{
		"bytes": {Config{MaxBytes: 500}, wire.CodeOverloaded},
		"quota": {Config{Quota: quota}, wire.CodeOverloaded},
		"age":   {Config{MaxAge: time.Minute, Now: func() time.Time { now = now.Add(31 * time.Second); return now }}, wire.CodeOverloaded},
		"disk": {Config{MinFree: 1 << 20, free: func() func(string) (int64, error) {
			left := int64(1<<20 + 300)
			return func(string) (int64, error) { left -= 40; return left, nil }
		}()}, wire.CodeDiskFull},
	} {
		l := open(t, t.TempDir(), c.cfg)
		var err error
		taken := []string(nil)
		for range 20 {
			if _, err = l.Append(payloads("0123456789"), true); err != nil {
				break
			}
			taken = append(taken, "0123456789")
		}
		if e := wire.AsError(err); wire.CodeOf(err) != c.code || e.RetryAfter <= 0 {
			t.Errorf("%s: after %d records %v, want %s with a time to try again", name, len(taken), err, c.code)
		}
		equal(t, name, drain(t, l, true), taken)
		if name != "disk" {
			add(t, l, "again")
		}
		closeIt(t, l)
	}
	l := open(t, t.TempDir(), Config{MaxBytes: 500})
	defer closeIt(t, l)
	if _, err := l.Append(payloads(strings.Repeat("x", 600)), true); !errors.Is(err, wire.ErrTooLarge) {
		t.Errorf("more than ever fits: %v", err)
	}
}

func TestOneAppendsWhileAnotherDrains(t *testing.T) {
	t.Parallel()
	const n = 2000
	l := open(t, t.TempDir(), Config{SegmentBytes: 2000, OnDamage: func(d Damage) { t.Error(d) }})
	failed := make(chan error, 1)
	go func() {
		for i := range n {
			if _, err := l.Append(payloads(fmt.Sprint(i)), i%100 == 0); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}()
	deadline := time.Now().Add(time.Minute)
	for i := 0; i < n; {
		for _, s := range drain(t, l, true) {
			if s != fmt.Sprint(i) {
				t.Fatalf("record %d is %q", i, s)
			}
			i++
		}
		if time.Now().After(deadline) {
			t.Fatalf("after a minute %d of %d have come", i, n)
		}
	}
	if err := <-failed; err != nil {
		t.Error(err)
	}
	closeIt(t, l)
}

// TestModel checks a log against a list, over restarts, crashes and rewinds.
func TestModel(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		dir := filepath.Join(root, fmt.Sprint(run))
		cfg := Config{SegmentBytes: int64(rapid.IntRange(1, 400).Draw(t, "segment")), OnDamage: func(d Damage) { t.Errorf("%v", d) }}
		l := open(t, dir, cfg)
		var all []string // all that was ever appended
		done, read := 0, 0
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				texts := rapid.SliceOfN(rapid.StringN(0, 60, 60), 1, 4).Draw(t, "texts")
				first, err := l.Append(payloads(texts...), rapid.Bool().Draw(t, "sync"))
				if err != nil || first != uint64(len(all)) {
					t.Fatalf("Append: index %d of %d, %v", first, len(all), err)
				}
				all = append(all, texts...)
			},
			"read": func(t *rapid.T) {
				b, _, err := l.Read(make([]byte, rapid.IntRange(0, 200).Draw(t, "buf")), rapid.IntRange(1, 5).Draw(t, "limit"))
				if err != nil || len(b.Records) == 0 != (read == len(all)) {
					t.Fatalf("%d records at %d of %d, %v", len(b.Records), read, len(all), err)
				}
				for _, r := range b.Records {
					if r.Index != uint64(read) || string(r.Payload) != all[read] {
						t.Fatalf("record %d is %d %q, want %q", read, r.Index, r.Payload, all[read])
					}
					read++
				}
				if rapid.Bool().Draw(t, "ack") {
					if err := l.Ack(b); err != nil {
						t.Fatalf("Ack: %v", err)
					}
					done = read
				}
			},
			"rewind": func(*rapid.T) { l.Rewind(); read = done },
			"close": func(t *rapid.T) {
				closeIt(t, l)
				if done == len(all) {
					all, done = nil, 0 // its directory is gone
				}
				l, read = open(t, dir, cfg), done
			},
			"crash": func(t *rapid.T) {
				l.closeFiles()
				l, read = open(t, dir, cfg), done
			},
			"": func(t *rapid.T) {
				if d := l.Depth(); d.Records != uint64(len(all)-done) {
					t.Fatalf("depth %d, want %d", d.Records, len(all)-done)
				}
			},
		})
		l.closeFiles()
	})
}

// FuzzSegment opens a segment that was changed anywhere: what comes out is a
// part of what was appended, in order.
func FuzzSegment(f *testing.F) {
	f.Add([]byte{}, uint16(40), uint16(40))
	f.Add([]byte("FRec"), uint16(0), uint16(0))
	f.Add(bytes.Repeat([]byte{0}, 100), uint16(33), uint16(20))
	texts := []string{"first", "the second", strings.Repeat("FRec", 10), "4", ""}
	f.Fuzz(func(t *testing.T, change []byte, at, cut uint16) {
		dir := t.TempDir()
		l := open(t, dir, Config{})
		add(t, l, texts...)
		l.closeFiles()
		file := segments(t, dir)[0]
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		from := int(at) % (len(b) + 1)
		to := min(len(b), from+int(cut))
		if err := os.WriteFile(file, slices.Concat(b[:from], change, b[to:]), 0o600); err != nil {
			t.Fatal(err)
		}
		l = open(t, dir, Config{})
		rest := texts
		for _, s := range drain(t, l, true) {
			i := slices.Index(rest, s)
			if i < 0 {
				t.Fatalf("%q was not appended there", s)
			}
			rest = rest[i+1:]
		}
		if !l.Empty() {
			t.Error("it never ends")
		}
		closeIt(t, l)
	})
}
