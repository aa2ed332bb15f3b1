package objecttest

import (
	"fmt"
	"testing"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

func testList(t *testing.T, e *env) {
	want := map[objects.Key]int64{}
	for i, key := range []objects.Key{"a", "a/1", "a/2", "a/ü", "a/10", "ab", "b%", "b_", `b\`, "b*", "b?", "b[a]", "bb", "z/large"} {
		n := int64(10 + i)
		if key == "z/large" || key == "a/2" {
			n = e.Largest
		}
		e.put(t, key, randomBytes(string(key), n), objects.PutOptions{})
		want[key] = n
	}
	e.Write(t, "a/foreign", make([]byte, 77))
	want["a/foreign"] = 77
	for _, prefix := range []string{"", "a", "a/", "a/1", "b%", "b_", `b\`, "b*", "b?", "b[", "z", "nothing"} {
		for _, limit := range []int{0, 1, 3, 1000} {
			e.checkList(t, prefix, limit, want)
		}
	}
	for _, opts := range []objects.ListOptions{{Limit: -1}, {Limit: 1001}, {Prefix: "a\x00"}} {
		_, err := e.List(e.ctx, opts)
		wantCode(t, fmt.Sprint(opts), err, wire.CodeInvalidArgument)
	}
}

func (e *env) checkList(t *testing.T, prefix string, limit int, all map[objects.Key]int64) {
	t.Helper()
	got := map[objects.Key]bool{}
	opts := objects.ListOptions{Prefix: prefix, Limit: limit}
	for pages := 0; ; pages++ {
		page, err := e.List(e.ctx, opts)
		if err != nil || pages > 100 {
			t.Fatalf("list %q: page %d, %v", prefix, pages, err)
		}
		for _, o := range page.Objects {
			got[o.Key] = true
			if size, ok := all[o.Key]; !ok || size != o.Size {
				t.Errorf("list %q has %q with %d bytes, want %d", prefix, o.Key, o.Size, size)
			}
		}
		if opts.Cursor = page.Next; opts.Cursor == "" {
			break
		}
	}
	for key := range all {
		if begins := len(key) >= len(prefix) && string(key)[:len(prefix)] == prefix; begins != got[key] {
			t.Errorf("list %q with limit %d: %q is listed: %v", prefix, limit, key, got[key])
		}
	}
}
