package backup_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/backup"
	"github.com/framedb/framedb/client/wire"
)

// TestWrongBytes: bytes that S3 does not give as they were stored are restored
// nowhere, and the error names the object.
func TestWrongBytes(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	repo := open(t, target(s3))
	store, _ := newRedis(t)
	put(t, store, "bad", content("bad", backup.PieceSize+1000), objects.PutOptions{})
	put(t, store, "good", []byte("good"), objects.PutOptions{})
	make1(t, repo, store, "one")
	sum := objects.SumOf(content("bad", backup.PieceSize+1000)[backup.PieceSize:]).String()
	second := s3.Files(bucket, sum[:2]+"/"+sum[2:])
	if len(second) != 1 {
		t.Fatalf("pieces: %v", second)
	}
	whole, err := os.ReadFile(second[0])
	if err != nil || len(whole) != 1000 {
		t.Fatalf("%d bytes, %v", len(whole), err)
	}
	for what, damage := range map[string]func(){
		"a wrong byte": func() { flip(t, second[0], 500) },
		"cut":          func() { os.WriteFile(second[0], whole[:999], 0o600) },
		"longer":       func() { os.WriteFile(second[0], append(bytes.Clone(whole), 0), 0o600) },
		"gone":         func() { os.Remove(second[0]) },
	} {
		damage()
		to, _ := newRedis(t)
		put(t, to, "bad", []byte("before"), objects.PutOptions{})
		_, err := repo.Restore(t.Context(), source, "one", to, backup.RestoreOptions{Overwrite: true})
		wantCode(t, what, err, wire.CodeCorrupt, "")
		if err != nil && !strings.Contains(err.Error(), `"bad"`) {
			t.Errorf("%s: the error does not name the object: %v", what, err)
		}
		expect(t, to, "bad", []byte("before"))
		v, err := repo.Verify(t.Context(), source, "one", backup.VerifyOptions{})
		wantCode(t, what+", verify", err, wire.CodeCorrupt, "")
		if v.Damaged != 1 || v.Objects != 1 || v.FirstDamaged[0].Key != "bad" {
			t.Errorf("%s: %+v", what, v)
		}
		if got, err := repo.Restore(t.Context(), source, "one", to, backup.RestoreOptions{Selection: backup.Selection{Keys: []objects.Key{"good"}}}); err != nil || got.Objects+got.Same != 1 {
			t.Errorf("%s, the other object: %+v, %v", what, got, err)
		}
		if err := os.WriteFile(second[0], whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWrongManifest: a manifest that is damaged anywhere is never taken for
// one, and a sweep drops nothing then.
func TestWrongManifest(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	repo := open(t, target(s3))
	store, _ := newRedis(t)
	to, _ := newRedis(t)
	put(t, store, "o", []byte("some bytes"), objects.PutOptions{})
	make1(t, repo, store, "one")
	head := s3.Files(bucket, "/backups/one")[0]
	text, err := os.ReadFile(head)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(text); at += 7 {
		flip(t, head, at)
		_, err := repo.Restore(t.Context(), source, "one", to, backup.RestoreOptions{})
		wantCode(t, "a wrong head", err, wire.CodeCorrupt, "")
		flip(t, head, at)
	}
	flip(t, head, len(text)/2)
	if all, err := repo.List(t.Context(), source); err != nil || len(all) != 1 || all[0].Damaged == "" {
		t.Errorf("list: %+v, %v", all, err)
	}
	_, err = repo.SweepAfter(t.Context(), source, 0, 0)
	wantCode(t, "sweep", err, wire.CodeCorrupt, "")
	flip(t, head, len(text)/2)

	var body string // the piece that is not the object's
	for _, f := range s3.Files(bucket, "/data/") {
		if data, _ := os.ReadFile(f); string(data) != "some bytes" {
			body = f
		}
	}
	flip(t, body, 20)
	_, err = repo.Restore(t.Context(), source, "one", to, backup.RestoreOptions{})
	wantCode(t, "a wrong body", err, wire.CodeCorrupt, "")
	_, err = repo.SweepAfter(t.Context(), source, 0, 0)
	wantCode(t, "sweep", err, wire.CodeCorrupt, "")
	absent(t, to, "o")
	if err := repo.Delete(t.Context(), source, "one"); err != nil {
		t.Errorf("delete: %v", err)
	}
	for range 2 {
		if _, err := repo.SweepAfter(t.Context(), source, 0, 0); err != nil {
			t.Errorf("sweep: %v", err)
		}
	}
	if left := s3.Files(bucket, "/data/"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestDamagedSource: an object that its FrameDB cannot read fails the backup,
// or is left out when that was asked for.
func TestDamagedSource(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	repo := open(t, target(s3))
	store, rdb := newRedis(t)
	put(t, store, "bad", content("bad", 70<<20), objects.PutOptions{})
	put(t, store, "good", []byte("good"), objects.PutOptions{})
	part := rdb.Keys(t.Context(), "framedb:part:*:1").Val()
	if len(part) != 1 {
		t.Fatalf("parts: %v", part)
	}
	rdb.SetRange(t.Context(), part[0], 99, "damage")
	_, err := repo.Backup(t.Context(), source, store, backup.Options{Name: "one"})
	wantCode(t, "a damaged object", err, wire.CodeCorrupt, "")
	if err != nil && !strings.Contains(err.Error(), `"bad"`) {
		t.Errorf("the error does not name the object: %v", err)
	}
	if got := names(t, repo); got != nil {
		t.Errorf("backups: %v", got)
	}
	report, err := repo.Backup(t.Context(), source, store, backup.Options{Name: "one", SkipDamaged: true})
	if err != nil || report.Objects != 1 || report.Skipped != 1 || report.FirstSkipped[0].Key != "bad" {
		t.Errorf("%+v, %v", report, err)
	}
}
