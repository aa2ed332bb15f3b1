package frames

import (
	"fmt"
	"strings"
	"testing"

	"github.com/framedb/framedb/client/wire"
)

func TestSizesThatAKeyCanHold(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("9", maxSizeBytes)
	for _, good := range []string{"1920x1080", "8x8", "a", "raw.v2", "a_b-c", "8x8_", long} {
		if err := CheckSizes(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
		k, size, ok := wire.ParseDataKey(wire.NewFrameKey("s", 0, 0, 1).Data(good))
		if !ok || size != good || k.Number != 1 {
			t.Errorf("%q comes back as %q of %v", good, size, k)
		}
	}
	for _, bad := range []string{"", "a__b", "_a", ".", "..", "-1", "../1", "a/b", "a b", "a\x00b", "größe", long + "9"} {
		if CheckSizes("8x8", bad) == nil {
			t.Errorf("%q is let through", bad)
		}
	}
	if CheckSizes(make([]string, maxSizes+1)...) == nil {
		t.Error("one too many is let through")
	}
}

// TestKindsOfDecrementsAreNotMixedUp: each of a group's keys loses the group's
// sizes.
func TestKindsOfDecrementsAreNotMixedUp(t *testing.T) {
	t.Parallel()
	var batch []wire.Decrement
	for _, by := range []int64{1, 2, 128} {
		for _, sizes := range [][]string{nil, {"a_", "b"}, {"a", "_b"}, {"a", "b"}, {"ab"}, {"a__b"}, {"b", "a"}} {
			batch = append(batch, wire.Decrement{Key: "k", By: by, Sizes: sizes})
		}
	}
	p := planOf(batch, nil)
	if len(p.groups) != len(batch) {
		t.Errorf("%d groups, want %d", len(p.groups), len(batch))
	}
	seen := map[string][]wire.Decrement{}
	keep := func(token wire.RequestID, batch ...wire.Decrement) {
		p, keys := planOf(batch, nil), []byte(nil)
		for i := range batch {
			keys = appendText(keys, batch[p.at(i)].Key)
		}
		key := tokenKey(token, p.groups, keys)
		if other, there := seen[key]; there {
			t.Errorf("%+v has the key of %+v", batch, other)
		}
		seen[key] = batch
	}
	for i, d := range batch {
		keep("t", d)
		keep("t", d, d)
		keep("t", wire.Decrement{Key: "kk", By: d.By, Sizes: d.Sizes})
		for j := range i {
			keep("t", d, batch[j])
			keep("t", batch[j], d)
		}
		keep(wire.RequestID(fmt.Sprint("t", i)), d)
	}
	if tokenKey("", p.groups, nil) != "" {
		t.Error("no token has a key")
	}
}
