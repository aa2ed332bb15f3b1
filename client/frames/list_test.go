package frames_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

func TestListShowsEachFrameOnce(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	c := open(t, frames.Config{}, cluster.Members("c1"))
	const many = 250
	for n := range many {
		putFrame(t, c, n, "3", "8x8", "16x16")
	}
	put(t, c, key(many).Data("8x8"), "orphan") // no count
	put(t, c, key(many+1).Count(), "7")        // no data
	put(t, c, key(many+2).Count(), "x")        // no integer
	put(t, c, key(many+3).Data("8x8"), "")     // no bytes
	for _, other := range []wire.SourceID{"cam-10", "cam", "xcam-1", "cam.1"} {
		put(t, c, wire.NewFrameKey(other, 1, 2, 0).Count(), "1")
	}
	put(t, c, "cam-1?", "x", "cam-1?1?2__1", "x", "ref__cam-1?x", "x")

	for _, limit := range []int{1, 7, 100, many + 4, 0} {
		if limit == 1 && testing.Short() {
			continue
		}
		var all []wire.FrameInfo
		pages, cursor := 0, ""
		for {
			some, next, err := c.List(t.Context(), source, cursor, limit)
			if err != nil {
				t.Fatal(err)
			}
			if limit > 0 && len(some) > limit {
				t.Fatalf("a page of %d for a limit of %d", len(some), limit)
			}
			all = append(all, some...)
			pages++
			if cursor = next; cursor == "" {
				break
			}
		}
		if len(all) != many+4 {
			t.Fatalf("limit %d: %d frames in %d pages, want %d", limit, len(all), pages, many+4)
		}
		for n, f := range all {
			want := wire.FrameInfo{Frame: key(n).String(), Count: 3, Sizes: map[string]int64{"8x8": 4, "16x16": 4}}
			switch n {
			case many:
				want.Count, want.Sizes = -1, map[string]int64{"8x8": 6}
			case many + 1:
				want.Count, want.Sizes = 7, map[string]int64{}
			case many + 2:
				want.Count, want.Sizes = -1, map[string]int64{}
			case many + 3:
				want.Count, want.Sizes = -1, map[string]int64{"8x8": 0}
			}
			if fmt.Sprint(f) != fmt.Sprint(want) {
				t.Fatalf("limit %d: frame %d is %+v, want %+v", limit, n, f, want)
			}
		}
	}
}

func TestListRefusesBadArguments(t *testing.T) {
	t.Parallel()
	c := open(t, frames.Config{}, nil)
	for field, call := range map[string]struct {
		source wire.SourceID
		cursor string
		limit  int
	}{
		"source": {source: "a?b"},
		"limit":  {source: source, limit: wire.MaxPage + 1},
		"cursor": {source: source, cursor: "no-cursor"},
	} {
		_, _, err := c.List(t.Context(), call.source, call.cursor, call.limit)
		if !errors.Is(err, wire.ErrInvalidArgument) || wire.AsError(err).Field != field {
			t.Errorf("%s: got %v", field, err)
		}
	}
}
