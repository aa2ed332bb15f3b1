package ingest

import (
	"bytes"
	"testing"
	"time"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/ingest"
)

func entryOf(n int) *entry {
	f := frame(source, n)
	e := &entry{key: f.Key, sizes: f.Sizes, count: 3, ttl: time.Minute, level: ingest.Level{Promise: ingest.Replicated, Replicas: 2},
		seq: frames.LaneSeq{Epoch: 7, N: 9}, token: frames.FrameToken{1, 2, 3}}
	e.complete(false)
	return e
}

func TestRecordsKeepEntries(t *testing.T) {
	t.Parallel()
	e := entryOf(1)
	got, err := parseRecord(bytes.Join(e.payload(), nil), source, false)
	if err != nil || got.key != e.key || got.count != 3 || got.ttl != e.ttl || got.level.Replicas != 2 || got.seq != e.seq || got.token != e.token || len(got.pairs) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	for i := range e.pairs {
		if got.pairs[i].Key != e.pairs[i].Key || !bytes.Equal(got.pairs[i].Value, e.pairs[i].Value) {
			t.Errorf("pair %d: %s", i, got.pairs[i].Key)
		}
	}
	if _, err := parseRecord(bytes.Join(e.payload(), nil), "cam-2", false); err == nil {
		t.Error("a record of another source is taken")
	}
}

// FuzzRecord parses anything: what is taken is a frame of the source.
func FuzzRecord(f *testing.F) {
	f.Add(bytes.Join(entryOf(1).payload(), nil))
	f.Add([]byte{recordVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseRecord(b, source, false)
		if err != nil {
			return
		}
		if e.key.Source() != source || len(e.pairs) != 1+len(e.sizes) || e.count < 0 {
			t.Errorf("%+v", e)
		}
	})
}
