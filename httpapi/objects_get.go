package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// download is an answer to GET.
type download struct {
	info    objects.Info
	reader  *objects.Reader // nil when the caller has these bytes already
	partial bool
}

// open finds the bytes to answer with. With ErrRange the info is of the object.
func (at objectAt) open(ctx context.Context, ask getAsk) (got download, err error) {
	opts := ask.GetOptions
	if ask.neverMatches || ask.unless != nil || ask.ifRange != nil {
		if got.info, err = at.store.Stat(ctx, at.key); err != nil {
			return got, err
		}
		if err := ask.check(got.info.Sum); err != nil {
			return got, err
		}
		if ask.unless.has(got.info.Sum) {
			return got, nil
		}
	}
	guarded := ask.ifRange != nil && opts.Range != nil
	if guarded {
		if !ask.ifRange.has(got.info.Sum) {
			opts.Range, guarded = nil, false
		} else {
			opts.IfMatch = []objects.Sum{got.info.Sum} // as the range is of these bytes
		}
	}
	got.reader, err = at.store.Get(ctx, at.key, opts)
	if guarded && errors.Is(err, wire.ErrPrecondition) { // it has just changed
		opts.Range, opts.IfMatch = nil, ask.IfMatch
		got.reader, err = at.store.Get(ctx, at.key, opts)
	}
	switch {
	case err == nil:
		got.info, got.partial = got.reader.Info(), opts.Range != nil
	case errors.Is(err, wire.ErrRange):
		if info, serr := at.store.Stat(ctx, at.key); serr == nil {
			got.info = info
		}
	}
	return got, err
}

// check is If-Match.
func (ask *getAsk) check(sum objects.Sum) error {
	if ask.neverMatches {
		return noMatch()
	}
	return objects.Condition{IfMatch: ask.IfMatch}.Check(true, sum)
}

func noMatch() error {
	return wire.Errorf(wire.CodePrecondition, "the object under this key has another checksum")
}

// send streams the bytes. It begins the answer with the first ones, so that an
// object that is found to be damaged before is answered as such; later the
// connection is cut off, short of the announced length.
func (d *download) send(c *gin.Context) error {
	out := &sender{c: c, patience: newPatience(), begin: func() { d.begin(c) }}
	_, err := d.reader.WriteTo(out)
	if err == nil && !out.begun {
		d.begin(c)
		c.Writer.WriteHeaderNow()
	}
	return err
}

func (d *download) begin(c *gin.Context) {
	h := c.Writer.Header()
	objectHeaders(h, &d.info)
	off, n := d.reader.Section()
	h.Set("Content-Length", strconv.FormatInt(n, 10))
	status := http.StatusOK
	if d.partial {
		status = http.StatusPartialContent
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", off, off+n-1, d.info.Size))
	}
	c.Writer.WriteHeader(status)
}
