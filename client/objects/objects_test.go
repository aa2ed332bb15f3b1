package objects

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/framedb/framedb/client/wire"
)

func TestRangeResolve(t *testing.T) {
	for _, c := range []struct {
		r            Range
		size, off, n int64
		ok           bool
	}{
		{Range{0, -1}, 10, 0, 10, true}, {Range{0, 5}, 10, 0, 5, true}, {Range{9, 5}, 10, 9, 1, true}, {Range{10, 1}, 10, 0, 0, false},
		{Range{10, 0}, 10, 10, 0, true}, {Range{11, 0}, 10, 0, 0, false}, {Range{-3, -1}, 10, 7, 3, true}, {Range{-30, 2}, 10, 0, 2, true},
		{Range{0, -1}, 0, 0, 0, false}, {Range{0, 0}, 0, 0, 0, true}, {Range{1 << 62, 1 << 62}, 10, 0, 0, false},
		{Range{1, 1<<63 - 1}, 10, 1, 9, true}, {Range{-1 << 63, 1}, 10, 0, 1, true},
	} {
		off, n, err := c.r.resolve(c.size)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, wire.ErrRange) || err == nil && (off != c.off || n != c.n) {
			t.Errorf("%+v of %d: %d+%d, %v", c.r, c.size, off, n, err)
		}
	}
}

func TestConditionCheck(t *testing.T) {
	one := Sum{1}
	for _, c := range []struct {
		cond  Condition
		found bool
		holds bool
	}{
		{Condition{}, true, true}, {Condition{}, false, true},
		{Condition{IfAbsent: true}, false, true}, {Condition{IfAbsent: true}, true, false},
		{Condition{IfPresent: true}, true, true}, {Condition{IfPresent: true}, false, false},
		{Condition{IfMatch: []Sum{{2}, one}}, true, true}, {Condition{IfMatch: []Sum{{2}}}, true, false}, {Condition{IfMatch: []Sum{one}}, false, false},
	} {
		if err := c.cond.Check(c.found, one); (err == nil) != c.holds || err != nil && !errors.Is(err, wire.ErrPrecondition) {
			t.Errorf("%+v, found %v: %v", c.cond, c.found, err)
		}
	}
}

func TestSum(t *testing.T) {
	// xxh3-128 of nothing, from the reference implementation.
	if s := SumOf(nil).String(); s != "99aa06d3014798d86001c324468d497f" {
		t.Errorf("the checksum of nothing is %s", s)
	}
	sum := SumOf([]byte("x"))
	back, err := ParseSum(sum.String())
	if back != sum || err != nil || sum.ETag() != `"`+sum.String()+`"` {
		t.Errorf("%v, %v", back, err)
	}
	for _, bad := range []string{"", "00", strings.Repeat("g", 32), strings.Repeat("0", 33)} {
		if _, err := ParseSum(bad); !errors.Is(err, wire.ErrInvalidArgument) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// fake is an object whose blocks and checksum a test chooses.
type fake struct {
	info   Info
	blocks [][]byte
}

func (f *fake) Info() Info           { return f.info }
func (f *fake) Section(off, n int64) { panic("not used") }
func (f *fake) Close() error         { return nil }
func (f *fake) Checked() bool        { return false }
func (f *fake) Next(context.Context) ([]byte, error) {
	if len(f.blocks) == 0 {
		return nil, io.EOF
	}
	b := f.blocks[0]
	f.blocks = f.blocks[1:]
	return b, nil
}

// TestReaderNeverEndsWell with a wrong byte, a byte too few or too many,
// whatever the backend gives it.
func TestReaderNeverEndsWell(t *testing.T) {
	good := []byte("0123456789")
	for what, blocks := range map[string][]string{
		"right": {"01234", "56789"}, "right in one": {"0123456789"}, "empty ones between": {"", "01234", "", "56789", ""},
		"a wrong byte": {"01234", "56780"}, "a wrong byte at first": {"11234", "56789"}, "swapped": {"56789", "01234"},
		"too short": {"01234", "5678"}, "too long": {"01234", "567890"}, "one too many": {"01234", "56789", "0"}, "nothing": {},
	} {
		for way, read := range map[string]func(*Reader) ([]byte, error){
			"read":     func(r *Reader) ([]byte, error) { return io.ReadAll(struct{ io.Reader }{r}) },
			"one byte": func(r *Reader) ([]byte, error) { return io.ReadAll(iotest.OneByteReader(r)) },
			"write to": func(r *Reader) ([]byte, error) {
				var b bytes.Buffer
				_, err := r.WriteTo(&b)
				return b.Bytes(), err
			},
		} {
			f := &fake{info: Info{Key: "k", Size: int64(len(good)), Sum: SumOf(good)}}
			for _, b := range blocks {
				f.blocks = append(f.blocks, []byte(b))
			}
			r, err := newReader(t.Context(), f, GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := read(r)
			right := strings.HasPrefix(what, "right") || strings.HasPrefix(what, "empty")
			if right && (err != nil || !bytes.Equal(got, good)) || !right && !errors.Is(err, wire.ErrCorrupt) {
				t.Errorf("%s, by %s: %q, %v", what, way, got, err)
			}
			if what == "a wrong byte" && !bytes.HasPrefix(good, got) {
				t.Errorf("%s, by %s: %q was given out", what, way, got)
			}
		}
	}
}

func FuzzKey(f *testing.F) {
	for _, s := range []string{"", "a", "a/../b", "..", "a\x00", "\xff", "a ", strings.Repeat("x", 256)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if Key(s).Validate() != nil {
			return
		}
		if s == "" || len(s) > MaxKey || strings.ContainsRune(s, 0) || strings.HasSuffix(s, " ") || strings.Contains("/"+s+"/", "/../") {
			t.Errorf("%q is taken for a key", s)
		}
	})
}
