package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"iter"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
)

const (
	// heartbeat is how often a silent stream says that it is alive.
	heartbeat = 15 * time.Second
	// eventWriteTimeout is how long a reader may leave a piece unread. One who
	// is slower is cut off and goes on from the last index that it has.
	eventWriteTimeout = 15 * time.Second
)

// v1Events streams changes as server-sent events. Each event's data is a
// wire.Event. Behind the last event of one index comes an "index" message,
// which alone has an id: whoever goes on from a Last-Event-ID has seen whole
// commits.
func (s *Server) v1Events(c *gin.Context) (reply, error) {
	q, err := queryOf(c)
	if err != nil {
		return reply{}, err
	}
	tables, err := tablesOf(q)
	if err != nil {
		return reply{}, err
	}
	index, err := eventIndex(c, q)
	if err != nil {
		return reply{}, err
	}
	if err := s.follow(c.Request.Context(), index); err != nil {
		return reply{}, err
	}
	hold, err := s.streams.take(1)
	if err != nil {
		return reply{}, err
	}
	defer hold.release()
	s.metrics.streams.Inc()
	defer s.metrics.streams.Dec()
	return reply{written: true}, s.stream(c, index, tables)
}

// tablesOf reads ?table=, repeated or with commas; none means all.
func tablesOf(q url.Values) ([]wire.Table, error) {
	var tables []wire.Table
	for _, list := range q["table"] {
		for name := range strings.SplitSeq(list, ",") {
			t := wire.Table(name)
			if !slices.Contains(wire.Tables, t) {
				return nil, wire.InField("table", wire.Errorf(wire.CodeInvalidArgument, "%q is unknown: give some of %v", clip(name), wire.Tables))
			}
			tables = append(tables, t)
		}
	}
	return tables, nil
}

// eventIndex is where the stream begins: behind Last-Event-ID, else behind
// ?index=.
func eventIndex(c *gin.Context, q url.Values) (uint64, error) {
	const header = "Last-Event-ID"
	if last := c.GetHeader(header); last != "" {
		return parseUint(url.Values{header: {last}}, header, 0, 0, math.MaxUint64)
	}
	return parseUint(q, "index", 0, 0, math.MaxUint64)
}

func (s *Server) stream(c *gin.Context, index uint64, tables []wire.Table) error {
	ctx, cancel := context.WithCancel(c.Request.Context())
	defer cancel()
	defer context.AfterFunc(s.stopping, cancel)()
	out := newEventWriter(c)
	sub := s.cfg.Store.Subscribe(index, tables...)
	err := out.comment("framedb events")
	for err == nil {
		beat, stop := context.WithTimeout(ctx, heartbeat)
		var events iter.Seq[wire.Event]
		events, err = sub.NextSeq(beat)
		stop()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			err = out.comment("still here")
		default:
			err = out.commit(events)
		}
	}
	return err
}

// eventWriter writes server-sent events in pieces, each with a deadline.
type eventWriter struct {
	w   http.ResponseWriter
	rc  *http.ResponseController
	buf bytes.Buffer
}

func newEventWriter(c *gin.Context) *eventWriter {
	h := c.Writer.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	c.Writer.WriteHeaderNow()
	w := unwrap(c.Writer)
	return &eventWriter{w: w, rc: http.NewResponseController(w)}
}

func (e *eventWriter) comment(text string) error {
	e.buf.WriteString(": " + text + "\n\n")
	return e.flush()
}

// commit writes all events of one index, each made when the reader has taken
// those before, and the message that ends them. What it needed for that it gives
// back: a stream is silent most of the time.
func (e *eventWriter) commit(events iter.Seq[wire.Event]) error {
	defer func() { e.buf = bytes.Buffer{} }()
	var index uint64
	for event := range events {
		index = event.Index
		if err := e.message("", string(event.Op), &event); err != nil {
			return err
		}
	}
	id := strconv.FormatUint(index, 10)
	if err := e.message(id, "index", map[string]uint64{"index": index}); err != nil {
		return err
	}
	return e.flush()
}

func (e *eventWriter) message(id, event string, data any) error {
	b, err := json.Marshal(data)
	if err != nil {
		return err
	}
	if id != "" {
		e.buf.WriteString("id: " + id + "\n")
	}
	e.buf.WriteString("event: " + event + "\ndata: ")
	e.buf.Write(b)
	e.buf.WriteString("\n\n")
	if e.buf.Len() < piece {
		return nil
	}
	return e.flush()
}

func (e *eventWriter) flush() error {
	e.rc.SetWriteDeadline(time.Now().Add(eventWriteTimeout))
	_, err := e.w.Write(e.buf.Bytes())
	e.buf.Reset()
	if err != nil {
		return err
	}
	return e.rc.Flush()
}
