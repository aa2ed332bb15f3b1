package httpapi_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// asks sends a request and returns its answer, nil when there is none in time.
func asks(t *testing.T, c net.Conn, patience time.Duration) *http.Response {
	t.Helper()
	fmt.Fprint(c, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
	c.SetReadDeadline(time.Now().Add(patience))
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil
	}
	return res
}

// Further callers wait until a connection closes, and those of another listener
// do not.
func TestConnectionsAreBounded(t *testing.T) {
	a := newAPI(t, func(cfg *httpapiConfig) { cfg.MaxConnections = 2 })
	here, elsewhere := a.tcp(), a.tcp()
	first, second := dialURL(t, here), dialURL(t, here)
	for _, c := range []net.Conn{first, second, dialURL(t, elsewhere)} {
		if asks(t, c, 10*time.Second) == nil {
			t.Fatal("no answer within the bound")
		}
	}
	third := dialURL(t, here)
	if asks(t, third, 50*time.Millisecond) != nil {
		t.Error("a third connection was served")
	}
	first.Close()
	third.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := http.ReadResponse(bufio.NewReader(third), nil); err != nil {
		t.Errorf("the third was not served when the first had gone: %v", err)
	}
	dialURL(t, here) // waits, and does not keep Shutdown from ending
	if err := a.server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func dialURL(t *testing.T, base string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
