package raftstore

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/hashicorp/raft"
)

// A log entry, as it stands in the log under its index and with a checksum of
// package wal's. Numbers are big endian.
//
//	offset size
//	0      1    entryVersion
//	1      1    raft.LogType
//	2      8    term
//	10     8    AppendedAt in nanoseconds since 1970, 0 for none
//	18     4    n, length of the extensions
//	22     n    extensions
//	22+n   …    data
const (
	entryVersion = 1
	entryHeader  = 22
)

var errEntryWrong = errors.New("log entry is none that this agent wrote")

// encodeEntry appends an entry to b.
func encodeEntry(b []byte, l *raft.Log) []byte {
	b = append(b, entryVersion, byte(l.Type))
	b = binary.BigEndian.AppendUint64(b, l.Term)
	var at int64
	if !l.AppendedAt.IsZero() {
		at = l.AppendedAt.UnixNano()
	}
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	b = binary.BigEndian.AppendUint32(b, uint32(len(l.Extensions)))
	b = append(b, l.Extensions...)
	return append(b, l.Data...)
}

// decodeEntry fills l from b, which is l's from here on.
func decodeEntry(index uint64, b []byte, l *raft.Log) error {
	if len(b) < entryHeader {
		return errEntryWrong
	}
	if b[0] != entryVersion {
		return errors.New("log entry has another format than this agent knows: upgrade it")
	}
	extEnd := uint64(entryHeader) + uint64(binary.BigEndian.Uint32(b[18:]))
	if extEnd > uint64(len(b)) {
		return errEntryWrong
	}
	*l = raft.Log{
		Index: index, Type: raft.LogType(b[1]), Term: binary.BigEndian.Uint64(b[2:]),
		Extensions: part(b[entryHeader:extEnd]), Data: part(b[extEnd:]),
	}
	if at := int64(binary.BigEndian.Uint64(b[10:])); at != 0 {
		l.AppendedAt = time.Unix(0, at)
	}
	return nil
}

// part is b, nil for nothing, and whoever appends to it copies it.
func part(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b[:len(b):len(b)]
}

// clone copies b; nil for nothing.
func clone(b []byte) []byte { return append([]byte(nil), b...) }
