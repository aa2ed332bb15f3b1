package wal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func openDir(t *testing.T, dir string) *Log {
	t.Helper()
	l, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func newLog(t *testing.T) (l *Log, dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "log")
	if err := Create(dir, []byte("kept")); err != nil {
		t.Fatal(err)
	}
	return openDir(t, dir), dir
}

func add(t *testing.T, l *Log, first uint64, entries ...string) {
	t.Helper()
	if _, err := l.Append(first, len(entries), func(b []byte, i int) []byte { return append(b, entries[i]...) }); err != nil {
		t.Fatal(err)
	}
}

// TestTheFormatStays has the bytes that later versions of this program must
// read.
func TestTheFormatStays(t *testing.T) {
	d := newFakeDisk(nil)
	h := header{seq: 1, base: 1, size: 256, salt: 0x0102030405060708}
	f, b := keptFrame([]byte("kept"), h.salt)
	f.encode(b, h.salt, segmentHeader)
	if _, err := d.create(1, append(h.encode(), b...), 256); err != nil {
		t.Fatal(err)
	}
	l, err := open(d, 256)
	if err != nil {
		t.Fatal(err)
	}
	add(t, l, 1, "a", "bc")
	if err := errors.Join(l.Cut(2), l.Drop(2)); err != nil {
		t.Fatal(err)
	}
	add(t, l, 2, "123456789")
	add(t, l, 3, strings.Repeat("x", 60)) // goes to the next segment
	want := []string{
		"6672616d6564624c" + "0000000000000001" + "0000000000000001" + "0000000000000100" + "0102030405060708" + "SUM" + "00000000",
		"4b455054" + "00000010" + "0000000000000000" + "00000001" + "SUM" + "00000004" + "SUM" + "6b657074" + "00000000",
		"454e5452" + "00000018" + "0000000000000001" + "00000002" + "SUM" + "00000001" + "SUM" + "61" + "00000002" + "SUM" + "6263" + "0000000000",
		"4355542e" + "00000000" + "0000000000000002" + "00000000" + "SUM",
		"44524f50" + "00000000" + "0000000000000002" + "00000000" + "SUM",
		"454e5452" + "00000018" + "0000000000000002" + "00000001" + "SUM" + "00000009" + "SUM" + "313233343536373839" + "00000000000000",
		"5345414c" + "00000000" + "0000000000000003" + "00000000" + "SUM",
	}
	got := hex.EncodeToString(d.files[1].now)
	for _, w := range want {
		for i, part := range strings.Split(w, "SUM") {
			if i > 0 {
				got = got[8:]
			}
			if !strings.HasPrefix(got, part) {
				t.Fatalf("there is %.60s, want %s of %s", got, part, w)
			}
			got = got[len(part):]
		}
	}
	if strings.Trim(got, "0") != "" || d.files[1].now[40] == 0 {
		t.Errorf("behind it is %s", got)
	}
	if s := sum(1, 2, []byte("3")); s != 0x154d52e7 {
		t.Errorf("the checksum is %#x", s)
	}
}

func TestALogGoesOnInSegments(t *testing.T) {
	l, dir := newLog(t)
	big := strings.Repeat("x", 300<<10)
	for i := range uint64(10) {
		add(t, l, i+1, big+fmt.Sprint(i+1))
	}
	add(t, l, 11, strings.Repeat("y", 3*DefaultSegmentSize)) // larger than a segment
	files := func() int {
		all, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	if n := files(); n < 5 {
		t.Errorf("there are %d segments", n)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openDir(t, dir)
	for i := range uint64(10) {
		if b, err := l.Read(i + 1); err != nil || string(b) != big+fmt.Sprint(i+1) {
			t.Fatalf("entry %d: %v", i+1, err)
		}
	}
	if n := l.Newest(3*DefaultSegmentSize + 2*(300<<10+2)); n != 3 {
		t.Errorf("the newest are %d", n)
	}
	if err := l.Drop(11); err != nil {
		t.Fatal(err)
	}
	if n := files(); n != 2 || l.First() != 11 { // the drop itself is in a new one
		t.Errorf("%d segments are left, of entries from %d on", n, l.First())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openDir(t, dir)
	if l.First() != 11 || l.Last() != 11 || string(l.Kept()) != "kept" {
		t.Errorf("it is %d to %d with %q", l.First(), l.Last(), l.Kept())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAppendRefusesGaps(t *testing.T) {
	l, _ := newLog(t)
	defer l.Close()
	add(t, l, 5, "a", "b")
	for _, first := range []uint64{4, 6, 8} {
		if _, err := l.Append(first, 1, func(b []byte, _ int) []byte { return append(b, 'c') }); err == nil {
			t.Errorf("entry %d behind 6 is taken", first)
		}
	}
	add(t, l, 7, "c")
	if l.First() != 5 || l.Last() != 7 {
		t.Errorf("it is %d to %d", l.First(), l.Last())
	}
}

func TestAClosedLogTakesNothing(t *testing.T) {
	l, _ := newLog(t)
	add(t, l, 1, "a")
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	_, err := l.Append(2, 1, func(b []byte, _ int) []byte { return append(b, 'b') })
	_, readErr := l.Read(1)
	for _, err := range []error{err, readErr, l.Cut(1), l.Drop(2), l.Keep(nil)} {
		if !errors.Is(err, errClosed) {
			t.Errorf("got %v", err)
		}
	}
}

func TestAMissingSegmentIsSeen(t *testing.T) {
	for _, name := range []string{"00000002.log", "00000003.log"} {
		l, dir := newLog(t)
		for i := range uint64(10) {
			add(t, l, i+1, strings.Repeat("x", 290<<10))
		}
		if n := len(l.segments); n != 4 {
			t.Fatalf("there are %d segments", n)
		}
		// The last one, and one in the middle; of an agent that was killed.
		if err := os.Remove(filepath.Join(dir, "00000004.log")); err != nil {
			t.Fatal(err)
		}
		if name != "00000003.log" {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		if l, err := Open(dir); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "is gone") {
			t.Errorf("it opens: %v, %v", l, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEveryByteCounts changes each byte of a log that was closed: it is refused,
// or everything is there.
func TestEveryByteCounts(t *testing.T) {
	d := newFakeDisk(nil)
	if err := create(d, []byte("kept"), modelSegment); err != nil {
		t.Fatal(err)
	}
	l, err := open(d, modelSegment)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(6) {
		add(t, l, i+1, fmt.Sprint("entry ", i+1), "x")
		if err := l.Cut(i + 2); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.Drop(2), l.Close()); err != nil {
		t.Fatal(err)
	}
	if len(d.files) < 3 {
		t.Fatalf("there are %d segments", len(d.files))
	}
	refused := 0
	for seq, f := range d.files {
		for i := range f.now {
			f.now[i] ^= 0x20
			l, err := open(d, modelSegment)
			switch {
			case err != nil:
				refused++
			case l.First() != 2 || l.Last() != 6 || string(l.Kept()) != "kept":
				t.Errorf("byte %d of segment %d is wrong, and it is %d to %d with %q", i, seq, l.First(), l.Last(), l.Kept())
			}
			copy(f.now, f.durable)
		}
	}
	if refused < 400 {
		t.Errorf("%d bytes count", refused)
	}
}

// TestDamageBeforeTheEndIsNoTornWrite: of a log whose process was killed, only
// what was written last may be wrong.
func TestDamageBeforeTheEndIsNoTornWrite(t *testing.T) {
	l, dir := newLog(t)
	defer l.Close()
	add(t, l, 1, "first")
	add(t, l, 2, "second")
	path := filepath.Join(dir, "00000001.log")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for word, last := range map[string]uint64{"first": 0, "second": 1} {
		bad := slices.Clone(good)
		bad[bytes.Index(bad, []byte(word))]++
		copied := filepath.Join(t.TempDir(), "log")
		if err := errors.Join(os.Mkdir(copied, 0o700), os.WriteFile(filepath.Join(copied, "00000001.log"), bad, 0o600)); err != nil {
			t.Fatal(err)
		}
		l, err := Open(copied)
		if last == 0 {
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "00000001.log") {
				t.Errorf("with the first entry wrong: %v", err)
			}
			continue
		}
		if err != nil || l.Last() != last {
			t.Fatalf("with the last write wrong: %v", err)
		}
		add(t, l, 2, "again")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if l = openDir(t, copied); l.Last() != 2 {
			t.Errorf("the log ends with %d", l.Last())
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCreateFailsWhole(t *testing.T) {
	dir := t.TempDir()
	if err := Create(filepath.Join(dir, "none", "log"), nil); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("got %v", err)
	}
	path := filepath.Join(dir, "log")
	if err := errors.Join(Create(path, nil), os.WriteFile(filepath.Join(path, "other.log"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, ErrDamaged) {
		t.Errorf("with a file of somebody else's: %v", err)
	}
	if err := Create(path, nil); err != nil { // as if it had not ended
		t.Fatal(err)
	}
	if err := openDir(t, path).Close(); err != nil {
		t.Fatal(err)
	}
}
