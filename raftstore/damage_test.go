package raftstore

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// usedDir is a Dir with a raft.db of some 100 KiB, and its bytes.
func usedDir(t *testing.T) (dir string, db []byte) {
	t.Helper()
	ctx, dir := within(t), t.TempDir()
	s := open(t, ctx, testConfig(dir))
	propose(t, ctx, s, "", create("a"))
	for i := range 20 {
		m := mapping("")
		m.Source, m.Metadata = large(i)
		propose(t, ctx, s, "", m)
	}
	closeStore(t, s)
	db, err := os.ReadFile(filepath.Join(dir, "raft.db"))
	if err != nil {
		t.Fatal(err)
	}
	return dir, db
}

func TestADamagedDirIsRefused(t *testing.T) {
	t.Parallel()
	noise := func(from, n int) func([]byte) []byte {
		return func(db []byte) []byte {
			random := rand.NewChaCha8([32]byte{1})
			_, _ = io.ReadFull(random, db[from:from+n])
			return db
		}
	}
	// Many pages are free, which harms nobody.
	usedPage := func(pages []int) func([]byte) []byte {
		return func(db []byte) []byte {
			for _, n := range pages {
				bad := noise(n*4096, 4096)(slices.Clone(db))
				if checkPages(bytes.NewReader(bad), int64(len(bad))) != nil {
					return bad
				}
			}
			return db
		}
	}
	cut := func(n int) func([]byte) []byte { return func(db []byte) []byte { return db[:n] } }
	for name, damage := range map[string]func([]byte) []byte{
		"empty": cut(0), "100 bytes": cut(100), "one page": cut(4096), "5000 bytes": cut(5000),
		"20480 bytes": cut(20480), "half": func(db []byte) []byte { return db[:len(db)/2] },
		"a low page": usedPage([]int{2, 3, 4, 5, 6, 7, 8}), "a higher page": usedPage([]int{12, 13, 14, 15, 16, 17, 18, 19}),
		"both metas": noise(0, 8192),
		"first meta": noise(0, 4096), "second meta": noise(4096, 4096),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, db := usedDir(t)
			path := filepath.Join(dir, "raft.db")
			if err := os.WriteFile(path, damage(db), 0o600); err != nil {
				t.Fatal(err)
			}
			refused(t, dir, "raft.db")
		})
	}
	t.Run("gone", func(t *testing.T) {
		t.Parallel()
		dir, _ := usedDir(t)
		if err := os.Remove(filepath.Join(dir, "raft.db")); err != nil {
			t.Fatal(err)
		}
		refused(t, dir, "raft.db")
	})
	t.Run("snapshots gone", func(t *testing.T) {
		t.Parallel()
		ctx, dir := within(t), t.TempDir()
		s := open(t, ctx, testConfig(dir))
		propose(t, ctx, s, "", create("a"))
		snapshotNow(t, s)
		propose(t, ctx, s, "", create("b"))
		closeStore(t, s)
		if err := os.RemoveAll(filepath.Join(dir, snapshotDir)); err != nil {
			t.Fatal(err)
		}
		refused(t, dir, "snapshots")
	})
}

// refused opens dir, which must fail with what is wrong and the remedy.
func refused(t *testing.T, dir, what string) {
	t.Helper()
	s, err := Open(testConfig(dir))
	if err == nil {
		closeStore(t, s)
		t.Fatalf("it opened, with %d clusters", len(s.View().Clusters()))
	}
	for _, want := range []string{dir, what, "move", "restore"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
}

// TestNoDamageEndsTheProcess: where the check is content, bbolt can read every
// key, write and open again.
func TestNoDamageEndsTheProcess(t *testing.T) {
	t.Parallel()
	_, db := usedDir(t)
	root := t.TempDir()
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		dir := filepath.Join(root, fmt.Sprint(run))
		bad := append([]byte(nil), db...)
		for range rapid.IntRange(1, 3).Draw(t, "spots") {
			// Half of them where pages begin, since most of the rest is values.
			at := rapid.IntRange(0, len(bad)/4096-1).Draw(t, "page") * 4096
			at += rapid.OneOf(rapid.IntRange(0, 64), rapid.IntRange(0, 4000)).Draw(t, "offset")
			copy(bad[at:], rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "bytes"))
		}
		if err := mkdir(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "raft.db"), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			s, err := openLogStore(dir, "n1", func(time.Duration) {})
			if err != nil {
				return
			}
			first, last := bounds(t, s)
			if err := s.DeleteRange(first, last); err != nil {
				t.Fatal(err)
			}
			closeLog(t, s)
		}
	})
}
