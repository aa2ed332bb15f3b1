package spool

import (
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
)

// recover finds what there is. Only the newest segment is looked at in full,
// for what a crash left of its last records; the others were synced before the
// next one was begun, and are checked as they are read.
func (l *Log) recover() (err error) {
	if l.segments, err = listSegments(l.dir, l.cfg.open); err != nil {
		return err
	}
	var done uint64
	if l.acks, done, err = openAcks(filepath.Join(l.dir, ackName), l.cfg.open); err != nil {
		return err
	}
	if l.acks.turn == 0 && len(l.segments) > 0 {
		done = l.segments[0].first
	}
	l.next = done
	if n := len(l.segments); n > 0 {
		next, err := l.mend(l.segments[n-1])
		if err != nil {
			return err
		}
		l.next = max(done, next)
	}
	l.acked = position{index: done}
	l.removeDone()
	for _, s := range l.segments {
		l.bytes += s.size
	}
	l.cfg.Quota.take(l.bytes, true)
	if err := l.seek(); err != nil {
		return err
	}
	return l.acks.fill(l.acked.index)
}

// mend cuts the newest segment behind its last whole record and returns the
// index of the next one.
func (l *Log) mend(s *segment) (next uint64, err error) {
	next = s.first
	var end, at int64
	w := &walker{segment: s, end: s.size}
	for at < s.size {
		h, offset, err := w.find(at, next)
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, err
		}
		at = offset + h.size()
		if whole, err := w.whole(h, offset); err != nil {
			return 0, err
		} else if whole {
			next, end = h.index+1, at
		}
	}
	if end == s.size {
		return next, nil
	}
	if err := s.file.Truncate(end); err != nil {
		return 0, err
	}
	l.cfg.OnDamage(Damage{File: s.path, Offset: end, Bytes: s.size - end, Torn: true})
	s.size = end
	return next, nil
}

// removeDone removes the segments of which all records are done.
func (l *Log) removeDone() {
	for len(l.segments) > 1 && l.segments[1].first <= l.acked.index {
		l.removeLocked(l.segments[0])
	}
	if len(l.segments) == 1 && l.acked.index >= l.next {
		l.removeLocked(l.segments[0])
	}
}

// removeLocked removes a segment and its file.
func (l *Log) removeLocked(s *segment) {
	for i, other := range l.segments {
		if other == s {
			l.segments = append(l.segments[:i:i], l.segments[i+1:]...)
		}
	}
	s.file.Close()
	os.Remove(s.path) // what stays of it is removed at the next start
}

// seek finds the first record that is not done.
func (l *Log) seek() error {
	if len(l.segments) == 0 {
		l.acked = position{index: l.next}
		l.read = l.acked
		return nil
	}
	s := l.segments[0]
	w := &walker{segment: s, end: s.size}
	l.acked.segment = s
	l.oldest = l.cfg.Now()
	for at := int64(0); at < s.size; {
		h, offset, err := w.find(at, s.first)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if h.index >= l.acked.index {
			l.oldest = h.at
			break
		}
		at = offset + h.size()
		l.acked.offset = at
	}
	l.read = l.acked
	return nil
}

// walker looks for records in a segment.
type walker struct {
	*segment
	end int64 // what lies behind is not looked at
	buf []byte
}

// find returns the first header at or behind at with at least this index, and
// where it is; io.EOF when there is none.
func (w *walker) find(at int64, from uint64) (header, int64, error) {
	const step = 64 << 10
	var first [headerSize]byte
	if n, err := w.readAt(first[:], at); err != nil {
		return header{}, 0, err
	} else if h, ok := parseHeader(first[:n], w.nonce); ok && h.index >= from {
		return h, at, nil
	}
	if w.buf == nil {
		w.buf = make([]byte, step)
	}
	for at < w.end {
		n, err := w.readAt(w.buf, at)
		if err != nil {
			return header{}, 0, err
		}
		if i := findHeader(w.buf[:n], w.nonce, from); i >= 0 {
			h, _ := parseHeader(w.buf[i:n], w.nonce)
			return h, at + int64(i), nil
		}
		at += max(int64(n)-headerSize+1, 1)
	}
	return header{}, 0, io.EOF
}

// readAt reads as much as there is before the end.
func (w *walker) readAt(b []byte, at int64) (int, error) {
	b = b[:max(0, min(int64(len(b)), w.end-at))]
	n, err := w.file.ReadAt(b, at)
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// whole reports whether the payload is all there and as it was appended.
func (w *walker) whole(h header, offset int64) (bool, error) {
	if offset+h.size() > w.end {
		return false, nil
	}
	sum := crc32.New(castagnoli)
	payload := io.NewSectionReader(w.file, offset+headerSize, int64(h.length))
	if _, err := io.Copy(sum, payload); err != nil {
		return false, err
	}
	return sum.Sum32() == h.sum, nil
}
