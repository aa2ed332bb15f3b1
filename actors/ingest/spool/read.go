package spool

import (
	"hash/crc32"
	"io"
	"time"
)

// Record is one record as it was appended.
type Record struct {
	Index uint64
	At    time.Time // when it was appended
	// Payload lies in the buffer that was given to Read.
	Payload []byte
}

// Batch is what one Read gave.
type Batch struct {
	Records []Record
	end     position
}

// Read reads the next records into buf, as many as fit but at most limit, and
// goes on behind them. One that is larger than buf comes alone, in a buffer of
// its own, which is returned to be used from then on. No records means that all
// were read. Damaged ones are left out, and reported to Config.OnDamage.
//
// Errors: those of the disk; nothing is skipped then, and the next call tries
// again.
func (l *Log) Read(buf []byte, limit int) (Batch, []byte, error) {
	for {
		l.mu.Lock()
		r, ok := l.readerLocked(l.read, limit)
		end, closed := l.read, l.closed
		l.mu.Unlock()
		if closed {
			return Batch{}, buf, errClosed
		}
		if !ok {
			return Batch{end: end}, buf, nil
		}
		records, grown, err := r.read(buf)
		buf = grown
		if err != nil {
			return Batch{}, buf, err
		}
		l.mu.Lock()
		l.read = r.pos
		l.mu.Unlock()
		if len(records) > 0 {
			return Batch{Records: records, end: r.pos}, buf, nil
		}
	}
}

// readerLocked makes a reader of the segment that the record at pos is in; ok
// is false when there is none yet.
func (l *Log) readerLocked(pos position, limit int) (r reader, ok bool) {
	if pos.segment == nil && len(l.segments) > 0 {
		pos.segment, pos.offset = l.segments[0], 0
	}
	for i, s := range l.segments {
		if s != pos.segment {
			continue
		}
		next := l.next
		if i+1 < len(l.segments) {
			next = l.segments[i+1].first
		}
		if pos.offset < s.size {
			return reader{log: l, walker: walker{segment: s, end: s.size}, pos: pos, limit: limit, next: next}, true
		}
		if i+1 < len(l.segments) {
			pos.segment, pos.offset = l.segments[i+1], 0
		}
	}
	return reader{}, false
}

// reader is one read in one segment.
type reader struct {
	log *Log
	walker
	pos   position
	limit int
	next  uint64 // index of the first record behind the end
}

// read reads records from pos on and moves pos behind them. It returns none
// when there were only damaged ones.
func (r *reader) read(buf []byte) (records []Record, _ []byte, err error) {
	if len(buf) < headerSize {
		buf = make([]byte, 64<<10)
	}
	chunk, err := r.chunk(buf)
	for err == nil && len(records) < r.limit && r.pos.offset < r.end {
		h, ok := parseHeader(chunk, r.nonce)
		ok = ok && h.index >= r.pos.index
		left := r.end - r.pos.offset
		switch {
		case ok && h.size() > left: // it promises more than there is
			r.damage(left, r.next)
		case ok && h.size() <= int64(len(chunk)):
			if rec, good := r.take(h, chunk[headerSize:h.size():h.size()]); good {
				records = append(records, rec)
			}
			chunk = chunk[h.size():]
		case !ok && (len(chunk) >= headerSize || left < headerSize):
			return records, buf, r.resync()
		case len(records) > 0:
			return records, buf, nil
		default: // the rest of it is behind the chunk
			if int64(len(buf)) < h.size() {
				buf = make([]byte, h.size())
			}
			chunk, err = r.chunk(buf)
		}
	}
	return records, buf, err
}

// chunk fills buf from pos on.
func (r *reader) chunk(buf []byte) ([]byte, error) {
	n, err := r.readAt(buf, r.pos.offset)
	if err == nil && int64(n) < min(int64(len(buf)), r.end-r.pos.offset) {
		err = io.ErrUnexpectedEOF
	}
	return buf[:n], err
}

// take moves pos behind a record, and gives it if it is as it was appended.
func (r *reader) take(h header, payload []byte) (rec Record, good bool) {
	if crc32.Checksum(payload, castagnoli) != h.sum {
		r.damage(h.size(), h.index+1)
		return Record{}, false
	}
	if h.index > r.pos.index { // a segment is missing
		r.damage(0, h.index)
	}
	r.pos.offset += h.size()
	r.pos.index = h.index + 1
	return Record{Index: h.index, At: h.at, Payload: payload}, true
}

// resync skips to the next header that can be believed.
func (r *reader) resync() error {
	h, at, err := r.find(r.pos.offset+1, r.pos.index)
	switch {
	case err == io.EOF:
		r.damage(r.end-r.pos.offset, r.next)
		return nil
	case err != nil:
		return err
	}
	r.damage(at-r.pos.offset, h.index)
	return nil
}

// damage reports n bytes and moves behind them, to the record with this index.
func (r *reader) damage(n int64, next uint64) {
	r.log.cfg.OnDamage(Damage{File: r.path, Offset: r.pos.offset, Bytes: n, Lost: next - min(next, r.pos.index)})
	r.pos.offset += n
	r.pos.index = max(r.pos.index, next)
}

// Rewind has the next Read begin at the first record that is not done.
func (l *Log) Rewind() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.read = l.acked
}

// Ack says that the records of a batch, and all before them, are done. That is
// remembered through the death of the process; after a power cut they may come
// again.
//
// Errors: those of the disk; then they come again at the next start.
func (l *Log) Ack(b Batch) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return errClosed
	}
	if b.end.index >= l.acked.index {
		l.acked = b.end
	}
	index := l.acked.index
	l.mu.Unlock()
	err := l.acks.store(index)
	oldest := l.appendedAt(b.end)
	l.mu.Lock()
	l.oldest = oldest
	l.trimLocked()
	l.mu.Unlock()
	l.restart()
	return err
}

// appendedAt is when the record at a position was appended, as well as that
// can be seen.
func (l *Log) appendedAt(pos position) time.Time {
	l.mu.Lock()
	r, ok := l.readerLocked(pos, 1)
	l.mu.Unlock()
	if ok {
		if h, _, err := r.find(r.pos.offset, r.pos.index); err == nil {
			return h.at
		}
	}
	return l.cfg.Now()
}

// trimLocked removes the segments that are done, but for the newest one.
func (l *Log) trimLocked() {
	for len(l.segments) > 1 && l.segments[1].first <= l.acked.index {
		old := l.segments[0]
		for _, pos := range []*position{&l.acked, &l.read} {
			if pos.segment == old {
				pos.segment, pos.offset = l.segments[1], 0
			}
		}
		l.freeLocked(old)
	}
}

// restart removes the newest segment when it is done and has some size. While
// it is small it is kept: who appends and drains one record at a time would
// make a file for each.
func (l *Log) restart() {
	if !l.appending.TryLock() {
		return // it is not empty for long
	}
	defer l.appending.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segments) == 1 && l.acked.index == l.next && l.segments[0].size >= l.cfg.SegmentBytes/8 {
		l.freeLocked(l.segments[0])
		l.acked = position{index: l.next}
		l.read = l.acked
		l.dirty = false
	}
}

func (l *Log) freeLocked(s *segment) {
	l.bytes -= s.size
	l.cfg.Quota.release(s.size)
	l.removeLocked(s)
}
