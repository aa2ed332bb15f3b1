package memnet

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// conn is one end of a stream. The faults of its direction hold what it writes.
type conn struct {
	net.Conn
	network  *Network
	from, to *Transport
	lost     atomic.Bool // something written is lost, and so is all that follows
	once     sync.Once
	closed   chan struct{}
}

// stream returns both ends of a new stream, that of from first.
func (n *Network) stream(from, to *Transport) (near, far *conn) {
	a, b := net.Pipe()
	near = &conn{Conn: a, network: n, from: from, to: to, closed: make(chan struct{})}
	far = &conn{Conn: b, network: n, from: to, to: from, closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[near], n.conns[far] = from, to
	return near, far
}

func (c *conn) LocalAddr() net.Addr  { return c.from.addr }
func (c *conn) RemoteAddr() net.Addr { return c.to.addr }

func (c *conn) Write(b []byte) (int, error) {
	f := c.network.between(c.from.name, c.to.name)
	if f.cut {
		c.lost.Store(true)
	}
	if c.lost.Load() {
		return len(b), nil
	}
	if f.delay > 0 {
		select {
		case <-time.After(f.delay):
		case <-c.closed:
		}
	}
	return c.Conn.Write(b)
}

func (c *conn) Close() error {
	c.once.Do(func() {
		c.network.mu.Lock()
		delete(c.network.conns, c)
		c.network.mu.Unlock()
		close(c.closed)
	})
	return c.Conn.Close()
}
