package reststore

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// Put sends the object in chunks with its checksum behind them: whether its size
// and its checksum are as announced shows when all was read, and until then the
// agent must not see its end.
func (b *Backend) Put(ctx context.Context, key objects.Key, src *objects.Source, opts objects.PutOptions) (info objects.Info, err error) {
	body := &body{ctx: ctx, src: src}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, b.base+"/"+escapeKey(key), body)
	if err != nil {
		return info, badRequest(err)
	}
	req.ContentLength = -1
	req.Trailer = http.Header{wire.HeaderChecksum: nil}
	body.trailer = req.Trailer
	putHeaders(req.Header, opts)
	res, err := b.send(req)
	ended, failed := body.stop()
	switch {
	case err == nil:
		return stored(res)
	case failed != nil:
		return info, failed
	case ended && errors.Is(err, errNoAnswer), ended && ctx.Err() != nil:
		return info, unknown(err)
	}
	return info, err
}

func putHeaders(h http.Header, opts objects.PutOptions) {
	if opts.ContentType != "" {
		h.Set("Content-Type", opts.ContentType)
	}
	for name, value := range opts.User {
		h.Set(wire.HeaderMetaPrefix+name, value)
	}
	if opts.TTL > 0 {
		h.Set(wire.HeaderTTL, opts.TTL.String())
	}
	if opts.Checksum != nil {
		h.Set(wire.HeaderChecksum, opts.Checksum.String())
	}
	setCondition(h, opts.Condition)
	if !opts.Always() {
		h.Set("Expect", "100-continue")
	}
}

// body is what net/http reads an upload from, in a goroutine that may outlive
// the request.
type body struct {
	ctx     context.Context // of Put; a body lives no longer
	mu      sync.Mutex      // held while it reads
	src     *objects.Source
	trailer http.Header
	ended   bool
	stopped bool
	err     error
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.src.Read(p)
	if b.ctx.Err() != nil && b.err == nil {
		err = b.ctx.Err() // so that the agent sees no end
	}
	switch {
	case err == io.EOF:
		b.ended = true
		b.trailer.Set(wire.HeaderChecksum, b.src.Sum().String())
	case err != nil:
		b.err = err
	}
	return n, err
}

func (b *body) Close() error { return nil }

// stop returns when the source is read no more, and how far it was.
func (b *body) stop() (ended bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
	return b.ended, b.err
}
