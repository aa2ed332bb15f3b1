package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/wire"
)

// network is agents that talk HTTP over pipes, so that synctest's clock runs;
// each can be made to fail in the ways of a real machine.
type network struct {
	mu    sync.Mutex
	hosts map[string]*host // guarded by mu
	all   []*http.Transport
}

// host is one agent's machine.
type host struct {
	*fakeAgent
	addr     string
	accepted chan net.Conn
	closed   chan struct{}

	mu     sync.Mutex
	state  reach         // guarded by mu, as all below
	thawed chan struct{} // closed unless frozen
	conns  []net.Conn
	dials  int
}

type reach int

const (
	up      reach = iota
	refused       // nobody listens
	lost          // packets vanish
	frozen        // connections are taken, by the kernel, and then nothing comes
)

func newNetwork(t *testing.T) *network {
	n := &network{hosts: map[string]*host{}}
	t.Cleanup(n.close)
	return n
}

// add makes an agent at an address, by default of a machine that is not ours.
func (n *network) add(addr string, script ...http.HandlerFunc) *host {
	h := &host{
		fakeAgent: &fakeAgent{script: script, status: wire.Status{Node: wire.NodeName(addr)}},
		addr:      addr, accepted: make(chan net.Conn), closed: make(chan struct{}), thawed: make(chan struct{}),
	}
	close(h.thawed)
	n.mu.Lock()
	n.hosts[addr] = h
	n.mu.Unlock()
	go http.Serve(h, h) // ends with the network
	return h
}

// ring makes agents that know each other; the last one leads.
func (n *network) ring(addrs ...string) []*host {
	var hosts []*host
	var members []wire.Member
	for i, addr := range addrs {
		hosts = append(hosts, n.add(addr, ok([]wire.Cluster{})))
		members = append(members, wire.Member{Name: wire.NodeName(addr), Address: addr, Alive: true, Leader: i == len(addrs)-1})
	}
	for _, h := range hosts {
		h.status.Members, h.status.Leader = members, wire.NodeName(addrs[len(addrs)-1])
	}
	return hosts
}

func (n *network) client(t *testing.T, cfg client.Config, addrs ...string) *client.Client {
	t.Helper()
	transport := &http.Transport{DialContext: n.dial}
	n.all = append(n.all, transport)
	cfg.HTTPClient, cfg.Addrs = &http.Client{Transport: transport}, addrs
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (n *network) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	n.mu.Lock()
	h := n.hosts[addr]
	n.mu.Unlock()
	if h == nil {
		return nil, &net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}
	}
	switch h.dial() {
	case refused:
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	case lost:
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Err: ctx.Err()}
	}
	near, far := net.Pipe()
	select {
	case h.accepted <- icy{far, h}:
		h.mu.Lock()
		h.conns = append(h.conns, far)
		h.mu.Unlock()
		return near, nil
	case <-h.closed:
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	}
}

func (n *network) close() {
	for _, t := range n.all {
		t.CloseIdleConnections()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range n.hosts {
		h.become(refused)
		close(h.closed)
	}
}

func (h *host) dial() reach {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dials++
	return h.state
}

func (h *host) dialled() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dials
}

// become changes how the host can be reached. What is refused loses its
// connections, as an agent does that is killed.
func (h *host) become(s reach) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state == frozen || h.state == lost {
		close(h.thawed)
	}
	if s == frozen || s == lost {
		h.thawed = make(chan struct{})
	}
	if h.state = s; s == refused {
		for _, c := range h.conns {
			c.Close()
		}
		h.conns = nil
	}
}

func (h *host) thaw() {
	h.mu.Lock()
	thawed := h.thawed
	h.mu.Unlock()
	<-thawed
}

// Accept, Close and Addr make the host a net.Listener.
func (h *host) Accept() (net.Conn, error) {
	select {
	case c := <-h.accepted:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}
func (h *host) Close() error   { return nil }
func (h *host) Addr() net.Addr { return &net.UnixAddr{Name: h.addr} }

// icy is the agent's end of a connection: it stands still while its host is
// frozen or cut off.
type icy struct {
	net.Conn
	h *host
}

func (c icy) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.h.thaw()
	return n, err
}

func (c icy) Write(b []byte) (int, error) {
	c.h.thaw()
	return c.Conn.Write(b)
}

// took fails the test unless less than bound has passed since.
func took(t *testing.T, what string, since time.Time, bound time.Duration) {
	t.Helper()
	if d := time.Since(since); d > bound {
		t.Errorf("%s took %v, want at most %v", what, d, bound)
	}
}

func mustAnswer(t *testing.T, c *client.Client) {
	t.Helper()
	if _, err := c.Clusters(t.Context()); err != nil {
		t.Errorf("no answer: %v", err)
	}
}

// blackhole is a real listener whose backlog is full: packets to it vanish.
func blackhole(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	err = errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0))
	if err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*syscall.SockaddrInet4).Port}
	for range 8 {
		conn, err := net.DialTimeout("tcp", addr.String(), 100*time.Millisecond)
		if err != nil {
			return "http://" + addr.String()
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Skip("this kernel takes more connections than the backlog")
	return ""
}

// mute is a real listener that takes connections and answers nothing.
func mute(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { io.Copy(io.Discard, conn); conn.Close() })
		}
	})
	t.Cleanup(func() { l.Close(); conns.Wait() })
	return "http://" + l.Addr().String()
}
