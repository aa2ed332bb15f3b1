package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"strconv"
	"time"

	"github.com/framedb/framedb/client/wire"
)

const (
	// maxWatchPause is the longest pause between two tries to go on with a
	// watch.
	maxWatchPause = 5 * time.Second
	// maxSilence is how long a stream that sends signs of life may be silent
	// before it is held for dead. Agents send one each 15 s.
	maxSilence = 45 * time.Second
	// indexMessage ends the events of one index on the stream.
	indexMessage = "index"
)

// Watch yields the changes of the tables (all, when none is named) that came
// after index, as they happen. With index 0, and when the changes since index
// are not remembered any more, it begins with OpReset and all rows of now.
//
// It reconnects by itself, as often as it must, and goes on where it was: no
// event is missed and none comes twice, but for OpReset, which may come at any
// time and means that all rows follow again. To go on with another Watch, give
// the index of an event that is not the last seen: events of one index belong
// together and the last may not be complete.
//
// The last pair holds the error that ended it: ctx's, or one that trying again
// cannot help, such as ErrInvalidArgument for an unknown table.
func (c *Client) Watch(ctx context.Context, index uint64, tables ...wire.Table) iter.Seq2[wire.Event, error] {
	return func(yield func(wire.Event, error) bool) {
		w := &watch{client: c, tables: tables, index: index, yield: yield}
		if err := w.run(ctx); err != nil {
			yield(wire.Event{}, err)
		}
	}
}

// watch is one run of Watch, over as many connections as it takes.
type watch struct {
	client *Client
	tables []wire.Table
	yield  func(wire.Event, error) bool
	// index is the last one of which everything was yielded.
	index uint64
	// begun counts the events of a later index that were yielded already.
	begun run
	// skip counts those of them that this connection will repeat.
	skip run
	// heard is true once this connection brought a message.
	heard bool
}

// run is a number of events of one index.
type run struct {
	index uint64
	n     int
}

// run returns nil when the consumer had enough.
func (w *watch) run(ctx context.Context) error {
	pauses := newPauses(forEver, maxWatchPause)
	for {
		tries, after := 1, time.Duration(0)
		agent, err := w.client.agents.current(ctx)
		if err == nil {
			w.heard, w.skip = false, w.begun
			if err = w.follow(ctx, agent); err == nil {
				return nil
			}
			var again bool
			if again, after = retryable(err); !again && ctx.Err() == nil {
				return err
			}
			failed := err
			if w.heard { // a reader that was too slow is cut off by a good agent
				failed, pauses = nil, newPauses(forEver, maxWatchPause)
			}
			tries = w.client.agents.leave(ctx, agent, failed)
		}
		w.client.log.Info("watch broke off", "index", w.index, "err", err)
		if !pauses.next(ctx, tries, after) {
			return ctx.Err()
		}
	}
}

// follow yields what one connection brings; it returns nil when the consumer
// had enough.
func (w *watch) follow(ctx context.Context, a *agent) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ctx, release := w.client.agents.guard(ctx, a, watchPatience)
	defer release()
	dead := time.AfterFunc(w.client.cfg.Timeout, cancel)
	defer dead.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.request().url(a.base), nil)
	if err != nil {
		return wire.Errorf(wire.CodeInvalidArgument, "%v", err)
	}
	req.Header.Set("Accept", "text/event-stream")
	res, err := a.http.Do(req)
	if err != nil {
		return newTransportError(a.addr, cause(ctx, err))
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return refusal(a, res)
	}
	stream := newMessages(res.Body)
	for {
		dead.Stop() // not while the consumer works; a fresh stream may be silent
		if stream.alive {
			dead.Reset(w.client.silence)
		}
		msg, ok, err := stream.next()
		dead.Stop()
		if err != nil {
			return &transportError{addr: a.addr, err: cause(ctx, err)}
		}
		if !ok {
			continue
		}
		w.heard = true
		if more, err := w.take(msg); !more || err != nil {
			return err
		}
	}
}

func (w *watch) request() request {
	r := newRequest(http.MethodGet, "/v1/events").with("index", strconv.FormatUint(w.index, 10))
	for _, t := range w.tables {
		r.query["table"] = append(r.query["table"], string(t))
	}
	return r
}

// take yields a message's event unless it was yielded before.
func (w *watch) take(msg message) (more bool, err error) {
	if msg.event == indexMessage {
		index, err := strconv.ParseUint(msg.id, 10, 64)
		if err != nil {
			return false, wire.Errorf(wire.CodeInternal, "the event stream's index %q is no number", msg.id)
		}
		w.index, w.begun, w.skip = index, run{}, run{}
		return true, nil
	}
	var e wire.Event
	if err := json.Unmarshal(msg.data, &e); err != nil {
		return false, wire.Errorf(wire.CodeInternal, "cannot read an event: %v", err)
	}
	switch {
	case e.Op == wire.OpReset:
		w.index, w.begun, w.skip = 0, run{}, run{}
	case e.Index == w.skip.index && w.skip.n > 0:
		w.skip.n--
		return true, nil
	case e.Index != w.begun.index:
		w.begun = run{e.Index, 1}
	default:
		w.begun.n++
	}
	return w.yield(e, nil), nil
}
