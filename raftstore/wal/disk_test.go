package wal

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"pgregory.net/rapid"
)

var (
	errFull = errors.New("full")
	errDead = errors.New("the machine is dead")
)

// fakeDisk loses what was not synced when it crashes, but for any part of it.
type fakeDisk struct {
	files map[uint64]*fakeFile
	// steps is how many writes, syncs, creates and removes go well before one
	// fails; negative: all.
	steps int
	// dies: the one that fails is the last thing that happens. Else only it
	// and the next few fail.
	dies  bool
	fails int // how many more fail
	dead  bool
	t     *rapid.T
}

type fakeFile struct {
	disk    *fakeDisk
	seq     uint64
	now     []byte // as who reads it sees it
	durable []byte
	pending []pending
	closed  bool
}

type pending struct {
	at int64
	b  []byte
}

func newFakeDisk(t *rapid.T) *fakeDisk {
	return &fakeDisk{files: map[uint64]*fakeFile{}, steps: -1, t: t}
}

// step reports whether the next step goes well.
func (d *fakeDisk) step() error {
	switch {
	case d.dead:
		return errDead
	case d.steps < 0:
		return nil
	case d.steps > 0:
		d.steps--
		return nil
	case d.dies:
		d.dead = true
		return errDead
	}
	if d.fails--; d.fails <= 0 {
		d.steps = -1
	}
	return errFull
}

// crash is the disk as it is found afterwards.
func (d *fakeDisk) crash() *fakeDisk {
	after := newFakeDisk(d.t)
	for _, seq := range slices.Sorted(maps.Keys(d.files)) {
		f := d.files[seq]
		b := slices.Clone(f.durable)
		for _, p := range f.pending {
			d.tear(b, p)
		}
		after.files[seq] = &fakeFile{disk: after, seq: seq, now: b, durable: slices.Clone(b)}
	}
	return after
}

// tear has some of a write reach b.
func (d *fakeDisk) tear(b []byte, p pending) {
	const sector = 16 // of the writes here, which are small
	switch rapid.IntRange(0, 3).Draw(d.t, "tear") {
	case 0: // nothing
	case 1:
		copy(b[p.at:], p.b)
	case 2:
		copy(b[p.at:], p.b[:rapid.IntRange(0, len(p.b)).Draw(d.t, "bytes")])
	case 3: // sectors in no order
		for from := int64(0); from < int64(len(p.b)); {
			to := min(int64(len(p.b)), (p.at+from)/sector*sector+sector-p.at)
			if rapid.Bool().Draw(d.t, "sector") {
				copy(b[p.at+from:], p.b[from:to])
			}
			from = to
		}
	}
}

func (d *fakeDisk) list() ([]uint64, error) { return slices.Sorted(maps.Keys(d.files)), nil }

func (d *fakeDisk) create(seq uint64, head []byte, size int64) (file, error) {
	b := make([]byte, size)
	copy(b, head)
	f := &fakeFile{disk: d, seq: seq, now: b, durable: slices.Clone(b)}
	if err := d.step(); err != nil {
		if d.dead && rapid.Bool().Draw(d.t, "created") {
			d.files[seq] = f
		}
		return nil, err
	}
	d.files[seq] = f
	return f, nil
}

func (d *fakeDisk) open(seq uint64) (file, error) {
	f := d.files[seq]
	f.closed = false
	return f, nil
}

func (d *fakeDisk) remove(seq uint64) error {
	if err := d.step(); err != nil {
		if d.dead && rapid.Bool().Draw(d.t, "removed") {
			delete(d.files, seq)
		}
		return err
	}
	delete(d.files, seq)
	return nil
}

func (d *fakeDisk) clear() error {
	clear(d.files)
	return nil
}

func (f *fakeFile) Name() string { return fmt.Sprint("segment ", f.seq) }

func (f *fakeFile) Size() (int64, error) { return int64(len(f.now)), nil }

func (f *fakeFile) ReadAt(b []byte, at int64) (int, error) {
	if f.closed {
		return 0, errors.New("read of a closed file")
	}
	return copy(b, f.now[at:]), nil
}

func (f *fakeFile) WriteAt(b []byte, at int64) (int, error) {
	if f.closed || at+int64(len(b)) > int64(len(f.now)) {
		return 0, errors.New("write to a closed file, or behind its end")
	}
	err := f.disk.step()
	if err == nil {
		copy(f.now[at:], b)
		f.pending = append(f.pending, pending{at, slices.Clone(b)})
		return len(b), nil
	}
	n := rapid.IntRange(0, len(b)).Draw(f.disk.t, "written")
	copy(f.now[at:], b[:n])
	f.pending = append(f.pending, pending{at, slices.Clone(b[:n])})
	return n, err
}

func (f *fakeFile) Sync() error {
	if err := f.disk.step(); err != nil {
		return err
	}
	f.pending, f.durable = nil, slices.Clone(f.now)
	return nil
}

func (f *fakeFile) Close() error {
	if f.closed {
		return errors.New("closed twice")
	}
	f.closed = true
	return nil
}
