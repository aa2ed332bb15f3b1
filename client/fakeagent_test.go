package client_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/wire"
)

// call is a request that a fake agent got.
type call struct {
	method, uri, body string
	id                string
}

// fakeAgent answers each request with the next answer of its script, and with
// the last one when it is through. Real agents cannot be made to fail in all
// these ways.
type fakeAgent struct {
	*httptest.Server
	status wire.Status // answered outside of the script, as is /readyz: the client looks for agents so
	// unready answers /readyz, if not nil.
	unready http.HandlerFunc

	mu     sync.Mutex
	script []http.HandlerFunc // guarded by mu
	calls  []call             // guarded by mu
}

func newFakeAgent(t *testing.T, script ...http.HandlerFunc) *fakeAgent {
	t.Helper()
	f := &fakeAgent{script: script, status: wire.Status{Node: "node1"}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeAgent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/v1/status":
		ok(f.status)(w, r)
		return
	case "/readyz":
		if f.unready != nil {
			f.unready(w, r)
			return
		}
		ok(wire.HealthReport{Status: "ready"})(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	f.calls = append(f.calls, call{r.Method, r.URL.RequestURI(), string(body), r.Header.Get(wire.HeaderRequestID)})
	answer := f.script[0]
	if len(f.script) > 1 {
		f.script = f.script[1:]
	}
	f.mu.Unlock()
	answer(w, r)
}

func (f *fakeAgent) got() []call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]call(nil), f.calls...)
}

func ok(v any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(v)
	}
}

func refuse(code wire.Code, retryAfter int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if retryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
		}
		w.WriteHeader(code.HTTPStatus())
		json.NewEncoder(w).Encode(wire.FailureOf(wire.Errorf(code, "as scripted")))
	}
}

// page is an answer of something that is no agent.
func page(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// drop reads the request and closes the connection.
func drop(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.Close()
	}
}

// cut closes the connection in the middle of the body.
func cut(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "100")
	io.WriteString(w, `{"name":"a"`)
}

// hang answers nothing until the client gives up.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// newClient makes a client that retries for a short time only.
func newClient(t *testing.T, cfg client.Config, agents ...*fakeAgent) *client.Client {
	t.Helper()
	for _, a := range agents {
		cfg.Addrs = append(cfg.Addrs, a.URL)
	}
	if cfg.RetryFor == 0 {
		cfg.RetryFor = 5 * time.Second
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// deadAddr is an address at which nothing listens.
func deadAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}
