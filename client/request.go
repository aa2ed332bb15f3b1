package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// request is one call of the v1 API, before it is tried anywhere. It is a
// value: the builders below return a changed copy.
type request struct {
	method string
	path   string // escaped
	query  url.Values
	body   []byte // nil: none
	media  string // content type of body
	// open, unless nil, gives a large body anew for each try, and its length.
	open func() (io.Reader, int64)
	// ownIDs says that what is in the body makes a second try harmless.
	ownIDs bool
	// wait is how long the agent was asked to wait before it answers.
	wait time.Duration
	// once forbids a second try when the first may have been carried out.
	once bool
	// err is what is wrong with the request; it is not sent then.
	err error
}

func newRequest(method, path string) request { return request{method: method, path: path} }

// at appends a name to the path. A name that breaks its rule is not sent: it
// might lead to another route ("" and ".." do).
func (r request) at(name interface{ Validate() error }) request {
	if err := name.Validate(); err != nil {
		return r.fail(err)
	}
	return r.sub(fmt.Sprint(name))
}

// sub appends one path element as it is.
func (r request) sub(element string) request {
	r.path += "/" + url.PathEscape(element)
	return r
}

// with adds a query parameter; an empty value is left out.
func (r request) with(key, value string) request {
	if value == "" {
		return r
	}
	query := url.Values{key: {value}}
	for k, v := range r.query {
		query[k] = v
	}
	r.query = query
	return r
}

func (r request) withInt(key string, n int64) request {
	return r.with(key, strconv.FormatInt(n, 10))
}

// waiting asks the agent to wait up to d, rounded to milliseconds.
func (r request) waiting(d time.Duration) request {
	d = max(d, 0).Round(time.Millisecond)
	r.wait = d
	return r.with("wait", d.String())
}

func (r request) json(v any) request {
	body, err := json.Marshal(v)
	if err != nil {
		return r.fail(wire.Errorf(wire.CodeInvalidArgument, "the request is no JSON: %v", err))
	}
	return r.text(body)
}

// text is json of what is JSON already.
func (r request) text(body []byte) request {
	r.body, r.media = body, "application/json"
	return r
}

func (r request) raw(data []byte) request {
	r.body, r.media = data, "application/octet-stream"
	return r
}

func (r request) fail(err error) request {
	if r.err == nil {
		r.err = err
	}
	return r
}

// payload is the body of one try, and its length.
func (r request) payload() (io.Reader, int64) {
	if r.open != nil {
		return r.open()
	}
	return bytes.NewReader(r.body), int64(len(r.body))
}

// changes reports whether the request is a mutation.
func (r request) changes() bool { return r.method != http.MethodGet }

func (r request) url(base string) string {
	if len(r.query) == 0 {
		return base + r.path
	}
	return base + r.path + "?" + r.query.Encode()
}

// requestID is the ID that the caller chose, else a fresh one.
func requestID(ctx context.Context) wire.RequestID {
	if id, ok := ctx.Value(requestIDKey{}).(wire.RequestID); ok && id != "" {
		return id
	}
	return NewRequestID()
}

// NewRequestID makes an ID that no one else has, for WithRequestID.
func NewRequestID() wire.RequestID { return wire.RequestID(rand.Text()) }
