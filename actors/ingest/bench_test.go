package ingest

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

const benchFrame = 100 << 10

// benchFrames makes a batch of frames; their keys come round again after 1,000,
// so that Redis does not fill up, their IDs do not.
func benchFrames(n, at int) []ingest.Frame {
	fs := make([]ingest.Frame, n)
	for i := range fs {
		data := make([]byte, benchFrame)
		data[0], data[1], data[2], data[3] = byte(at+i), byte((at+i)>>8), byte((at+i)>>16), byte((at+i)>>24)
		fs[i] = ingest.Frame{Key: wire.NewFrameKey(source, 1, 1, uint64((at+i)%1000)), Sizes: []ingest.Size{{Name: "1x1", Data: data}}}
	}
	return fs
}

// BenchmarkIngest takes in batches of 40 frames of 100 KiB, to master.
func BenchmarkIngest(b *testing.B) {
	bd := newBed(b, func(c *Config) { c.SpillAfter = time.Hour })
	bd.routes.set(source, Settings{}, bd.target("rack-1"))
	b.SetBytes(40 * benchFrame)
	at := 0
	for b.Loop() {
		b.StopTimer()
		fs := benchFrames(40, at)
		at += len(fs)
		b.StartTimer()
		r, err := bd.service.Ingest(context.Background(), source, fs, Options{Level: master})
		if err != nil || r[0].Error != nil || r[0].Duplicate {
			b.Fatal(err, r)
		}
	}
}

// BenchmarkDrain writes frames of 100 KiB from the spool; compare MB/s with
// BenchmarkIngest. BenchmarkDrain/direct writes as many straight.
func BenchmarkDrain(b *testing.B) {
	const n = 2000
	for _, how := range []string{"drain", "direct"} {
		b.Run(how, func(b *testing.B) {
			bd := newBed(b, func(c *Config) { c.SpillAfter = time.Hour })
			g := &gate{Destination: bd.memory, closed: make(chan struct{})}
			target := bd.target("rack-1")
			target.Destination = g
			bd.routes.set(source, Settings{}, target)
			b.SetBytes(n * benchFrame)
			at := 0
			for b.Loop() {
				b.StopTimer()
				level := master
				if how == "drain" {
					level = durable
					closed := make(chan struct{})
					g.set(func() { g.closed = closed })
					for range n / 40 {
						if r, err := bd.service.Ingest(context.Background(), source, benchFrames(40, at), Options{Level: level}); err != nil || r[0].Error != nil {
							b.Fatal(r, err)
						}
						at += 40
					}
					b.StartTimer()
					g.set(func() { g.closed = nil })
					close(closed)
					for bd.service.Backlog(source).SpoolFrames > 0 {
						time.Sleep(200 * time.Microsecond)
					}
					continue
				}
				g.set(func() { g.closed = nil })
				fs := make([][]ingest.Frame, n/40)
				for i := range fs {
					fs[i] = benchFrames(40, at)
					at += 40
				}
				b.StartTimer()
				for i := range fs {
					if r, err := bd.service.Ingest(context.Background(), source, fs[i], Options{Level: level}); err != nil || r[0].Error != nil {
						b.Fatal(r, err)
					}
				}
			}
			bd.stop()
		})
	}
}

// BenchmarkDurable takes in batches of 40 frames of 100 KiB to the spool, synced.
func BenchmarkDurable(b *testing.B) {
	bd := newBed(b, func(c *Config) { c.SpoolDir = filepath.Join(b.TempDir(), "s"); c.SpoolBytes = 1 << 40 })
	b.SetBytes(40 * benchFrame)
	at := 0
	for b.Loop() {
		b.StopTimer()
		fs := benchFrames(40, at)
		at += len(fs)
		b.StartTimer()
		if r, err := bd.service.Ingest(context.Background(), source, fs, Options{Level: durable}); err != nil || r[0].Error != nil {
			b.Fatal(err, r)
		}
	}
}

// BenchmarkStoreOnce is what StoreOnce itself does with such batches.
func BenchmarkStoreOnce(b *testing.B) {
	cluster := redistest.StartCluster(b, 1)
	c := frames.New(frames.Config{Password: redistest.Password}, "c1", cluster.Members("c1"))
	defer c.Close()
	b.SetBytes(40 * benchFrame)
	at := 0
	for b.Loop() {
		b.StopTimer()
		fs := benchFrames(40, at)
		l := frames.Lane{ID: "bench"}
		for i := range fs {
			at++
			e := &entry{key: fs[i].Key, sizes: fs[i].Sizes, count: 1, seq: frames.LaneSeq{Epoch: 1, N: uint64(at)}, token: tokenOf(source, "x", &fs[i])}
			e.complete(false)
			l.Frames = append(l.Frames, e.laneFrame())
		}
		b.StartTimer()
		if _, err := c.StoreOnce(context.Background(), []frames.Lane{l}, frames.PutOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
