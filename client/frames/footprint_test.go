package frames_test

import (
	"testing"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/internal/redistest"
)

func TestFootprintIsWhatABufferTakes(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	for size, want := range map[int]int64{0: 0, 1: 512, 512: 512, 513: 1024, 1 << 20: 1 << 20, 1<<20 + 1: 2 << 20} {
		if err := c.Put(t.Context(), []frames.Pair{{Key: "k", Value: make([]byte, size)}}, frames.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Footprint(t.Context(), "k"); got != want || err != nil {
			t.Errorf("of %d bytes: %d, %v; want %d", size, got, err, want)
		}
	}
	if err := cluster.Servers[0].Client().LPush(t.Context(), "list", "x").Err(); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"nobody", "list"} {
		if got, err := c.Footprint(t.Context(), key); got != 0 || err != nil {
			t.Errorf("of %q: %d, %v", key, got, err)
		}
	}
}
