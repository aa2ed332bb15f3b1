package raftstore

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"

	bolt "go.etcd.io/bbolt"

	"github.com/framedb/framedb/client/wire"
)

// isDiskFull reports whether err says that no more can be written: no space,
// a quota, or a limit on the size of files.
func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// whyNotWritten is ErrDiskFull when err, of a failed write to db or beside it,
// comes of that, else err. bbolt and Raft wrap some causes as text only; so
// where err does not tell, a file as large as db may become is tried.
func whyNotWritten(db *bolt.DB, err error) error {
	var known *wire.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	if !isDiskFull(err) && !isDiskFull(probe(db)) {
		return err
	}
	return diskFull(db.Path(), err)
}

// probe writes a little where db would grow, in a nameless file beside it.
func probe(db *bolt.DB) error {
	info, err := os.Stat(db.Path())
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(db.Path()), "probe-*.tmp")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	if _, err := f.WriteAt(make([]byte, 64<<10), info.Size()+int64(db.AllocSize)); err != nil {
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
