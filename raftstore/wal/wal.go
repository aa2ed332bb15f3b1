// Package wal is a log of numbered entries in files that only grow. Whatever a
// call wrote is on disk when it returns. What was being written when the
// process or the machine died is cut off at the next Open; whatever else is
// wrong in the files is an error.
package wal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// DefaultSegmentSize is what is reserved on disk at a time. Lower: less is
// reserved, and deleted entries leave the disk sooner; higher: the pause of some
// 5 ms, in which the next segment is filled with zeros, comes more rarely.
const DefaultSegmentSize = 1 << 20

// maxKept bounds the buffer that stays for the next write.
const maxKept = 1 << 20

var (
	// ErrNotFound is returned when there is no such entry.
	ErrNotFound = errors.New("the log has no such entry")
	// ErrDamaged is returned by Open when the files are not as they were left,
	// and by Read when an entry cannot be read where it was written.
	ErrDamaged = errors.New("log damaged")
	errClosed  = errors.New("the log is closed")
)

// Log is the entries First to Last, without gaps. Reads may run beside each
// other and beside one writer.
type Log struct {
	disk        disk
	segmentSize int64

	writing sync.Mutex // held while something is written; taken before mu
	frame   []byte     // guarded by writing: the buffer of one write
	broken  int        // guarded by writing: how many bytes a failed write may have left behind the last frame

	mu       sync.RWMutex // guards those below
	segments []*segment   // the oldest first; the last one is written to. Nil when closed
	first    uint64       // the first entry, if there is one
	next     uint64       // the index behind the last entry
	kept     []byte       // what is kept beside the entries; never changed, but replaced
}

// Create makes an empty log in dir, in place of whatever a Create that did not
// end left there, and keeps something beside it.
func Create(dir string, kept []byte) error { return create(newDir(dir), kept, DefaultSegmentSize) }

func create(d disk, kept []byte, size int64) error {
	if err := d.clear(); err != nil {
		return err
	}
	s, err := newSegment(d, 1, 1, kept, size, 0)
	if err != nil {
		return err
	}
	return s.file.Close()
}

// Open opens the log in dir, which nobody else may use. It reads all of it.
// Errors: ErrDamaged.
func Open(dir string) (*Log, error) { return open(newDir(dir), DefaultSegmentSize) }

// First is the index of the first entry, 0 when there is none.
func (l *Log) First() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.emptyLocked() {
		return 0
	}
	return l.first
}

// Last is the index of the last entry, 0 when there is none.
func (l *Log) Last() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.emptyLocked() {
		return 0
	}
	return l.next - 1
}

func (l *Log) emptyLocked() bool { return l.first >= l.next }

// Read returns an entry. Errors: ErrNotFound, ErrDamaged.
func (l *Log) Read(index uint64) ([]byte, error) {
	l.mu.RLock() // held while reading: Drop closes files
	defer l.mu.RUnlock()
	s, at, err := l.findLocked(index)
	if err != nil {
		return nil, err
	}
	b := make([]byte, entryPrefix+at.length)
	if _, err := s.file.ReadAt(b, int64(at.offset)); err != nil {
		return nil, fmt.Errorf("%w: %s: entry %d cannot be read: %w", ErrDamaged, s.file.Name(), index, err)
	}
	entry, ok := openEntry(b, s.salt, index)
	if !ok {
		return nil, fmt.Errorf("%w: %s: entry %d has a wrong checksum", ErrDamaged, s.file.Name(), index)
	}
	return entry, nil
}

func (l *Log) findLocked(index uint64) (*segment, place, error) {
	if index < l.first || index >= l.next {
		return nil, place{}, ErrNotFound
	}
	for i := len(l.segments) - 1; i >= 0; i-- {
		if s := l.segments[i]; len(s.entries) > 0 && s.first <= index {
			return s, s.entries[index-s.first], nil
		}
	}
	return nil, place{}, errClosed
}

// Size is what the entries from index on come to, in bytes.
func (l *Log) Size(index uint64) (bytes int) {
	l.eachBack(func(i uint64, size int) bool {
		if i >= index {
			bytes += size
		}
		return i > index
	})
	return bytes
}

// Newest is how many entries, from the last one back, come to at most that many
// bytes.
func (l *Log) Newest(bytes int) (n uint64) {
	l.eachBack(func(_ uint64, size int) bool {
		if bytes -= size; bytes < 0 {
			return false
		}
		n++
		return true
	})
	return n
}

// eachBack calls f with each entry and its size, the last one first, while f
// says so.
func (l *Log) eachBack(f func(index uint64, size int) bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for i := l.next; i > l.first; i-- {
		_, at, err := l.findLocked(i - 1)
		if err != nil || !f(i-1, int(at.length)) {
			return
		}
	}
}

// Append adds n entries, of which the first has index first; encode appends the
// i-th one, which is not empty, to b. All are stored, or none. An empty log may
// go on at any index, others at Last+1 only. It returns the size of the entries.
func (l *Log) Append(first uint64, n int, encode func(b []byte, i int) []byte) (size int, err error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.turnTo(first); err != nil {
		return 0, err
	}
	b := append(l.frame[:0], make([]byte, frameHeader)...)
	entries := make([]place, n)
	for i := range n {
		start := len(b)
		b = encode(append(b, make([]byte, entryPrefix)...), i)
		entries[i] = place{uint32(start), uint32(len(b) - start - entryPrefix)}
		size += int(entries[i].length)
	}
	if l.frame = b; len(b) > maxKept {
		l.frame = nil
	}
	s, err := l.room(len(b))
	if err != nil {
		return 0, err
	}
	for i, at := range entries {
		sealEntry(b[at.offset:at.offset+entryPrefix+at.length], s.salt, first+uint64(i))
		entries[i].offset += uint32(s.written)
	}
	if err := l.write(s, frame{kind: kindEntries, index: first, count: uint32(n)}, b); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.add(first, entries)
	if l.emptyLocked() {
		l.first = first
	}
	l.next = first + uint64(n)
	return size, nil
}

// turnTo has the next entry be index, which it is by itself unless the log is
// empty.
func (l *Log) turnTo(index uint64) error {
	l.mu.RLock()
	empty, next := l.emptyLocked(), l.next
	l.mu.RUnlock()
	switch {
	case index == next:
		return nil
	case !empty:
		return fmt.Errorf("entry %d does not follow on %d", index, next-1)
	case index < next:
		return l.cut(index)
	}
	return l.drop(index)
}

// Kept is what Keep was given last. Nobody may change it.
func (l *Log) Kept() []byte {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.kept
}

// Keep keeps kept beside the entries, in place of what was kept before.
func (l *Log) Keep(kept []byte) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	s, err := l.room(frameHeader + entryPrefix + len(kept))
	if err != nil {
		return err
	}
	f, b := keptFrame(kept, s.salt)
	if err := l.write(s, f, b); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = slices.Clone(kept)
	return nil
}

// Cut deletes the entries from index on.
func (l *Log) Cut(index uint64) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.cut(index)
}

func (l *Log) cut(index uint64) error {
	if index >= l.peekNext() {
		return nil
	}
	if err := l.mark(frame{kind: kindCut, index: index}); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cutLocked(index)
	return nil
}

// Drop deletes the entries before index.
func (l *Log) Drop(index uint64) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.drop(index)
}

func (l *Log) drop(index uint64) error {
	l.mu.RLock()
	none := index <= l.first || l.emptyLocked() && index <= l.next
	l.mu.RUnlock()
	if none {
		return nil
	}
	if err := l.mark(frame{kind: kindDrop, index: index}); err != nil {
		return err
	}
	l.mu.Lock()
	l.dropLocked(index)
	l.mu.Unlock()
	return l.removeUnused()
}

func (l *Log) cutLocked(index uint64) {
	for _, s := range l.segments {
		s.cut(index)
	}
	l.next = index
	l.first = min(l.first, index)
}

func (l *Log) dropLocked(index uint64) {
	l.first = max(l.first, index)
	l.next = max(l.next, l.first)
	for _, s := range l.segments {
		s.drop(index)
	}
}

// peekNext is for the writer.
func (l *Log) peekNext() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.next
}

// mark writes a frame without entries.
func (l *Log) mark(f frame) error {
	s, err := l.room(frameHeader)
	if err != nil {
		return err
	}
	return l.write(s, f, make([]byte, frameHeader))
}

// room is the segment for a frame of that many bytes: the last one, or a new
// one.
func (l *Log) room(bytes int) (*segment, error) {
	l.mu.RLock()
	segments := l.segments
	l.mu.RUnlock()
	if len(segments) == 0 {
		return nil, errClosed
	}
	s := segments[len(segments)-1]
	if s.written+padded(bytes)+frameHeader > s.size { // the last one seals it
		return l.rotate(s, padded(bytes))
	}
	return s, nil
}

// write puts a frame, whose header is filled in here, behind the last one of s.
func (l *Log) write(s *segment, f frame, b []byte) error {
	if err := l.mend(s); err != nil {
		return err
	}
	b = pad(b)
	f.length = uint32(len(b) - frameHeader)
	f.encode(b, s.salt, s.written)
	_, err := s.file.WriteAt(b, s.written)
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		l.broken = len(b)
		// At once, so that what the caller hears of as failed does not come back
		// should the process end here. If it fails too, the next write begins with it.
		return errors.Join(err, l.mend(s))
	}
	s.written += int64(len(b))
	return nil
}

// mend takes back what a failed write may have left.
func (l *Log) mend(s *segment) error {
	if l.broken == 0 {
		return nil
	}
	if _, err := s.file.WriteAt(make([]byte, l.broken), s.written); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	l.broken = 0
	return nil
}

// rotate begins a segment in which a frame of that many bytes has room. The one
// before is sealed when its successor is on disk, so that the loss of either is
// seen.
func (l *Log) rotate(old *segment, room int64) (*segment, error) {
	if err := l.mend(old); err != nil {
		return nil, err
	}
	s, err := newSegment(l.disk, old.seq+1, l.peekNext(), l.Kept(), l.segmentSize, room)
	if err != nil {
		return nil, err
	}
	if err := l.write(old, frame{kind: kindSeal, index: l.peekNext()}, make([]byte, frameHeader)); err != nil {
		return nil, errors.Join(err, s.file.Close())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments = append(l.segments, s)
	return s, nil
}

// removeUnused removes the oldest segments while nothing in them counts.
func (l *Log) removeUnused() error {
	for {
		l.mu.RLock()
		oldest, used := l.segments[0], len(l.segments) == 1 || len(l.segments[0].entries) > 0
		l.mu.RUnlock()
		if used {
			return nil
		}
		if err := l.disk.remove(oldest.seq); err != nil {
			return err
		}
		l.mu.Lock()
		l.segments = l.segments[1:]
		l.mu.Unlock()
		if err := oldest.file.Close(); err != nil {
			return err
		}
	}
}

// Close marks the log as complete, so that the loss of what was written last is
// seen as well, and closes the files.
func (l *Log) Close() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	err := l.mark(frame{kind: kindClose, index: l.peekNext()})
	if errors.Is(err, errClosed) {
		return nil
	}
	err = nil // a full disk has no room for it, nor need
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segments {
		err = errors.Join(err, s.file.Close())
	}
	l.segments = nil
	return err
}

// newSalt makes checksums of one segment mean nothing in another.
func newSalt() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:])
}
