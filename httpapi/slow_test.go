package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/httpapi"
	"github.com/framedb/framedb/raftstore/state"
)

// pipes is a listener of connections in memory, whose deadlines follow the
// clock of a synctest bubble. Nothing is buffered.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// inBubble serves an API on pipes with a clock that jumps.
func inBubble(t *testing.T, f func(t *testing.T, a *api, dial func() net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		l := newPipes()
		a.serve(l)
		f(t, a, l.dial)
	})
}

func send(t *testing.T, c net.Conn, request string) {
	t.Helper()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
}

// line reads lines until one begins so.
func line(t *testing.T, r *bufio.Reader, prefix string) string {
	t.Helper()
	for {
		s, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("no %q: %v", prefix, err)
		}
		if strings.HasPrefix(s, prefix) {
			return s
		}
	}
}

func TestSilentStreamsSayThatTheyLive(t *testing.T) {
	inBubble(t, func(t *testing.T, a *api, dial func() net.Conn) {
		c := dial()
		defer c.Close()
		send(t, c, fmt.Sprintf("GET /v1/events?index=%d HTTP/1.1\r\nHost: a\r\n\r\n", a.store.View().Index()))
		r := bufio.NewReader(c)
		line(t, r, ": framedb events")
		start := time.Now()
		line(t, r, ": still here")
		line(t, r, ": still here")
		if d := time.Since(start); d != 30*time.Second {
			t.Errorf("two signs of life took %v", d)
		}
	})
}

// A reader who reads nothing is cut off instead of holding what it does not
// take.
func TestSlowReadersAreCutOff(t *testing.T) {
	inBubble(t, func(t *testing.T, a *api, dial func() net.Conn) {
		c := dial()
		defer c.Close()
		send(t, c, "GET /v1/events HTTP/1.1\r\nHost: a\r\n\r\n")
		start := time.Now()
		synctest.Wait()
		streams := func() string {
			return line(t, bufio.NewReader(strings.NewReader(a.get("/metrics").body)), "framedb_http_event_streams ")
		}
		if got := streams(); got != "framedb_http_event_streams 1\n" {
			t.Errorf("at first: %s", got)
		}
		time.Sleep(16 * time.Second) // of the bubble's clock
		synctest.Wait()
		if got := streams(); got != "framedb_http_event_streams 0\n" {
			t.Errorf("after %v: %s", time.Since(start), got)
		}
	})
}

// A body that does not come ends in time, and a header too.
func TestSlowSendersAreCutOff(t *testing.T) {
	inBubble(t, func(t *testing.T, a *api, dial func() net.Conn) {
		a.populate()
		c := dial()
		defer c.Close()
		send(t, c, "POST /routing/getMapping HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{\"sour")
		start := time.Now()
		if _, err := io.ReadAll(c); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d != 30*time.Second {
			t.Errorf("hung up after %v", d)
		}
		unread := dial()
		defer unread.Close()
		send(t, unread, "POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{\"sour")
		start = time.Now()
		if _, err := io.ReadAll(unread); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d != 30*time.Second {
			t.Errorf("hung up after %v, though nobody reads the body", d)
		}
		frame := dial()
		defer frame.Close()
		send(t, frame, "PUT /v1/frames/cam-1/cam-1%3F0%3F0__7/8x8 HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\npix")
		start = time.Now()
		if _, err := io.ReadAll(frame); err != nil {
			t.Error(err)
		}
		if d := time.Since(start).Round(time.Second); d != 10*time.Second || a.server.FramesInHand() != 0 {
			t.Errorf("hung up after %v, %d bytes in hand", d, a.server.FramesInHand())
		}
		half := dial()
		defer half.Close()
		send(t, half, "GET /v1/sou")
		start = time.Now()
		if _, err := io.ReadAll(half); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("hung up after %v", d)
		}
	})
}

// A connection serves on after a wait that was longer than the deadline of its
// body.
func TestWaitsAreLongerThanBodies(t *testing.T) {
	inBubble(t, func(t *testing.T, a *api, dial func() net.Conn) {
		a.store.applied = nil
		c := dial()
		defer c.Close()
		r := bufio.NewReader(c)
		body := `{"name":"slow","node_tag":"node-1","replicas":1,"quorum":1}`
		send(t, c, fmt.Sprintf("POST /v1/clusters?wait=5m HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		start := time.Now()
		for _, want := range []int{201, 200} {
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body := readAll(t, res.Body); res.StatusCode != want {
				t.Errorf("status %d, want %d: %s", res.StatusCode, want, body)
			}
			if d := time.Since(start); d != 5*time.Minute {
				t.Errorf("answered after %v", d)
			}
			if want == 201 {
				send(t, c, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
			}
		}
	})
}

// A blocking query returns after its wait, five minutes unless told otherwise.
func TestBlockingQueriesEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, a *api, _ func() net.Conn) {
		index := a.store.View().Index()
		for query, want := range map[string]time.Duration{"": 5 * time.Minute, "&wait=10m": 10 * time.Minute, "&wait=7": 7 * time.Second, "&wait=0": 0} {
			start := time.Now()
			a.get(fmt.Sprintf("/v1/clusters?index=%d%s", index, query)).want(t, 200)
			if d := time.Since(start); d != want {
				t.Errorf("%q: answered after %v, want %v", query, d, want)
			}
		}
		// Another row's change does not end a wait for this one.
		a.store.applied = owner
		a.populate()
		index = a.store.View().Index()
		start := time.Now()
		time.AfterFunc(time.Second, func() { a.store.must(t, state.CreateMapping{Source: "elsewhere", NodeTag: "node-1"}) })
		time.AfterFunc(time.Minute, func() { a.store.must(t, state.RemoveMapping{Source: "cam-1", NodeTag: "node-1"}) })
		a.get(fmt.Sprintf("/v1/sources/cam-1?index=%d", index)).refused(t, wire.CodeNotFound, "")
		if d := time.Since(start); d != time.Minute {
			t.Errorf("answered after %v", d)
		}
	})
}

// A cluster that is ready in an older generation, or that has brought the spec
// about and is not ready, is waited for.
func TestWaitsAreForThisGeneration(t *testing.T) {
	inBubble(t, func(t *testing.T, a *api, _ func() net.Conn) {
		says := func(phase wire.Phase, generation uint64) {
			row, _ := a.store.View().Cluster("c")
			status := row.Status
			status.Phase, status.ObservedGeneration = phase, generation
			a.store.must(t, state.ReportCluster{Name: "c", Status: status})
			time.AfterFunc(time.Minute, func() { a.store.report("c") })
		}
		a.store.applied = func(_ *store, cmd state.Command) {
			switch cmd.(type) {
			case state.CreateClusters:
				says(wire.PhaseCreating, 1)
			case state.UpdateCluster:
				says(wire.PhaseReady, 1)
			}
		}
		for _, call := range [][3]string{
			{"POST", "/v1/clusters", `{"name":"c","node_tag":"node-1","replicas":1,"quorum":1}`},
			{"PATCH", "/v1/clusters/c", `{"replicas":2}`},
		} {
			start := time.Now()
			if r := a.do(call[0], call[1], call[2]); r.status >= 300 || time.Since(start) != time.Minute {
				t.Errorf("%v: %d after %v", call, r.status, time.Since(start))
			}
		}
	})
}

// Who does not read an answer does not keep it for ever, be it large or small.
func TestUnreadAnswersEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, a *api, dial func() net.Conn) {
		for i := range 400 {
			a.store.must(t, state.CreateClusters{Names: []wire.ClusterName{wire.ClusterName(fmt.Sprintf("c-%d", i))}, Spec: wire.ClusterSpec{NodeTag: "node-1", Replicas: 1, Quorum: 1}})
		}
		whole := len(a.get("/v1/clusters").body)
		if whole < 128<<10 {
			t.Fatalf("%d bytes are no large answer", whole)
		}
		for path, bound := range map[string]time.Duration{"/v1/clusters": 2 * time.Minute, "/healthz": 15 * time.Minute} {
			for _, early := range []bool{true, false} {
				c := dial()
				send(t, c, "GET "+path+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
				wait := bound + time.Second
				if early {
					wait = bound - time.Second
				}
				time.Sleep(wait) // of the bubble's clock
				b, err := io.ReadAll(c)
				c.Close()
				if got := err == nil && strings.HasPrefix(string(b), "HTTP/1.1 200"); got != early {
					t.Errorf("%s, read after %v: %d bytes, %v", path, wait, len(b), err)
				}
			}
		}
	})
}

const putSlow = "PUT /v1/frames/cam-1/cam-1%3F0%3F0__7/8x8 HTTP/1.1\r\nHost: a\r\n"

// A frame takes memory as it comes: what is only promised keeps nobody else
// out, and many that do not say how long they will be pass at once.
func TestPromisedFramesCostAPiece(t *testing.T) {
	inBubble(t, func(t *testing.T, a *api, dial func() net.Conn) {
		a.populate()
		for _, upload := range []struct {
			head    string
			sent, n int
			most    int64 // of each
		}{
			{"Content-Length: 67108864\r\n\r\n", 1, 5, 64 << 10},
			{"Transfer-Encoding: chunked\r\n\r\n31000\r\n", 200_000, 30, 256 << 10},
		} {
			var conns []net.Conn
			for range upload.n {
				c := dial()
				conns = append(conns, c)
				send(t, c, putSlow+upload.head+strings.Repeat("x", upload.sent))
			}
			synctest.Wait()
			if held := a.server.FramesInHand(); held < int64(upload.sent*upload.n) || held > upload.most*int64(upload.n) {
				t.Errorf("%d bytes of each of %d frames came: %d bytes are held", upload.sent, upload.n, held)
			}
			for _, c := range conns {
				c.Close()
			}
			synctest.Wait()
			if held := a.server.FramesInHand(); held != 0 {
				t.Errorf("%d bytes are held for those who have gone", held)
			}
		}
	})
}

// When the memory for frames is used up, one that does not fit is refused, also
// in the middle.
func TestFramesThatDoNotFit(t *testing.T) {
	inBubble(t, func(t *testing.T, a *api, dial func() net.Conn) {
		a.populate()
		defer a.server.LeaveFrames(100 << 10)()
		c := dial()
		defer c.Close()
		send(t, c, putSlow+"Content-Length: 67108864\r\n\r\n"+strings.Repeat("x", 64<<10))
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") != "1" || !res.Close {
			t.Errorf("status %d, %v", res.StatusCode, res.Header)
		}
	})
}

// Frames move at 512 KiB a second, in and out, after ten seconds; who is slower
// is cut off.
func TestFramesHaveToMove(t *testing.T) {
	const size = 16 << 20
	in := func(t *testing.T, c net.Conn, rate int) {
		cut := make(chan struct{})
		go func() { io.ReadAll(c); close(cut) }()
		send(t, c, fmt.Sprintf("%sContent-Length: %d\r\n\r\n", putSlow, size+1)) // the last byte never comes
		for sent := 0; sent < size; sent += rate {
			if _, err := c.Write(make([]byte, min(rate, size-sent))); err != nil {
				break
			}
			time.Sleep(time.Second) // of the bubble's clock
		}
		<-cut
	}
	out := func(t *testing.T, c net.Conn, rate int) {
		send(t, c, "GET /frame HTTP/1.1\r\nHost: a\r\n\r\n")
		for taken := 0; taken < size; taken += rate {
			if _, err := io.CopyN(io.Discard, c, int64(min(rate, size-taken))); err != nil {
				return
			}
			time.Sleep(time.Second) // of the bubble's clock
		}
	}
	for _, test := range []struct {
		name string
		move func(*testing.T, net.Conn, int)
		rate int
		ends time.Duration
	}{
		{"in", in, 1, 10 * time.Second}, {"in", in, 256 << 10, 20 * time.Second}, {"in", in, 1 << 20, 42 * time.Second},
		{"out", out, 1, 10 * time.Second}, {"out", out, 256 << 10, 20 * time.Second}, {"out", out, 1 << 20, 16 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := newAPI(t).populate()
			a.server.Handler().(*gin.Engine).GET("/frame", func(c *gin.Context) { httpapi.WriteFrame(c, make([]byte, size)) })
			l := newPipes()
			a.serve(l)
			c := l.dial()
			defer c.Close()
			start := time.Now()
			test.move(t, c, test.rate)
			if took := time.Since(start); took < test.ends-time.Second || took > test.ends+time.Second {
				t.Errorf("%s at %d bytes a second: ended after %v, want %v", test.name, test.rate, took, test.ends)
			}
		})
	}
}
