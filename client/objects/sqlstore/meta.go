package sqlstore

import (
	"crypto/rand"
	"time"

	"github.com/framedb/framedb/client/objects"
)

// version names the bytes of one Put. The zero value is none.
type version [16]byte

func newVersion() version {
	var v version
	rand.Read(v[:]) // never fails
	return v
}

// meta is what is known of an object.
type meta struct {
	version     version
	chunks      int // 0: the bytes are the row of data_table
	chunkSize   int64
	size        int64
	sum         objects.Sum
	crc         uint32
	contentType string
	user        map[string]string
	created     int64 // milliseconds since 1970
	modified    int64
	expires     int64 // 0: never
}

func (m *meta) exists() bool { return m.version != version{} }

func (m *meta) expired(now int64) bool { return m.expires > 0 && m.expires <= now }

func (m *meta) info(key objects.Key) objects.Info {
	info := objects.Info{
		Key: key, Size: m.size, Sum: m.sum, ContentType: m.contentType, User: m.user,
		Created: time.UnixMilli(m.created).UTC(), Modified: time.UnixMilli(m.modified).UTC(),
	}
	if m.expires > 0 {
		info.Expires = time.UnixMilli(m.expires).UTC()
	}
	return info
}

// row is what the server says of a row of data_table.
type row struct {
	there bool
	size  int64
	crc   uint32
}

// state is which object is under a key.
type state int

const (
	absent  state = iota
	whole         // the row, with its metadata
	foreign       // the row, as another program wrote it
	parts         // chunks
)

// resolve decides what is under a key. Another program knows data_table alone:
// what it does there after a Put is the newer word. A row beside the metadata
// of chunks was written after them, because a Put of chunks takes the row
// away; a row that is gone was deleted; and one of another size or CRC-32 than
// its metadata was overwritten.
func resolve(m *meta, r row, now int64) state {
	switch {
	case r.there && m.exists() && m.chunks == 0 && m.size == r.size && m.crc == r.crc:
		if m.expired(now) {
			return absent
		}
		return whole
	case r.there:
		return foreign
	case m.exists() && m.chunks > 0 && !m.expired(now):
		return parts
	}
	return absent
}
