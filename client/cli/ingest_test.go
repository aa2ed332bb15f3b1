package cli

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
)

// takes has the API answer to frames of cam-1 with these lines.
func (f *fakeAPI) takes(lines ...string) {
	f.on("POST /v1/ingest/cam-1", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, strings.Join(lines, "\n")) })
}

// took are the frames that were sent for cam-1, and with which query.
func (f *fakeAPI) took(t *testing.T) (frames []ingest.Frame, query string) {
	t.Helper()
	for _, call := range f.asked("POST /v1/ingest/cam-1") {
		uri, body, _ := strings.Cut(strings.TrimPrefix(call, "POST "), " ")
		_, query, _ = strings.Cut(uri, "?")
		for d := ingest.NewDecoder(strings.NewReader(body)); ; {
			n, err := d.Next()
			if err != nil {
				break
			}
			frame, err := d.Frame(make([]byte, n))
			if err != nil {
				t.Fatal(err)
			}
			frames = append(frames, frame)
		}
	}
	return frames, query
}

func gray(w, h int) []byte {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, w, h))); err != nil {
		panic(err)
	}
	return b.Bytes()
}

const taken = `{"frame":"cam-1?0?0__1","level":"master"}`

func TestIngestSplitsImages(t *testing.T) {
	f := newFakeAPI(t)
	f.takes(taken, `{"frame":"cam-1?0?0__2","level":"durable","duplicate":true}`, `{"end":{"frames":2,"failed":0}}`)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.png"), append(gray(6, 4), gray(3, 2)...), 0o600); err != nil {
		t.Fatal(err)
	}
	o := stage{api: f}.run(t, "ingest", "--source", "cam-1", "--ack", "replicated:1", "--count", "3", "--ttl", "5s", dir, "-o", "json")
	if o.code != 0 || !strings.Contains(o.stdout, `"frames": 2`) || !strings.Contains(o.stdout, `"duplicates": 1`) {
		t.Fatalf("exit %d: %s %s", o.code, o.stdout, o.stderr)
	}
	frames, query := f.took(t)
	if len(frames) != 2 || query != "ack=replicated%3A1" {
		t.Fatalf("sent %+v with %q", frames, query)
	}
	for i, size := range []string{"6x4", "3x2"} {
		if got := frames[i]; got.Sizes[0].Name != size || *got.Count != 3 || got.TTL != 5e9 || got.ID == "" {
			t.Errorf("frame %d is %+v", i, got)
		}
	}
	if frames[0].ID == frames[1].ID {
		t.Error("two frames have one ID")
	}
}

func TestIngestRaw(t *testing.T) {
	f := newFakeAPI(t)
	f.takes(taken, `{"end":{"frames":1,"failed":0}}`)
	if o := (stage{api: f, stdin: "raw"}).run(t, "ingest", "--source", "cam-1", "--size", "9x9", "-"); o.code != 0 {
		t.Fatalf("exit %d: %s", o.code, o.stderr)
	}
	if frames, _ := f.took(t); len(frames) != 1 || frames[0].Sizes[0].Name != "9x9" || string(frames[0].Sizes[0].Data) != "raw" {
		t.Errorf("sent %+v", frames)
	}
}

func TestIngestTellsOfFramesThatWereNotTaken(t *testing.T) {
	f := newFakeAPI(t)
	f.takes(`{"error":{"code":"invalid_argument","message":"no such size","field":"sizes"}}`, `{"end":{"frames":1,"failed":1}}`)
	o := stage{api: f, stdin: string(gray(2, 2))}.run(t, "ingest", "--source", "cam-1", "-")
	if o.code != exitUsage || !strings.Contains(o.stderr, "frame 1 was not taken: no such size") {
		t.Errorf("exit %d: %s", o.code, o.stderr)
	}
}

func TestIngestRefusals(t *testing.T) {
	f := newFakeAPI(t)
	for _, args := range []string{
		"ingest file", "ingest --source cam-1", "ingest --source cam-1 --ack maybe -", "ingest --source cam-1 --size big -",
		"ingest --source cam-1 --count -1 -", "ingest --source cam-1 --ttl -1s -", "ingest --format mpeg", "ingest status a b",
	} {
		if o := (stage{api: f, stdin: "x"}).run(t, strings.Fields(args)...); o.code != exitUsage {
			t.Errorf("%s: exit %d: %s", args, o.code, o.stderr)
		}
	}
	if frames, _ := f.took(t); len(frames) != 0 {
		t.Errorf("sent %+v", frames)
	}
}

func TestIngestRates(t *testing.T) {
	before := wire.IngestStatus{Lanes: []wire.IngestLane{{Source: "a", Frames: 10, Bytes: 100}, {Source: "b", Frames: 50}}}
	after := wire.IngestStatus{Lanes: []wire.IngestLane{{Source: "a", Frames: 30, Bytes: 300}, {Source: "b", Frames: 8}, {Source: "c", Frames: 4}}}
	now := ratesOf(before, after, 2)
	if fmt.Sprint(now.FramesPerSecond, now.BytesPerSecond) != "[10 4 2] [100 0 0]" {
		t.Errorf("rates %v %v", now.FramesPerSecond, now.BytesPerSecond)
	}
}

func TestIngestStatusShowsLanes(t *testing.T) {
	f := newFakeAPI(t)
	f.answer("GET /v1/ingest", wire.IngestStatus{Node: "node1", SpoolFrames: 5, LagMS: 2500,
		Lanes: []wire.IngestLane{{Source: "cam-1", Target: "tag:node-1", SpoolFrames: 5, LagMS: 2500, Trouble: "no master"}}})
	o := stage{api: f}.run(t, "ingest", "status", "cam-1")
	if o.code != 0 || !strings.Contains(o.stdout, "lag 2.5s") || !strings.Contains(o.stdout, "no master") {
		t.Errorf("exit %d: %s %s", o.code, o.stdout, o.stderr)
	}
}
