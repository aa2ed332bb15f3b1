package backup_test

import (
	"bytes"
	"fmt"
	"maps"
	"runtime"
	"testing"
	"time"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/backup"
	"github.com/framedb/framedb/client/wire"
)

// some are objects around every limit.
func some(large int64) map[objects.Key][]byte {
	all := map[objects.Key][]byte{}
	for _, n := range []int64{0, 1, 700, 1<<20 - 1, 1 << 20, 1<<20 + 1, backup.PieceSize - 1, backup.PieceSize, backup.PieceSize + 1, large} {
		key := objects.Key(fmt.Sprintf("sizes/%d", n))
		all[key] = content(string(key), n)
	}
	all["ünï ∂ 日本/%2e%2e?*[a]"] = []byte("odd key")
	all["same/1"] = content("same", 9<<20)
	all["same/2"] = all["same/1"]
	return all
}

// TestRoundTrips backs up either backend and restores into either, itself
// included.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	repo := open(t, target(s3))
	sql, sql2 := newSQL(t), newSQL(t)
	mem, _ := newRedis(t)
	mem2, _ := newRedis(t)
	mem3, _ := newRedis(t)
	for i, c := range []struct {
		what     string
		from, to *objects.Store
		large    int64
	}{
		{"memory to storage", mem, sql, 64 << 20},
		{"storage to memory", sql2, mem2, 17 << 20},
		{"memory to memory", mem3, mem2, 17 << 20},
		{"storage to storage", sql2, sql, 17 << 20},
	} {
		id := wire.FrameDBID(fmt.Sprint("roundtrip-", i))
		all := some(c.large)
		user := map[string]string{"camera": "7", "note": "ä b"}
		for key, data := range all {
			put(t, c.from, key, data, objects.PutOptions{ContentType: "image/png", User: user, TTL: 3 * time.Hour})
		}
		var p progressed
		report, err := repo.Backup(t.Context(), id, c.from, backup.Options{Name: "one", Progress: p.tell})
		if err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		if report.Objects != int64(len(all)) || p.last.Objects != p.last.TotalObjects || p.last.Bytes != p.last.TotalBytes || p.last.Bytes != report.Bytes {
			t.Errorf("%s: %+v, progress %+v", c.what, report, p.last)
		}
		again, err := repo.Backup(t.Context(), id, c.from, backup.Options{Name: "two"})
		if err != nil || again.Sent != 0 || again.Objects != report.Objects {
			t.Errorf("%s again: %+v, %v", c.what, again, err)
		}
		p = progressed{}
		restored, err := repo.Restore(t.Context(), id, "two", c.to, backup.RestoreOptions{Overwrite: true, Progress: p.tell})
		if err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		if restored.Objects+restored.Same != report.Objects || p.last.Bytes != report.Bytes || p.last.TotalBytes != report.Bytes {
			t.Errorf("%s: %+v, progress %+v", c.what, restored, p.last)
		}
		for key, data := range all {
			info := expect(t, c.to, key, data)
			left := time.Until(info.Expires)
			if info.ContentType != "image/png" || !maps.Equal(info.User, user) || left > 3*time.Hour || left < 2*time.Hour {
				t.Errorf("%s: %+v", c.what, info)
			}
		}
		if v, err := repo.Verify(t.Context(), id, "two", backup.VerifyOptions{}); err != nil || v.Objects != report.Objects {
			t.Errorf("%s: %+v, %v", c.what, v, err)
		}
	}
	ids, err := repo.FrameDBs(t.Context())
	if err != nil || len(ids) != 4 || ids[0] != "roundtrip-0" {
		t.Errorf("FrameDBs: %v, %v", ids, err)
	}
}

// TestForeign: keys that other programs write are in the backup of a whole
// in-memory FrameDB, whatever is no string is not.
func TestForeign(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	repo := open(t, target(s3))
	store, rdb := newRedis(t)
	frame := content("frame", 300_000)
	rdb.MSet(t.Context(), "camera-001?0?0__7__608x608", frame, "ref__camera-001?0?0__7", 2, "bad key ", "x")
	rdb.RPush(t.Context(), "queue", "a")
	put(t, store, "object", []byte("mine"), objects.PutOptions{})
	report := make1(t, repo, store, "whole")
	if report.Objects != 3 || report.Skipped != 1 || report.FirstSkipped[0].Key != "bad key " {
		t.Errorf("%+v", report)
	}
	rdb.Set(t.Context(), "object", "thei", 0) // of the same length: a listing takes it for what was there
	if report := make1(t, repo, store, "changed"); report.Sent != 4 {
		t.Errorf("%+v", report)
	}

	to, rdb2 := newRedis(t)
	restore(t, repo, "changed", to, backup.RestoreOptions{})
	if got, err := rdb2.Get(t.Context(), "camera-001?0?0__7__608x608").Bytes(); err != nil || !bytes.Equal(got, frame) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if n, err := rdb2.Decr(t.Context(), "ref__camera-001?0?0__7").Result(); n != 1 || err != nil {
		t.Errorf("count %d, %v", n, err)
	}
	expect(t, to, "object", []byte("thei"))
	if again := restore(t, repo, "changed", store, backup.RestoreOptions{}); again.Same != 3 {
		t.Errorf("into itself: %+v", again)
	}
}

func TestSelection(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	repo := open(t, target(s3))
	store, _ := newRedis(t)
	to, _ := newRedis(t)
	for _, k := range []objects.Key{"a/1", "a/2", "ab", "b/1", "b/2", "c"} {
		put(t, store, k, []byte(k), objects.PutOptions{})
	}
	opts := backup.Options{Name: "some", Selection: backup.Selection{Prefixes: []string{"a", "a/"}, Keys: []objects.Key{"c", "a/1", "c"}}}
	report, err := repo.Backup(t.Context(), source, store, opts)
	if err != nil || report.Objects != 4 {
		t.Fatalf("%+v, %v", report, err)
	}
	got := restore(t, repo, "some", to, backup.RestoreOptions{Selection: backup.Selection{Prefixes: []string{"a/"}, Keys: []objects.Key{"c"}}})
	if got.Objects != 3 {
		t.Errorf("%+v", got)
	}
	absent(t, to, "ab")
	absent(t, to, "b/1")

	opts = backup.Options{Name: "missing", Selection: backup.Selection{Keys: []objects.Key{"c", "nothing"}}}
	_, err = repo.Backup(t.Context(), source, store, opts)
	wantCode(t, "a key that is not there", err, wire.CodeNotFound, "")
	_, err = repo.Restore(t.Context(), source, "some", to, backup.RestoreOptions{Selection: backup.Selection{Keys: []objects.Key{"ab", "b/1"}}})
	wantCode(t, "a key that is not in the backup", err, wire.CodeNotFound, "keys")
	absent(t, to, "ab") // nothing was changed
	if got := names(t, repo); len(got) != 1 {
		t.Errorf("backups: %v", got)
	}
}

// TestConflicts: what is there stays, unless it is to be overwritten.
func TestConflicts(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	repo := open(t, target(s3))
	from, _ := newRedis(t)
	for _, to := range []*objects.Store{newSQL(t), from} {
		put(t, from, "same", []byte("s"), objects.PutOptions{})
		put(t, from, "differs", []byte("old"), objects.PutOptions{})
		put(t, from, "type", []byte("t"), objects.PutOptions{ContentType: "a/b"})
		put(t, from, "missing", []byte("m"), objects.PutOptions{})
		if to == from {
			if err := repo.Delete(t.Context(), source, "one"); err != nil {
				t.Fatal(err)
			}
		}
		make1(t, repo, from, "one")
		put(t, to, "same", []byte("s"), objects.PutOptions{})
		put(t, to, "differs", []byte("new"), objects.PutOptions{})
		put(t, to, "type", []byte("t"), objects.PutOptions{ContentType: "c/d"})
		put(t, to, "extra", []byte("e"), objects.PutOptions{})
		if err := to.Delete(t.Context(), "missing", objects.Condition{}); err != nil && wire.CodeOf(err) != wire.CodeNotFound {
			t.Fatal(err)
		}
		got := restore(t, repo, "one", to, backup.RestoreOptions{})
		if got.Objects != 1 || got.Same != 1 || got.Kept != 2 || len(got.FirstKept) != 2 {
			t.Errorf("if absent: %+v", got)
		}
		expect(t, to, "differs", []byte("new"))
		got = restore(t, repo, "one", to, backup.RestoreOptions{Overwrite: true})
		if got.Objects != 2 || got.Same != 2 || got.Kept != 0 {
			t.Errorf("overwrite: %+v", got)
		}
		expect(t, to, "differs", []byte("old"))
		expect(t, to, "extra", []byte("e"))
		if info := expect(t, to, "type", []byte("t")); info.ContentType != "a/b" {
			t.Errorf("%+v", info)
		}
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	repo := open(t, target(s3))
	store, rdb := newRedis(t)
	put(t, store, "long", []byte("l"), objects.PutOptions{TTL: time.Hour})
	name := backup.Name("")
	for ttl := time.Second; ; ttl *= 2 { // long enough for the backup to have it
		put(t, store, "short", []byte("s"), objects.PutOptions{TTL: ttl})
		name = backup.Name(fmt.Sprint("in-", ttl))
		if report := make1(t, repo, store, name); report.Objects == 2 {
			break
		}
	}
	eventually(t, "the object expires", func() error {
		if n := rdb.Exists(t.Context(), "short").Val(); n != 0 {
			return fmt.Errorf("it is there")
		}
		return nil
	})
	to := newSQL(t)
	if got := restore(t, repo, name, to, backup.RestoreOptions{}); got.Objects != 1 || got.Expired != 1 {
		t.Errorf("%+v", got)
	}
	absent(t, to, "short")
	if got := restore(t, repo, name, to, backup.RestoreOptions{IgnoreExpiry: true, Overwrite: true}); got.Objects != 2 {
		t.Errorf("%+v", got)
	}
	for _, k := range []objects.Key{"short", "long"} {
		if info, err := to.Stat(t.Context(), k); err != nil || !info.Expires.IsZero() {
			t.Errorf("%+v, %v", info, err)
		}
	}
}

// TestMemory: a transfer holds at most 32 MiB, however large the object.
func TestMemory(t *testing.T) {
	const size = 128 << 20
	s3 := startS3(t)
	repo := open(t, target(s3))
	from, to := newSQL(t), newSQL(t)
	if _, err := from.Put(t.Context(), "large", &zeros{left: size}, objects.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	before := live()
	most := int64(0)
	p := progressed{hook: func(p backup.Progress) {
		if p.Bytes>>24 != (p.Bytes+backup.PieceSize)>>24 { // now and then
			most = max(most, live()-before)
		}
	}}
	if _, err := repo.Backup(t.Context(), source, from, backup.Options{Name: "one", Parallel: 1, Progress: p.tell}); err != nil {
		t.Fatal(err)
	}
	t.Logf("backup: %d MiB", most>>20)
	if most > 32<<20 || most == 0 {
		t.Errorf("a backup holds %d MiB", most>>20)
	}
	most = 0
	if _, err := repo.Restore(t.Context(), source, "one", to, backup.RestoreOptions{Parallel: 1, Progress: p.tell}); err != nil {
		t.Fatal(err)
	}
	t.Logf("restore: %d MiB", most>>20)
	if most > 32<<20 || most == 0 {
		t.Errorf("a restore holds %d MiB", most>>20)
	}
}

// zeros gives so many bytes, no 8 MiB of them alike.
type zeros struct{ n, left int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, errEOF
	}
	n := min(int64(len(p)), z.left)
	clear(p[:n])
	for i := -z.n & 0xfffff; i < n; i += 1 << 20 {
		p[i] = byte((z.n+i)>>20) + 1
	}
	z.n += n
	z.left -= n
	return int(n), nil
}

func live() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
