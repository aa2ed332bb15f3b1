package raftstore

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	"github.com/hashicorp/raft"
)

// A log entry in raft.db, under its index as 8 bytes big endian. Numbers are
// big endian.
//
//	offset size
//	0      1    entryVersion
//	1      1    raft.LogType
//	2      8    term
//	10     8    AppendedAt in nanoseconds since 1970, 0 for none
//	18     4    n, length of the extensions
//	22     n    extensions
//	22+n   …    data
//	end-4  4    CRC-32C of the key and all bytes before
//
// The checksum is there because bbolt has none for its data pages: an entry
// that rotted must stop the node instead of making it differ from the others.
const (
	entryVersion = 1
	entryHeader  = 22
	entryTrailer = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errEntryDamaged = errors.New("log entry is damaged: its checksum is wrong")

func indexKey(index uint64) []byte { return binary.BigEndian.AppendUint64(nil, index) }

func encodeEntry(l *raft.Log) []byte {
	b := make([]byte, 0, entryHeader+len(l.Extensions)+len(l.Data)+entryTrailer)
	b = append(b, entryVersion, byte(l.Type))
	b = binary.BigEndian.AppendUint64(b, l.Term)
	var at int64
	if !l.AppendedAt.IsZero() {
		at = l.AppendedAt.UnixNano()
	}
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	b = binary.BigEndian.AppendUint32(b, uint32(len(l.Extensions)))
	b = append(b, l.Extensions...)
	b = append(b, l.Data...)
	return binary.BigEndian.AppendUint32(b, entrySum(l.Index, b))
}

func entrySum(index uint64, b []byte) uint32 {
	return crc32.Update(crc32.Checksum(indexKey(index), castagnoli), castagnoli, b)
}

// decodeEntry fills l from b, which it copies.
func decodeEntry(index uint64, b []byte, l *raft.Log) error {
	end := len(b) - entryTrailer
	if end < entryHeader || binary.BigEndian.Uint32(b[end:]) != entrySum(index, b[:end]) {
		return errEntryDamaged
	}
	if b[0] != entryVersion {
		return errors.New("log entry has another format than this agent knows: upgrade it")
	}
	extEnd := uint64(entryHeader) + uint64(binary.BigEndian.Uint32(b[18:]))
	if extEnd > uint64(end) {
		return errEntryDamaged
	}
	*l = raft.Log{
		Index: index, Type: raft.LogType(b[1]), Term: binary.BigEndian.Uint64(b[2:]),
		Extensions: clone(b[entryHeader:extEnd]), Data: clone(b[extEnd:end]),
	}
	if at := int64(binary.BigEndian.Uint64(b[10:])); at != 0 {
		l.AppendedAt = time.Unix(0, at)
	}
	return nil
}

// clone copies b; nil for nothing.
func clone(b []byte) []byte { return append([]byte(nil), b...) }
