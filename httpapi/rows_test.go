package httpapi_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// large has 100 sources, each with 32 KiB of metadata: 3.2 MiB of rows.
func (a *api) large() *api {
	a.t.Helper()
	a.populate()
	metadata := json.RawMessage(`{"a":"` + strings.Repeat("x", 32<<10) + `"}`)
	for i := range 100 {
		a.store.must(a.t, state.CreateMapping{Source: wire.SourceID(fmt.Sprintf("s-%03d", i)), NodeTag: "node-1", Metadata: metadata})
	}
	return a
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A reader who does not read costs a piece of the answer, not a copy of all
// rows.
func TestSlowReadersCostAPiece(t *testing.T) {
	const readers = 10
	for path, begins := range map[string]string{"/v1/events": "event: reset", "/v1/events?table=mappings": "event: reset", "/v1/sources?limit=10000": "HTTP/1.1 200 "} {
		t.Run(path, func(t *testing.T) {
			inBubble(t, func(t *testing.T, a *api, dial func() net.Conn) {
				a.large()
				before := heap()
				for range readers {
					c := dial()
					defer c.Close()
					send(t, c, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
					line(t, bufio.NewReaderSize(c, 16), begins)
				}
				synctest.Wait()
				if each := (heap() - before) / readers; each > 512<<10 {
					t.Errorf("each of %d readers costs %d KiB", readers, each>>10)
				}
			})
		})
	}
}

// A stream that has told everything and is silent costs next to nothing.
func TestSilentStreamsHoldNothing(t *testing.T) {
	const readers = 10
	inBubble(t, func(t *testing.T, a *api, dial func() net.Conn) {
		a.large()
		before := heap()
		for range readers {
			c := dial()
			defer c.Close()
			send(t, c, "GET /v1/events HTTP/1.1\r\nHost: a\r\n\r\n")
			r := bufio.NewReaderSize(c, 16)
			line(t, r, "event: index")
			line(t, r, "\r\n") // of the last chunk
		}
		synctest.Wait()
		if each := (heap() - before) / readers; each > 32<<10 {
			t.Errorf("each of %d streams costs %d KiB", readers, each>>10)
		}
	})
}

// A long list comes whole, and so does a short one, which says its length.
func TestListsOfAnyLength(t *testing.T) {
	a := newAPI(t).large()
	base := a.tcp()
	defer http.DefaultClient.CloseIdleConnections()
	for _, limit := range []int{1, 2, 3, 4, 50, 102, 10000} {
		r := fetch(t, http.DefaultClient, fmt.Sprintf("%s/v1/sources?limit=%d", base, limit)).want(t, 200)
		list := decoded[[]wire.Source](t, r)
		if len(list) != min(limit, 102) || list[0].Source != "cam-1" || r.header.Get("Content-Type") != "application/json" {
			t.Errorf("limit %d: %d sources, %v", limit, len(list), r.header)
		}
		for i, s := range list[min(2, len(list)):] {
			if s.Source != wire.SourceID(fmt.Sprintf("s-%03d", i)) || len(s.Mappings) != 1 || len(s.Mappings[0].Metadata) < 32<<10 {
				t.Errorf("limit %d: place %d has %q", limit, i, s.Source)
			}
		}
		if short := limit < 4; short != (r.header.Get("Content-Length") != "") {
			t.Errorf("limit %d: Content-Length %q", limit, r.header.Get("Content-Length"))
		}
	}
	if r := fetch(t, http.DefaultClient, base+"/v1/sources?prefix=nobody"); r.body != "[]" {
		t.Errorf("an empty list is %q", r.body)
	}
}

// A reset is of one moment, whatever changes while it is read.
func TestAResetIsOfOneMoment(t *testing.T) {
	inBubble(t, func(t *testing.T, a *api, dial func() net.Conn) {
		a.large()
		at := a.store.View().Index()
		c := dial()
		defer c.Close()
		c.SetReadDeadline(time.Now().Add(time.Minute))
		send(t, c, "GET /v1/events?table=mappings HTTP/1.1\r\nHost: a\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		begun := make([]byte, len(": framedb events\n\nevent"))
		if _, err := io.ReadFull(res.Body, begun); err != nil {
			t.Fatal(err)
		}
		a.store.must(t, state.RemoveMapping{Source: "s-099", NodeTag: "node-1"})
		scan := bufio.NewScanner(io.MultiReader(bytes.NewReader(begun), res.Body))
		scan.Buffer(nil, 1<<20)
		s := &stream{t, scan}
		s.event(wire.OpReset, "")
		for _, key := range []string{"cam-1/node-1", "cam-2/node-1"} {
			s.event(wire.OpPut, key)
		}
		for i := range 100 {
			if e := s.event(wire.OpPut, fmt.Sprintf("s-%03d/node-1", i)); e.Index != at {
				t.Fatalf("%s is of index %d, want %d", e.Key, e.Index, at)
			}
		}
		s.index(at)
		s.event(wire.OpDelete, "s-099/node-1")
	})
}

// Large answers that are made whole are bounded together; one that says what
// was changed is given all the same.
func TestLargeAnswersAreBoundedTogether(t *testing.T) {
	a := newAPI(t).populate()
	for i := range 4000 {
		a.store.must(t, state.CreateMapping{Source: wire.SourceID(fmt.Sprintf("a-source-with-a-long-name-%04d", i)), NodeTag: "node-1", Cluster: "alpha"})
	}
	const byNode = `{"nodeTag":"node-1"}`
	a.post("/routing/getSourcesByNode", byNode).want(t, 200)
	giveBack := a.server.LeaveAnswers(100 << 10)
	r := a.post("/routing/getSourcesByNode", byNode)
	if r.status != 429 {
		t.Fatalf("status %d, want 429", r.status)
	}
	if r.refused(t, wire.CodeOverloaded, ""); r.header.Get("Retry-After") != "1" {
		t.Error("no advice when to try again")
	}
	a.post("/routing/getSourcesByInstance", `{"framedb":"beta"}`).want(t, 200) // a small one
	a.post("/routing/reassignInstance", `{"nodeTag":"node-1","framedb":"alpha"}`).want(t, 200)
	giveBack()
	for range 2 {
		a.post("/routing/getSourcesByNode", byNode).want(t, 200)
	}
}
