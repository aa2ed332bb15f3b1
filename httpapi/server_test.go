package httpapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/httpapi"
)

// TestMain leaves out go-redis' look whether a server is back, which sees up to a
// second late that its pool was closed.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// serve serves the API on a listener until the test ends.
func (a *api) serve(l net.Listener) {
	a.t.Helper()
	done := make(chan error, 1)
	go func() { done <- a.server.Serve(l) }()
	a.t.Cleanup(func() {
		if err := a.server.Shutdown(context.Background()); err != nil {
			a.t.Error(err)
		}
		if err := <-done; err != nil {
			a.t.Errorf("Serve: %v", err)
		}
	})
}

// tcp serves on a free port and returns the base URL.
func (a *api) tcp() string {
	a.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		a.t.Fatal(err)
	}
	a.serve(l)
	return "http://" + l.Addr().String()
}

// unix serves on a unix socket and returns a client for it.
func (a *api) unix() *http.Client {
	a.t.Helper()
	path := filepath.Join(shortDir(a.t), "agent.sock")
	l, err := httpapi.ListenUnix(path)
	if err != nil {
		a.t.Fatal(err)
	}
	a.serve(l)
	return clientOf(a.t, path)
}

func clientOf(t testing.TB, path string) *http.Client {
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// shortDir is short enough for the path of a unix socket.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "f")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func fetch(t testing.TB, c *http.Client, url string) answer {
	t.Helper()
	res, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return answer{res.StatusCode, res.Header, readAll(t, res.Body)}
}

func TestTCPAndUnixServeTheSame(t *testing.T) {
	a := newAPI(t).populate()
	base, local := a.tcp(), a.unix()
	const path = "/v1/sources/cam-1"
	overTCP, overUnix := fetch(t, http.DefaultClient, base+path), fetch(t, local, "http://agent"+path)
	if overTCP.want(t, 200).body != overUnix.want(t, 200).body {
		t.Errorf("TCP %s, unix %s", overTCP.body, overUnix.body)
	}
	http.DefaultClient.CloseIdleConnections()
}

// The password is told on the unix socket, to this user, and to nobody on TCP,
// whatever the request says of itself.
func TestCredentials(t *testing.T) {
	a := newAPI(t)
	sameJSON(t, fetch(t, a.unix(), "http://agent/v1/credentials").want(t, 200).body, `{"password":"`+password+`"}`)
	fetch(t, http.DefaultClient, a.tcp()+"/v1/credentials").want(t, 403).refused(t, wire.CodeForbidden, "")
	http.DefaultClient.CloseIdleConnections()
	a.do("GET", "/v1/credentials", "", "X-Forwarded-For", "127.0.0.1", "X-Real-Ip", "127.0.0.1").want(t, 403)
	if strings.Contains(a.log.String(), password) {
		t.Error("the password is in the log")
	}
}

func TestListenUnix(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "a.sock")
	first, err := httpapi.ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("mode %v, err %v", info.Mode(), err)
	}
	if _, err := httpapi.ListenUnix(path); !errors.Is(err, wire.ErrConflict) {
		t.Errorf("a socket that answers: %v", err)
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false) // as kill -9 would
	first.Close()
	second, err := httpapi.ListenUnix(path)
	if err != nil {
		t.Fatalf("a stale socket: %v", err)
	}
	second.Close()

	file := filepath.Join(dir, "precious")
	if err := os.WriteFile(file, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := httpapi.ListenUnix(file); !errors.Is(err, wire.ErrConflict) {
		t.Errorf("a file that is no socket: %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "data" {
		t.Errorf("the file was touched: %q %v", b, err)
	}
	if _, err := httpapi.ListenUnix("/" + strings.Repeat("x", 108)); !errors.Is(err, wire.ErrInvalidArgument) {
		t.Errorf("a path that is too long: %v", err)
	}
	if _, err := httpapi.ListenUnix(filepath.Join(dir, "no", "such", "dir")); err == nil {
		t.Error("a directory that does not exist")
	}
}

// A caller who sends on and on is cut off, with and without a length.
func TestHugeBodiesOverTheNetwork(t *testing.T) {
	a := newAPI(t).populate()
	base := a.tcp()
	for name, body := range map[string]io.Reader{
		"with a length":    bytes.NewReader(make([]byte, 8<<20)),
		"without a length": io.MultiReader(bytes.NewReader(make([]byte, 8<<20))),
	} {
		res, err := http.Post(base+"/routing/getMapping", "application/json", body)
		if err != nil {
			continue // the connection was closed while the body was on its way
		}
		res.Body.Close()
		if res.StatusCode != http.StatusRequestEntityTooLarge || !res.Close {
			t.Errorf("%s: status %d, close %v", name, res.StatusCode, res.Close)
		}
	}
	fetch(t, http.DefaultClient, base+"/healthz").want(t, 200)
	http.DefaultClient.CloseIdleConnections()
}

// A caller who only promises a body costs nothing.
func TestPromisedBodies(t *testing.T) {
	a := newAPI(t).populate()
	base := a.tcp()
	for _, path := range []string{"POST /routing/getMapping", "PUT /v1/frames/cam-1/cam-1%3F0%3F0__7/8x8"} {
		c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(10 * time.Second)) // the answer does not wait for the body, which may take 30 s
		fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n{", path)
		if got := readAll(t, c); !strings.HasPrefix(got, "HTTP/1.1 413 ") {
			t.Errorf("%s: %s", path, got)
		}
		c.Close()
	}
}

// A web page cannot post to the agent of the person who looks at it; it may
// not even be asked whether it may.
func TestWebPagesOfOtherOrigins(t *testing.T) {
	a := newAPI(t).populate()
	before := a.store.tables(t)
	body := `{"clusterName":"alpha"}`
	a.do("POST", "/cluster/removeCluster", body, "Sec-Fetch-Site", "cross-site").want(t, 403).refused(t, wire.CodeForbidden, "")
	a.do("POST", "/cluster/removeCluster", body, "Origin", "https://evil.example").want(t, 403)
	a.do("DELETE", "/v1/clusters/alpha", "", "Sec-Fetch-Site", "same-site").want(t, 403)
	if a.store.tables(t) != before {
		t.Error("something was changed")
	}
	a.doAt("127.0.0.1:5000", "POST", "/routing/getMapping", `{"sourceId":"cam-1"}`, "Sec-Fetch-Site", "same-origin").want(t, 200)
}

// A page whose own name was made to resolve to the agent's address is of the
// same origin, as the browser sees it. It may do nothing either: the name is
// one that somebody else gave out.
func TestWebPagesThatTookOurAddress(t *testing.T) {
	a := newAPI(t, func(cfg *httpapiConfig) {
		cfg.Node = "Node-7"
		cfg.Members = func() []wire.Member {
			return []wire.Member{{Name: "n1", Address: "n1.example:5000", Alive: true}, {Name: "Node-7", Address: "seven.example:5000", Alive: true}}
		}
	}).populate()
	post := func(host string, header ...string) answer {
		return a.doAt(host, "POST", "/routing/getMapping", `{"sourceId":"cam-1"}`, header...)
	}
	for _, host := range []string{"evil.com:5000", "evil.com", "n1.example:5000", "node-7.evil.com:5000", "a.svc.evil.com", "localhost.evil.com", "127.0.0.1.evil.com:5000", "svc", ""} {
		before := a.store.tables(t)
		a.doAt(host, "POST", "/cluster/removeCluster", `{"clusterName":"alpha"}`, "Origin", "http://"+host).want(t, 403).refused(t, wire.CodeForbidden, "")
		a.doAt(host, "GET", "/v1/clusters", "", "Sec-Fetch-Site", "same-origin").want(t, 403)
		if a.store.tables(t) != before {
			t.Errorf("%q changed something", host)
		}
		post(host).want(t, 200) // no browser
	}
	for _, host := range []string{
		"127.0.0.1:5000", "10.1.2.3", "[::1]:5000", "[fe80::1%25eth0]:5000", "localhost:5000", "agent.localhost", "node-7:5000", "NODE-7.", "seven.example:5000",
		"framedb.storage.svc:5000", "framedb.storage.svc.cluster.local",
	} {
		if r := post(host, "Origin", "http://"+host, "Sec-Fetch-Site", "same-origin"); r.status != 200 {
			t.Errorf("%q: %d %s", host, r.status, r.body)
		}
	}
}

func TestMetricsNameTemplatesOnly(t *testing.T) {
	a := newAPI(t).populate()
	for _, path := range []string{"/v1/sources/cam-1", "/v1/sources/cam-2", "/v1/sources/nobody", "/nope/one", "/nope/two"} {
		a.get(path)
	}
	page := a.get("/metrics").want(t, 200).body
	for _, want := range []string{
		`framedb_http_requests_total{method="GET",route="/v1/sources/:source",status="200"} 2`,
		`framedb_http_requests_total{method="GET",route="/v1/sources/:source",status="404"} 1`,
		`framedb_http_requests_total{method="",route="unknown",status="404"} 2`,
		`framedb_http_request_seconds_count{method="GET",route="/v1/sources/:source"} 3`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s", want)
		}
	}
	for _, never := range []string{"cam-1", "nope"} {
		if strings.Contains(page, never) {
			t.Errorf("metrics contain %q", never)
		}
	}
}

func TestAccessLogIsAtDebug(t *testing.T) {
	a := newAPI(t).populate()
	a.get("/v1/sources/cam-1")
	if log := a.log.String(); !strings.Contains(log, "level=DEBUG msg=request method=GET route=/v1/sources/:source status=200") {
		t.Errorf("log: %s", log)
	}
}

// A second server over one registry is a mistake that New tells.
func TestMetricsAreRegisteredOnce(t *testing.T) {
	if _, err := httpapi.New(newAPI(t).cfg); err == nil {
		t.Error("no error")
	}
}

// Shutdown gives up on calls under way when its context ends.
func TestShutdownHasAnEnd(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	slow := newAPI(t, func(cfg *httpapiConfig) {
		cfg.Ready = func() error { close(entered); <-leave; return nil }
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served, asked := make(chan error, 1), make(chan struct{})
	go func() { served <- slow.server.Serve(l) }()
	go func() {
		defer close(asked)
		if res, err := http.Get("http://" + l.Addr().String() + "/readyz"); err == nil {
			res.Body.Close()
		}
	}()
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := slow.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	close(leave)
	<-asked
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	http.DefaultClient.CloseIdleConnections()
}
