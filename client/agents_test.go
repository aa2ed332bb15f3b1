package client_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/wire"
)

// listenToo makes the fake agent answer on a unix socket as well, where it
// gives out the password, and say so in its status.
func (f *fakeAgent) listenToo(t *testing.T) (socket string, stop func()) {
	t.Helper()
	dir, err := os.MkdirTemp("", "f")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "a.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	f.status.Socket = socket
	mux := http.NewServeMux()
	mux.Handle("/v1/credentials", ok(wire.Credentials{Password: "secret"}))
	mux.Handle("/v1/status", f)
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: mux}}
	s.Start()
	t.Cleanup(s.Close)
	return socket, s.Close
}

func TestALoopbackAddressLeadsToTheAgentsSocket(t *testing.T) {
	t.Parallel()
	f := newFakeAgent(t, refuse(wire.CodeForbidden, 0))
	socket, stop := f.listenToo(t)
	c := newClient(t, client.Config{}, f)
	if p, err := c.Credentials(t.Context()); p != "secret" || err != nil {
		t.Fatalf("credentials: %q, %v", p, err)
	}
	if addr, _ := c.Addr(t.Context()); addr != "unix://"+socket {
		t.Errorf("address is %s", addr)
	}
	stop()
	if _, err := c.Credentials(t.Context()); !errors.Is(err, wire.ErrForbidden) {
		t.Errorf("the address was not used when the socket was gone: %v", err)
	}
}

func TestAnotherAgentsSocketIsNotTaken(t *testing.T) {
	t.Parallel()
	other := newFakeAgent(t, ok(nil))
	other.status.Node = "node2"
	socket, _ := other.listenToo(t)
	f := newFakeAgent(t, refuse(wire.CodeForbidden, 0))
	f.status.Socket = socket
	if _, err := newClient(t, client.Config{}, f).Credentials(t.Context()); !errors.Is(err, wire.ErrForbidden) {
		t.Errorf("credentials came from another agent: %v", err)
	}
}

func TestTheSocketIsFoundAfterTheAgentsStart(t *testing.T) {
	t.Parallel()
	f := newFakeAgent(t, refuse(wire.CodeForbidden, 0))
	f.listenToo(t)
	starting := true // the first request finds the agent starting
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if starting && strings.HasPrefix(r.URL.Path, "/v1/") {
			starting = r.URL.Path == "/v1/status"
			refuse(wire.CodeUnavailable, 1)(w, r)
			return
		}
		f.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	c := newClient(t, client.Config{Addrs: []string{s.URL}})
	if p, err := c.Credentials(t.Context()); p != "secret" || err != nil {
		t.Errorf("credentials: %q, %v", p, err)
	}
}

func TestTheSocketOfTheEnvironmentIsFound(t *testing.T) {
	f := newFakeAgent(t, ok(nil))
	socket, _ := f.listenToo(t)
	t.Setenv(client.EnvAddr, "")
	t.Setenv(client.EnvSocket, socket)
	c := newClient(t, client.Config{})
	if p, err := c.Credentials(t.Context()); p != "secret" || err != nil {
		t.Errorf("credentials: %q, %v", p, err)
	}
	t.Setenv(client.EnvAddr, deadAddr(t)+", unix://"+socket)
	c = newClient(t, client.Config{})
	if p, err := c.Credentials(t.Context()); p != "secret" || err != nil {
		t.Errorf("by %s: %q, %v", client.EnvAddr, p, err)
	}
}

func TestWaitingForTheSearchEndsWithTheContext(t *testing.T) {
	t.Parallel()
	asked, release := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/status" {
			close(asked)
			<-release
		}
		ok([]wire.Cluster{})(w, r)
	}))
	t.Cleanup(s.Close)
	c := newClient(t, client.Config{Addrs: []string{s.URL}})
	first := make(chan error, 1)
	go func() { _, err := c.Clusters(t.Context()); first <- err }()
	<-asked // the first call holds the search
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Clusters(ctx); !errors.Is(err, wire.ErrTimeout) {
		t.Errorf("got %v", err)
	}
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
}
