package spool

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// crashed copies the files of a log as they are now.
func crashed(t testing.TB, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "l")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestATornRecordIsCutAtEveryByte(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir, Config{})
	texts := []string{"first", "the second", "3"}
	var ends []int
	for _, s := range texts {
		add(t, l, s)
		ends = append(ends, int(l.Depth().Bytes))
	}
	file := segments(t, dir)[0]
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range whole {
		want := 0
		for want < 3 && ends[want] <= cut {
			want++
		}
		damages := 0
		copied := crashed(t, dir)
		if err := os.Truncate(filepath.Join(copied, filepath.Base(file)), int64(cut)); err != nil {
			t.Fatal(err)
		}
		torn := open(t, copied, Config{OnDamage: func(d Damage) {
			if damages++; !d.Torn {
				t.Errorf("cut at %d: %v", cut, d)
			}
		}})
		if clean := want > 0 && ends[want-1] == cut || cut == 0; (damages == 0) != clean {
			t.Errorf("cut at %d: %d reports", cut, damages)
		}
		add(t, torn, "new")
		equal(t, fmt.Sprint("cut at ", cut), drain(t, torn, false), append(slices.Clone(texts[:want]), "new"))
		torn.closeFiles()
		again := open(t, copied, Config{OnDamage: func(d Damage) { t.Errorf("cut at %d, then: %v", cut, d) }})
		equal(t, "opened again", drain(t, again, false), append(slices.Clone(texts[:want]), "new"))
		closeIt(t, again)
	}
	closeIt(t, l)
}

func TestDamageCostsOneRecordAndIsReported(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir, Config{})
	texts := []string{"first", "the second", "3", "the last of all"}
	var ends []int
	for _, s := range texts {
		add(t, l, s)
		ends = append(ends, int(l.Depth().Bytes))
	}
	file := filepath.Base(segments(t, dir)[0])
	for at := range ends[2] {
		hit := 0
		for ends[hit] <= at {
			hit++
		}
		copied := crashed(t, dir)
		path := filepath.Join(copied, file)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[at] ^= 0x55
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		var reports []Damage
		bad := open(t, copied, Config{OnDamage: func(d Damage) { reports = append(reports, d) }})
		equal(t, fmt.Sprint("damaged at ", at), drain(t, bad, true), slices.Delete(slices.Clone(texts), hit, hit+1))
		if len(reports) != 1 || reports[0].Lost != 1 || reports[0].Torn || reports[0].Offset > int64(at) || reports[0].Offset+reports[0].Bytes <= int64(at) {
			t.Errorf("damaged at %d: reported as %v", at, reports)
		}
		if !bad.Empty() {
			t.Errorf("damaged at %d: %d records never end", at, bad.Depth().Records)
		}
		closeIt(t, bad)
	}
	closeIt(t, l)
}

func TestRecordsInsideOfPayloadsAreNotBelieved(t *testing.T) {
	t.Parallel()
	other := t.TempDir()
	o := open(t, other, Config{})
	add(t, o, "x", "forged", "forged")
	stolen, err := os.ReadFile(segments(t, other)[0])
	if err != nil {
		t.Fatal(err)
	}
	closeIt(t, o)
	dir := t.TempDir()
	l := open(t, dir, Config{})
	add(t, l, string(stolen), "good")
	file := segments(t, dir)[0]
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[5] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	equal(t, "behind a damaged header", drain(t, l, false), []string{"good"})
	closeIt(t, l)
}

func TestAMissingSegmentIsReported(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir, Config{SegmentBytes: 1})
	add(t, l, "a")
	add(t, l, "b")
	add(t, l, "c")
	closeIt(t, l)
	if err := os.Remove(segments(t, dir)[1]); err != nil {
		t.Fatal(err)
	}
	var lost uint64
	l = open(t, dir, Config{SegmentBytes: 1, OnDamage: func(d Damage) { lost += d.Lost }})
	equal(t, "without the middle", drain(t, l, true), []string{"a", "c"})
	if lost != 1 {
		t.Errorf("%d records were reported lost", lost)
	}
	closeIt(t, l)
}

func TestALostDoneFileRepeatsAndLosesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir, Config{SegmentBytes: 1})
	add(t, l, "a")
	add(t, l, "b")
	b, _, _ := l.Read(nil, 1)
	if err := l.Ack(b); err != nil {
		t.Fatal(err)
	}
	closeIt(t, l)
	if err := os.Remove(filepath.Join(dir, ackName)); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, Config{OnDamage: func(d Damage) { t.Error(d) }})
	equal(t, "without its file", drain(t, l, false), []string{"b"})
	closeIt(t, l)
}
