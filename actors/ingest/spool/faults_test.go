package spool

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/framedb/framedb/client/wire"
)

// disk is a disk that can fail.
type disk struct {
	left   atomic.Int64 // bytes that may still be written
	broken atomic.Bool  // syncing fails
}

type faultyFile struct {
	file
	disk *disk
}

func (d *disk) open(path string) (file, error) {
	f, err := openFile(path)
	return faultyFile{f, d}, err
}

func (f faultyFile) WriteAt(b []byte, at int64) (int, error) {
	if left := f.disk.left.Add(-int64(len(b))); left < 0 {
		n := max(0, len(b)+int(left))
		f.file.WriteAt(b[:n], at)
		return n, &os.PathError{Op: "write", Err: syscall.ENOSPC}
	}
	return f.file.WriteAt(b, at)
}

func (f faultyFile) Datasync() error {
	if f.disk.broken.Load() {
		return syscall.EIO
	}
	return f.file.Datasync()
}

func TestAFullDiskTakesNothingAndEndsByItself(t *testing.T) {
	t.Parallel()
	for left := int64(0); left < 300; left += 7 {
		var d disk
		d.left.Store(1000)
		dir := t.TempDir()
		l := open(t, dir, Config{open: d.open, OnDamage: func(d Damage) { t.Error(d) }})
		add(t, l, "before")
		d.left.Store(left)
		_, err := l.Append(payloads(strings.Repeat("x", 200), strings.Repeat("y", 200)), true)
		if !errors.Is(err, wire.ErrDiskFull) || wire.AsError(err).RetryAfter <= 0 {
			t.Fatalf("%d bytes left: %v", left, err)
		}
		equal(t, "while it is full", drain(t, l, false), []string{"before"})
		d.left.Store(1000)
		add(t, l, "after")
		equal(t, "when there is room again", drain(t, l, false), []string{"after"})
		l.closeFiles()
		l = open(t, dir, Config{OnDamage: func(d Damage) { t.Error(d) }})
		equal(t, "after a restart", drain(t, l, true), []string{"before", "after"})
		closeIt(t, l)
	}
}

func TestARealFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("a small disk cannot be mounted here (%v): TestAFullDiskTakesNothingAndEndsByItself shows the same with a file that fails", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, 0) })
	l := open(t, filepath.Join(dir, "l"), Config{MinFree: -1, SegmentBytes: 100 << 10})
	var taken []string
	var err error
	for err == nil {
		s := strings.Repeat("x", 50<<10)
		if _, err = l.Append(payloads(s), true); err == nil {
			taken = append(taken, s)
		}
	}
	if !errors.Is(err, wire.ErrDiskFull) || len(taken) < 10 {
		t.Fatalf("after %d records: %v", len(taken), err)
	}
	equal(t, "on the full disk", drain(t, l, true), taken)
	add(t, l, strings.Repeat("y", 500<<10))
	closeIt(t, l)
}

func TestWhatCannotBeSyncedIsNotTaken(t *testing.T) {
	t.Parallel()
	var d disk
	d.left.Store(1 << 20)
	dir := t.TempDir()
	l := open(t, dir, Config{open: d.open})
	add(t, l, "before")
	d.broken.Store(true)
	if _, err := l.Append(payloads("lost"), true); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Append: %v", err)
	}
	if _, err := l.Append(payloads("lost"), true); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Append again: %v", err)
	}
	d.broken.Store(false)
	add(t, l, "after")
	if n := len(segments(t, dir)); n != 2 {
		t.Errorf("%d files: after a failed sync a new one is due", n)
	}
	equal(t, "all", drain(t, l, true), []string{"before", "after"})
	closeIt(t, l)
}

func TestSyncEvery(t *testing.T) {
	t.Parallel()
	var d disk
	d.left.Store(1 << 20)
	d.broken.Store(true)
	l := open(t, t.TempDir(), Config{open: d.open, SyncEvery: 1 << 40})
	add(t, l, "not synced yet")
	if err := l.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("Sync: %v", err)
	}
	d.broken.Store(false)
	drain(t, l, true)
	if err := l.Sync(); err != nil {
		t.Errorf("Sync again: %v", err)
	}
	closeIt(t, l)
}
