package sqlstore

import (
	"errors"
	"reflect"
	"testing"

	"github.com/framedb/framedb/client/wire"
)

func TestResolve(t *testing.T) {
	inRow := meta{version: version{1}, size: 5, crc: 7}
	inParts := meta{version: version{1}, size: 5, chunks: 1, chunkSize: 9}
	expires := func(m meta) meta { m.expires = 100; return m }
	same, other, shorter := row{true, 5, 7}, row{true, 5, 8}, row{true, 4, 7}
	for _, c := range []struct {
		name string
		meta meta
		row  row
		now  int64
		want state
	}{
		{"nothing", meta{}, row{}, 0, absent},
		{"a row that was put", inRow, same, 0, whole},
		{"its time is not over", expires(inRow), same, 99, whole},
		{"its time is over", expires(inRow), same, 100, absent},
		{"an old client's row", meta{}, same, 0, foreign},
		{"overwritten", inRow, other, 0, foreign},
		{"overwritten by less", inRow, shorter, 0, foreign},
		{"overwritten, and its time is over", expires(inRow), other, 100, foreign},
		{"removed by an old client", inRow, row{}, 0, absent},
		{"parts", inParts, row{}, 0, parts},
		{"parts whose time is over", expires(inParts), row{}, 100, absent},
		{"parts, then an old client's row", inParts, same, 0, foreign},
		{"only a lock", meta{}, row{}, 0, absent},
	} {
		if got := resolve(&c.meta, c.row, c.now); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestLimits(t *testing.T) {
	for _, c := range []struct {
		name              string
		vars              map[string]string
		row, chunk, batch int
	}{
		{"TiDB's defaults", map[string]string{"max_allowed_packet": "67108864", "tidb_txn_entry_size_limit": "0",
			"tidb_config": `{"performance":{"txn-entry-size-limit":6291456,"txn-total-size-limit":104857600}}`}, 6<<20 - 4096, 1 << 20, 8 << 20},
		{"a larger row changes nothing", map[string]string{"max_allowed_packet": "67108864", "tidb_txn_entry_size_limit": "125829120"}, 6<<20 - 4096, 1 << 20, 8 << 20},
		{"a smaller row", map[string]string{"max_allowed_packet": "67108864", "tidb_txn_entry_size_limit": "524288"}, 520192, 520192, 16 * 520192},
		{"a smaller transaction", map[string]string{"max_allowed_packet": "67108864", "tidb_config": `{"performance":{"txn-total-size-limit":4194304}}`}, 2 << 20, 1 << 20, 2 << 20},
		{"a small packet", map[string]string{"max_allowed_packet": "1048576"}, 512 << 10, 256 << 10, 8 << 20},
		{"a configuration that is no JSON", map[string]string{"max_allowed_packet": "16777216", "tidb_config": "?"}, 6<<20 - 4096, 1 << 20, 8 << 20},
	} {
		l, err := limitsOf(c.vars)
		if err != nil || l.Row != c.row || l.Chunk != c.chunk || l.Batch != c.batch {
			t.Errorf("%s: %+v, %v", c.name, l, err)
		}
	}
	for _, vars := range []map[string]string{{}, {"max_allowed_packet": "1024"}, {"max_allowed_packet": "67108864", "tidb_txn_entry_size_limit": "9"}} {
		if _, err := limitsOf(vars); !errors.Is(err, wire.ErrConflict) {
			t.Errorf("%v: %v", vars, err)
		}
	}
}

var someMeta = meta{
	version: version{1, 2}, chunks: 3, chunkSize: 1 << 20, size: 3 << 20, sum: [16]byte{9}, crc: 1 << 31, contentType: "x/y",
	user: map[string]string{"b": "", "a": "ü"}, created: 1e12, modified: 1e12 + 1, expires: 1e12 + 2,
}

func TestMetaFormat(t *testing.T) {
	b := someMeta.encode()
	back, err := decodeMeta(b)
	if err != nil || !reflect.DeepEqual(back, someMeta) {
		t.Errorf("%+v, %v", back, err)
	}
	for i := range b {
		if _, err := decodeMeta(b[:i]); (err == nil) != (i == 0) || err != nil && !errors.Is(err, wire.ErrCorrupt) {
			t.Errorf("the first %d bytes: %v", i, err)
		}
	}
	if _, err := decodeMeta(append(b, 0)); !errors.Is(err, wire.ErrCorrupt) {
		t.Errorf("a byte behind it: %v", err)
	}
}

func FuzzMeta(f *testing.F) {
	f.Add(someMeta.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMeta(b)
		if err == nil && len(b) > 0 && m.chunks > 0 && (m.chunkSize <= 0 || m.size <= 0) {
			t.Errorf("%+v", m)
		}
	})
}
