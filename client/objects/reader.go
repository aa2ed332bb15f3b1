package objects

import (
	"context"
	"io"
	"slices"

	"github.com/zeebo/xxh3"

	"github.com/framedb/framedb/client/wire"
)

// Range is a part of an object, as HTTP has it.
type Range struct {
	// Offset of the first byte; a negative one counts from the end, and one
	// before the beginning means the beginning.
	Offset int64
	// Length in bytes; negative means to the end, and so does one that
	// reaches behind it.
	Length int64
}

// resolve gives the part of an object of this size.
func (r Range) resolve(size int64) (off, n int64, err error) {
	off = r.Offset
	if off < 0 {
		off = max(size+off, 0)
	}
	if off >= size && r.Length != 0 || off > size {
		return 0, 0, wire.Errorf(wire.CodeRange, "the object has %d bytes, the range begins at %d", size, off)
	}
	n = size - off
	if r.Length >= 0 {
		n = min(n, r.Length)
	}
	return off, n, nil
}

// Reader reads an object or a part of it. Its end is io.EOF only if all bytes
// came and, for a whole object, their checksum is that of the object: bytes
// may have been given out before it fails, but it never ends well with a
// wrong one. Both backends also check each part of at most 1 MiB before they
// give it out, which holds for ranges as well.
//
// Errors: ErrCorrupt; ErrConflict when the object was replaced or deleted and
// its bytes are gone (read it again); those of Store.
//
// Not safe for concurrent use.
type Reader struct {
	ctx    context.Context // of Get: a Reader is an io.Reader and lives no longer
	obj    Object
	hash   *xxh3.Hasher128 // nil for a part, and for what was checked
	offset int64
	length int64
	left   int64
	buf    []byte
	err    error
}

func newReader(ctx context.Context, obj Object, opts GetOptions) (*Reader, error) {
	info := obj.Info()
	if len(opts.IfMatch) > 0 && !slices.Contains(opts.IfMatch, info.Sum) {
		return nil, wire.Errorf(wire.CodePrecondition, "the object %q has another checksum", info.Key)
	}
	r := &Reader{ctx: ctx, obj: obj, length: info.Size, left: info.Size}
	if opts.Range == nil {
		if !obj.Checked() {
			r.hash = xxh3.New128()
		}
		return r, nil
	}
	off, n, err := opts.Range.resolve(info.Size)
	if err != nil {
		return nil, err
	}
	obj.Section(off, n)
	r.offset, r.length, r.left = off, n, n
	return r, nil
}

// Info is of the whole object.
func (r *Reader) Info() Info { return r.obj.Info() }

// Section is which bytes of the object are read.
func (r *Reader) Section() (offset, length int64) { return r.offset, r.length }

func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.buf) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.next()
	}
	n := copy(p, r.buf)
	r.buf = r.buf[n:]
	return n, nil
}

// WriteTo writes all that is left, without a buffer in between.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	var written int64
	for {
		if len(r.buf) > 0 {
			n, err := w.Write(r.buf)
			written += int64(n)
			r.buf = r.buf[n:]
			if err != nil {
				return written, err
			}
		}
		switch {
		case r.err == io.EOF:
			return written, nil
		case r.err != nil:
			return written, r.err
		}
		r.next()
	}
}

// next sets buf, or err. The last bytes are given out only after the checksum
// was found right.
func (r *Reader) next() {
	r.buf, r.err = nil, nil
	b, err := r.obj.Next(r.ctx)
	switch {
	case err == io.EOF && r.left == 0:
		r.err = r.verify()
	case err == io.EOF || err == nil && int64(len(b)) > r.left:
		r.err = r.corrupt("it has not the size it should have")
	case err != nil:
		r.err = err
	default:
		r.take(b)
	}
}

func (r *Reader) take(b []byte) {
	r.left -= int64(len(b))
	if r.hash != nil {
		r.hash.Write(b)
		if r.left == 0 && r.verify() != io.EOF {
			r.err = r.verify()
			return
		}
	}
	r.buf = b
}

func (r *Reader) verify() error {
	if r.hash != nil && r.hash.Sum128().Bytes() != r.obj.Info().Sum {
		return r.corrupt("its bytes have another checksum")
	}
	return io.EOF
}

func (r *Reader) corrupt(what string) error {
	return wire.Errorf(wire.CodeCorrupt, "object %q is damaged: %s", r.obj.Info().Key, what)
}

// Close ends reading; before the end of the object, too.
func (r *Reader) Close() error {
	r.buf = nil
	if r.err == nil {
		r.err = io.ErrClosedPipe
	}
	return r.obj.Close()
}

// ReadAll gives a whole object of at most limit bytes, checked: all bytes or
// none.
//
// Errors: those of Get and of Reader, ErrTooLarge.
func (s *Store) ReadAll(ctx context.Context, key Key, limit int64) ([]byte, Info, error) {
	r, err := s.Get(ctx, key, GetOptions{})
	if err != nil {
		return nil, Info{}, err
	}
	defer r.Close()
	info := r.Info()
	if info.Size > limit {
		return nil, info, wire.Errorf(wire.CodeTooLarge, "object %q has %d bytes, more than %d", key, info.Size, limit)
	}
	data := make([]byte, info.Size)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, info, err
	}
	if info.Size == 0 {
		_, err = r.Read(make([]byte, 1))
		if err != io.EOF {
			return nil, info, err
		}
	}
	return data, info, nil
}
