package backup

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// Format is the version of what is stored in S3. A repository reads this one
// and those before it.
const Format = 1

// Summary is what is known of one backup without reading all of it.
type Summary struct {
	Format  int            `json:"format"`
	Name    Name           `json:"name"`
	FrameDB wire.FrameDBID `json:"framedb_id"`
	// Job and Instant are those of a scheduled backup.
	Job     JobName   `json:"job,omitempty"`
	Instant time.Time `json:"instant,omitzero"`
	// Selection is what was asked for.
	Selection Selection `json:"selection,omitzero"`
	// Created and Finished are when the backup began and ended, by the clock of
	// who made it. Objects are as they were at some moment in between, each one
	// at its own.
	Created  time.Time `json:"created"`
	Finished time.Time `json:"finished"`
	// Objects and Bytes are how many objects are in it, and how large they are
	// together.
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`
	// Skipped is how many objects are not in it because they could not be read,
	// and the first of them.
	Skipped      int64     `json:"skipped,omitzero"`
	FirstSkipped []Skipped `json:"first_skipped,omitempty"`
	// Damaged says why a backup that is listed cannot be read; only Name and
	// FrameDB stand then. Never stored.
	Damaged string `json:"damaged,omitempty"`
}

// Skipped is an object that is not in a backup, and why.
type Skipped struct {
	Key objects.Key `json:"key"`
	Why string      `json:"why"`
}

// maxSkipped bounds FirstSkipped.
const maxSkipped = 100

// head is the object backups/<name>. It is written last: it makes the backup.
type head struct {
	Summary
	Run runID `json:"run"`
	// Body is pieces of gzip, each of whole entries, one JSON object a line.
	Body []piece `json:"body"`
}

// maxHead bounds the size of a head in bytes.
const maxHead = 16 << 20

// Entry is one object of a backup.
type Entry struct {
	objects.Info
	// Pieces are the bytes, in order; none of an empty object.
	Pieces []piece `json:"pieces,omitempty"`
}

// encode gives the JSON and a line with its checksum.
func (h head) encode() ([]byte, error) {
	text, err := json.MarshalIndent(h, "", " ")
	if err != nil {
		return nil, err
	}
	text = append(text, '\n')
	return fmt.Appendf(text, "%v\n", objects.SumOf(text)), nil
}

// decodeHead reads what encode gives.
//
// Errors: ErrCorrupt; ErrConflict for a format that is not known.
func decodeHead(data []byte) (h head, err error) {
	end := bytes.LastIndexByte(bytes.TrimSuffix(data, []byte("\n")), '\n') + 1
	sum, err := objects.ParseSum(string(bytes.TrimSuffix(data[end:], []byte("\n"))))
	if err != nil || sum != objects.SumOf(data[:end]) {
		return head{}, wire.Errorf(wire.CodeCorrupt, "its bytes have another checksum than was stored")
	}
	var format struct{ Format int }
	if err := json.Unmarshal(data[:end], &format); err != nil {
		return head{}, wire.Errorf(wire.CodeCorrupt, "%v", err)
	}
	if format.Format < 1 || format.Format > Format {
		return head{}, wire.Errorf(wire.CodeConflict, "it has format %d: this program reads 1 to %d, take a newer one", format.Format, Format)
	}
	if err := json.Unmarshal(data[:end], &h); err != nil {
		return head{}, wire.Errorf(wire.CodeCorrupt, "%v", err)
	}
	return h, nil
}

func (p place) headKey(name Name) string { return p.dir + "backups/" + string(name) }

// readHead reads a head and checks that it is the one of this name and place.
//
// Errors: ErrNotFound, those of decodeHead.
func (p place) readHead(ctx context.Context, id wire.FrameDBID, name Name) (head, error) {
	data, _, err := p.s3.get(ctx, p.headKey(name), nil, maxHead)
	if wire.CodeOf(err) == wire.CodeNotFound && wire.AsError(err).Field == "" {
		return head{}, wire.Errorf(wire.CodeNotFound, "there is no backup %q of %q", name, id)
	}
	if err != nil {
		return head{}, err
	}
	h, err := decodeHead(data)
	if err == nil && (h.Name != name || h.FrameDB != id) {
		err = wire.Errorf(wire.CodeCorrupt, "it is the backup %q of %q", h.Name, h.FrameDB)
	}
	if err != nil {
		return head{}, fmt.Errorf("the backup %q of %q cannot be read: %w", name, id, err)
	}
	return h, nil
}

// bodyPart is after how many bytes of entries a piece of the body ends.
const bodyPart = 4 << 20

// bodyWriter makes the body of a manifest. Safe for concurrent use.
type bodyWriter struct {
	store func(ctx context.Context, gz []byte) (piece, error)

	mu      sync.Mutex
	lines   bytes.Buffer
	pieces  []piece
	objects int64
	bytes   int64
}

func (w *bodyWriter) add(ctx context.Context, e Entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines.Write(append(line, '\n'))
	w.objects++
	w.bytes += e.Size
	if w.lines.Len() < bodyPart {
		return nil
	}
	return w.flushLocked(ctx)
}

func (w *bodyWriter) flush(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flushLocked(ctx)
}

func (w *bodyWriter) flushLocked(ctx context.Context) error {
	if w.lines.Len() == 0 {
		return nil
	}
	var gz bytes.Buffer
	z := gzip.NewWriter(&gz)
	z.Write(w.lines.Bytes()) // into memory: it does not fail
	z.Close()
	p, err := w.store(ctx, gz.Bytes())
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	w.pieces = append(w.pieces, p)
	w.lines.Reset()
	return nil
}

// entries calls f for each object of a backup. The whole body was right when it
// returns nil.
//
// Errors: ErrCorrupt; f's own.
func (p place) entries(ctx context.Context, h head, f func(Entry) error) error {
	var n, size int64
	for _, part := range h.Body {
		gz, err := p.getPiece(ctx, part, nil)
		if err == nil {
			err = eachEntry(gz, func(e Entry) error {
				n++
				size += e.Size
				return f(e)
			})
		}
		if err != nil {
			return fmt.Errorf("the manifest of the backup %q of %q: %w", h.Name, h.FrameDB, err)
		}
	}
	if n != h.Objects || size != h.Bytes {
		return wire.Errorf(wire.CodeCorrupt, "the manifest of the backup %q of %q has %d objects of %d bytes, it should have %d of %d",
			h.Name, h.FrameDB, n, size, h.Objects, h.Bytes)
	}
	return nil
}

func eachEntry(gz []byte, f func(Entry) error) error {
	z, err := gzip.NewReader(bytes.NewReader(gz))
	if err != nil {
		return wire.Errorf(wire.CodeCorrupt, "%v", err)
	}
	d := json.NewDecoder(z)
	for {
		var e Entry
		switch err := d.Decode(&e); {
		case err == io.EOF:
			return nil
		case err != nil:
			return wire.Errorf(wire.CodeCorrupt, "%v", err)
		}
		if err := e.check(); err != nil {
			return err
		}
		if err := f(e); err != nil {
			return err
		}
	}
}

// check refuses an entry whose pieces do not add up.
func (e Entry) check() error {
	var n int64
	for _, p := range e.Pieces {
		if p.Size <= 0 || p.Size > maxPiece {
			return wire.Errorf(wire.CodeCorrupt, "object %q has a piece of %d bytes", e.Key, p.Size)
		}
		n += p.Size
	}
	if n != e.Size {
		return wire.Errorf(wire.CodeCorrupt, "object %q has %d bytes and pieces of %d", e.Key, e.Size, n)
	}
	return nil
}
