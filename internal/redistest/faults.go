package redistest

import (
	"bytes"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/framedb/framedb/client/wire"
)

// Silent is an endpoint that takes connections and never answers.
func Silent(t testing.TB) wire.Endpoint {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return endpoint(l)
}

func endpoint(l net.Listener) wire.Endpoint {
	return wire.Endpoint{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port}
}

// Proxy passes TCP connections on to a server.
type Proxy struct {
	wire.Endpoint
	target string

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil after the end
	word  string                // whose replies are lost
	left  int                   // how many more
	lost  int
	done  sync.WaitGroup
}

// NewProxy listens on a free port; it ends with the test.
func NewProxy(t testing.TB, target wire.Endpoint) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{
		Endpoint: endpoint(l),
		target:   net.JoinHostPort(target.Host, strconv.Itoa(target.Port)),
		conns:    map[net.Conn]struct{}{},
	}
	p.done.Go(func() { p.serve(l) })
	t.Cleanup(func() {
		l.Close()
		p.Cut()
		p.mu.Lock()
		p.conns = nil
		p.mu.Unlock()
		p.done.Wait()
	})
	return p
}

// LoseReplies breaks the connection instead of passing on the reply to each of
// the next n requests that contain the word: the server does what it is asked,
// and the client does not hear of it. The word must come at the beginning of a
// request of the client ("MSET").
func (p *Proxy) LoseReplies(word string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.word, p.left = word, n
}

// Lost is how many replies were lost.
func (p *Proxy) Lost() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// Cut breaks all connections of now; both sides can see it when it returns.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		end(c)
	}
}

// end closes a connection; the other side can see it at once. Close alone does
// that only when no read is under way.
func end(c net.Conn) {
	c.(*net.TCPConn).CloseWrite()
	c.Close()
}

func (p *Proxy) serve(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		if !p.keep(client, server) {
			return
		}
		loses := new(atomic.Bool)
		p.done.Go(func() {
			p.pass(server, client, func(request []byte) bool {
				if p.loses(request) {
					loses.Store(true)
				}
				return false
			})
		})
		p.done.Go(func() { p.pass(client, server, func([]byte) bool { return loses.Load() }) })
	}
}

func (p *Proxy) keep(client, server net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		client.Close()
		server.Close()
		return false
	}
	p.conns[client], p.conns[server] = struct{}{}, struct{}{}
	return true
}

func (p *Proxy) loses(request []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left == 0 || !bytes.Contains(request, []byte(p.word)) {
		return false
	}
	p.left--
	p.lost++
	return true
}

// pass copies from one connection to the other until one ends or breaks says
// so.
func (p *Proxy) pass(to, from net.Conn, breaks func([]byte) bool) {
	defer func() {
		end(to)
		end(from)
		p.mu.Lock()
		delete(p.conns, to)
		delete(p.conns, from)
		p.mu.Unlock()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && !breaks(buf[:n]) {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		} else if n > 0 || err != nil {
			return
		}
	}
}
