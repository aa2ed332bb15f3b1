package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"image"
	"image/png"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/framedb/framedb/client/wire"
)

func TestFramesGoThroughTheAgentFromElsewhere(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	dir := t.TempDir()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 8, 4))); err != nil {
		t.Fatal(err)
	}
	a, raw := filepath.Join(dir, "a.png"), filepath.Join(dir, "raw.bin")
	for name, data := range map[string]string{a: b.String(), raw: "raw"} {
		if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"7/8x4", "8/8x4", "7/2x2"} {
		f.answer("PUT /v1/frames/cam-1/cam-1?0?0__"+path, wire.PutFrame{})
	}
	o := stage{api: f}.run(t, "frame", "put", "cam-1", a, a, "--frame", "7")
	want := "PUT /v1/frames/cam-1/cam-1%3F0%3F0__7/8x4?count=2&node_tag=node-1 " + strings.TrimSpace(b.String())
	if calls := f.asked("PUT"); o.code != 0 || len(calls) != 2 || calls[0] != want || !strings.Contains(o.stdout, "ref__cam-1?0?0__8") {
		t.Errorf("exit %d: %s%s %d calls", o.code, o.stdout, o.stderr, len(f.asked("PUT")))
	}
	o = stage{api: f}.run(t, "frame", "put", "cam-1", raw, "--frame", "7", "--size", "2x2", "--count", "5")
	if calls := f.asked("PUT"); o.code != 0 || calls[2] != "PUT /v1/frames/cam-1/cam-1%3F0%3F0__7/2x2?count=5&node_tag=node-1 raw" {
		t.Errorf("exit %d: %s %v", o.code, o.stderr, calls[2:])
	}
	for args, code := range map[string]int{
		"--count 0":                exitUsage,
		"--size 1x1,2x2,3x3":       exitUsage,
		"--together --size 1x1":    0,
		"":                         exitUsage, // raw has no size
		"--node-tag x --size 1x1":  exitNotFound,
		"--size 9x9 --frame 1":     exitNotFound, // the fake does not know it
		"--together --size 1x1 -h": 0,
	} {
		if o := (stage{api: f}).run(t, append([]string{"frame", "put", "cam-1", raw}, strings.Fields(args)...)...); args != "--together --size 1x1" && o.code != code {
			t.Errorf("%q: exit %d, want %d: %s", args, o.code, code, o.stderr)
		}
	}
	if o := (stage{api: f}).run(t, "frame", "put", "cam-1", raw, a, "--together", "--size", "1x1,2x2"); o.code != exitUsage || !strings.Contains(o.stderr, "direct access") {
		t.Errorf("several sizes through the agent: exit %d: %s", o.code, o.stderr)
	}
}

func TestAFrameIsNotWrittenToATerminal(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.on("GET /v1/frames/cam-1/k", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte{0xff, 0xd8}) })
	if o := (stage{api: f, terminal: true}).run(t, "frame", "get", "cam-1", "k"); o.code != exitUsage || o.stdout != "" {
		t.Errorf("exit %d: %q", o.code, o.stdout)
	}
	file := filepath.Join(t.TempDir(), "x")
	o := stage{api: f, terminal: true}.run(t, "frame", "get", "cam-1", "k", "--out", file)
	if data, err := os.ReadFile(file); o.code != 0 || err != nil || !bytes.Equal(data, []byte{0xff, 0xd8}) {
		t.Errorf("exit %d: %s, %v", o.code, o.stderr, err)
	}
	if o := (stage{api: f}).run(t, "frame", "get", "cam-1", "gone"); o.code != exitNotFound {
		t.Errorf("a key that is not there: exit %d", o.code)
	}
}

func TestListingPagesAndSorts(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.on("GET /v1/frames/cam-1", func(w http.ResponseWriter, r *http.Request) {
		page := wire.FramePage{Frames: []wire.FrameInfo{{Frame: "cam-1?0?0__10"}, {Frame: "cam-1?0?0__2"}}, Next: "x"}
		if r.URL.Query().Get("cursor") == "x" {
			page = wire.FramePage{Frames: []wire.FrameInfo{{Frame: "cam-1?0?0__2"}, {Frame: "cam-1?0?0__1"}}}
		}
		json.NewEncoder(w).Encode(page)
	})
	o := stage{api: f}.run(t, "frame", "ls", "cam-1", "-o", "json")
	var frames []wire.FrameInfo
	if err := json.Unmarshal([]byte(o.stdout), &frames); err != nil {
		t.Fatal(err)
	}
	if len(frames) != 3 || frames[0].Frame != "cam-1?0?0__1" || frames[2].Frame != "cam-1?0?0__10" {
		t.Errorf("%+v", frames)
	}
	if o := (stage{api: f}).run(t, "frame", "ls", "cam-1", "--limit", "2"); !strings.Contains(o.stderr, "there are more") {
		t.Errorf("a cut list does not say so: %s", o.stderr)
	}
}

func TestCountingDownNeedsSizes(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	bare := routes("node-1")
	bare.Routes[0].Metadata = nil
	f.answer("GET /v1/sources/cam-1", bare)
	f.answer("POST /v1/frames/cam-1/decr", map[string]any{"results": []wire.Decremented{{Key: "k", Deleted: 1}}})
	o := stage{api: f}.run(t, "frame", "decr", "cam-1", "k")
	if o.code != exitUsage || len(f.asked("POST")) != 0 || !strings.Contains(o.stderr, "framedb source metadata cam-1 --sizes") {
		t.Errorf("exit %d: %s, %v", o.code, o.stderr, f.asked("POST"))
	}
	for sizes, want := range map[string]string{"8x8,4x4": `["8x8","4x4"]`, "": "[]"} {
		before := len(f.asked("POST"))
		o := stage{api: f}.run(t, "frame", "decr", "cam-1", "k", "--sizes", sizes)
		calls := f.asked("POST")
		if o.code != 0 || len(calls) != before+1 || !strings.Contains(calls[before], `"sizes":`+want) {
			t.Errorf("%q: exit %d: %s, %v", sizes, o.code, o.stderr, calls[before:])
		}
	}
}

// fewKeys is a store that has some keys; the agent cannot drop any.
type fewKeys struct {
	frameStore
	has map[string]bool
}

func (f fewKeys) remove(_ context.Context, key string) (bool, error) {
	if key == "broken" {
		return false, wire.Errorf(wire.CodeUnavailable, "no Redis")
	}
	return f.has[key], nil
}

func TestRemovingKeysTellsThoseThatWereNotThere(t *testing.T) {
	t.Parallel()
	store := fewKeys{has: map[string]bool{"a": true, "c": true}}
	gone, missing, err := removeKeys(t.Context(), store, []string{"a", "b", "c", "broken", "d"})
	if strings.Join(gone, "") != "ac" || strings.Join(missing, "") != "b" || !errors.Is(err, wire.ErrUnavailable) {
		t.Errorf("gone %v, missing %v, %v", gone, missing, err)
	}
}
