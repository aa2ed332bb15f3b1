package reststore

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// Config says which FrameDB, at which agent.
type Config struct {
	// Base is what the agent's paths are appended to, such as
	// "http://127.0.0.1:5000".
	Base string
	// HTTP sends the requests. It must have no Timeout: a transfer takes as
	// long as it takes. Refusals cost no upload if its transport has an
	// ExpectContinueTimeout.
	HTTP *http.Client
	ID   wire.FrameDBID
}

// Backend keeps the objects of one FrameDB. It starts nothing; nothing is tried
// again but a download that broke off, from where it was.
//
// Besides those of objects.Backend its methods may return any error of the
// agent. One that names a field names the header of REST.
type Backend struct {
	http *http.Client
	base string // of the FrameDB's objects, without a slash at the end
	id   wire.FrameDBID
}

var _ objects.Backend = (*Backend)(nil)

// New makes the backend; it does not dial.
func New(cfg Config) *Backend {
	return &Backend{http: cfg.HTTP, base: cfg.Base + "/v1/framedbs/" + url.PathEscape(string(cfg.ID)) + "/objects", id: cfg.ID}
}

// maxFailure bounds what is read of a failed answer, and what of an answer is
// left unread to keep a connection.
const maxFailure = 64 << 10

// Stat asks for the headers.
func (b *Backend) Stat(ctx context.Context, key objects.Key) (objects.Info, error) {
	res, err := b.do(ctx, http.MethodHead, key, nil)
	if err != nil {
		return objects.Info{}, err
	}
	res.Body.Close()
	return infoOf(key, res)
}

// List asks for a page.
func (b *Backend) List(ctx context.Context, opts objects.ListOptions) (page objects.Page, err error) {
	q := url.Values{"prefix": {opts.Prefix}, "cursor": {opts.Cursor}, "limit": {strconv.Itoa(opts.Limit)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.base+"?"+q.Encode(), nil)
	if err != nil {
		return page, badRequest(err)
	}
	res, err := b.send(req)
	if err != nil {
		return page, err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&page); err != nil {
		return page, broken(ctx, err)
	}
	return page, nil
}

// Delete deletes.
func (b *Backend) Delete(ctx context.Context, key objects.Key, cond objects.Condition) error {
	res, err := b.do(ctx, http.MethodDelete, key, func(req *http.Request) { setCondition(req.Header, cond) })
	if err != nil {
		if errors.Is(err, errNoAnswer) && !neverSent(err) {
			return unknown(err)
		}
		return err
	}
	return res.Body.Close()
}

// CopyFrom has the agent copy an object of a FrameDB that it reaches as well.
//
// Errors: as objects.Copy.
func (b *Backend) CopyFrom(ctx context.Context, to objects.Key, id wire.FrameDBID, from objects.Key, cond objects.Condition) (info objects.Info, err error) {
	res, err := b.do(ctx, http.MethodPut, to, func(req *http.Request) {
		setCondition(req.Header, cond)
		req.Header.Set(wire.HeaderCopySource, string(id)+"/"+url.PathEscape(string(from)))
	})
	if err != nil {
		if errors.Is(err, errNoAnswer) && !neverSent(err) {
			return info, unknown(err)
		}
		return info, err
	}
	return stored(res)
}

// Sweep is the agents' own work.
//
// Errors: ErrForbidden.
func (b *Backend) Sweep(context.Context, objects.SweepAges) (objects.Swept, error) {
	return objects.Swept{}, wire.Errorf(wire.CodeForbidden, "a FrameDB is not swept over REST")
}

// Close closes idle connections.
func (b *Backend) Close() error {
	b.http.CloseIdleConnections()
	return nil
}

// do sends a request without a body that names an object.
func (b *Backend) do(ctx context.Context, method string, key objects.Key, with func(*http.Request)) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, b.base+"/"+escapeKey(key), nil)
	if err != nil {
		return nil, badRequest(err)
	}
	if with != nil {
		with(req)
	}
	return b.send(req)
}

// send gives a success. Close its body.
//
// Errors: the agent's; errNoAnswer, which is an ErrUnavailable.
func (b *Backend) send(req *http.Request) (*http.Response, error) {
	res, err := b.http.Do(req)
	if err != nil {
		return nil, broken(req.Context(), err)
	}
	if res.StatusCode < http.StatusMultipleChoices {
		return res, nil
	}
	defer res.Body.Close()
	return nil, failureOf(res)
}

// failureOf is the agent's error. What comes from elsewhere has no code.
func failureOf(res *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxFailure))
	var f wire.Failure
	if json.Unmarshal(body, &f) == nil && f.Code != "" {
		f.Error.RetryAfter = time.Duration(f.RetryAfterMS) * time.Millisecond
		return &f.Error
	}
	if code := wire.Code(res.Header.Get(wire.HeaderCode)); code != "" { // of HEAD
		e := wire.Errorf(code, "the agent answers %s", code)
		e.Field = res.Header.Get(wire.HeaderField)
		return e
	}
	return wire.Errorf(wire.CodeInternal, "the server answered %s, which is not from FrameDB: is the address right?", res.Status)
}

// errNoAnswer is that an agent gave none.
var errNoAnswer = wire.Errorf(wire.CodeUnavailable, "the agent does not answer")

// broken is what a request that got no answer ends with.
func broken(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return join(wire.Errorf(wire.CodeTimeout, "the time is over"), ctx.Err())
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return join(errNoAnswer, err)
}

// unknown is for a change that was sent.
func unknown(err error) error {
	return wire.Errorf(wire.CodeOutcomeUnknown, "it may have happened or not: %v", err)
}

// neverSent reports whether no connection came about.
func neverSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// escapeKey makes a key one part of a path.
func escapeKey(key objects.Key) string { return url.PathEscape(string(key)) }

func badRequest(err error) error { return wire.Errorf(wire.CodeInvalidArgument, "%v", err) }

type joined struct{ code, cause error }

func join(code, cause error) error { return &joined{code, cause} }
func (j *joined) Error() string    { return j.code.Error() + ": " + j.cause.Error() }
func (j *joined) Unwrap() []error  { return []error{j.code, j.cause} }
func setCondition(h http.Header, cond objects.Condition) {
	if cond.IfAbsent {
		h.Set("If-None-Match", "*")
	}
	var tags []string
	for _, sum := range cond.IfMatch {
		tags = append(tags, sum.ETag())
	}
	if cond.IfPresent && tags == nil {
		tags = []string{"*"}
	}
	if tags != nil {
		h.Set("If-Match", strings.Join(tags, ", "))
	}
}

// infoOf reads the headers of an object.
func infoOf(key objects.Key, res *http.Response) (info objects.Info, err error) {
	h := res.Header
	info = objects.Info{Key: key, Size: res.ContentLength, ContentType: h.Get("Content-Type"), Foreign: h.Get(wire.HeaderForeign) == "true"}
	if info.Sum, err = objects.ParseSum(h.Get(wire.HeaderChecksum)); err != nil || info.Size < 0 {
		return info, wire.Errorf(wire.CodeInternal, "the answer has no checksum or no length: is the address right?")
	}
	for name, values := range h {
		if short, own := strings.CutPrefix(name, wire.HeaderMetaPrefix); own {
			if info.User == nil {
				info.User = map[string]string{}
			}
			info.User[strings.ToLower(short)] = values[0]
		}
	}
	for name, at := range map[string]*time.Time{wire.HeaderCreated: &info.Created, wire.HeaderModified: &info.Modified, wire.HeaderExpires: &info.Expires} {
		if text := h.Get(name); text != "" {
			if *at, err = time.Parse(wire.TimeFormat, text); err != nil {
				return info, wire.Errorf(wire.CodeInternal, "the header %s is no time: %v", name, err)
			}
		}
	}
	return info, nil
}

// stored reads the answer to a change.
func stored(res *http.Response) (info objects.Info, err error) {
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&info); err != nil {
		return info, unknown(err)
	}
	return info, nil
}
