package spool

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"
)

// A segment file is records and nothing else, one behind the other; integers
// are big endian:
//
//	 0  4  magic "FRec"
//	 4  4  n, the length of the payload
//	 8  8  index: grows by one from record to record, over all segments
//	16  8  when it was appended, Unix milliseconds
//	24  4  CRC-32C of the payload
//	28  4  CRC-32C of the segment's nonce (8 bytes) and bytes 0..27
//	32  n  payload
//
// What a reader needs to find records again behind damage, the first index and
// the nonce, is in the file's name: <first index>-<nonce>.seg, both of 16
// hexadecimal digits. The nonce is random, so that a payload that happens to
// hold records, of another spool for instance, is never taken for ours.
const (
	headerSize = 32
	magic      = 0x46526563

	// MaxPayload is the longest payload in bytes: a frame in all its sizes.
	MaxPayload = 520 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// nonce seeds the checksums of one segment.
type nonce uint64

// header is the beginning of a record.
type header struct {
	length int
	index  uint64
	at     time.Time
	sum    uint32 // of the payload
}

func (h header) size() int64 { return headerSize + int64(h.length) }

func (h header) append(b []byte, n nonce) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, magic)
	b = binary.BigEndian.AppendUint32(b, uint32(h.length))
	b = binary.BigEndian.AppendUint64(b, h.index)
	b = binary.BigEndian.AppendUint64(b, uint64(h.at.UnixMilli()))
	b = binary.BigEndian.AppendUint32(b, h.sum)
	return binary.BigEndian.AppendUint32(b, n.sum(b[start:]))
}

func (n nonce) sum(b []byte) uint32 {
	seed := binary.BigEndian.AppendUint64(make([]byte, 0, 8), uint64(n))
	return crc32.Update(crc32.Checksum(seed, castagnoli), castagnoli, b)
}

// parseHeader reads the header at the beginning of b; ok is false when there
// is none of this segment.
func parseHeader(b []byte, n nonce) (h header, ok bool) {
	if len(b) < headerSize || binary.BigEndian.Uint32(b) != magic {
		return header{}, false
	}
	h = header{
		length: int(binary.BigEndian.Uint32(b[4:])),
		index:  binary.BigEndian.Uint64(b[8:]),
		at:     time.UnixMilli(int64(binary.BigEndian.Uint64(b[16:]))),
		sum:    binary.BigEndian.Uint32(b[24:]),
	}
	return h, n.sum(b[:28]) == binary.BigEndian.Uint32(b[28:]) && h.length <= MaxPayload
}

// findHeader returns where in b the next header of the segment begins that has
// at least this index, or -1.
func findHeader(b []byte, n nonce, from uint64) int {
	for i := 0; i+headerSize <= len(b); i++ {
		if b[i] != magic>>24 {
			continue
		}
		if h, ok := parseHeader(b[i:], n); ok && h.index >= from {
			return i
		}
	}
	return -1
}

// Payload is one record's bytes, in as many pieces as the caller has them.
type Payload [][]byte

func (p Payload) size() int {
	n := 0
	for _, piece := range p {
		n += len(piece)
	}
	return n
}

func (p Payload) sum() uint32 {
	var sum uint32
	for _, piece := range p {
		sum = crc32.Update(sum, castagnoli, piece)
	}
	return sum
}

// Damage is bytes of a segment that are not what was appended. They are never
// handed out.
type Damage struct {
	File   string
	Offset int64
	Bytes  int64
	// Lost is how many records are gone with them.
	Lost uint64
	// Torn is true for what a crash left of a record that was not acknowledged:
	// it was cut off. The end of the newest segment cannot be told from that
	// when it was damaged afterwards.
	Torn bool
}

func (d Damage) String() string {
	if d.Torn {
		return fmt.Sprintf("%s: cut at %d, where a record of %d bytes is not complete", d.File, d.Offset, d.Bytes)
	}
	return fmt.Sprintf("%s: %d bytes at %d are damaged, %d records are lost", d.File, d.Bytes, d.Offset, d.Lost)
}
