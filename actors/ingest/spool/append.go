package spool

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/framedb/framedb/client/wire"
)

// errClosed is returned by a log that was closed.
var errClosed = errors.New("the spool is closed")

// Append appends records, all of them or none, and returns the index of the
// first. With sync they are on disk when it returns, unless Config.SyncEvery
// allows for later. The payloads are not kept.
//
// Errors: ErrOverloaded (the log or the quota is full, or the oldest record too
// old), ErrDiskFull, both with RetryAfter, and both until there is room again;
// ErrTooLarge (a payload, or all of them); those of the disk.
func (l *Log) Append(payloads []Payload, sync bool) (first uint64, err error) {
	l.appending.Lock()
	defer l.appending.Unlock()
	var total int64
	for _, p := range payloads {
		if p.size() > MaxPayload {
			return 0, wire.Errorf(wire.CodeTooLarge, "a record of %d bytes: at most %d", p.size(), MaxPayload)
		}
		total += headerSize + int64(p.size())
	}
	if err := l.admit(total); err != nil {
		return 0, err
	}
	first, err = l.append(payloads, sync)
	if err != nil {
		l.cfg.Quota.release(total)
		return 0, diskError(err)
	}
	return first, nil
}

// admit takes total bytes of the quota, or says why there is no room.
func (l *Log) admit(total int64) error {
	d := l.Depth()
	switch {
	case total > l.cfg.MaxBytes:
		return wire.Errorf(wire.CodeTooLarge, "%d bytes at once: the spool has at most %d", total, l.cfg.MaxBytes)
	case d.Bytes+total > l.cfg.MaxBytes:
		return full("the spool is full: %d of %d bytes", d.Bytes, l.cfg.MaxBytes)
	case l.cfg.MaxAge > 0 && d.Records > 0 && l.cfg.Now().Sub(d.Oldest) > l.cfg.MaxAge:
		return full("the oldest frame has been in the spool since %v, longer than %v", d.Oldest.UTC(), l.cfg.MaxAge)
	}
	if free, err := l.cfg.free(l.dir); err == nil && l.cfg.MinFree > 0 && free-total < l.cfg.MinFree {
		e := wire.Errorf(wire.CodeDiskFull, "%d bytes are free on the spool's disk, and %d are to stay free", free, l.cfg.MinFree)
		e.RetryAfter = retryDiskFull
		return e
	}
	if !l.cfg.Quota.take(total, false) {
		used, max := l.cfg.Quota.Used()
		return full("the spools of this agent are full: %d of %d bytes", used, max)
	}
	return nil
}

// append writes the records and makes them visible; appending is held.
func (l *Log) append(payloads []Payload, sync bool) (first uint64, err error) {
	s, offset, next, err := l.grow()
	if err != nil {
		return 0, err
	}
	now := l.cfg.Now()
	end, err := s.write(offset, header{index: next, at: now}, payloads)
	if err == nil && sync && now.Sub(l.lastSync) >= l.cfg.SyncEvery {
		if err = s.file.Datasync(); err == nil {
			l.lastSync, l.dirty = now, false
		}
	} else {
		l.dirty = true
	}
	if err != nil {
		l.takeBack(s, offset)
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.acked.index == l.next {
		l.oldest = now
	}
	l.bytes += end - s.size
	s.size = end
	l.next += uint64(len(payloads))
	return next, nil
}

// takeBack cuts off what could not be written or synced. A segment of which
// not even that is sure is not written again: after a failed sync the kernel
// may hold pages for clean that never came to the disk.
func (l *Log) takeBack(s *segment, offset int64) {
	s.file.Truncate(offset) // what stays is cut off, or skipped, as after a crash
	l.mu.Lock()
	defer l.mu.Unlock()
	if offset > 0 {
		s.sealed = true
		return
	}
	for _, pos := range []*position{&l.acked, &l.read} {
		if pos.segment == s { // it is the only one
			pos.segment, pos.offset = nil, 0
		}
	}
	l.removeLocked(s)
}

// grow returns the segment to append to, and where, a new one if need be.
func (l *Log) grow() (s *segment, offset int64, next uint64, err error) {
	l.mu.Lock()
	next = l.next
	closed := l.closed
	if n := len(l.segments); n > 0 {
		s = l.segments[n-1]
		offset = s.size
	}
	sealed := s == nil || s.sealed || offset >= l.cfg.SegmentBytes
	l.mu.Unlock()
	switch {
	case closed:
		return nil, 0, 0, errClosed
	case !sealed:
		return s, offset, next, nil
	}
	if s != nil && l.dirty && !s.sealed {
		if err := s.file.Datasync(); err != nil {
			return nil, 0, 0, err
		}
		l.dirty = false
	}
	s = &segment{first: next, nonce: nonce(rand.Uint64())}
	s.path = filepath.Join(l.dir, segmentName(s.first, s.nonce))
	if s.file, err = l.cfg.open(s.path); err != nil {
		return nil, 0, 0, err
	}
	if err := syncDir(l.dir); err != nil {
		s.file.Close()
		os.Remove(s.path)
		return nil, 0, 0, err
	}
	l.mu.Lock()
	l.segments = append(l.segments, s)
	l.mu.Unlock()
	return s, 0, next, nil
}

// Sync has everything that was appended on disk when it returns nil.
func (l *Log) Sync() error {
	l.appending.Lock()
	defer l.appending.Unlock()
	l.mu.Lock()
	var s *segment
	if n := len(l.segments); n > 0 && !l.closed {
		s = l.segments[n-1]
	}
	l.mu.Unlock()
	if s == nil || !l.dirty {
		return nil
	}
	if err := s.file.Datasync(); err != nil {
		l.mu.Lock()
		s.sealed = true
		l.mu.Unlock()
		return diskError(err)
	}
	l.dirty, l.lastSync = false, l.cfg.Now()
	return nil
}
