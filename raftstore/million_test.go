package raftstore

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// BenchmarkMillion is one agent's store with a million mappings on a hundred
// clusters: what they take in memory, how long one is looked up, and how long
// a snapshot and a start with it take.
//
//	go test -run '^$' -bench Million -benchtime 1x -timeout 20m ./raftstore
func BenchmarkMillion(b *testing.B) {
	const few, many = 1_000, 1_000_000
	for range b.N {
		ctx, dir := b.Context(), b.TempDir()
		s := open(b, ctx, testConfig(dir))
		var clusters []wire.ClusterName
		for i := range 100 {
			clusters = append(clusters, wire.ClusterName(fmt.Sprint("cluster-", i)))
		}
		propose(b, ctx, s, "", create(clusters...))
		empty := liveHeap()
		mapMany(b, ctx, s, 0, few)
		b.ReportMetric(float64(lookupP99(b, s, few).Nanoseconds()), "ns-p99-of-1,000")
		mapMany(b, ctx, s, few, many)
		b.ReportMetric(float64(liveHeap()-empty)/many, "B/mapping")
		b.ReportMetric(float64(lookupP99(b, s, many).Nanoseconds()), "ns-p99-of-1,000,000")
		begin := time.Now()
		if err := s.raft.Snapshot().Error(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(begin).Seconds(), "s-snapshot")
		closeStore(b, s)
		begin = time.Now()
		s = open(b, ctx, testConfig(dir))
		b.ReportMetric(time.Since(begin).Seconds(), "s-restart-to-ready")
		if n := s.View().CountMappings(); n != many {
			b.Errorf("%d mappings came back", n)
		}
		closeStore(b, s)
		b.ReportMetric(0, "ns/op")
	}
}

func mapMany(b *testing.B, ctx context.Context, s *Store, from, to int) {
	var next atomic.Int64
	next.Store(int64(from))
	var all sync.WaitGroup
	for range 512 {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(to); i = next.Add(1) - 1 {
				m := state.CreateMapping{Source: source(int(i)), NodeTag: "node-1", Metadata: json.RawMessage(`{"sizes":["1920x1080","608x608","416x416"],"ref_count":2}`)}
				if _, err := s.Propose(ctx, "", m); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

func source(i int) wire.SourceID { return wire.SourceID(fmt.Sprintf("camera-%07d", i)) }

// lookupP99 looks mappings up as a routing question does.
func lookupP99(b *testing.B, s *Store, of int) time.Duration {
	took := make([]time.Duration, 200_000)
	runtime.GC()
	for i := range took {
		ask := source(rand.N(of))
		begin := time.Now()
		if len(s.View().MappingsOf(ask)) != 1 {
			b.Fatalf("%s is not mapped", ask)
		}
		took[i] = time.Since(begin)
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
