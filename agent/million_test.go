package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// BenchmarkMillionLookups asks a whole agent over its unix socket where a
// source writes to, with a thousand mappings and with a million, and starts it
// again with them.
//
//	go test -run '^$' -bench MillionLookups -benchtime 1x -timeout 20m ./agent
func BenchmarkMillionLookups(b *testing.B) {
	const few, many = 1_000, 1_000_000
	for range b.N {
		dir, err := os.MkdirTemp("", "fdb") // short, for the sockets
		if err != nil {
			b.Fatal(err)
		}
		defer os.RemoveAll(dir)
		a := startInProcess(b, dir)
		ctx := b.Context()
		if _, err := a.store.Propose(ctx, "", state.CreateClusters{Names: []wire.ClusterName{"alpha"}, Spec: wire.ClusterSpec{NodeTag: "elsewhere", Replicas: 1, Quorum: 1}}); err != nil {
			b.Fatal(err)
		}
		a.mapMany(b, 0, few)
		b.ReportMetric(a.lookupP99(b, few), "µs-p99-of-1,000")
		a.mapMany(b, few, many)
		b.ReportMetric(a.lookupP99(b, many), "µs-p99-of-1,000,000")
		if err := a.life.stop(); err != nil {
			b.Fatal(err)
		}
		begin := time.Now()
		a = startInProcess(b, dir)
		b.ReportMetric(time.Since(begin).Seconds(), "s-restart-to-ready")
		if n := a.store.View().CountMappings(); n != many {
			b.Errorf("%d mappings came back", n)
		}
		if err := a.life.stop(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(0, "ns/op")
	}
}

// startInProcess starts a dev agent within this process.
func startInProcess(b *testing.B, dir string) *agent {
	b.Helper()
	flags := pflag.NewFlagSet("agent", pflag.ContinueOnError)
	Flags(flags)
	if err := flags.Parse([]string{"--dev", "--data-dir", dir, "--listen", "127.0.0.1:0"}); err != nil {
		b.Fatal(err)
	}
	cfg, err := Load(flags, []string{"FRAMEDB_REDIS_PORT=0"})
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	a := &agent{
		cfg: cfg, log: log, started: time.Now(), metrics: prometheus.NewRegistry(), peers: newPeers(),
		life: lifecycle{log: log}, failed: make(chan error, 8),
	}
	if err := a.start(b.Context()); err != nil {
		b.Fatal(err, a.life.stop())
	}
	return a
}

func (a *agent) mapMany(b *testing.B, from, to int) {
	ctx := context.Background()
	var next atomic.Int64
	next.Store(int64(from))
	var all sync.WaitGroup
	for range 512 {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(to); i = next.Add(1) - 1 {
				m := state.CreateMapping{Source: camera(int(i)), NodeTag: "elsewhere", Metadata: json.RawMessage(`{"sizes":["1920x1080"],"ref_count":2}`)}
				if _, err := a.store.Propose(ctx, "", m); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

func camera(i int) wire.SourceID { return wire.SourceID(fmt.Sprintf("camera-%07d", i)) }

// lookupP99 is in microseconds, one request at a time on one connection.
func (a *agent) lookupP99(b *testing.B, of int) float64 {
	conn, err := net.Dial("unix", filepath.Join(a.cfg.DataDir, "agent.sock"))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	took := make([]time.Duration, 50_000)
	for i := range took {
		ask := camera(rand.N(of))
		begin := time.Now()
		fmt.Fprintf(conn, "GET /v1/sources/%s HTTP/1.1\r\nHost: agent\r\n\r\n", ask)
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := in.Discard(int(res.ContentLength)); err != nil || res.StatusCode != http.StatusOK {
			b.Fatal(res.Status, err)
		}
		took[i] = time.Since(begin)
	}
	slices.Sort(took)
	return float64(took[len(took)*99/100].Nanoseconds()) / 1000
}
