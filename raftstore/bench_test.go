package raftstore

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/framedb/framedb/client/wire"
)

// BenchmarkPropose has each change on disk (fsync) before it counts.
func BenchmarkPropose(b *testing.B) {
	for _, callers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			ctx := b.Context()
			s := open(b, ctx, testConfig(b.TempDir()))
			defer closeStore(b, s)
			propose(b, ctx, s, "", create("a"))
			var n atomic.Uint64
			b.SetParallelism(callers)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					source := wire.SourceID(fmt.Sprint("s", n.Add(1)))
					if _, err := s.Propose(ctx, "", mapping(source)); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func BenchmarkOpenToReady(b *testing.B) {
	ctx, dir := b.Context(), b.TempDir()
	s := open(b, ctx, testConfig(dir))
	propose(b, ctx, s, "", create("a"))
	for i := range 5000 {
		propose(b, ctx, s, "", mapping(wire.SourceID(fmt.Sprint("s", i))))
	}
	closeStore(b, s)
	for b.Loop() {
		closeStore(b, open(b, ctx, testConfig(dir)))
	}
}
