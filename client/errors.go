package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// maxErrorBody bounds what is read of a failed response, in bytes.
const maxErrorBody = 64 << 10

// responseError is the one place that maps a failed response to an error. The
// code is the agent's; a body that is no FrameDB envelope (a proxy's page) is
// not ours and gets the code that fits the status best.
func responseError(res *http.Response) (e *wire.Error, ours bool) {
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorBody))
	var f wire.Failure
	ours = json.Unmarshal(body, &f) == nil && f.Code != ""
	if e = &f.Error; !ours {
		e = wire.Errorf(codeOfStatus(res.StatusCode), "the server answered %s, which is not from FrameDB: is the address right?", res.Status)
	}
	if e.RetryAfter = time.Duration(f.RetryAfterMS) * time.Millisecond; e.RetryAfter <= 0 {
		e.RetryAfter = retryAfter(res.Header.Get("Retry-After"))
	}
	return e, ours
}

// codeOfStatus is for answers without a code, which no agent gives.
func codeOfStatus(status int) wire.Code {
	switch status {
	case http.StatusUnauthorized:
		return wire.CodeUnauthorized
	case http.StatusForbidden:
		return wire.CodeForbidden
	case http.StatusNotFound:
		return wire.CodeNotFound
	case http.StatusMethodNotAllowed:
		return wire.CodeMethod
	case http.StatusRequestEntityTooLarge:
		return wire.CodeTooLarge
	case http.StatusTooManyRequests:
		return wire.CodeOverloaded
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return wire.CodeUnavailable
	case http.StatusGatewayTimeout:
		return wire.CodeTimeout
	default:
		return wire.CodeInternal
	}
}

// retryAfter reads whole seconds; anything else is no advice. Agents never
// send dates.
func retryAfter(header string) time.Duration {
	s, err := strconv.Atoi(header)
	if err != nil || s < 0 {
		return 0
	}
	return time.Duration(s) * time.Second
}

// transportError is a request that got no answer.
type transportError struct {
	addr string
	err  error
	// sent is true when the request may have reached the agent.
	sent bool
}

func (e *transportError) Error() string { return fmt.Sprintf("no answer from %s: %v", e.addr, e.err) }
func (e *transportError) Unwrap() error { return e.err }

func newTransportError(addr string, err error) *transportError {
	var op *net.OpError
	dialing := errors.As(err, &op) && op.Op == "dial"
	return &transportError{addr: addr, err: err, sent: !dialing}
}

// cause is err, or why the request was given up.
func cause(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errSilent) {
		return errSilent
	}
	return err
}

// isTransport reports whether no agent's answer came back.
func isTransport(err error) bool {
	var t *transportError
	return errors.As(err, &t)
}

// retryable reports whether another try may end better, and after how long the
// server wants it. A backend that does not answer is worth another try only
// when the agent says so, as it does while it starts.
func retryable(err error) (again bool, after time.Duration) {
	var e *wire.Error
	if errors.As(err, &e) {
		after = e.RetryAfter
	}
	if isTransport(err) {
		return true, after
	}
	if e == nil {
		return false, 0
	}
	switch e.Code {
	case wire.CodeNoLeader, wire.CodeOutcomeUnknown, wire.CodeOverloaded:
		return true, after
	case wire.CodeUnavailable:
		return after > 0, after
	}
	return false, 0
}

// unsure reports whether the change that was tried may have happened although
// err came back.
func unsure(err error) bool {
	var t *transportError
	return errors.As(err, &t) && t.sent || errors.Is(err, wire.ErrOutcomeUnknown)
}

// coded gives err the code that tells the caller what it means for the call as
// a whole: unknown says that a change may have happened.
func coded(ctx context.Context, err error, unknown bool) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("%w: %w", wire.Errorf(wire.CodeTimeout, "gave up waiting"), err)
		}
		return fmt.Errorf("%w: %w (last: %v)", wire.Errorf(wire.CodeTimeout, "gave up waiting"), ctx.Err(), err)
	case ctx.Err() != nil:
		return ctx.Err()
	case unknown:
		// The last failure's own code may say that nothing was changed, which
		// holds for that try only: it is told, not wrapped.
		return fmt.Errorf("%w: %v", wire.Errorf(wire.CodeOutcomeUnknown, "the change may or may not have happened"), err)
	case isTransport(err):
		return fmt.Errorf("%w: %w", wire.Errorf(wire.CodeUnavailable, "cannot reach FrameDB (is the agent running?)"), err)
	}
	return err
}
