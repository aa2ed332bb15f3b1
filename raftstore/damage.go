package raftstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/framedb/framedb/client/wire"
)

// damaged says what to do about a Dir that cannot be read; err names the file.
func damaged(dir string, err error) error {
	return fmt.Errorf("%s is damaged: %w. If other agents have its data, move the directory away and start this agent with expect 0: it gets everything from them. "+
		"If it was alone, restore the directory from a copy, or move it away to begin empty. If most voters are lost, see framedb raft recover", dir, err)
}

// lockDir takes the lock on dir, which ends with the process, too. Errors:
// ErrConflict.
func lockDir(dir string) (*os.File, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = d.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, wire.Errorf(wire.CodeConflict, "%s is in use by another agent: stop that one, or give this one a data directory of its own", dir)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return d, nil
}

// unlockDir gives the lock back at once, also when a child that is being started
// has a copy of d for a moment.
func unlockDir(d *os.File) error {
	return errors.Join(syscall.Flock(int(d.Fd()), syscall.LOCK_UN), d.Close())
}

// checkNew returns an error when a dir without a log was in use: openSnapshots
// makes its directory when the log is there, and before Raft begins.
func checkNew(dir string) error {
	_, err := os.Stat(filepath.Join(dir, snapshotDir))
	switch {
	case err == nil:
		return damaged(dir, fmt.Errorf("%s is gone", filepath.Join(dir, logDir)))
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("open %s: %w", dir, err)
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
