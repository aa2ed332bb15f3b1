package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// stream is an event stream being read.
type stream struct {
	t   *testing.T
	buf *bufio.Scanner
}

type message struct {
	id, event, data string
}

func (a *api) events(t *testing.T, base, query string, header ...string) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", base+"/v1/events"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); res.Body.Close(); http.DefaultClient.CloseIdleConnections() })
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("status %d, %v", res.StatusCode, res.Header)
	}
	s := bufio.NewScanner(res.Body)
	s.Buffer(nil, 4<<20)
	return &stream{t, s}
}

// next returns the next message that is no comment; ok is false at the end.
func (s *stream) next() (m message, ok bool) {
	s.t.Helper()
	for s.buf.Scan() {
		name, value, _ := strings.Cut(s.buf.Text(), ": ")
		switch name {
		case "id":
			m.id = value
		case "event":
			m.event = value
		case "data":
			m.data = value
		case "":
			if m.event != "" {
				return m, true
			}
		}
	}
	return m, false
}

func (s *stream) event(op wire.Op, key string) wire.Event {
	s.t.Helper()
	m, _ := s.next()
	var e wire.Event
	if err := json.Unmarshal([]byte(m.data), &e); err != nil {
		s.t.Fatalf("%v: %+v", err, m)
	}
	if m.event != string(op) || e.Op != op || e.Key != key || m.id != "" {
		s.t.Fatalf("got %+v, want %s of %q without an id", m, op, key)
	}
	return e
}

func (s *stream) index(want uint64) {
	s.t.Helper()
	m, _ := s.next()
	if m.event != "index" || m.id != fmt.Sprint(want) || m.data != fmt.Sprintf(`{"index":%d}`, want) {
		s.t.Fatalf("got %+v, want the end of index %d", m, want)
	}
}

func TestEventsAreWholeCommits(t *testing.T) {
	a := newAPI(t).populate()
	s := a.events(t, a.tcp(), "?table=clusters&table=mappings")
	at := a.store.View().Index()
	s.event(wire.OpReset, "")
	s.event(wire.OpPut, "alpha")
	s.event(wire.OpPut, "beta")
	s.event(wire.OpPut, "cam-1/node-1")
	s.event(wire.OpPut, "cam-2/node-1")
	s.index(at)
	at = a.store.must(t, state.RemoveCluster{Name: "alpha"}).Index
	if e := s.event(wire.OpPut, "alpha"); e.Before == nil || e.After == nil || e.Table != wire.TableClusters {
		t.Errorf("%+v", e)
	}
	s.event(wire.OpPut, "cam-1/node-1")
	s.index(at)
	a.store.must(t, state.LabelNode{Name: "n1", Label: "x"}) // another table
	at = a.store.must(t, state.RemoveMapping{Source: "cam-1", NodeTag: "node-1"}).Index
	if e := s.event(wire.OpDelete, "cam-1/node-1"); e.After != nil {
		t.Errorf("%+v", e)
	}
	s.index(at)
}

// A reader goes on where it was: behind ?index=, or behind Last-Event-ID, which
// is newer.
func TestEventsGoOn(t *testing.T) {
	a := newAPI(t).populate()
	base := a.tcp()
	from := a.store.View().Index()
	first := a.store.must(t, state.CreateMapping{Source: "one", NodeTag: "node-1"}).Index
	second := a.store.must(t, state.CreateMapping{Source: "two", NodeTag: "node-1"}).Index
	s := a.events(t, base, fmt.Sprintf("?table=mappings,nodes&index=%d", from))
	s.event(wire.OpPut, "one/node-1")
	s.index(first)
	s.event(wire.OpPut, "two/node-1")
	s.index(second)
	s = a.events(t, base, fmt.Sprintf("?table=mappings&index=%d", from), "Last-Event-ID", fmt.Sprint(first))
	s.event(wire.OpPut, "two/node-1")
	s.index(second)
	s = a.events(t, base, fmt.Sprintf("?table=nodes&index=%d", second+1000))
	s.event(wire.OpReset, "")
}

func TestShutdownEndsStreams(t *testing.T) {
	a := newAPI(t)
	s := a.events(t, a.tcp(), "?table=mappings")
	s.event(wire.OpReset, "")
	if err := a.server.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for more := true; more; _, more = s.next() {
	}
}
