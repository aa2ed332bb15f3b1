package sqlstore

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// The format of framedb_objects.meta, in this order. uvarint is that of
// encoding/binary; a string is its length in bytes as a uvarint, and the bytes.
//
//	1 byte    the format, 1
//	16 bytes  version of the object
//	16 bytes  xxh3-128 of its bytes, most significant byte first
//	4 bytes   CRC-32 (IEEE) of its bytes when they are a row, most significant byte first; else 0
//	uvarint   number of parts; 0 when the bytes are a row
//	uvarint   size of a part; 0 when the bytes are a row
//	uvarint   size
//	uvarint   created, modified, expires: three, in milliseconds since 1970; expires 0 is never
//	string    content type
//	uvarint   number of user entries, then name and value of each, two strings, sorted by name
//
// Nothing at all is no object: the row only holds a lock.
const metaFormat = 1

const metaFixed = 1 + 16 + 16 + 4

func (m *meta) encode() []byte {
	b := make([]byte, 0, 128+len(m.contentType))
	b = append(b, metaFormat)
	b = append(b, m.version[:]...)
	b = append(b, m.sum[:]...)
	b = binary.BigEndian.AppendUint32(b, m.crc)
	for _, n := range []int64{int64(m.chunks), m.chunkSize, m.size, m.created, m.modified, m.expires} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	b = appendString(b, m.contentType)
	b = binary.AppendUvarint(b, uint64(len(m.user)))
	for _, name := range slices.Sorted(maps.Keys(m.user)) {
		b = appendString(appendString(b, name), m.user[name])
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decodeMeta gives the zero value for nothing.
//
// Errors: ErrCorrupt.
func decodeMeta(b []byte) (m meta, err error) {
	if len(b) == 0 {
		return meta{}, nil
	}
	if len(b) < metaFixed || b[0] != metaFormat {
		return meta{}, errMeta()
	}
	copy(m.version[:], b[1:])
	copy(m.sum[:], b[17:])
	m.crc = binary.BigEndian.Uint32(b[33:])
	d := decoder{rest: b[metaFixed:]}
	m.chunks = int(d.number())
	m.chunkSize, m.size = d.number(), d.number()
	m.created, m.modified, m.expires = d.number(), d.number(), d.number()
	m.contentType = d.text()
	m.user = d.texts()
	if d.bad || len(d.rest) > 0 || !m.plausible() {
		return meta{}, errMeta()
	}
	return m, nil
}

func errMeta() error {
	return wire.Errorf(wire.CodeCorrupt, "the metadata of the object in the database is damaged, or newer than this program")
}

// plausible keeps arithmetic on sizes safe.
func (m *meta) plausible() bool {
	if m.chunks == 0 {
		return m.size >= 0
	}
	return m.size > 0 && m.chunkSize > 0 && m.chunkSize <= 1<<30 && (m.size-1)/m.chunkSize+1 == int64(m.chunks)
}

// decoder takes values from the front of rest, and turns bad when they are not
// there.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) number() int64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || v > 1<<62 {
		d.bad, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[n:]
	return int64(v)
}

func (d *decoder) text() string {
	n := d.number()
	if n > int64(len(d.rest)) {
		d.bad, d.rest = true, nil
		return ""
	}
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) texts() map[string]string {
	n := d.number()
	if n == 0 || n > objects.MaxUserBytes {
		d.bad = d.bad || n > 0
		return nil
	}
	m := make(map[string]string, n)
	for range n {
		name := d.text()
		m[name] = d.text()
	}
	return m
}
