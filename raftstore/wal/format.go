package wal

import (
	"encoding/binary"
	"hash/crc32"
)

// A log is a directory of segments, 00000001.log, 00000002.log and so on, of
// which the oldest ones are removed when nothing in them counts any more. A
// segment has its full size, filled with zeros, before the first frame goes into
// it, and is made under another name. Numbers are big endian, checksums CRC-32C.
//
//	offset size
//	0      8    "framedbL"
//	8      8    the number of the segment, as in its name
//	16     8    the index that follows on the segments before
//	24     8    size of the file
//	32     8    salt, random
//	40     4    checksum of the bytes before
//	44     4    zero
//
// From there on it is frames, one behind the other, each at a multiple of 8.
// Each was one write, and was on disk before the next one was written.
//
//	offset size
//	0      4    kind, see below
//	4      4    n, length of the body and the zeros that fill it up to a multiple of 8
//	8      8    index
//	16     4    number of entries
//	20     4    checksum of salt, offset of the frame in the file (8 bytes each) and the bytes before
//	24     n    body
//
//	kind  body                   means
//	ENTR  entries, see below     The entries from index on. They follow on the
//	                             last one before.
//	CUT.  none                   There are no entries from index on: another leader's
//	                             take their place.
//	DROP  none                   There are no entries before index: a snapshot took
//	                             their place.
//	KEPT  one entry, whose       What is kept beside the entries, in place of what was
//	      index is 0             before. A segment begins with it.
//	SEAL  none                   The log goes on in the next segment, with index.
//	DONE  none                   The log was closed; the next entry is index.
//
// An entry:
//
//	offset size
//	0      4    n, length of the bytes
//	4      4    checksum of salt, index (8 bytes each) and the bytes
//	8      n    bytes
const (
	segmentMagic  = "framedbL"
	segmentHeader = 48
	frameHeader   = 24
	entryPrefix   = 8
	alignment     = 8
)

type kind [4]byte

var (
	kindEntries = kind{'E', 'N', 'T', 'R'}
	kindCut     = kind{'C', 'U', 'T', '.'}
	kindDrop    = kind{'D', 'R', 'O', 'P'}
	kindKept    = kind{'K', 'E', 'P', 'T'}
	kindSeal    = kind{'S', 'E', 'A', 'L'}
	kindClose   = kind{'D', 'O', 'N', 'E'}
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is a frame's header.
type frame struct {
	kind   kind
	length uint32
	index  uint64
	count  uint32
}

// encode puts the header at the beginning of b, which goes to offset.
func (f frame) encode(b []byte, salt uint64, offset int64) {
	copy(b, f.kind[:])
	binary.BigEndian.PutUint32(b[4:], f.length)
	binary.BigEndian.PutUint64(b[8:], f.index)
	binary.BigEndian.PutUint32(b[16:], f.count)
	binary.BigEndian.PutUint32(b[20:], sum(salt, uint64(offset), b[:20]))
}

// decodeFrame reads the header of a frame at offset; ok is false when there is
// none.
func decodeFrame(b []byte, salt uint64, offset int64) (f frame, ok bool) {
	if len(b) < frameHeader || b[0] == 0 || binary.BigEndian.Uint32(b[20:]) != sum(salt, uint64(offset), b[:20]) {
		return f, false
	}
	copy(f.kind[:], b)
	f.length = binary.BigEndian.Uint32(b[4:])
	f.index = binary.BigEndian.Uint64(b[8:])
	f.count = binary.BigEndian.Uint32(b[16:])
	return f, true
}

// sum is the checksum of b where it stands: a frame's offset or an entry's index.
func sum(salt, where uint64, b []byte) uint32 {
	var head [16]byte
	binary.BigEndian.PutUint64(head[:], salt)
	binary.BigEndian.PutUint64(head[8:], where)
	return crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, b)
}

// sealEntry fills in the prefix of an entry.
func sealEntry(b []byte, salt, index uint64) {
	binary.BigEndian.PutUint32(b, uint32(len(b)-entryPrefix))
	binary.BigEndian.PutUint32(b[4:], sum(salt, index, b[entryPrefix:]))
}

// openEntry returns the bytes of an entry that b begins with; ok is false when
// it is not as sealEntry left it.
func openEntry(b []byte, salt, index uint64) (entry []byte, ok bool) {
	if len(b) < entryPrefix {
		return nil, false
	}
	n := binary.BigEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-entryPrefix) {
		return nil, false
	}
	entry = b[entryPrefix : entryPrefix+n]
	return entry, binary.BigEndian.Uint32(b[4:]) == sum(salt, index, entry)
}

// header is a segment's.
type header struct {
	seq, base uint64
	size      int64
	salt      uint64
}

func (h header) encode() []byte {
	b := append(make([]byte, 0, segmentHeader), segmentMagic...)
	for _, n := range []uint64{h.seq, h.base, uint64(h.size), h.salt} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return append(b, 0, 0, 0, 0)
}

// decodeHeader reads what encode wrote; ok is false for anything else.
func decodeHeader(b []byte) (h header, ok bool) {
	if len(b) < segmentHeader || string(b[:8]) != segmentMagic || binary.BigEndian.Uint32(b[40:]) != crc32.Checksum(b[:40], castagnoli) {
		return h, false
	}
	n := func(at int) uint64 { return binary.BigEndian.Uint64(b[at:]) }
	return header{seq: n(8), base: n(16), size: int64(n(24)), salt: n(32)}, true
}
