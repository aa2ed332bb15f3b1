package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/httpapi"
)

// door stands in for the service that takes frames in; it keeps what it took.
type door struct {
	known wire.SourceID
	full  bool // there is no memory

	mu    sync.Mutex
	took  []ingest.Frame
	level ingest.Level
	holds int64
}

var _ httpapi.Ingest = (*door)(nil)

func (d *door) Known(source wire.SourceID) error {
	if source != d.known {
		return wire.InField("source", wire.Errorf(wire.CodeNotFound, "source %q has no mapping", source))
	}
	return nil
}

type held struct {
	d *door
	n int64
}

func (h *held) Grow(n int64) error { h.n += n; h.d.add(n); return nil }
func (h *held) Release()           { h.d.add(-h.n); h.n = 0 }

func (d *door) add(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.holds += n
}

func (d *door) Hold(n int64) (httpapi.Hold, error) {
	if d.full {
		e := wire.Errorf(wire.CodeOverloaded, "the memory is full")
		e.RetryAfter = 1e9
		return nil, e
	}
	d.add(n)
	return &held{d, n}, nil
}

func (d *door) Take(_ context.Context, source wire.SourceID, frames []ingest.Frame, level ingest.Level, h httpapi.Hold) ([]ingest.Result, error) {
	defer h.Release()
	results := make([]ingest.Result, len(frames))
	for i := range frames {
		results[i] = d.one(source, frames[i], level)
	}
	return results, nil
}

func (d *door) one(source wire.SourceID, f ingest.Frame, level ingest.Level) ingest.Result {
	if err := f.Check(source); err != nil {
		return ingest.Result{Error: wire.AsError(err)}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.level = level
	d.took = append(d.took, f)
	return ingest.Result{Frame: fmt.Sprintf("cam-1?0?0__%d", len(d.took)), Level: ingest.Level{Promise: ingest.Master}}
}

func (d *door) FromStream(_ context.Context, source wire.SourceID, r io.Reader, level ingest.Level, each func(ingest.Result) error) error {
	dec := ingest.NewDecoder(r)
	for {
		n, err := dec.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		f, err := dec.Frame(make([]byte, n))
		if ingest.Broken(err) {
			return err
		}
		res := ingest.Result{Error: wire.AsError(err)}
		if err == nil {
			res = d.one(source, f, level)
		}
		if err := each(res); err != nil {
			return err
		}
	}
}

func (d *door) FromImages(ctx context.Context, source wire.SourceID, r io.Reader, level ingest.Level, each func(ingest.Result) error) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return each(d.one(source, ingest.Frame{Sizes: []ingest.Size{{Name: "8x8", Data: data}}}, level))
}

func (d *door) IngestStatus() wire.IngestStatus {
	return wire.IngestStatus{Node: "n1", Lanes: []wire.IngestLane{{Source: "cam-1", Target: "tag:node-1", Frames: 7}, {Source: "cam-2", Target: "tag:node-1"}}}
}

func ingestAPI(t *testing.T) (*api, *door) {
	d := &door{known: "cam-1"}
	return newAPI(t, func(c *httpapi.Config) { c.Ingest = d }).populate(), d
}

func picture(w, h int) string {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, w, h))); err != nil {
		panic(err)
	}
	return b.String()
}

// form is a multipart body with these parts, by name.
func form(parts ...string) string {
	var b strings.Builder
	for i := 0; i+1 < len(parts); i += 2 {
		b.WriteString("--B\r\n")
		if parts[i] != "" {
			fmt.Fprintf(&b, "Content-Disposition: form-data; name=%q; filename=\"f\"\r\n", parts[i])
		}
		b.WriteString("\r\n" + parts[i+1] + "\r\n")
	}
	return b.String() + "--B--\r\n"
}

const formType = "multipart/form-data; boundary=B"

func (d *door) taken(t *testing.T) []ingest.Frame {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.holds != 0 {
		t.Errorf("%d bytes are still held", d.holds)
	}
	return d.took
}

func TestIngestOneFrame(t *testing.T) {
	a, d := ingestAPI(t)
	r := a.do("POST", "/v1/ingest/cam-1?ack=replicated:2&count=3&ttl_ms=500&frame=cam-1%3F0%3F0__9", picture(6, 4), "Content-Type", "image/png", "Idempotency-Key", "k").want(t, 200)
	sameJSON(t, r.body, `{"results":[{"frame":"cam-1?0?0__1","level":"master"}],"failed":0}`)
	a.do("POST", "/v1/ingest/cam-1?size=640x480", "raw", "Content-Type", "application/octet-stream").want(t, 200)
	took := d.taken(t)
	if len(took) != 2 {
		t.Fatalf("took %d frames", len(took))
	}
	f := took[0]
	if f.Key.String() != "cam-1?0?0__9" || f.ID != "k" || *f.Count != 3 || f.TTL != 5e8 || f.Sizes[0].Name != "6x4" || string(f.Sizes[0].Data) != picture(6, 4) {
		t.Errorf("took %+v", f)
	}
	if f = took[1]; f.Count != nil || f.ID != "" || f.Sizes[0].Name != "640x480" || string(f.Sizes[0].Data) != "raw" {
		t.Errorf("took %+v", f)
	}
}

func TestIngestBatchKeepsTheGoodFrames(t *testing.T) {
	a, d := ingestAPI(t)
	body := form("cam-1?0?0__5/8x8", "small", "a/auto", picture(6, 4), "cam-1?0?0__5/16x16", "large", "b/huge", "x", "", picture(3, 2), "c/9x9", "")
	r := a.do("POST", "/v1/ingest/cam-1?count=2", body, "Content-Type", formType, "Idempotency-Key", "k").want(t, 200)
	got := decoded[ingest.Answer](t, r)
	if got.Failed != 2 || len(got.Results) != 5 || got.Results[2].Error == nil || got.Results[2].Error.Field != "sizes" || got.Results[4].Error == nil {
		t.Fatalf("answer %s", r.body)
	}
	took := d.taken(t)
	if len(took) != 3 || len(took[0].Sizes) != 2 || took[0].Sizes[1].Name != "16x16" || string(took[0].Sizes[1].Data) != "large" || took[0].ID != "" {
		t.Fatalf("took %+v", took)
	}
	if took[1].Sizes[0].Name != "6x4" || took[2].Sizes[0].Name != "3x2" || took[1].ID == "" || took[1].ID == took[2].ID || *took[2].Count != 2 {
		t.Errorf("took %+v", took)
	}
	a.do("POST", "/v1/ingest/cam-1", body, "Content-Type", formType, "Idempotency-Key", "k").want(t, 200)
	if again := d.taken(t); again[4].ID != took[1].ID {
		t.Errorf("a retry has the ID %q, not %q", again[4].ID, took[1].ID)
	}
	a.do("POST", "/v1/ingest/cam-1", form("x/huge", "x", "y/huge", "y"), "Content-Type", formType).refused(t, wire.CodeInvalidArgument, "sizes")
	d.taken(t)
}

func framesOf(t *testing.T, frames ...ingest.Frame) string {
	var b bytes.Buffer
	for i := range frames {
		if err := frames[i].Write(&b); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func linesOf(t *testing.T, body string) []ingest.Line {
	t.Helper()
	var all []ingest.Line
	for text := range strings.Lines(body) {
		var l ingest.Line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		all = append(all, l)
	}
	return all
}

// A stream is answered while it comes, over a real connection.
func TestIngestStream(t *testing.T) {
	a, d := ingestAPI(t)
	server := httptest.NewServer(a.server.Handler())
	defer server.Close()
	r, w := io.Pipe()
	req, _ := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/v1/ingest/cam-1?ack=durable", r)
	req.Header.Set("Content-Type", wire.ContentFrames)
	good := ingest.Frame{ID: "1", Sizes: []ingest.Size{{Name: "8x8", Data: []byte("good")}}}
	bad := ingest.Frame{ID: "2", Sizes: []ingest.Size{{Name: "a b", Data: []byte("bad")}}}
	go io.WriteString(w, framesOf(t, good, bad))
	res, err := server.Client().Do(req) // has the first line, and the body is not at its end
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	dec := json.NewDecoder(res.Body)
	var lines [3]ingest.Line
	for i := range 2 {
		if err := dec.Decode(&lines[i]); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	if err := dec.Decode(&lines[2]); err != nil {
		t.Fatal(err)
	}
	if lines[0].Frame != "cam-1?0?0__1" || lines[1].Error == nil || lines[1].Error.Field != "sizes" || lines[2].End == nil || *lines[2].End != (ingest.End{Frames: 2, Failed: 1}) {
		t.Errorf("lines %+v", lines)
	}
	if took := d.taken(t); len(took) != 1 || d.level.Promise != ingest.Durable {
		t.Errorf("took %+v to %v", took, d.level)
	}
}

func TestIngestStreamThatIsCut(t *testing.T) {
	a, d := ingestAPI(t)
	whole := framesOf(t, ingest.Frame{ID: "1", Sizes: []ingest.Size{{Name: "8x8", Data: []byte("good")}}})
	r := a.do("POST", "/v1/ingest/cam-1", whole+whole[:len(whole)-1], "Content-Type", wire.ContentFrames).want(t, 200)
	lines := linesOf(t, r.body)
	if len(lines) != 2 || lines[0].Error != nil || lines[1].End == nil || lines[1].End.Error == nil || lines[1].End.Error.Code != wire.CodeMalformed || lines[1].End.Frames != 1 {
		t.Errorf("answer %s", r.body)
	}
	if len(d.taken(t)) != 1 {
		t.Error("the whole frame was not taken")
	}
	a.do("POST", "/v1/ingest/cam-1", "no stream of frames", "Content-Type", wire.ContentFrames).refused(t, wire.CodeMalformed, "")
	r = a.do("POST", "/v1/ingest/cam-1", "images", "Content-Type", "multipart/x-mixed-replace; boundary=x").want(t, 200)
	if lines := linesOf(t, r.body); len(lines) != 2 || lines[1].End == nil || lines[1].End.Error != nil {
		t.Errorf("answer %s", r.body)
	}
}

func TestIngestRefusals(t *testing.T) {
	a, d := ingestAPI(t)
	bad := wire.CodeInvalidArgument
	for _, c := range []struct {
		query, media, body string
		code               wire.Code
		field              string
	}{
		{"", "", "x", bad, "Content-Type"},
		{"", "text/plain", "x", bad, "Content-Type"},
		{"", "multipart/form-data", "x", bad, "Content-Type"},
		{"", "image/png", "", wire.CodeMalformed, ""},
		{"", "image/png", "no image", bad, "size"},
		{"size=big", "image/png", "x", bad, "size"},
		{"ack=maybe", "image/png", "x", bad, "ack"},
		{"ack=replicated:0", "image/png", "x", bad, "ack"},
		{"count=-1", "image/png", "x", bad, "count"},
		{"count=1.5", "image/png", "x", bad, "count"},
		{"ttl_ms=-1", "image/png", "x", bad, "ttl_ms"},
		{"frame=x", "image/png", "x", bad, "frame"},
		{"frame=cam-2%3F0%3F0__1", "image/png", "x", bad, "frame"},
		{"frame=cam-1%3F0%3F0__1", formType, form("8x8", "x"), bad, "frame"},
		{"size=8x8", formType, form("8x8", "x"), bad, "size"},
		{"count=1", wire.ContentFrames, "", bad, "count"},
		{"ttl_ms=1", "video/x-motion-jpeg", "", bad, "ttl_ms"},
		{"", formType, "no parts", wire.CodeMalformed, ""},
		{"", formType, "--B--\r\n", wire.CodeMalformed, ""},
		{"", formType, form("cam-2?0?0__1/8x8", "x"), bad, "frame"},
		{"", formType, form("8x8", "x", "8x8", "y"), bad, "sizes"},
	} {
		t.Run(c.query+" "+c.media+" "+c.body, func(t *testing.T) {
			a.do("POST", "/v1/ingest/cam-1?"+c.query, c.body, "Content-Type", c.media).refused(t, c.code, c.field)
		})
	}
	a.do("POST", "/v1/ingest/nobody", "x", "Content-Type", "image/png").refused(t, wire.CodeNotFound, "source")
	a.do("POST", "/v1/ingest/cam-1", "x", "Content-Type", wire.ContentFrames, "Idempotency-Key", "k").refused(t, bad, "Idempotency-Key")
	a.get("/v1/ingest?source=a%3Fb").refused(t, bad, "source")
	if len(d.taken(t)) != 0 {
		t.Error("a refused frame was taken")
	}
	d.full = true
	r := a.do("POST", "/v1/ingest/cam-1", picture(2, 2), "Content-Type", "image/png")
	if r.refused(t, wire.CodeOverloaded, ""); r.header.Get("Retry-After") == "" {
		t.Error("429 without Retry-After")
	}
}

func TestIngestStatus(t *testing.T) {
	a, _ := ingestAPI(t)
	if got := decoded[wire.IngestStatus](t, a.get("/v1/ingest?source=cam-1").want(t, 200)); len(got.Lanes) != 1 || got.Lanes[0].Frames != 7 {
		t.Errorf("status %+v", got)
	}
}
