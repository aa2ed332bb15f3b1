package wire

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Code is the stable word by which an error crosses the wire. The list is
// append-only.
type Code string

// The codes, each with the HTTP status that HTTPStatus gives it.
const (
	CodeInvalidArgument Code = "invalid_argument"   // 400: a value breaks a rule; Field names it
	CodeMissingField    Code = "missing_field"      // 400: a required field is absent; Field names it
	CodeUnknownField    Code = "unknown_field"      // 400: the v1 API does not know the field; Field names it
	CodeMalformed       Code = "malformed"          // 400: the body is empty, not JSON, or has something behind it
	CodeUnauthorized    Code = "unauthorized"       // 401
	CodeForbidden       Code = "forbidden"          // 403: this caller may not
	CodeNotFound        Code = "not_found"          // 404: no such cluster, instance, mapping, node, frame or route
	CodeMethod          Code = "method_not_allowed" // 405
	CodeAlreadyExists   Code = "already_exists"     // 409: the name or pair is taken
	CodeConflict        Code = "conflict"           // 409: it exists in a state that forbids this
	CodeNoLiveNode      Code = "no_live_node"       // 409: no live node carries the node tag
	CodeNoCluster       Code = "no_cluster"         // 409: no cluster on the node tag can take the source
	CodeTooLarge        Code = "too_large"          // 413
	CodeOverloaded      Code = "overloaded"         // 429: try again after RetryAfter
	CodeInternal        Code = "internal"           // 500: a fault of ours; the log has more
	CodeNoLeader        Code = "no_leader"          // 503: no Raft leader just now; nothing was changed
	CodeOutcomeUnknown  Code = "outcome_unknown"    // 503: leadership was lost in the middle; retry with the same request ID
	CodeUnavailable     Code = "unavailable"        // 503: a backend (Redis, Sentinel, TiDB) does not answer
	CodeDiskFull        Code = "disk_full"          // 507: no space left at the data directory
	CodeTimeout         Code = "timeout"            // 504: the caller's deadline passed first

	CodeOperatorMissing Code = "operator_missing" // 503: the Kubernetes cluster has no TiDB Operator v2

	CodePrecondition Code = "precondition_failed"   // 412: if-match or if-absent does not hold; nothing was changed
	CodeRange        Code = "range_not_satisfiable" // 416: no byte of the object lies in the range
	CodeChecksum     Code = "checksum_mismatch"     // 400: the bytes sent are not those the caller's checksum is of; nothing was changed
	CodeCorrupt      Code = "corrupt"               // 500: the stored bytes are not those that were stored; none of them was delivered as good
)

// HTTPStatus is the one place that maps a code to a status.
func (c Code) HTTPStatus() int {
	switch c {
	case CodeInvalidArgument, CodeMissingField, CodeUnknownField, CodeMalformed, CodeChecksum:
		return http.StatusBadRequest
	case CodeUnauthorized:
		return http.StatusUnauthorized
	case CodeForbidden:
		return http.StatusForbidden
	case CodeNotFound:
		return http.StatusNotFound
	case CodeMethod:
		return http.StatusMethodNotAllowed
	case CodeAlreadyExists, CodeConflict, CodeNoLiveNode, CodeNoCluster:
		return http.StatusConflict
	case CodePrecondition:
		return http.StatusPreconditionFailed
	case CodeRange:
		return http.StatusRequestedRangeNotSatisfiable
	case CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case CodeOverloaded:
		return http.StatusTooManyRequests
	case CodeNoLeader, CodeOutcomeUnknown, CodeUnavailable, CodeOperatorMissing:
		return http.StatusServiceUnavailable
	case CodeDiskFull:
		return http.StatusInsufficientStorage
	case CodeTimeout:
		return http.StatusGatewayTimeout
	default:
		return http.StatusInternalServerError
	}
}

// Error is the one error type that crosses package and process borders with
// its meaning. errors.Is compares codes only:
//
//	errors.Is(err, wire.ErrNotFound)
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	// Field is the request field at fault, as the caller spelled it; empty
	// when no single field is.
	Field string `json:"field,omitempty"`
	// RetryAfter asks the caller to wait this long before the next try; zero
	// when there is no advice. It travels as the Retry-After header, in whole
	// seconds, rounded up, and in Failure.
	RetryAfter time.Duration `json:"-"`
}

// Sentinels for errors.Is; each is documented at its code.
var (
	ErrInvalidArgument = &Error{Code: CodeInvalidArgument}
	ErrNotFound        = &Error{Code: CodeNotFound}
	ErrAlreadyExists   = &Error{Code: CodeAlreadyExists}
	ErrConflict        = &Error{Code: CodeConflict}
	ErrNoLiveNode      = &Error{Code: CodeNoLiveNode}
	ErrNoCluster       = &Error{Code: CodeNoCluster}
	ErrForbidden       = &Error{Code: CodeForbidden}
	ErrTooLarge        = &Error{Code: CodeTooLarge}
	ErrOverloaded      = &Error{Code: CodeOverloaded}
	ErrNoLeader        = &Error{Code: CodeNoLeader}
	ErrOutcomeUnknown  = &Error{Code: CodeOutcomeUnknown}
	ErrUnavailable     = &Error{Code: CodeUnavailable}
	ErrOperatorMissing = &Error{Code: CodeOperatorMissing}
	ErrDiskFull        = &Error{Code: CodeDiskFull}
	ErrTimeout         = &Error{Code: CodeTimeout}
	ErrPrecondition    = &Error{Code: CodePrecondition}
	ErrRange           = &Error{Code: CodeRange}
	ErrChecksum        = &Error{Code: CodeChecksum}
	ErrCorrupt         = &Error{Code: CodeCorrupt}
)

// Error gives the message, or the code where there is none.
func (e *Error) Error() string {
	if e.Message == "" {
		return string(e.Code)
	}
	return e.Message
}

// Is reports whether target is a *Error with the same code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// Errorf makes an Error with a code and a message for people.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// InField returns err with the field named, as an invalid argument unless err
// carries a code already. The message begins with the field, unless it names it
// by itself: "node tag ..." says no more behind "node_tag:".
func InField(field string, err error) *Error {
	e := *AsError(err)
	if e.Code == CodeInternal {
		e.Code = CodeInvalidArgument
	}
	e.Field = field
	if !begins(e.Message, strings.ReplaceAll(field, "_", " ")+" ") {
		e.Message = field + ": " + e.Message
	}
	return &e
}

// begins is strings.HasPrefix in any case.
func begins(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// AsError finds the Error in err's chain; anything else becomes CodeInternal
// with err's text. It returns nil for nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		if full := err.Error(); full != e.Message {
			c := *e
			c.Message = full
			return &c
		}
		return e
	}
	return &Error{Code: CodeInternal, Message: err.Error()}
}

// CodeOf returns the code of err: "" for nil, CodeInternal for a foreign error.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	return AsError(err).Code
}
