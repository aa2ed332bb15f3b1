package spool

import (
	"errors"
	"io"
	"os"
	"syscall"

	"github.com/framedb/framedb/client/wire"
)

// file is what a log needs of a file.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	// Datasync returns when all that was written is on the disk, with the
	// file's length.
	Datasync() error
}

// opener opens a file to read and write, and makes it if it is not there.
type opener func(path string) (file, error)

type osFile struct{ *os.File }

func openFile(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (f osFile) Datasync() error { return datasync(f.File) }

// syncDir makes the names of a directory's files durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// diskError gives the errors of a full disk their code.
func diskError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		e := wire.Errorf(wire.CodeDiskFull, "no space is left for the spool: %v", err)
		e.RetryAfter = retryDiskFull
		return e
	}
	return err
}
