package state_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// TestWhatIsRememberedIsBoundedInBytes: rows of 60 KiB, 1,200 times, are
// 69 MiB once, and as changes and results three times that.
func TestWhatIsRememberedIsBoundedInBytes(t *testing.T) {
	l := populated(t)
	before := live()
	pad := strings.Repeat("a", 60_000)
	update := func(i int) state.UpdateMetadata {
		return state.UpdateMetadata{Source: "s1", NodeTag: "node-1", Metadata: json.RawMessage(fmt.Sprintf(`{"n":%d,"pad":%q}`, i, pad))}
	}
	const n = 1200
	for i := range n {
		must(t, l.request(t, wire.RequestID(fmt.Sprint("r", i)), update(i)))
	}
	if grown := (live() - before) >> 20; grown > 98 {
		t.Errorf("%d MiB stay of what was changed and answered, want 98 at most", grown)
	}
	var b bytes.Buffer
	if _, err := l.Snapshot().WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	if b.Len() > 80<<20 {
		t.Errorf("a snapshot has %d MiB", b.Len()>>20)
	}
	if err := l.Restore(&b); err != nil {
		t.Fatal(err)
	}
	for _, late := range []int{n - 1, n - 500} {
		if r := l.request(t, wire.RequestID(fmt.Sprint("r", late)), update(late)); r.Index == l.index {
			t.Errorf("request %d of %d is forgotten", late, n)
		}
	}
	must(t, l.request(t, "one-more", update(n)))
	if got := strings.Count(l.tables(t), `"requests"`); got > 1130 {
		t.Errorf("%d results are remembered after a restore", got)
	}
}

func live() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
