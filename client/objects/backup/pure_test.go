package backup

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

func TestTargetValidate(t *testing.T) {
	good := Target{Name: "t", Endpoint: "s3.example.com:443", Bucket: "a-bucket", Prefix: "a/b/", AccessKeyFile: "a", SecretKeyFile: "s"}
	for _, c := range []struct {
		change func(*Target)
		field  string
	}{
		{func(t *Target) {}, ""},
		{func(t *Target) { t.Endpoint = "10.0.0.1" }, ""},
		{func(t *Target) { t.Endpoint = "[::1]:9000" }, ""},
		{func(t *Target) { t.Prefix = "" }, ""},
		{func(t *Target) { t.Insecure = true }, ""},
		{func(t *Target) { t.Region = "eu-central-1" }, ""},
		{func(t *Target) { t.Name = "" }, "name"},
		{func(t *Target) { t.Name = "A" }, "name"},
		{func(t *Target) { t.Endpoint = "" }, "endpoint"},
		{func(t *Target) { t.Endpoint = "https://s3.example.com" }, "endpoint"},
		{func(t *Target) { t.Endpoint = "host/path" }, "endpoint"},
		{func(t *Target) { t.Endpoint = "host:" }, "endpoint"},
		{func(t *Target) { t.Endpoint = "host:x" }, "endpoint"},
		{func(t *Target) { t.Endpoint = "user@host" }, "endpoint"},
		{func(t *Target) { t.Endpoint = "ho st" }, "endpoint"},
		{func(t *Target) { t.Bucket = "" }, "bucket"},
		{func(t *Target) { t.Bucket = "ab" }, "bucket"},
		{func(t *Target) { t.Bucket = "Upper-Case" }, "bucket"},
		{func(t *Target) { t.Bucket = "10.0.0.1" }, "bucket"},
		{func(t *Target) { t.Bucket = "a..b" }, "bucket"},
		{func(t *Target) { t.Bucket = strings.Repeat("b", 64) }, "bucket"},
		{func(t *Target) { t.Prefix = "/a" }, "prefix"},
		{func(t *Target) { t.Prefix = "/" }, "prefix"},
		{func(t *Target) { t.Prefix = "a//b" }, "prefix"},
		{func(t *Target) { t.Prefix = "a/../b" }, "prefix"},
		{func(t *Target) { t.Prefix = "a\n" }, "prefix"},
		{func(t *Target) { t.Region = "eu central" }, "region"},
		{func(t *Target) { t.AccessKeyFile = "" }, "access_key_file"},
		{func(t *Target) { t.SecretKeyFile = "" }, "secret_key_file"},
		{func(t *Target) { t.CAFile, t.Insecure = "ca", true }, "ca_file"},
	} {
		target := good
		c.change(&target)
		err := target.Validate()
		if c.field == "" && err != nil || c.field != "" && (!errors.Is(err, wire.ErrInvalidArgument) || wire.AsError(err).Field != c.field) {
			t.Errorf("%+v: %v, want field %q", target, err, c.field)
		}
	}
	for _, ca := range []string{"/does/not/exist", "pure_test.go"} {
		target := good
		target.CAFile = ca
		if _, err := New(target, Config{}); !errors.Is(err, wire.ErrInvalidArgument) || wire.AsError(err).Field != "ca_file" {
			t.Errorf("%s: %v", ca, err)
		}
	}
}

func TestSelectionNormal(t *testing.T) {
	for _, c := range []struct{ in, want Selection }{
		{Selection{}, Selection{Prefixes: []string{""}}},
		{Selection{Prefixes: []string{"b", "", "a"}, Keys: []objects.Key{"x"}}, Selection{Prefixes: []string{""}}},
		{Selection{Prefixes: []string{"a/", "b", "a", "b"}}, Selection{Prefixes: []string{"a", "b"}}},
		{Selection{Keys: []objects.Key{"c", "a", "c"}}, Selection{Keys: []objects.Key{"a", "c"}}},
		{Selection{Prefixes: []string{"a"}, Keys: []objects.Key{"ab", "b"}}, Selection{Prefixes: []string{"a"}, Keys: []objects.Key{"b"}}},
	} {
		got, err := c.in.normal()
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v: %+v, %v, want %+v", c.in, got, err, c.want)
		}
	}
	for field, bad := range map[string]Selection{
		"keys": {Keys: []objects.Key{""}}, "prefixes": {Prefixes: []string{strings.Repeat("p", 256)}},
	} {
		if _, err := bad.normal(); !errors.Is(err, wire.ErrInvalidArgument) || wire.AsError(err).Field != field {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if _, err := (Selection{Keys: make([]objects.Key, MaxKeys+1)}).normal(); !errors.Is(err, wire.ErrInvalidArgument) {
		t.Errorf("too many keys: %v", err)
	}
}

// TestFormat1 reads what the first version wrote, for ever.
func TestFormat1(t *testing.T) {
	data, err := os.ReadFile("testdata/format1.head")
	if err != nil {
		t.Fatal(err)
	}
	h, err := decodeHead(data)
	if err != nil {
		t.Fatal(err)
	}
	again, err := h.encode()
	if err != nil || string(again) != string(data) {
		t.Errorf("it is written as\n%s%v", again, err)
	}
	if h.Name != "nightly.20261130t030000z" || h.Objects != 2 || len(h.Body) != 1 || h.Run.String() != "0102030405060708" {
		t.Errorf("%+v", h)
	}
	gz, err := os.ReadFile("testdata/format1.body")
	if err != nil || contentOf(gz) != h.Body[0].content {
		t.Fatalf("%+v is not %+v, %v", contentOf(gz), h.Body[0], err)
	}
	var got []Entry
	if err := eachEntry(gz, func(e Entry) error { got = append(got, e); return nil }); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, goldenEntries()) {
		t.Errorf("%+v", got)
	}
	newer := head{Summary: Summary{Format: Format + 1}}
	text, _ := newer.encode()
	if _, err := decodeHead(text); !errors.Is(err, wire.ErrConflict) {
		t.Errorf("a newer format: %v", err)
	}
}

func goldenEntries() []Entry {
	at := time.Date(2026, 11, 30, 2, 0, 0, 0, time.UTC)
	return []Entry{
		{Info: objects.Info{Key: "empty", Sum: objects.SumOf(nil), Foreign: true}},
		{
			Info: objects.Info{
				Key: "crops/7.png", Size: 3, Sum: objects.SumOf([]byte("abc")), ContentType: "image/png",
				User: map[string]string{"camera": "7"}, Created: at, Modified: at, Expires: at.AddDate(0, 0, 1),
			},
			Pieces: []piece{{content: contentOf([]byte("abc")), Run: runID{1, 2, 3, 4, 5, 6, 7, 8}, ETag: entityTag{9}}},
		},
	}
}

func TestEntryCheck(t *testing.T) {
	for _, bad := range []Entry{
		{Info: objects.Info{Size: 1}},
		{Info: objects.Info{Size: 1}, Pieces: []piece{{content: content{Size: 2}}}},
		{Info: objects.Info{Size: 0}, Pieces: []piece{{content: content{Size: 0}}}},
		{Info: objects.Info{Size: 0}, Pieces: []piece{{content: content{Size: 2}}, {content: content{Size: -2}}}},
		{Info: objects.Info{Size: 1 << 40}, Pieces: []piece{{content: content{Size: 1 << 40}}}},
	} {
		if err := bad.check(); !errors.Is(err, wire.ErrCorrupt) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func FuzzParsePiece(f *testing.F) {
	f.Add((piece{content: contentOf([]byte("x")), Run: runID{1}}).key())
	f.Add("ab/cd-1-2")
	f.Fuzz(func(t *testing.T, key string) {
		if p, ok := parsePiece(key); ok && (p.key() != key || p.Size <= 0) {
			t.Errorf("%q is read as %+v", key, p)
		}
	})
}

func FuzzDecodeHead(f *testing.F) {
	data, _ := os.ReadFile("testdata/format1.head")
	f.Add(data)
	f.Add([]byte("{}\n99aa06d3014798d86001c324468d497f\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if h, err := decodeHead(data); err == nil && h.Format != 1 {
			t.Errorf("%+v", h)
		}
	})
}

// TestPlan is what a sweep decides.
func TestPlan(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	live, dead, gone := runID{1}, runID{2}, runID{3}
	pc := func(n int64, run runID) piece { return piece{content: content{Size: n}, Run: run} }
	v := survey{
		now: now, dir: "d/",
		pieces: []piece{pc(1, live), pc(2, dead), pc(3, gone), pc(4, gone), pc(5, gone), pc(6, gone), pc(7, gone)},
		runs:   map[runID]time.Time{live: now.Add(-time.Hour), dead: now.Add(-48 * time.Hour)},
		used:   map[piece]bool{pc(4, gone): true, pc(6, gone): true},
		marks: []mark{
			{key: "d/marks/ripe", modified: now.Add(-2 * time.Hour), pieces: []piece{pc(5, gone), pc(99, gone)}},
			{key: "d/marks/used", modified: now.Add(-2 * time.Hour), pieces: []piece{pc(6, gone)}},
			{key: "d/marks/fresh", modified: now.Add(-time.Minute), pieces: []piece{pc(7, gone)}},
		},
	}
	toMark, toDrop, done := v.plan(Abandoned, Grace)
	if want := []piece{pc(2, dead), pc(3, gone)}; !slices.Equal(toMark, want) {
		t.Errorf("marks %v, want %v", toMark, want)
	}
	if want := []piece{pc(5, gone)}; !slices.Equal(toDrop, want) {
		t.Errorf("drops %v, want %v", toDrop, want)
	}
	if want := []string{"marks/ripe", "runs/" + dead.String()}; !slices.Equal(done, want) {
		t.Errorf("done %v, want %v", done, want)
	}
}

func TestSurplus(t *testing.T) {
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	all := []Summary{
		{Name: "hand"}, {Name: "n3", Job: "n", Instant: at.Add(3)}, {Name: "n1", Job: "n", Instant: at.Add(1)},
		{Name: "bad", Job: "n", Instant: at, Damaged: "it is"}, {Name: "m1", Job: "m", Instant: at}, {Name: "n2", Job: "n", Instant: at.Add(2)},
	}
	for keep, want := range map[int]string{1: "[n1 n2]", 2: "[n1]", 3: "[]", 9: "[]"} {
		got := []Name{}
		for _, s := range surplus(all, "n", keep) {
			got = append(got, s.Name)
		}
		if fmt.Sprint(got) != want {
			t.Errorf("keep %d: %v, want %s", keep, got, want)
		}
	}
	if s, found := since(all, "n", at.Add(2)); !found || s.Name != "n2" {
		t.Errorf("%+v, %v", s, found)
	}
	if s, found := since(all, "n", at.Add(4)); found {
		t.Errorf("%+v", s)
	}
}

// TestTooLate: a gap in reading marks spoils a run; all gaps that do not, and
// the writing of the head, are shorter than Grace together.
func TestTooLate(t *testing.T) {
	now := time.Now()
	for gap, want := range map[time.Duration]bool{0: false, touchEvery: false, maxGap: false, maxGap + 1: true, 48 * time.Hour: true} {
		if tooLate(now, now.Add(gap)) != want || tooLate(now.Round(0), now.Add(gap)) != want {
			t.Errorf("after %v: %v", gap, !want)
		}
	}
	if 2*(maxGap+headWithin) > Grace || 3*touchEvery > maxGap || 10*touchEvery > Abandoned {
		t.Error("the times do not fit together")
	}
}

func TestIndexDrop(t *testing.T) {
	a := piece{content: content{Size: 1}, Run: runID{1}}
	b := piece{content: content{Size: 2}, Run: runID{1}}
	ix := &index{pieces: map[content]*known{a.content: {run: a.Run}, b.content: {run: b.Run}}}
	if ix.drop(map[piece]bool{{content: a.content, Run: runID{9}}: true}) {
		t.Error("a mark of another's piece spoils")
	}
	if _, ok := ix.piece(a.content); !ok || ix.drop(map[piece]bool{b: true}) {
		t.Error("a mark of an unused piece spoils")
	}
	if _, ok := ix.piece(b.content); ok {
		t.Error("a marked piece is used")
	}
	if !ix.drop(map[piece]bool{a: true}) {
		t.Error("a mark of a used piece does not spoil")
	}
}
