package ingest_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
)

const source = wire.SourceID("cam-1")

func frame(n uint64, sizes ...string) ingest.Frame {
	f := ingest.Frame{Key: wire.NewFrameKey(source, 1, 2, n)}
	for i := 0; i < len(sizes); i += 2 {
		f.Sizes = append(f.Sizes, ingest.Size{Name: sizes[i], Data: []byte(sizes[i+1])})
	}
	return f
}

// stream writes frames one behind the other.
func stream(t testing.TB, fs ...ingest.Frame) []byte {
	t.Helper()
	var b bytes.Buffer
	for i := range fs {
		if err := fs[i].Write(&b); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// raw is a frame with any head.
func raw(head, data string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(head)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	return append(b, head+data...)
}

// readAll reads a stream; the errors of single frames are in the list, that of
// the stream comes last.
func readAll(b []byte) (frames []ingest.Frame, errs []error, end error) {
	d := ingest.NewDecoder(bufio.NewReader(bytes.NewReader(b)))
	for {
		n, err := d.Next()
		if err != nil {
			return frames, errs, err
		}
		f, err := d.Frame(make([]byte, n))
		if ingest.Broken(err) {
			return frames, errs, err
		}
		frames, errs = append(frames, f), append(errs, err)
	}
}

func TestStreamKeepsFrames(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var in []ingest.Frame
		for range rapid.IntRange(0, 4).Draw(t, "frames") {
			f := ingest.Frame{
				ID:  wire.RequestID(rapid.StringMatching(`[!-~]{0,20}`).Draw(t, "id")),
				TTL: time.Duration(rapid.Int64Range(0, 1e6).Draw(t, "ttl")) * time.Millisecond,
			}
			if rapid.Bool().Draw(t, "key") {
				f.Key = wire.NewFrameKey(source, 1, 2, rapid.Uint64().Draw(t, "n"))
			}
			if rapid.Bool().Draw(t, "counted") {
				n := rapid.Int64Range(0, ingest.MaxCount).Draw(t, "count")
				f.Count = &n
			}
			for i := range rapid.IntRange(1, 3).Draw(t, "sizes") {
				f.Sizes = append(f.Sizes, ingest.Size{Name: fmt.Sprint(i, "x1"), Data: rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(t, "data")})
			}
			in = append(in, f)
		}
		var b bytes.Buffer
		for i := range in {
			if err := in[i].Write(&b); err != nil {
				t.Fatal(err)
			}
		}
		out, errs, end := readAll(b.Bytes())
		if end != io.EOF || errors.Join(errs...) != nil || len(out) != len(in) {
			t.Fatalf("%d of %d frames, %v, %v", len(out), len(in), errs, end)
		}
		for i := range in {
			if want, got := fmt.Sprintf("%+v", flat(in[i])), fmt.Sprintf("%+v", flat(out[i])); want != got {
				t.Fatalf("%s, want %s", got, want)
			}
			if err := out[i].Check(source); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// flat has no pointers in it.
func flat(f ingest.Frame) any {
	count := int64(-1)
	if f.Count != nil {
		count = *f.Count
	}
	f.Count = nil
	return []any{f, count}
}

func TestAStreamThatIsCutNamesTheFrame(t *testing.T) {
	t.Parallel()
	one := stream(t, frame(1, "1x1", "abc", "2x2", "defg"))
	whole := append(bytes.Clone(one), stream(t, frame(2, "1x1", "xyz"))...)
	for cut := range whole {
		frames, _, end := readAll(whole[:cut])
		if cut == 0 || cut == len(one) {
			if end != io.EOF {
				t.Errorf("cut at %d, between frames: %v", cut, end)
			}
			continue
		}
		want := "frame 1"
		if cut > len(one) {
			want = "frame 2"
		}
		if wire.CodeOf(end) != wire.CodeMalformed || !strings.Contains(end.Error(), want) || (len(frames) == 1) != (cut > len(one)) {
			t.Errorf("cut at %d: %d frames, then %v", cut, len(frames), end)
		}
	}
}

func TestABadFrameIsRefusedByItself(t *testing.T) {
	t.Parallel()
	good := stream(t, frame(1, "1x1", "abc"))
	for head, want := range map[string]wire.Code{
		``:                     wire.CodeMalformed,
		`{`:                    wire.CodeMalformed,
		`{"sizes":[]} {}`:      wire.CodeMalformed,
		`{"frame":"nonsense"}`: wire.CodeInvalidArgument,
		`{"frame":7}`:          wire.CodeInvalidArgument,
		`{"count":1.5}`:        wire.CodeInvalidArgument,
		`{"count":"two"}`:      wire.CodeInvalidArgument,
		`{"ttl_ms":-1}`:        wire.CodeInvalidArgument,
		`{"sizes":[]}`:         wire.CodeInvalidArgument,
		`{"unknown":1}`:        wire.CodeMalformed,
		`{"sizes":[{"size":"1x1","bytes":-1},{"size":"2x2","bytes":4}]}`: wire.CodeInvalidArgument,
	} {
		frames, errs, end := readAll(append(raw(head, "abc"), good...))
		if end != io.EOF || len(frames) != 2 || wire.CodeOf(errs[0]) != want || errs[1] != nil {
			t.Errorf("%s: %v, then %v", head, errs, end)
		}
		if _, err := ingest.Unmarshal(raw(head, "abc")); wire.CodeOf(err) != want {
			t.Errorf("%s by itself: %v", head, err)
		}
	}
	if _, _, end := readAll([]byte("GET / HTTP/1.1\r\n\r\n")); wire.CodeOf(end) != wire.CodeMalformed {
		t.Errorf("something else: %v", end)
	}
	if _, _, end := readAll([]byte{0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff, '{', '}'}); !errors.Is(end, wire.ErrTooLarge) {
		t.Errorf("a frame of 4 GiB: %v", end)
	}
	for _, b := range [][]byte{nil, good[:len(good)-1], append(bytes.Clone(good), 0)} {
		if _, err := ingest.Unmarshal(b); wire.CodeOf(err) != wire.CodeMalformed {
			t.Errorf("Unmarshal of %d bytes: %v", len(b), err)
		}
	}
	if f, err := ingest.Unmarshal(good); err != nil || string(f.Sizes[0].Data) != "abc" {
		t.Errorf("Unmarshal: %+v, %v", f, err)
	}
}

func TestCheckNamesTheField(t *testing.T) {
	t.Parallel()
	n := func(n int64) *int64 { return &n }
	for name, c := range map[string]struct {
		change func(*ingest.Frame)
		code   wire.Code
		field  string
	}{
		"another source": {func(f *ingest.Frame) { f.Key = wire.NewFrameKey("cam-2", 1, 2, 3) }, wire.CodeInvalidArgument, "frame"},
		"a bad key":      {func(f *ingest.Frame) { f.Key.Prefix = "cam-1" }, wire.CodeInvalidArgument, "frame"},
		"a bad id":       {func(f *ingest.Frame) { f.ID = "a b" }, wire.CodeInvalidArgument, "id"},
		"below zero":     {func(f *ingest.Frame) { f.Count = n(-1) }, wire.CodeInvalidArgument, "count"},
		"too many uses":  {func(f *ingest.Frame) { f.Count = n(1 << 60) }, wire.CodeInvalidArgument, "count"},
		"a short life":   {func(f *ingest.Frame) { f.TTL = 1 }, wire.CodeInvalidArgument, "ttl_ms"},
		"no size":        {func(f *ingest.Frame) { f.Sizes = nil }, wire.CodeInvalidArgument, "sizes"},
		"0 bytes":        {func(f *ingest.Frame) { f.Sizes[0].Data = nil }, wire.CodeInvalidArgument, "sizes"},
		"a bad size":     {func(f *ingest.Frame) { f.Sizes[0].Name = "a__b" }, wire.CodeInvalidArgument, "sizes"},
		"a size twice":   {func(f *ingest.Frame) { f.Sizes = append(f.Sizes, f.Sizes[0]) }, wire.CodeInvalidArgument, "sizes"},
		"too large":      {func(f *ingest.Frame) { f.Sizes[0].Data = make([]byte, wire.MaxFrame+1) }, wire.CodeTooLarge, "sizes"},
	} {
		f := frame(1, "1x1", "abc")
		if err := f.Check(source); err != nil {
			t.Fatal(err)
		}
		c.change(&f)
		if e := wire.AsError(f.Check(source)); e == nil || e.Code != c.code || e.Field != c.field {
			t.Errorf("%s: %v", name, e)
		}
	}
}

func TestLevels(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "received", "master", "durable", "replicated:1", "replicated:100"} {
		if l, err := ingest.ParseLevel(s); err != nil || l.String() != s {
			t.Errorf("%q: %v, %v", s, l, err)
		}
	}
	for _, s := range []string{"x", "master:1", "replicated", "replicated:", "replicated:0", "replicated:101", "replicated:01", "replicated:-1", "received:0"} {
		if l, err := ingest.ParseLevel(s); !errors.Is(err, wire.ErrInvalidArgument) {
			t.Errorf("%q: %v, %v", s, l, err)
		}
	}
}

// FuzzDecoder reads anything: frames that are written again are read again.
func FuzzDecoder(f *testing.F) {
	f.Add(stream(f, frame(1, "1x1", "abc", "2x2", "defg"), frame(2, "1x1", "x")))
	f.Add(raw(`{"count":1e3,"sizes":[{"size":"a","bytes":3}]}`, "abc"))
	f.Add(raw(`{}`, ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 8 && binary.BigEndian.Uint32(b[4:]) > 1<<20 {
			return // room for it is the caller's to make
		}
		d := ingest.NewDecoder(bytes.NewReader(b))
		for {
			n, err := d.Next()
			if err != nil || n > 1<<20 {
				return
			}
			f, err := d.Frame(make([]byte, n))
			if ingest.Broken(err) {
				return
			}
			if err != nil || f.Check(source) != nil {
				continue
			}
			again, err := ingest.Unmarshal(stream(t, f))
			if err != nil || fmt.Sprint(flat(again)) != fmt.Sprint(flat(f)) {
				t.Errorf("%v became %v, %v", flat(f), flat(again), err)
			}
		}
	})
}
