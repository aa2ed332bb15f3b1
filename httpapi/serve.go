package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
)

// handler answers one request.
type handler func(c *gin.Context) (reply, error)

// reply is a success.
type reply struct {
	status int // 0 means 200
	body   any // sent as JSON; rows as a list of any length
	// With a contentType raw is sent instead of body.
	contentType string
	raw         []byte
	// written says that the handler has answered by itself.
	written bool
}

// changed is the key in a request's context by which a handler says that it has
// changed something.
const changed = "changed"

func ok(body any) (reply, error) { return reply{body: body}, nil }

func created(body any) (reply, error) { return reply{status: http.StatusCreated, body: body}, nil }

// route is one line of the table of routes.
type route struct {
	method, path string
	// seed routes speak the first FrameDB's dialect: the answer stands in an
	// envelope and errors name fields as its callers spell them.
	seed bool
	// early routes answer before the agent is ready.
	early  bool
	handle handler
}

// serve is all that stands between gin and a handler: one place for panics,
// errors, metrics and the access log, and nothing that a hot route pays for
// without using it.
func (s *Server) serve(r route) gin.HandlerFunc {
	m := s.metrics.of(r.method, r.path)
	return func(c *gin.Context) {
		start := time.Now()
		s.metrics.inFlight.Inc()
		defer func() {
			s.recovered(c, recover())
			s.metrics.inFlight.Dec()
			took := time.Since(start)
			m.observe(c.Writer.Status(), took)
			s.logAccess(c, r.path, took)
		}()
		rep, err := s.run(c, r)
		if err != nil {
			s.fail(c, r, err)
			return
		}
		s.succeed(c, r, rep)
	}
}

// run lets the handler answer, unless a web page of another site asks, or the
// agent was never ready: until its log is replayed the store shows rows that
// were changed or removed later.
func (s *Server) run(c *gin.Context, r route) (reply, error) {
	if c.Request.ContentLength != 0 {
		limitBody(c, bodyTimeout)
	}
	if err := s.checkBrowser(c.Request); err != nil {
		return reply{}, err
	}
	if !r.early && !s.wasReady.Load() {
		if err := s.cfg.Ready(); err != nil {
			return reply{}, err
		}
		s.wasReady.Store(true)
	}
	if !r.early {
		if err := s.freshen(c, r); err != nil {
			return reply{}, err
		}
	}
	return r.handle(c)
}

// recovered answers for a handler that panicked. The stack goes to the log.
func (s *Server) recovered(c *gin.Context, p any) {
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	s.cfg.Logger.Error("handler panicked", "method", c.Request.Method, "path", c.Request.URL.Path, "panic", p, "stack", string(debug.Stack()))
	if !c.Writer.Written() {
		writeFailure(c, internalFault())
	}
}

// internalFault is all that a caller hears of a fault of ours.
func internalFault() *wire.Error {
	return wire.Errorf(wire.CodeInternal, "internal fault: the agent's log has more")
}

func (s *Server) logAccess(c *gin.Context, path string, took time.Duration) {
	log := s.cfg.Logger
	if ctx := c.Request.Context(); log.Enabled(ctx, slog.LevelDebug) {
		log.LogAttrs(ctx, slog.LevelDebug, "request", slog.String("method", c.Request.Method), slog.String("route", path),
			slog.Int("status", c.Writer.Status()), slog.Duration("took", took), slog.String("from", c.Request.RemoteAddr))
	}
}

// fail is the one place that answers an error.
func (s *Server) fail(c *gin.Context, r route, err error) {
	if c.Writer.Written() {
		s.cfg.Logger.Debug("answer was cut short", "route", r.path, "err", err)
		return
	}
	e := s.toWire(c, r, err)
	if e.Code == wire.CodeUnavailable && e.RetryAfter == 0 && s.stopping.Err() != nil {
		again := *e // another agent answers, or this one when it is back
		again.RetryAfter = time.Second
		e = &again
	}
	if r.seed {
		e = respell(e, seedSpelling)
	}
	writeFailure(c, e)
}

// toWire gives err its code. What no part of FrameDB gave a code is a fault of
// ours: its text goes to the log only.
func (s *Server) toWire(c *gin.Context, r route, err error) *wire.Error {
	var e *wire.Error
	switch {
	case errors.As(err, &e):
		return wire.AsError(err)
	case errors.Is(err, context.DeadlineExceeded):
		return wire.Errorf(wire.CodeTimeout, "it took too long")
	case errors.Is(err, context.Canceled):
		return later(wire.CodeUnavailable, "the caller has gone or the agent is stopping")
	}
	s.cfg.Logger.Error("request failed", "method", c.Request.Method, "route", r.path, "err", err)
	return internalFault()
}

func noRoute(c *gin.Context) (reply, error) {
	return reply{}, wire.Errorf(wire.CodeNotFound, "there is no %s: /openapi.json lists what there is", clip(c.Request.URL.Path))
}

func noMethod(c *gin.Context) (reply, error) {
	return reply{}, wire.Errorf(wire.CodeMethod, "%s is not allowed here: use %s", clip(c.Request.Method), c.Writer.Header().Get("Allow"))
}
