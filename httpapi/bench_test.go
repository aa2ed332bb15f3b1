package httpapi_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/httpapi"
	"github.com/framedb/framedb/raftstore/state"
)

// The hot path is resolving a source: GET /v1/sources/{source} and the first
// FrameDB's getMapping. The benchmarks count the load generator in, which
// writes requests that are made beforehand and reads answers by their length.

const benchSources = 10_000

func benchAPI(b *testing.B) *api {
	a := newAPI(b, func(cfg *httpapiConfig) { cfg.Logger = slog.New(slog.DiscardHandler) }).populate()
	for i := range benchSources {
		a.store.must(b, state.CreateMapping{Source: benchSource(i), NodeTag: "node-1", Metadata: []byte(`{"sizes":["1920x1080","608x608"],"ref_count":2}`)})
	}
	return a
}

func benchSource(i int) wire.SourceID { return wire.SourceID(fmt.Sprintf("camera-%05d", i)) }

func getSource(i int) []byte {
	return fmt.Appendf(nil, "GET /v1/sources/%s HTTP/1.1\r\nHost: agent\r\n\r\n", benchSource(i%benchSources))
}

func getMapping(i int) []byte {
	body := fmt.Sprintf(`{"sourceId": "%s"}`, benchSource(i%benchSources))
	return fmt.Appendf(nil, "POST /routing/getMapping HTTP/1.1\r\nHost: agent\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func BenchmarkLookupTCP(b *testing.B) {
	for name, request := range map[string]func(int) []byte{"source": getSource, "getMapping": getMapping} {
		b.Run(name, func(b *testing.B) {
			a := benchAPI(b)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			go a.server.Serve(l)
			lookups(b, "tcp", l.Addr().String(), request)
		})
	}
}

func BenchmarkLookupUnix(b *testing.B) {
	for name, request := range map[string]func(int) []byte{"source": getSource, "getMapping": getMapping} {
		b.Run(name, func(b *testing.B) {
			a := benchAPI(b)
			path := filepath.Join(shortDir(b), "s")
			l, err := httpapi.ListenUnix(path)
			if err != nil {
				b.Fatal(err)
			}
			go a.server.Serve(l)
			latencies(b, path, request)
		})
	}
}

// lookups asks from many connections at once.
func lookups(b *testing.B, network, addr string, request func(int) []byte) {
	b.SetParallelism(8)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		c := dialBench(b, network, addr)
		defer c.Close()
		for i := 0; pb.Next(); i++ {
			c.ask(b, request(i))
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lookups/s")
}

// latencies asks from one connection, one after the other.
func latencies(b *testing.B, path string, request func(int) []byte) {
	c := dialBench(b, "unix", path)
	defer c.Close()
	took := make([]time.Duration, b.N)
	b.ResetTimer()
	for i := range b.N {
		start := time.Now()
		c.ask(b, request(i))
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[b.N/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[b.N*99/100].Microseconds()), "p99-µs")
}

type benchConn struct {
	net.Conn
	r *bufio.Reader
}

func dialBench(b *testing.B, network, addr string) *benchConn {
	c, err := net.Dial(network, addr)
	if err != nil {
		b.Error(err)
		b.FailNow()
	}
	return &benchConn{c, bufio.NewReaderSize(c, 16<<10)}
}

func (c *benchConn) ask(b *testing.B, request []byte) {
	if _, err := c.Write(request); err != nil {
		b.Error(err)
		return
	}
	length := 0
	for first := true; ; first = false {
		line, err := c.r.ReadSlice('\n')
		if err != nil || first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
			b.Errorf("%s %v", line, err)
			return
		}
		if n, found := bytes.CutPrefix(line, []byte("Content-Length: ")); found {
			length, _ = strconv.Atoi(string(bytes.TrimSpace(n)))
		}
		if len(bytes.TrimSpace(line)) == 0 {
			break
		}
	}
	if n, err := io.CopyN(io.Discard, c.r, int64(length)); err != nil || n == 0 {
		b.Error(n, err)
	}
}

// BenchmarkLookupHandler is the handler alone, without the network.
func BenchmarkLookupHandler(b *testing.B) {
	a := benchAPI(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		a.do("GET", "/v1/sources/"+string(benchSource(i%benchSources)), "")
	}
}
