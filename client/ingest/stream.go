package ingest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// A stream of frames is one frame behind the other; integers are big endian:
//
//	0    4  h, the length of the head
//	4    4  d, the length of the data
//	8    h  the head, JSON: {"frame": "P__n", "id": "…", "count": 2, "ttl_ms": 0,
//	        "sizes": [{"size": "1920x1080", "bytes": 102400}, …]}
//	8+h  d  the data of the sizes, in their order, nothing between them
//
// Of the head only "sizes" must be there. The stream ends behind a frame. A
// frame with a bad head is refused by itself, because its length is known. An
// element of a Redis queue is one frame in this form.
const (
	prefixSize = 8
	// MaxHead bounds a head in bytes.
	MaxHead = 64 << 10
)

// head is the JSON of a frame.
type head struct {
	Frame string     `json:"frame,omitempty"`
	ID    string     `json:"id,omitempty"`
	Count *int64     `json:"count,omitempty"`
	TTL   int64      `json:"ttl_ms,omitempty"`
	Sizes []headSize `json:"sizes"`
}

type headSize struct {
	Name  string `json:"size"`
	Bytes int64  `json:"bytes"`
}

// Append appends the frame in the form of a stream, without its data, which
// have to follow: those of Sizes, in order.
func (f *Frame) Append(b []byte) []byte {
	h := head{ID: string(f.ID), Count: f.Count, TTL: f.TTL.Milliseconds(), Sizes: make([]headSize, len(f.Sizes))}
	if f.Key != (wire.FrameKey{}) {
		h.Frame = f.Key.String()
	}
	for i, s := range f.Sizes {
		h.Sizes[i] = headSize{s.Name, int64(len(s.Data))}
	}
	text, err := json.Marshal(h)
	if err != nil {
		panic(err) // strings and numbers
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
	b = binary.BigEndian.AppendUint32(b, uint32(f.Bytes()))
	return append(b, text...)
}

// Write writes the frame into a stream.
func (f *Frame) Write(w io.Writer) error {
	if _, err := w.Write(f.Append(nil)); err != nil {
		return err
	}
	for _, s := range f.Sizes {
		if _, err := w.Write(s.Data); err != nil {
			return err
		}
	}
	return nil
}

// Decoder reads a stream of frames. A frame is read in two steps, so that room
// can be made for it between them:
//
//	n, err := d.Next()     n bytes are to come
//	f, err := d.Frame(buf)
type Decoder struct {
	r       io.Reader
	head    []byte
	frame   Frame // without its data
	lengths []int // of its sizes
	left    int   // bytes of the frame that were not read
	bad     error // of the frame: its data are of no use
	n       int   // frames begun
}

// NewDecoder makes a decoder. It reads in small pieces: give it a bufio.Reader.
func NewDecoder(r io.Reader) *Decoder { return &Decoder{r: r} }

// Next reads the head of the next frame, past the rest of the one before, and
// returns how much data it has: at most MaxBytes.
//
// Errors: io.EOF at the end of the stream; ErrMalformed when it is no stream of
// frames or ends in the middle of one (nothing can be read any more);
// ErrTooLarge for a frame above MaxBytes (likewise); the reader's own.
func (d *Decoder) Next() (int, error) {
	if err := d.skip(); err != nil {
		return 0, err
	}
	var prefix [prefixSize]byte
	if _, err := io.ReadFull(d.r, prefix[:]); err == io.EOF {
		return 0, io.EOF
	} else if err != nil {
		d.n++
		return 0, d.cut(err)
	}
	d.n++
	h, n := binary.BigEndian.Uint32(prefix[:]), binary.BigEndian.Uint32(prefix[4:])
	switch {
	case h > MaxHead:
		return 0, wire.Errorf(wire.CodeMalformed, "frame %d of the stream: its head has %d bytes, at most %d are allowed; or this is no stream of frames", d.n, h, MaxHead)
	case n > MaxBytes:
		return 0, wire.Errorf(wire.CodeTooLarge, "frame %d of the stream has %d bytes: at most %d", d.n, n, MaxBytes)
	}
	d.head = append(d.head[:0], make([]byte, h)...)
	if _, err := io.ReadFull(d.r, d.head); err != nil {
		return 0, d.cut(err)
	}
	d.left = int(n)
	d.frame, d.lengths, d.bad = parseHead(d.head, d.left)
	return d.left, nil
}

// Frame reads the data of the frame into buf, which becomes a part of it and
// must have room for all of them.
//
// Errors: ErrInvalidArgument or ErrMalformed when only this frame is of no use:
// Next goes on behind it. As Next when the stream is; Broken tells.
func (d *Decoder) Frame(buf []byte) (Frame, error) {
	if d.bad != nil {
		return d.frame, d.bad
	}
	buf = buf[:d.left]
	n, err := io.ReadFull(d.r, buf)
	d.left -= n
	if err != nil {
		return Frame{}, d.cut(err)
	}
	return d.give(buf), nil
}

// give is the frame with its data.
func (d *Decoder) give(data []byte) Frame {
	for i, n := range d.lengths {
		d.frame.Sizes[i].Data, data = data[:n:n], data[n:]
	}
	return d.frame
}

// Broken reports whether err, of Frame, is of the stream rather than of one
// frame.
func Broken(err error) bool {
	var b broken
	return errors.As(err, &b)
}

// broken is the error of a stream that ends in the middle.
type broken struct{ error }

func (b broken) Unwrap() error { return b.error }

func (d *Decoder) cut(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return broken{wire.Errorf(wire.CodeMalformed, "the stream ends in the middle of frame %d", d.n)}
	}
	return broken{fmt.Errorf("frame %d of the stream: %w", d.n, err)}
}

func (d *Decoder) skip() error {
	n, err := io.CopyN(io.Discard, d.r, int64(d.left))
	d.left -= int(n)
	if err != nil {
		return d.cut(err)
	}
	return nil
}

// parseHead reads the head of a frame with so many bytes of data. With an error
// it returns of the frame what could be read.
func parseHead(text []byte, data int) (f Frame, lengths []int, err error) {
	var h head
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&h); err != nil {
		return f, nil, headError(err)
	}
	if dec.More() {
		return f, nil, wire.Errorf(wire.CodeMalformed, "the head has something behind its JSON")
	}
	f = Frame{ID: wire.RequestID(h.ID), Count: h.Count}
	if h.Frame != "" {
		var ok bool
		if f.Key, ok = wire.ParseFrame(h.Frame); !ok {
			return f, nil, refuse("frame", "%.300q is no frame key: give <source>?<updates>?<restarts>__<number>", h.Frame)
		}
	}
	if h.TTL < 0 || h.TTL > MaxTTL.Milliseconds() {
		return f, nil, refuse("ttl_ms", "%d is out of range: give 0 to %d", h.TTL, MaxTTL.Milliseconds())
	}
	f.TTL = time.Duration(h.TTL) * time.Millisecond
	total := int64(0)
	for _, s := range h.Sizes {
		if s.Bytes < 0 || s.Bytes > MaxBytes {
			return f, nil, refuse("sizes", "%.100q has %d bytes: give 1 to %d", s.Name, s.Bytes, wire.MaxFrame)
		}
		total += s.Bytes
		f.Sizes = append(f.Sizes, Size{Name: s.Name})
		lengths = append(lengths, int(s.Bytes))
	}
	if total != int64(data) {
		return f, nil, refuse("sizes", "they have %d bytes in all, and %d come", total, data)
	}
	return f, lengths, nil
}

func headError(err error) error {
	var t *json.UnmarshalTypeError
	if errors.As(err, &t) && t.Field != "" {
		return refuse(t.Field, "a JSON %s is of no use there", t.Value)
	}
	return wire.Errorf(wire.CodeMalformed, "the head is not as it should be: %v", err)
}

// Unmarshal reads one frame from b, of which its data become a part. Nothing
// may be behind it.
//
// Errors: as those of Decoder.
func Unmarshal(b []byte) (Frame, error) {
	r := bytes.NewReader(b)
	d := NewDecoder(r)
	n, err := d.Next()
	switch {
	case err == io.EOF:
		return Frame{}, wire.Errorf(wire.CodeMalformed, "it is empty: give one frame")
	case err != nil:
		return Frame{}, err
	case r.Len() != n:
		return d.frame, wire.Errorf(wire.CodeMalformed, "%d bytes come behind the head, and it speaks of %d", r.Len(), n)
	case d.bad != nil:
		return d.frame, d.bad
	}
	return d.give(b[len(b)-n:]), nil
}
