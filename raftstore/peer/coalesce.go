package peer

import (
	"net"
	"sync"
	"time"
)

const (
	// maxWaiting bounds the bytes that wait to be written; who comes then waits.
	maxWaiting = 4 << 20
	// lastWrite bounds how long Close waits for what was written before.
	lastWrite = time.Second
)

// coalesced is a connection whose writes do not wait for the network: what comes
// while something is being written goes out together. net/rpc writes each call
// and each answer on its own, one system call each.
type coalesced struct {
	net.Conn
	done chan struct{} // closed when flush has ended

	mu      sync.Mutex
	changed sync.Cond // of those below
	waiting []byte
	err     error // why nothing more is written
}

func coalesce(conn net.Conn) *coalesced {
	c := &coalesced{Conn: conn, done: make(chan struct{})}
	c.changed.L = &c.mu
	go c.flush()
	return c
}

// Write returns the error of an earlier write.
func (c *coalesced) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.waiting) > maxWaiting && c.err == nil {
		c.changed.Wait()
	}
	if c.err != nil {
		return 0, c.err
	}
	c.waiting = append(c.waiting, b...)
	c.changed.Broadcast()
	return len(b), nil
}

// Read ends the writing as well when the connection has ended: net/rpc leaves a
// connection that its other end closed as it is.
func (c *coalesced) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.end(err)
	}
	return n, err
}

// end has nothing more written than what waits.
func (c *coalesced) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	c.changed.Broadcast()
}

// flush writes what waits, until Close or an error.
func (c *coalesced) flush() {
	defer close(c.done)
	var spare []byte
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for len(c.waiting) == 0 && c.err == nil {
			c.changed.Wait()
		}
		if len(c.waiting) == 0 {
			return
		}
		out := c.waiting
		c.waiting = spare[:0]
		c.mu.Unlock()
		_, err := c.Conn.Write(out)
		c.mu.Lock()
		if spare = out; cap(spare) > maxWaiting/4 {
			spare = nil
		}
		if err != nil {
			c.err, c.waiting = err, nil
		}
		c.changed.Broadcast()
	}
}

// Close writes what waits, for a moment.
func (c *coalesced) Close() error {
	c.end(net.ErrClosed)
	_ = c.Conn.SetWriteDeadline(time.Now().Add(lastWrite))
	<-c.done
	return c.Conn.Close()
}
