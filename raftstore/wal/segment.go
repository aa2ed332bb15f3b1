package wal

import "fmt"

// segment is one file of the log.
type segment struct {
	header
	file    file
	first   uint64  // the index of entries[0]
	entries []place // those that count; guarded by Log.mu
	written int64   // how far it is written; the writer's, and set before others see it
}

// place is where an entry's prefix stands in the file, and how long the entry is.
type place struct{ offset, length uint32 }

// newSegment makes a segment on disk, which has room for a frame of that many
// bytes and is no smaller than size.
func newSegment(d disk, seq, base uint64, kept []byte, size, room int64) (*segment, error) {
	h := header{seq: seq, base: base, salt: newSalt()}
	f, b := keptFrame(kept, h.salt)
	f.encode(b, h.salt, segmentHeader)
	written := segmentHeader + int64(len(b))
	h.size = max(size, written+room+frameHeader)
	file, err := d.create(seq, append(h.encode(), b...), h.size)
	if err != nil {
		return nil, fmt.Errorf("begin a segment of the log: %w", err)
	}
	return &segment{header: h, file: file, written: written}, nil
}

// keptFrame is a frame of what is kept beside the entries, its header and its
// body, of which the header is not filled in.
func keptFrame(kept []byte, salt uint64) (frame, []byte) {
	b := append(make([]byte, frameHeader+entryPrefix), kept...)
	sealEntry(b[frameHeader:], salt, 0)
	b = pad(b)
	return frame{kind: kindKept, count: 1, length: uint32(len(b) - frameHeader)}, b
}

// pad fills b up to where the next frame may begin.
func pad(b []byte) []byte { return append(b, make([]byte, padded(len(b))-int64(len(b)))...) }

func padded(bytes int) int64 { return (int64(bytes) + alignment - 1) / alignment * alignment }

// add takes entries that follow on those that it has, if it has any.
func (s *segment) add(first uint64, entries []place) {
	if len(s.entries) == 0 {
		s.first = first
	}
	s.entries = append(s.entries, entries...)
}

// cut forgets the entries from index on.
func (s *segment) cut(index uint64) {
	if s.first+uint64(len(s.entries)) > index {
		s.entries = s.entries[:index-min(index, s.first)]
		if index <= s.first {
			s.entries = nil
		}
	}
}

// drop forgets all entries when they are before index.
func (s *segment) drop(index uint64) {
	if s.first+uint64(len(s.entries)) <= index {
		s.entries = nil
	}
}
