package httpapi

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
)

// Waits on purpose.
const (
	// defaultWait is how long creating, scaling and removing wait.
	defaultWait = 2 * time.Minute
	// defaultBlock is how long a blocking query waits.
	defaultBlock = 5 * time.Minute
	// maxWait bounds both.
	maxWait = 10 * time.Minute
)

// validator is a named type with rules.
type validator interface{ Validate() error }

// check names the field at fault.
func check(field string, v validator) error {
	if err := v.Validate(); err != nil {
		return wire.InField(field, err)
	}
	return nil
}

// firstError is the first of several checks that failed.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// pathName takes a name from the path and checks it.
func pathName[T interface {
	~string
	validator
}](c *gin.Context, param string) (T, error) {
	name := T(c.Param(param))
	return name, check(param, name)
}

// requestID is the caller's Idempotency-Key, checked; empty when there is none.
func requestID(c *gin.Context) (wire.RequestID, error) {
	id := wire.RequestID(c.GetHeader(wire.HeaderRequestID))
	return id, check(wire.HeaderRequestID, id)
}

// queryOf parses the query; what cannot be parsed is refused, not dropped.
func queryOf(c *gin.Context) (url.Values, error) {
	if c.Request.URL.RawQuery == "" {
		return nil, nil
	}
	q, err := url.ParseQuery(c.Request.URL.RawQuery)
	if err != nil {
		return nil, wire.Errorf(wire.CodeInvalidArgument, "the query cannot be read: %v", err)
	}
	return q, nil
}

// pauseOf is the pause that ?wait= of a mutation asks for.
func (s *Server) pauseOf(c *gin.Context) (pause, context.CancelFunc, error) {
	q, err := queryOf(c)
	if err != nil {
		return pause{}, nil, err
	}
	wait, err := parseWait(q, defaultWait)
	if err != nil {
		return pause{}, nil, err
	}
	p, cancel := s.pause(c.Request.Context(), wait)
	return p, cancel, nil
}

// parseWait reads a duration such as 90s or 2m, or plain seconds.
func parseWait(q url.Values, absent time.Duration) (time.Duration, error) {
	s := q.Get("wait")
	if s == "" {
		return absent, nil
	}
	d, err := time.ParseDuration(s)
	if seconds, plain := strconv.ParseUint(s, 10, 31); plain == nil {
		d, err = time.Duration(seconds)*time.Second, nil
	}
	if err != nil || d < 0 || d > maxWait {
		return 0, wire.InField("wait", wire.Errorf(wire.CodeInvalidArgument, "%q is no time to wait: give 0s to %v", clip(s), maxWait))
	}
	return d, nil
}

// parseFlag reads a parameter that says yes or no, with or without a value.
func parseFlag(q url.Values, name string) (bool, error) {
	if !q.Has(name) {
		return false, nil
	}
	switch s := q.Get(name); s {
	case "", "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	default:
		return false, wire.InField(name, wire.Errorf(wire.CodeInvalidArgument, "%q is no answer: give true or false", clip(s)))
	}
}

// parseUint reads a whole number in a range.
func parseUint(q url.Values, name string, absent, least, most uint64) (uint64, error) {
	s := q.Get(name)
	if s == "" {
		return absent, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n < least || n > most {
		return 0, wire.InField(name, wire.Errorf(wire.CodeInvalidArgument, "%q is out of range: give %d to %d", clip(s), least, most))
	}
	return n, nil
}

// checkOptional lets an absent name be absent.
func checkOptional[T interface {
	~string
	validator
}](field string, name T) error {
	if name == "" {
		return nil
	}
	return check(field, name)
}
