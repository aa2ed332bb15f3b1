package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
)

// shot is a JPEG that no other number gives.
func shot(n int) []byte {
	img := image.NewGray(image.Rect(0, 0, 16+n, 16))
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, nil); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// withCamera has cluster c, to which cam-1 writes.
func withCamera(t *testing.T) *proc {
	t.Helper()
	p := newProc(t)
	p.up()
	p.post("/cluster/createCluster", `{"clusterName": "c", "nodeTag": "node-1", "replicas": 1, "quorum": 1, "enableMetrics": false}`)
	p.change(http.MethodPost, "/v1/sources/cam-1/mappings", `{"node_tag": "node-1"}`)
	return p
}

func (p *proc) client() *client.Client {
	p.t.Helper()
	c, err := client.New(client.Config{Addrs: []string{"unix://" + filepath.Join(p.dir, "agent.sock")}, RetryFor: time.Minute})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close() })
	return c
}

// send posts a body for cam-1 and returns what was answered.
func (p *proc) send(media string, body []byte) string {
	p.t.Helper()
	res, err := http.Post("http://"+p.addr+"/v1/ingest/cam-1", media, bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		p.t.Fatalf("%s: %d %s %v", media, res.StatusCode, text, err)
	}
	return string(text)
}

// stored waits until cam-1 has as many frames, and returns the data of each.
func (p *proc) stored(n int) map[string]string {
	p.t.Helper()
	var page wire.FramePage
	eventually(p.t, time.Minute, func() error {
		res, err := http.Get("http://" + p.addr + "/v1/frames/cam-1?limit=10000")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		page = wire.FramePage{}
		if err := json.NewDecoder(res.Body).Decode(&page); err != nil || len(page.Frames) != n {
			return fmt.Errorf("there are %d frames, want %d (%v)", len(page.Frames), n, err)
		}
		return nil
	})
	data := map[string]string{}
	for _, f := range page.Frames {
		for size := range f.Sizes {
			res, err := http.Get("http://" + p.addr + "/v1/frames/cam-1/" + strings.ReplaceAll(f.Frame, "?", "%3F") + "__" + size)
			if err != nil {
				p.t.Fatal(err)
			}
			b, _ := io.ReadAll(res.Body)
			res.Body.Close()
			data[f.Frame] = string(b)
		}
	}
	return data
}

// countDown ends all frames: nothing may be left.
func (p *proc) countDown(frames map[string]string) {
	p.t.Helper()
	for part := range slices.Chunk(slices.Collect(maps.Keys(frames)), 1000) {
		in := wire.DecrementFrames{}
		for _, f := range part {
			in.Decrements = append(in.Decrements, wire.Decrement{Key: "ref__" + f, By: 1})
		}
		body, _ := json.Marshal(in)
		p.change(http.MethodPost, "/v1/frames/cam-1/decr", string(body))
	}
	p.stored(0)
}

// redis is the master of cluster c.
func (p *proc) redis() *redis.Client {
	p.t.Helper()
	_, at := p.call(http.MethodGet, "/v1/instances/c-redis-node-0", "")
	rdb := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("%v:%v", at["host"], at["port"]), Password: p.password()})
	p.t.Cleanup(func() { rdb.Close() })
	return rdb
}

// TestFramesComeInByEveryWay, are read back, and are gone when counted down.
func TestFramesComeInByEveryWay(t *testing.T) {
	t.Parallel()
	p := withCamera(t)
	in := filepath.Join(p.dir, "in")
	if err := os.Mkdir(in, 0o755); err != nil {
		t.Fatal(err)
	}
	node := fmt.Sprint(p.status()["node"])
	p.change(http.MethodPut, "/v1/ingestions/cam-1", fmt.Sprintf(
		`{"queue": {"kind": "list", "cluster": "c", "key": "q"}, "directory": {"node": %q, "path": %q, "done": %q}}`, node, in, filepath.Join(p.dir, "done")))

	p.send("image/jpeg", shot(0))
	p.send("video/x-motion-jpeg", slices.Concat(shot(1), shot(2)))
	var stream bytes.Buffer
	f := ingest.Frame{ID: "3", Sizes: []ingest.Size{{Name: "19x16", Data: shot(3)}}}
	if err := f.Write(&stream); err != nil {
		t.Fatal(err)
	}
	p.send(wire.ContentFrames, stream.Bytes())
	p.send(wire.ContentFrames, stream.Bytes()) // a retry stores nothing
	f = ingest.Frame{ID: "4", Sizes: []ingest.Size{{Name: "20x16", Data: shot(4)}}}
	var element bytes.Buffer
	f.Write(&element)
	if err := p.redis().LPush(t.Context(), "q", element.Bytes()).Err(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(in, "5.jpg"), shot(5), 0o644); err != nil {
		t.Fatal(err)
	}
	results, err := p.client().Ingest(t.Context(), "cam-1", []ingest.Frame{{Sizes: []ingest.Size{{Name: "22x16", Data: shot(6)}}}}, client.IngestOptions{})
	if err != nil || results[0].Error != nil {
		t.Fatalf("client: %+v, %v", results, err)
	}

	data := p.stored(7)
	for n := range 7 {
		if !slices.Contains(slices.Collect(maps.Values(data)), string(shot(n))) {
			t.Errorf("shot %d is not there", n)
		}
	}
	p.countDown(data)
	eventually(t, 30*time.Second, func() error {
		_, err := os.Stat(filepath.Join(p.dir, "done", "5.jpg"))
		return err
	})
	if n, err := p.redis().Exists(t.Context(), "q", "q:taken:"+node, "q:bad").Result(); n != 0 || err != nil {
		t.Errorf("%d queues are left (%v)", n, err)
	}
	p.change(http.MethodDelete, "/v1/ingestions/cam-1", "") // the inputs end with it
	eventually(t, 30*time.Second, func() error {
		if n := strings.Count(p.log.String(), "frames are not fetched any more"); n < 2 {
			return fmt.Errorf("%d inputs ended", n)
		}
		return nil
	})
	p.dashboardIsDrawn()
	p.term()
}

func (p *proc) status() map[string]any {
	p.t.Helper()
	_, status := p.call(http.MethodGet, "/v1/status", "")
	return status
}

// dashboardIsDrawn: each metric that deploy/grafana draws is told.
func (p *proc) dashboardIsDrawn() {
	p.t.Helper()
	text, err := os.ReadFile("../deploy/grafana/framedb.json")
	if err != nil {
		p.t.Fatal(err)
	}
	var board struct {
		Title  string `json:"title"`
		UID    string `json:"uid"`
		Panels []struct {
			Title   string `json:"title"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(text, &board); err != nil || board.Title == "" || board.UID == "" || len(board.Panels) < 10 {
		p.t.Fatalf("the dashboard has %d panels: %v", len(board.Panels), err)
	}
	res, err := http.Get("http://" + p.addr + "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	told, _ := io.ReadAll(res.Body)
	name := regexp.MustCompile(`(?:framedb|go|process)_[a-z0-9_]+`)
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			for _, metric := range name.FindAllString(target.Expr, -1) {
				base := strings.TrimSuffix(metric, "_bucket")
				// A counter with labels is told of when it counts for the first time.
				if !bytes.Contains(told, []byte("\n"+metric)) && !bytes.Contains(told, []byte("# TYPE "+base+" ")) && !lateMetrics[metric] {
					p.t.Errorf("panel %q draws %s, which the agent does not tell", panel.Title, metric)
				}
			}
		}
	}
}

// lateMetrics are told when something went wrong for the first time.
var lateMetrics = map[string]bool{"framedb_ingest_failed_frames_total": true, "framedb_ingest_refused_total": true, "framedb_refcount_failures_total": true}

// TestKilledWhileFramesComeIn: what was acknowledged as durable is there
// afterwards, once.
func TestKilledWhileFramesComeIn(t *testing.T) {
	t.Parallel()
	p := withCamera(t)
	const frames = 400
	var mu sync.Mutex
	acked, failed := 0, 0
	stream := p.client().IngestStream(t.Context(), "cam-1", client.IngestOptions{Level: ingest.Level{Promise: ingest.Durable}}, func(r ingest.Result) {
		mu.Lock()
		defer mu.Unlock()
		if acked++; r.Error != nil {
			failed++
		}
	})
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return acked
	}
	sent := make(chan error, 1)
	go func() {
		for n := range frames {
			data := append(bytes.Repeat([]byte{byte(n), byte(n >> 8)}, 20_000), fmt.Sprint("frame ", n)...)
			if err := stream.Send(ingest.Frame{Sizes: []ingest.Size{{Name: "8x8", Data: data}}}); err != nil {
				sent <- err
				return
			}
		}
		sent <- stream.Close()
	}()
	for _, after := range []int{1, frames / 3} {
		eventually(t, time.Minute, func() error {
			if n := count(); n < after {
				return fmt.Errorf("%d frames are acknowledged", n)
			}
			return nil
		})
		p.kill()
		p.up()
	}
	if err := <-sent; err != nil || failed > 0 {
		t.Fatalf("%d frames failed: %v", failed, err)
	}
	data := p.stored(frames)
	seen := map[string]bool{}
	for _, d := range data { // not by name: a retry is stored as the first try was called
		seen[d] = true
	}
	if len(seen) != frames {
		t.Errorf("%d different frames are there, want %d", len(seen), frames)
	}
	p.countDown(data)
}
