package reststore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// pieceSize is how much is read at once, in bytes.
const pieceSize = 256 << 10

// Open asks what there is; reading asks for the bytes.
func (b *Backend) Open(ctx context.Context, key objects.Key) (objects.Object, error) {
	info, err := b.Stat(ctx, key)
	if err != nil {
		return nil, err
	}
	return &object{b: b, info: info, end: info.Size}, nil
}

// object is read with one request, and with another one from where it was when
// that broke off: the answer to it says what was wrong.
type object struct {
	b    *Backend
	info objects.Info
	off  int64 // next byte
	end  int64
	body io.ReadCloser // nil until there is one
	buf  []byte
	idle int // requests in a row that brought nothing
}

func (o *object) Info() objects.Info { return o.info }

func (o *object) Checked() bool { return false }

func (o *object) Section(off, n int64) { o.off, o.end = off, off+n }

// maxIdle is how many requests in a row may bring nothing.
const maxIdle = 3

func (o *object) Next(ctx context.Context) ([]byte, error) {
	if o.buf == nil {
		o.buf = make([]byte, pieceSize)
	}
	for o.off < o.end {
		if o.body == nil {
			if err := o.ask(ctx); err != nil {
				return nil, err
			}
		}
		n, err := o.body.Read(o.buf[:min(pieceSize, o.end-o.off)])
		o.off += int64(n)
		if err != nil {
			o.hangUp()
		}
		if n > 0 {
			o.idle = 0
			return o.buf[:n], nil
		}
		if o.idle++; o.idle >= maxIdle {
			return nil, broken(ctx, fmt.Errorf("%d bytes are missing: %w", o.end-o.off, err))
		}
	}
	return nil, io.EOF
}

// ask begins a request for what is left.
func (o *object) ask(ctx context.Context) error {
	res, err := o.b.do(ctx, http.MethodGet, o.info.Key, func(req *http.Request) {
		req.Header.Set("If-Match", o.info.Sum.ETag())
		if o.off > 0 || o.end < o.info.Size {
			req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", o.off, o.end-1))
		}
	})
	switch {
	case errors.Is(err, wire.ErrPrecondition), errors.Is(err, wire.ErrNotFound):
		return wire.Errorf(wire.CodeConflict, "object %q was replaced or deleted while it was read", o.info.Key)
	case err != nil:
		return err
	case res.ContentLength != o.end-o.off:
		res.Body.Close()
		return wire.Errorf(wire.CodeInternal, "the answer has %d bytes, asked was for %d: is the address right?", res.ContentLength, o.end-o.off)
	}
	o.body = res.Body
	return nil
}

func (o *object) hangUp() {
	o.body.Close()
	o.body = nil
}

func (o *object) Close() error {
	if o.body != nil {
		o.hangUp()
	}
	o.off = o.end
	return nil
}
