package raftstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// damaged says what to do about a Dir that cannot be read; err names the file.
func damaged(dir string, err error) error {
	return fmt.Errorf("%s is damaged: %w. If other agents have its data, move the directory away and start this agent with expect 0: it gets everything from them. "+
		"If it was alone, restore the directory from a copy, or move it away to begin empty. If most voters are lost, see framedb raft recover", dir, err)
}

// inspect returns why bbolt cannot open a file, of which it would die. A file
// whose first write was cut short is emptied; but Raft's term and vote are in
// it, so one that was in use is never taken for that.
func inspect(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return checkNew(path)
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return nil // somebody is at it
	}
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	if info.Size() < firstWrite() {
		if err := checkNew(path); err != nil {
			return err
		}
		return f.Truncate(0)
	}
	if err := checkPages(f, info.Size()); err != nil {
		return damaged(filepath.Dir(path), fmt.Errorf("%s: %w", path, err))
	}
	return nil
}

// firstWrite is the size of what bbolt writes at once into a new file. It is
// less when the disk was full or the agent was killed.
func firstWrite() int64 { return int64(4 * os.Getpagesize()) }

// checkNew returns an error when a file that has nothing in it was in use:
// openSnapshots makes its directory when raft.db is complete, and before Raft
// begins.
func checkNew(path string) error {
	dir := filepath.Dir(path)
	_, err := os.Stat(filepath.Join(dir, snapshotDir))
	switch {
	case err == nil:
		return damaged(dir, fmt.Errorf("%s is gone, or ends within its first pages", path))
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("open %s: %w", path, err)
}

// syncDir has what was made in dir survive a loss of power.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
