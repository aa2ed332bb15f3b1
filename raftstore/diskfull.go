package raftstore

import (
	"errors"
	"os"
	"syscall"

	"github.com/framedb/framedb/client/wire"
)

// isDiskFull reports whether err says that no more can be written: no space,
// a quota, or a limit on the size of files.
func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// whyNotWritten is ErrDiskFull when err, of a failed write in dir, comes of
// that, else err. Raft wraps some causes as text only; so where err does not
// tell, a small file is tried.
func whyNotWritten(dir string, err error) error {
	var known *wire.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	if !isDiskFull(err) && !isDiskFull(probe(dir)) {
		return err
	}
	return diskFull(dir, err)
}

// probe writes a little to a nameless file in dir.
func probe(dir string) error {
	f, err := os.CreateTemp(dir, "probe-*.tmp")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	if _, err := f.Write(make([]byte, 64<<10)); err != nil {
		return err
	}
	return f.Sync()
}

// DiskFull returns why the last write to the Raft log found no space, nil when
// it found some. It never blocks. Errors: ErrDiskFull.
func (s *Store) DiskFull() error {
	if full := s.logs.full.Load(); full != nil {
		return full
	}
	return nil
}

// diskFull is the ErrDiskFull that names the remedy.
func diskFull(path string, err error) *wire.Error {
	return wire.Errorf(wire.CodeDiskFull, "no space is left for %s: free some on its file system or raise the quota, and repeat (%v)", path, err)
}
