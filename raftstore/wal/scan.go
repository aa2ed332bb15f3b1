package wal

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// open reads the log that is on a disk.
func open(d disk, segmentSize int64) (_ *Log, err error) {
	l := &Log{disk: d, segmentSize: segmentSize}
	defer func() {
		if err != nil {
			for _, s := range l.segments {
				err = errors.Join(err, s.file.Close())
			}
		}
	}()
	all, err := d.list()
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: no segment of the log is there", ErrDamaged)
	}
	var last scanner
	for i, seq := range all {
		if i > 0 && seq != all[i-1]+1 {
			return nil, fmt.Errorf("%w: segment %d of the log is gone", ErrDamaged, all[i-1]+1)
		}
		if i > 0 && !last.sealed {
			if err := l.takeBack(last, seq, all[i+1:]); err != nil {
				return nil, err
			}
			return l, l.removeUnused()
		}
		if last, err = l.scan(seq, i == 0); err != nil {
			return nil, err
		}
	}
	if last.sealed {
		return nil, fmt.Errorf("%w: segment %d of the log is gone", ErrDamaged, last.seq+1)
	}
	if err := last.end(); err != nil {
		return nil, err
	}
	return l, l.removeUnused()
}

// takeBack is for a segment that is not sealed though it has a successor: the
// process ended in between, so nothing can be in the successor, and nothing
// else can come behind it.
func (l *Log) takeBack(last scanner, successor uint64, further []uint64) error {
	f, err := l.disk.open(successor)
	if err != nil {
		return err
	}
	next := scanner{segment: &segment{file: f}}
	err = next.load(successor)
	if err == nil && (len(further) > 0 || !next.isFresh()) {
		err = fmt.Errorf("%w: %s has no end, and yet %s goes on", ErrDamaged, last.file.Name(), f.Name())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := last.end(); err != nil {
		return err
	}
	return l.disk.remove(successor)
}

// scanner reads one segment.
type scanner struct {
	*segment
	b      []byte // all of the file
	sealed bool
}

// scan reads a segment and what it does to the log.
func (l *Log) scan(seq uint64, oldest bool) (scanner, error) {
	f, err := l.disk.open(seq)
	if err != nil {
		return scanner{}, err
	}
	s := scanner{segment: &segment{file: f}}
	l.segments = append(l.segments, s.segment)
	if err := s.load(seq); err != nil {
		return s, err
	}
	if oldest {
		l.first, l.next = s.base, s.base
	}
	if s.base != l.next {
		return s, s.wrong(0, "it does not follow on the segment before")
	}
	s.written = segmentHeader
	if f, ok := s.frame(); !ok || f.kind != kindKept {
		return s, s.wrong(segmentHeader, "it does not begin with what is kept")
	}
	for !s.sealed {
		frame, ok := s.frame()
		if !ok {
			break
		}
		if err := l.replay(&s, frame); err != nil {
			return s, err
		}
		s.written += frameHeader + int64(frame.length)
	}
	if s.sealed && !s.isZero(s.written) {
		return s, s.wrong(s.written, "something stands behind its end")
	}
	return s, nil
}

// load reads the file and its header.
func (s *scanner) load(seq uint64) error {
	size, err := s.file.Size()
	if err != nil {
		return err
	}
	s.b = make([]byte, size)
	if n, err := s.file.ReadAt(s.b, 0); n < len(s.b) {
		return fmt.Errorf("%s: %w", s.file.Name(), err)
	}
	var ok bool
	if s.header, ok = decodeHeader(s.b); !ok || s.seq != seq {
		return s.wrong(0, "it does not begin as it was made")
	}
	if s.size != size {
		return s.wrong(0, fmt.Sprintf("it has %d bytes, not %d", size, s.size))
	}
	return nil
}

func (s *scanner) wrong(at int64, what string) error {
	return fmt.Errorf("%w: %s, offset %d: %s", ErrDamaged, s.file.Name(), at, what)
}

// frame is the frame where the segment is written up to, if a whole one stands
// there.
func (s *scanner) frame() (frame, bool) {
	f, ok := decodeFrame(s.b[s.written:], s.salt, s.written)
	if !ok || int64(f.length) > s.size-s.written-frameHeader {
		return f, false
	}
	if _, ok := s.places(f); !ok {
		return f, false
	}
	return f, true
}

// places are where the entries of a frame stand; ok is false when one of them is
// not whole.
func (s *scanner) places(f frame) (_ []place, ok bool) {
	at := s.written + frameHeader
	body := s.b[at : at+int64(f.length)]
	var all []place
	for i := range uint64(f.count) {
		entry, ok := openEntry(body, s.salt, f.index+i)
		if !ok {
			return nil, false
		}
		all = append(all, place{uint32(at), uint32(len(entry))})
		at += entryPrefix + int64(len(entry))
		body = body[entryPrefix+len(entry):]
	}
	return all, len(body) < alignment
}

// replay does what a frame says.
func (l *Log) replay(s *scanner, f frame) error {
	follows := f.index == l.next
	switch f.kind {
	case kindEntries:
		if !follows {
			return s.wrong(s.written, fmt.Sprintf("entry %d does not follow on %d", f.index, l.next-1))
		}
		all, _ := s.places(f)
		s.add(f.index, all)
		l.next += uint64(len(all))
	case kindKept:
		at, _ := s.places(f)
		if len(at) != 1 {
			return s.wrong(s.written, "it keeps nothing, or more than one thing")
		}
		from := at[0].offset + entryPrefix
		l.kept = slices.Clone(s.b[from : from+at[0].length])
	case kindCut:
		if f.index >= l.next {
			return s.wrong(s.written, fmt.Sprintf("entries from %d on were deleted, and the last one is %d", f.index, l.next-1))
		}
		l.cutLocked(f.index)
	case kindDrop:
		l.dropLocked(f.index)
	case kindSeal, kindClose:
		if !follows {
			return s.wrong(s.written, fmt.Sprintf("it ends with entry %d, not %d", l.next-1, f.index-1))
		}
		s.sealed = f.kind == kindSeal
	default:
		return fmt.Errorf("%s, offset %d: a frame of kind %q is unknown to this agent: upgrade it", s.file.Name(), s.written, f.kind)
	}
	return nil
}

// end cuts off what was being written when the process or the machine died.
// That can only be one frame, since each was on disk before the next one was
// written, and only zeros come behind it.
func (s *scanner) end() error {
	from, to := s.written, s.used(s.written)
	if to == from {
		return nil
	}
	if f, ok := decodeFrame(s.b[from:], s.salt, from); ok && to > from+frameHeader+int64(f.length) {
		return s.wrong(from, "a frame is wrong, and there is something behind it")
	}
	for at := from + alignment; at < to; at += alignment {
		if _, ok := decodeFrame(s.b[at:], s.salt, at); ok {
			return s.wrong(from, fmt.Sprintf("a frame is wrong, and another one is behind it at %d", at))
		}
	}
	if _, err := s.file.WriteAt(make([]byte, to-from), from); err != nil {
		return err
	}
	return s.file.Sync()
}

// isFresh reports whether nothing came into the segment since it was made.
func (s *scanner) isFresh() bool {
	s.written = segmentHeader
	f, ok := s.frame()
	return ok && f.kind == kindKept && s.isZero(segmentHeader+frameHeader+int64(f.length))
}

// isZero reports whether there is nothing from there on.
func (s *scanner) isZero(from int64) bool { return s.used(from) == from }

// used is behind the last byte from there on that is not zero.
func (s *scanner) used(from int64) int64 {
	rest := s.b[from:]
	var zeros [4096]byte
	for len(rest) >= len(zeros) && bytes.Equal(rest[len(rest)-len(zeros):], zeros[:]) {
		rest = rest[:len(rest)-len(zeros)]
	}
	return from + int64(len(bytes.TrimRight(rest, "\x00")))
}
