package frames

import (
	"fmt"
	"testing"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

// TestWhatChangedInTheLastMomentIsNotBuried has the step that unlinks come after
// a writer, a retain and an old client were there: what the round saw is past.
func TestWhatChangedInTheLastMomentIsNotBuried(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	rdb := cluster.Servers[0].Client()
	c := New(Config{Password: redistest.Password}, "c1", cluster.Members("c1"))
	defer c.Close()
	count := func(n int) string { return wire.NewFrameKey("cam-1", 1, 1, uint64(n)).Count() }
	data := func(n int) string { return wire.NewFrameKey("cam-1", 1, 1, uint64(n)).Data("8x8") }
	for n, value := range []string{"1", "2", "3", "0", "0", "5", "-1", "0"} {
		if err := rdb.MSet(t.Context(), count(n), value, data(n), "x").Err(); err != nil {
			t.Fatal(err)
		}
	}
	rdb.Del(t.Context(), data(5), count(6))
	rdb.LPush(t.Context(), count(6), "-1")
	rdb.Del(t.Context(), count(7))
	rdb.HSet(t.Context(), wire.ObjectPrefix+data(7), "version", "x")
	args := []string{
		"data", data(0), count(0), // its count came back
		"count", count(1), "9", "0", // it was counted down
		"count", count(2), "3", "1", data(2), // its data came back
		"spent", count(3), "-1", "1", data(3), // it was written anew
		"spent", count(4), "0", "1", data(4), // as it was
		"count", count(5), "5", "1", data(5), // as it was
		"spent", count(6), "-1", "1", data(6), // it is a list now
		"data", data(7), count(7), // it is an object now
		"data", data(8), count(8), // it is gone
	}
	reply, err := c.run(t.Context(), fnBury, true, nil, args)
	if got := fmt.Sprint(numbers(reply, 2)); err != nil || got != "[2 3]" {
		t.Errorf("leftovers and keys are %s (%v), want [2 3]", got, err)
	}
	for n, want := range []int64{2, 2, 2, 2, 0, 0, 2, 1} {
		if got := rdb.Exists(t.Context(), count(n), data(n)).Val(); got != want {
			t.Errorf("of frame %d there are %d keys, want %d", n, got, want)
		}
	}
}
