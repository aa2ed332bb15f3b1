package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
)

const (
	contentLines = "application/x-ndjson"
	// streamIdle is how long a stream may stand still: that of a camera on which
	// nothing moves, say.
	streamIdle = 2 * time.Minute
	// lineTimeout is how long a result may wait to be read.
	lineTimeout = 30 * time.Second
	// maxIngestStreams bounds the streams; each may hold a frame that comes
	// slowly.
	maxIngestStreams = 1024
)

// fromStream is one of Ingest's.
type fromStream func(ctx context.Context, source wire.SourceID, r io.Reader, level ingest.Level, each func(ingest.Result) error) error

// ingestStream takes in a stream, and answers line by line while it comes. What
// is wrong with the stream as a whole is the answer's status as long as there is
// no line, and stands in the last line otherwise.
func (s *Server) ingestStream(c *gin.Context, in takeIn, from fromStream) (reply, error) {
	slot, err := s.ingestStreams.take(1)
	if err != nil {
		return reply{}, err
	}
	defer slot.release()
	// Over HTTP/1 a body is read while its answer is written only by request.
	control := http.NewResponseController(unwrap(c.Writer))
	if err := control.EnableFullDuplex(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return reply{}, err
	}
	body := &streamBody{body: c.Request.Body, control: control}
	defer context.AfterFunc(s.stopping, body.stop)()
	out := &lines{c: c, control: control}
	err = from(c.Request.Context(), in.source, body, in.level, out.result)
	if body.stopped() && err != nil {
		err = later(wire.CodeUnavailable, "the agent is stopping: send what has no result to another one, or again")
	}
	if err != nil && !out.begun {
		control.SetWriteDeadline(time.Now().Add(lineTimeout))
		return reply{}, err
	}
	if err != nil {
		out.end.Error = s.toWire(c, route{path: "/v1/ingest/:source"}, err)
	}
	out.line(ingest.Line{End: &out.end})
	return reply{written: true}, nil
}

// streamBody is a body that may come for ever. It is read by one goroutine.
type streamBody struct {
	body    io.Reader
	control *http.ResponseController

	mu    sync.Mutex
	ended bool // guarded by mu: the agent is stopping
}

// Read gives what came. Errors: CodeMalformed (it stood still, or was cut),
// CodeUnavailable (the agent is stopping).
func (b *streamBody) Read(p []byte) (int, error) {
	if !b.allow() {
		return 0, wire.Errorf(wire.CodeUnavailable, "the agent is stopping")
	}
	n, err := b.body.Read(p)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, wire.Errorf(wire.CodeMalformed, "the stream stood still for %v", streamIdle)
	case err != nil && err != io.EOF:
		return n, bodyError(err)
	}
	return n, err
}

func (b *streamBody) allow() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		b.control.SetReadDeadline(time.Now().Add(streamIdle))
	}
	return !b.ended
}

func (b *streamBody) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	b.control.SetReadDeadline(time.Unix(1, 0))
}

func (b *streamBody) stopped() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ended
}

// lines is the answer to a stream.
type lines struct {
	c       *gin.Context
	control *http.ResponseController
	begun   bool
	end     ingest.End
}

func (l *lines) result(r ingest.Result) error {
	l.end.Frames++
	if r.Error != nil {
		l.end.Failed++
	}
	return l.line(ingest.Line{Result: r})
}

// line sends one. Errors: the caller has gone, or does not read.
func (l *lines) line(v ingest.Line) error {
	l.control.SetWriteDeadline(time.Now().Add(lineTimeout))
	if !l.begun {
		l.begun = true
		startBody(l.c, http.StatusOK, contentLines)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err := l.c.Writer.Write(append(b, '\n')); err != nil {
		return err
	}
	return l.control.Flush()
}
