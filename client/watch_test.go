package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/wire"
)

// commits is a little history: the events of index 5, 6 and 9.
var commits = [][]wire.Event{
	{event(5, wire.OpPut, "a"), event(5, wire.OpPut, "b"), event(5, wire.OpDelete, "c")},
	{event(6, wire.OpPut, "a")},
	{event(9, wire.OpPut, "x"), event(9, wire.OpPut, "y")},
}

func event(index uint64, op wire.Op, key string) wire.Event {
	return wire.Event{Index: index, Table: wire.TableClusters, Op: op, Key: key}
}

// stream is what an agent sends to someone who knows everything up to index.
func stream(index uint64) []byte {
	var b bytes.Buffer
	for _, events := range commits {
		at := events[0].Index
		if at <= index {
			continue
		}
		for _, e := range events {
			data, _ := json.Marshal(e)
			fmt.Fprintf(&b, "id: %d\nevent: %s\ndata: %s\n\n", e.Index, e.Op, data)
		}
		fmt.Fprintf(&b, "id: %d\nevent: index\ndata:\n\n", at)
	}
	return b.Bytes()
}

// send sends body and then either breaks off or stays silent.
func send(body []byte, stay bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Write(body)
		w.(http.Flusher).Flush()
		if stay {
			<-r.Context().Done()
			return
		}
		panic(http.ErrAbortHandler)
	}
}

// resume answers as a real agent would, and stays.
func resume(w http.ResponseWriter, r *http.Request) {
	index, _ := strconv.ParseUint(r.URL.Query().Get("index"), 10, 64)
	send(stream(index), true)(w, r)
}

// collect watches until it has n events.
func collect(t *testing.T, c *client.Client, index uint64, n int) []string {
	return collectFor(t, c, index, n, 20*time.Second)
}

func collectFor(t *testing.T, c *client.Client, index uint64, n int, limit time.Duration) []string {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var got []string
	for e, err := range c.Watch(ctx, index, wire.TableClusters) {
		if err != nil {
			t.Errorf("after %v: %v", got, err)
			return got
		}
		if got = append(got, fmt.Sprintf("%d %s %s", e.Index, e.Op, e.Key)); len(got) == n {
			break
		}
	}
	return got
}

const allEvents = "5 put a, 5 put b, 5 delete c, 6 put a, 9 put x, 9 put y"

func TestAWatchGoesOnWhereverTheStreamBroke(t *testing.T) {
	t.Parallel()
	whole := stream(4)
	var wg sync.WaitGroup
	for cutAt := 0; cutAt <= len(whole); cutAt += 3 {
		f := newFakeAgent(t, send(whole[:cutAt], false), resume)
		c := newClient(t, client.Config{}, f)
		wg.Go(func() {
			if got := strings.Join(collect(t, c, 4, 6), ", "); got != allEvents {
				t.Errorf("cut after %d bytes: %s", cutAt, got)
			}
		})
	}
	wg.Wait()
}

func TestAWatchBreaksTwiceInOneIndex(t *testing.T) {
	t.Parallel()
	whole := stream(4)
	second := bytes.Index(whole, []byte(`"key":"c"`))
	f := newFakeAgent(t, send(whole[:second], false), send(whole[:second/2], false), resume)
	if got := strings.Join(collect(t, newClient(t, client.Config{}, f), 4, 6), ", "); got != allEvents {
		t.Error(got)
	}
}

func TestAResetMayComeAtAnyTime(t *testing.T) {
	t.Parallel()
	reset := []byte("event: reset\ndata: {\"index\":3,\"op\":\"reset\"}\n\n" +
		"event: put\ndata: {\"index\":3,\"op\":\"put\",\"key\":\"q\"}\n\n")
	end := []byte("event: index\nid: 3\n\n")
	whole := stream(4)
	broken := whole[:bytes.Index(whole, []byte(`"key":"c"`))]
	f := newFakeAgent(t, send(broken, false), send(reset, false), send(append(bytes.Clone(reset), end...), false), resume)
	got := strings.Join(collect(t, newClient(t, client.Config{}, f), 4, 12), ", ")
	if want := "5 put a, 5 put b, 3 reset , 3 put q, 3 reset , 3 put q, " + allEvents; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var indexes []string
	for _, call := range f.got() {
		indexes = append(indexes, call.uri)
	}
	want := "/v1/events?index=4&table=clusters /v1/events?index=4&table=clusters /v1/events?index=0&table=clusters /v1/events?index=3&table=clusters"
	if got := strings.Join(indexes, " "); got != want {
		t.Errorf("asked %s\n want %s", got, want)
	}
}

func TestAWatchRidesOutFailures(t *testing.T) {
	t.Parallel()
	f := newFakeAgent(t, drop, refuse(wire.CodeNoLeader, 0), refuse(wire.CodeUnavailable, 1), page(http.StatusBadGateway, ""), resume)
	c := newClient(t, client.Config{Addrs: []string{deadAddr(t)}, RetryFor: -1}, f)
	if got := strings.Join(collect(t, c, 0, 6), ", "); got != allEvents {
		t.Error(got)
	}
}

func TestASilentStreamIsLeftOnceItShowedLife(t *testing.T) {
	t.Parallel()
	whole := stream(4)
	first := whole[:bytes.Index(whole, []byte("id: 6"))]
	f := newFakeAgent(t, send(append([]byte(": alive\n\n"), first...), true), resume)
	c := newClient(t, client.Config{}, f)
	client.SetSilence(c, 50*time.Millisecond)
	if got := strings.Join(collect(t, c, 4, 6), ", "); got != allEvents {
		t.Error(got)
	}
}

func TestAWatchEndsWithWhatCannotBeHelped(t *testing.T) {
	t.Parallel()
	c := newClient(t, client.Config{}, newFakeAgent(t, refuse(wire.CodeInvalidArgument, 0)))
	n := 0
	for _, err := range c.Watch(t.Context(), 0, "nonsense") {
		if n++; !errors.Is(err, wire.ErrInvalidArgument) {
			t.Errorf("got %v", err)
		}
	}
	if n != 1 {
		t.Errorf("%d pairs", n)
	}
}

func TestAWatchEndsWithItsContext(t *testing.T) {
	t.Parallel()
	c := newClient(t, client.Config{}, newFakeAgent(t, resume))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	for e, err := range c.Watch(ctx, 0) {
		if last = err; e.Key == "y" {
			cancel()
		}
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("ended with %v", last)
	}
	for range c.Watch(ctx, 0) { // a cancelled context and a consumer that breaks off
		break
	}
}
