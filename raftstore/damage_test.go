package raftstore

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/framedb/framedb/raftstore/wal"
)

// usedDir is a Dir with a log of some 100 KiB.
func usedDir(t *testing.T) string {
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
	return dir
}

func TestADamagedDirIsRefused(t *testing.T) {
	t.Parallel()
	log := filepath.Join(logDir, "00000001.log")
	noise := func(from, n int) func([]byte) []byte {
		return func(b []byte) []byte {
			random := rand.NewChaCha8([32]byte{1})
			_, _ = io.ReadFull(random, b[from:from+n])
			return b
		}
	}
	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:n] } }
	for name, damage := range map[string]func([]byte) []byte{
		"log empty": cut(0), "log of 100 bytes": cut(100), "log of a page": cut(4096),
		"half of the log":           func(b []byte) []byte { return b[:len(b)/2] },
		"log without its last byte": func(b []byte) []byte { return b[:len(b)-1] },
		"log is longer":             func(b []byte) []byte { return append(b, 0) },
		"a low page":                noise(4096, 4096), "a higher page": noise(15*4096, 4096),
		"header": noise(0, 48), "first frame": noise(48, 24),
		"what is kept": noise(48+24+8, 10),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := usedDir(t)
			path := filepath.Join(dir, log)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			refused(t, dir, path)
		})
	}
	for _, name := range []string{logDir, log} {
		t.Run(name+" gone", func(t *testing.T) {
			t.Parallel()
			dir := usedDir(t)
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			refused(t, dir, filepath.Join(dir, logDir))
		})
	}
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

// TestDamageIsSeenOrHarmless: whatever some bytes of the log become, after it
// was closed, it is refused or has all its entries.
func TestDamageIsSeenOrHarmless(t *testing.T) {
	t.Parallel()
	used := filepath.Join(usedDir(t), logDir)
	good, err := os.ReadFile(filepath.Join(used, "00000001.log"))
	if err != nil {
		t.Fatal(err)
	}
	end := bytes.LastIndex(good, []byte("DONE")) + 24
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		bad := slices.Clone(good)
		at := rapid.IntRange(0, end+100).Draw(t, "offset")
		copy(bad[at:], rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "bytes"))
		if err := os.WriteFile(filepath.Join(dir, "00000001.log"), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		log, err := wal.Open(dir)
		if err != nil {
			if !errors.Is(err, wal.ErrDamaged) && !strings.Contains(err.Error(), "upgrade") {
				t.Fatal(err)
			}
			return
		}
		if log.First() != 1 || log.Last() < 22 {
			t.Errorf("entries %d to %d are left", log.First(), log.Last())
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
