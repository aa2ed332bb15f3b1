package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// disk holds segments by their numbers. Tests have one that loses what was not
// synced.
type disk interface {
	// list returns the numbers of all segments, in order.
	list() ([]uint64, error)
	// create makes a segment with that head and zeros behind it. It has all of
	// its size when it is there, and is there for good when create returns. One
	// of the same number is replaced.
	create(seq uint64, head []byte, size int64) (file, error)
	open(seq uint64) (file, error)
	// remove removes a segment for good.
	remove(seq uint64) error
	// clear makes the directory if there is none, and removes all that is in it.
	clear() error
}

// file is a segment's.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Name() string
	Size() (int64, error)
	// Sync returns when what was written is on disk.
	Sync() error
}

const (
	suffix    = ".log"
	tmpSuffix = ".tmp"
)

// directory is the real disk.
type directory struct{ path string }

func newDir(path string) disk { return directory{path} }

func (d directory) name(seq uint64) string {
	return filepath.Join(d.path, fmt.Sprintf("%08d%s", seq, suffix))
}

func (d directory) list() ([]uint64, error) {
	all, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var found []uint64
	for _, e := range all {
		var seq uint64
		if strings.HasSuffix(e.Name(), suffix) {
			if _, err := fmt.Sscanf(e.Name(), "%d"+suffix, &seq); err != nil || filepath.Base(d.name(seq)) != e.Name() {
				return nil, fmt.Errorf("%w: %s is none of its files", ErrDamaged, filepath.Join(d.path, e.Name()))
			}
			found = append(found, seq)
		}
	}
	slices.Sort(found)
	return found, nil
}

// create writes the zeros instead of only reserving them: then a Sync has data
// to write and nothing of the file system's, which takes half as long, and it
// is here that a full disk is met.
func (d directory) create(seq uint64, head []byte, size int64) (file, error) {
	tmp := d.name(seq) + tmpSuffix
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	copy(b, head)
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(tmp, d.name(seq))
	}
	if err == nil {
		err = d.sync()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), ignoreAbsent(os.Remove(tmp)))
	}
	return osFile{f, d.name(seq)}, nil
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (d directory) open(seq uint64) (file, error) {
	f, err := os.OpenFile(d.name(seq), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return osFile{f, d.name(seq)}, nil
}

func (d directory) remove(seq uint64) error { return errors.Join(os.Remove(d.name(seq)), d.sync()) }

func (d directory) clear() error {
	if err := os.RemoveAll(d.path); err != nil {
		return err
	}
	if err := os.Mkdir(d.path, 0o700); err != nil {
		return err
	}
	return directory{filepath.Dir(d.path)}.sync()
}

func (d directory) sync() error {
	f, err := os.Open(d.path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

type osFile struct {
	*os.File
	name string // since it was renamed
}

func (f osFile) Name() string { return f.name }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f osFile) Sync() error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
