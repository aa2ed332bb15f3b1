// Package resp is the client's side of Redis' protocol (RESP2), for what
// go-redis cannot do: it reads large values straight into pooled buffers whose
// size is not known before, writes large values without copying them, says
// whether a command that failed can have reached the server, and neither
// remembers a failed dial nor keeps a goroutine of its own.
package resp

import (
	"context"
	"net"
	"strconv"
	"syscall"
	"time"
)

// direct is from where a value is handed to the kernel as it is rather than
// copied behind the command: below it one copy is cheaper than one more piece.
const direct = 8 << 10

const (
	// lead is how much of the first large value goes ahead over TCP, with its
	// command, in a write of its own. Redis reads 16 KiB, learns the length and
	// makes room; what follows then goes straight to its place. Measured: 100
	// KiB in 38 µs instead of 62, 1 MiB in 130 instead of 290, the best of 8 to
	// 100 KiB; on a unix socket it only costs.
	lead = 24 << 10
	// maxText bounds a string in the answer to Do, in bytes.
	maxText = 1 << 20
	// maxKeptHead bounds the memory that an idle connection keeps for writing.
	maxKeptHead = 256 << 10
)

// Conn is one connection. It is for one goroutine at a time. After an error
// other than Error it is of no use: close it.
type Conn struct {
	*Reader
	nc    net.Conn
	raw   syscall.RawConn // nil where there is none
	head  []byte          // the commands that wait for Flush, without large values
	large []large         // the large values between them
	out   net.Buffers
	ahead bool // the first large value begins with a write of its own
	sent  bool

	// Made once, so that a call allocates none.
	interrupt func()           // ends a read or write under way
	peek      func(fd uintptr) // sets quiet: open, and nothing to read
	quiet     bool
	peeked    [1]byte
}

type large struct {
	at    int // in head
	value []byte
}

// Dial connects to "tcp" host:port or "unix" path. It sends nothing.
func Dial(ctx context.Context, network, addr string) (*Conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return NewConn(nc), nil
}

// NewConn makes a Conn of a connection.
func NewConn(nc net.Conn) *Conn {
	c := &Conn{Reader: NewReader(nc), nc: nc}
	_, c.ahead = nc.(*net.TCPConn)
	c.interrupt = func() { nc.SetDeadline(time.Unix(1, 0)) }
	if sys, ok := nc.(syscall.Conn); ok {
		c.raw, _ = sys.SyscallConn()
	}
	c.peek = func(fd uintptr) {
		_, _, err := syscall.Recvfrom(int(fd), c.peeked[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		c.quiet = err == syscall.EAGAIN
	}
	return c
}

// Close closes the connection; a read or write under way ends. Any goroutine
// may call it.
func (c *Conn) Close() error { return c.nc.Close() }

// Deadline bounds reads and writes from now on; zero means for ever.
func (c *Conn) Deadline(t time.Time) { c.nc.SetDeadline(t) }

// Within begins an exchange: it bounds reads and writes by ctx and by timeout
// from now. Call end when
// they are done; it is false when ctx ended meanwhile, and the connection is of
// no use then.
func (c *Conn) Within(ctx context.Context, timeout time.Duration) (end func() bool) {
	until := time.Now().Add(timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(until) {
		until = d
	}
	c.nc.SetDeadline(until)
	c.sent = false
	if ctx.Done() == nil {
		return func() bool { return true }
	}
	return context.AfterFunc(ctx, c.interrupt)
}

// Do sends a command with everything appended before it, and reads one reply:
// string, int64, nil or []any. An error reply is an Error.
func (c *Conn) Do(args ...string) (any, error) {
	c.Command(args...)
	if err := c.Flush(); err != nil {
		return nil, err
	}
	return c.Reply(maxText)
}

// Command appends a command whose arguments are small.
func (c *Conn) Command(args ...string) {
	c.Begin(len(args))
	for _, a := range args {
		c.Arg(a)
	}
}

// Begin appends the header of a command of n arguments, its name among them.
func (c *Conn) Begin(n int) { c.header('*', n) }

// Arg appends one argument.
func (c *Conn) Arg(s string) {
	c.header('$', len(s))
	c.head = append(c.head, s...)
	c.head = append(c.head, '\r', '\n')
}

// Value appends one argument that may be large. It must not change before
// Flush returns.
func (c *Conn) Value(b []byte) {
	c.header('$', len(b))
	if len(b) < direct {
		c.head = append(c.head, b...)
	} else {
		c.large = append(c.large, large{at: len(c.head), value: b})
	}
	c.head = append(c.head, '\r', '\n')
}

func (c *Conn) header(kind byte, n int) {
	c.head = append(c.head, kind)
	c.head = strconv.AppendInt(c.head, int64(n), 10)
	c.head = append(c.head, '\r', '\n')
}

// Unsent is what was appended, as it goes onto the wire, without the large
// values. It is valid until the next call.
func (c *Conn) Unsent() []byte { return c.head }

// Flush sends what was appended.
func (c *Conn) Flush() error {
	n, err := c.write()
	if err == nil || n == c.pending() {
		c.sent = true
	}
	c.forget()
	return err
}

// Sent reports whether any Flush since the last Within gave all it had to the
// kernel: from then on the server may execute it. A command of which a part is
// missing is never executed.
func (c *Conn) Sent() bool { return c.sent }

func (c *Conn) pending() int64 {
	n := len(c.head)
	for _, l := range c.large {
		n += len(l.value)
	}
	return int64(n)
}

func (c *Conn) write() (int64, error) {
	if len(c.large) == 0 {
		n, err := c.nc.Write(c.head)
		return int64(n), err
	}
	pieces, from := c.out[:0], 0
	for _, l := range c.large {
		pieces = append(pieces, c.head[from:l.at], l.value)
		from = l.at
	}
	c.out = append(pieces, c.head[from:])
	rest := c.out
	var first int64
	if len(rest[1]) > 2*lead && c.ahead {
		start := net.Buffers{rest[0], rest[1][:lead]}
		var err error
		if first, err = start.WriteTo(c.nc); err != nil {
			return first, err
		}
		rest[1] = rest[1][lead:]
		rest = rest[1:]
	}
	n, err := rest.WriteTo(c.nc)
	return first + n, err
}

// forget drops what was sent; callers' values are not kept alive.
func (c *Conn) forget() {
	clear(c.large)
	clear(c.out)
	c.head, c.large = c.head[:0], c.large[:0]
	if cap(c.head) > maxKeptHead {
		c.head = nil
	}
}

// Alive reports whether an idle connection is still open and nothing that was
// not asked for has come on it.
func (c *Conn) Alive() bool {
	if c.r != c.w {
		return false
	}
	if c.raw == nil {
		return true
	}
	return c.raw.Control(c.peek) == nil && c.quiet
}
