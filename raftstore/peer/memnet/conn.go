package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// window is how many bytes a stream holds that nobody has read; who writes more
// waits.
const window = 1 << 20

// conn is one end of a connection.
type conn struct {
	net         *Network
	host        string
	local       net.Addr
	remote      net.Addr
	in, out     *stream
	once        sync.Once
	closed      chan struct{}
	read, write deadline
}

var _ net.Conn = (*conn)(nil)

// pair returns both ends of a new connection, that of from first; none when
// from was killed.
func (n *Network) pair(from *host, to *listener) (near, far *conn) {
	there, back := newStream(n, way{from.name, to.host}), newStream(n, way{to.host, from.name})
	dialler := address(from.name + ":0")
	near = &conn{net: n, host: from.name, local: dialler, remote: to.addr, in: back, out: there}
	far = &conn{net: n, host: to.host, local: to.addr, remote: dialler, in: there, out: back}
	n.mu.Lock()
	defer n.mu.Unlock()
	if from.dead {
		return nil, nil
	}
	for _, c := range []*conn{near, far} {
		c.closed = make(chan struct{})
		n.conns[c] = true
	}
	return near, far
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// Close ends the connection for the other end once it has read all that was
// sent.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.net.mu.Lock()
		delete(c.net.conns, c)
		c.net.mu.Unlock()
		close(c.closed)
		c.out.end()
		c.in.abandon()
		c.read.set(time.Time{})
		c.write.set(time.Time{})
	})
	return nil
}

func (c *conn) SetDeadline(t time.Time) error {
	c.read.set(t)
	c.write.set(t)
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error  { c.read.set(t); return nil }
func (c *conn) SetWriteDeadline(t time.Time) error { c.write.set(t); return nil }

func (c *conn) Read(b []byte) (int, error) {
	for {
		if err := c.ready("read", &c.read); err != nil {
			return 0, err
		}
		n, wait, err := c.in.take(b)
		if n > 0 || err != nil || len(b) == 0 {
			return n, err
		}
		c.pause(wait, &c.read)
	}
}

func (c *conn) Write(b []byte) (int, error) {
	sent := 0
	for {
		if err := c.ready("write", &c.write); err != nil {
			return sent, err
		}
		n, wait, err := c.out.put(b[sent:])
		sent += n
		if err != nil || sent == len(b) {
			return sent, err
		}
		c.pause(wait, &c.write)
	}
}

// reason is what to wait for before the next try.
type reason struct {
	stream  <-chan struct{} // something was put, taken or ended
	network <-chan struct{} // faults changed
	at      time.Time       // when what is held up arrives; zero for never
}

// ready returns why this end cannot be used any more.
func (c *conn) ready(op string, limit *deadline) error {
	past, _ := limit.channels()
	select {
	case <-c.closed:
		return opError(op, c.remote.String(), net.ErrClosed)
	case <-past:
		return opError(op, c.remote.String(), os.ErrDeadlineExceeded)
	default:
		return nil
	}
}

func (c *conn) pause(wait reason, limit *deadline) {
	var arrives <-chan time.Time
	if !wait.at.IsZero() {
		timer := time.NewTimer(time.Until(wait.at))
		defer timer.Stop()
		arrives = timer.C
	}
	past, moved := limit.channels()
	select {
	case <-wait.stream:
	case <-wait.network:
	case <-arrives:
	case <-c.closed:
	case <-past:
	case <-moved:
	}
}

// stream is one direction of a connection.
type stream struct {
	net *Network
	way way

	mu      sync.Mutex
	sent    []chunk // guarded by mu, as are those below
	size    int     // bytes in sent
	ended   bool    // the writer has closed
	gone    bool    // the reader has closed
	changed chan struct{}
}

type chunk struct {
	data []byte
	at   time.Time // when it arrives, at the earliest
}

func newStream(n *Network, w way) *stream {
	return &stream{net: n, way: w, changed: make(chan struct{})}
}

func (s *stream) wakeLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *stream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.wakeLocked()
}

func (s *stream) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone, s.sent, s.size = true, nil, 0
	s.wakeLocked()
}

// take reads what has arrived, or says what to wait for.
func (s *stream) take(b []byte) (int, reason, error) {
	cut, _, faults := s.net.faults(s.way)
	s.mu.Lock()
	defer s.mu.Unlock()
	wait := reason{stream: s.changed, network: faults}
	switch {
	case s.gone:
		return 0, wait, net.ErrClosed
	case cut:
		return 0, wait, nil
	case len(s.sent) == 0 && s.ended:
		return 0, wait, io.EOF
	case len(s.sent) == 0:
		return 0, wait, nil
	}
	first := &s.sent[0]
	if time.Now().Before(first.at) {
		wait.at = first.at
		return 0, wait, nil
	}
	n := copy(b, first.data)
	first.data = first.data[n:]
	if len(first.data) == 0 {
		s.sent = s.sent[1:]
	}
	s.size -= n
	s.wakeLocked()
	return n, wait, nil
}

// put sends what there is room for, or says what to wait for. A reader that is
// gone is heard of only where the network carries it.
func (s *stream) put(b []byte) (int, reason, error) {
	cut, delay, faults := s.net.faults(s.way)
	s.mu.Lock()
	defer s.mu.Unlock()
	wait := reason{stream: s.changed, network: faults}
	switch {
	case s.ended:
		return 0, wait, net.ErrClosed
	case s.gone && !cut:
		return 0, wait, syscall.EPIPE
	case s.gone:
		return len(b), wait, nil
	}
	n := min(len(b), window-s.size)
	if n <= 0 {
		return 0, wait, nil
	}
	at := time.Now().Add(delay)
	if last := len(s.sent) - 1; last >= 0 && at.Before(s.sent[last].at) {
		at = s.sent[last].at
	}
	s.sent = append(s.sent, chunk{append([]byte(nil), b[:n]...), at})
	s.size += n
	s.wakeLocked()
	return n, wait, nil
}

// deadline is a point in time that may move.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer // guarded by mu, as are those below
	past  chan struct{}
	next  chan struct{}
}

// channels close when the deadline has passed, and when it moves.
func (d *deadline) channels() (past, moved <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fillLocked()
	return d.past, d.next
}

func (d *deadline) fillLocked() {
	if d.past == nil {
		d.past, d.next = make(chan struct{}), make(chan struct{})
	}
}

// set moves the deadline; the zero time is never.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fillLocked()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	close(d.next)
	past := make(chan struct{})
	d.past, d.next = past, make(chan struct{})
	if t.IsZero() {
		return
	}
	if wait := time.Until(t); wait > 0 {
		d.timer = time.AfterFunc(wait, func() { close(past) })
	} else {
		close(past)
	}
}
