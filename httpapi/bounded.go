package httpapi

import (
	"net"
	"sync"
	"syscall"
)

// maxConnections bounds the open connections of a listener when Config does not
// say otherwise: as many calls as event streams, and then as many again. Each
// costs about 20 KiB.
const maxConnections = 2 * maxStreams

// connections is how many connections each listener may have open: at most a
// quarter of the descriptors that the process may have, so that with a listener
// for TCP and one for the unix socket half of them stay for the agent's own
// work: its log, gossip, Redis and the processes that it heals.
func (cfg *Config) connections() int {
	most := cfg.MaxConnections
	if most == 0 {
		most = maxConnections
	}
	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) == nil {
		most = int(min(uint64(most), max(files.Cur/4, 1)))
	}
	return most
}

// bounded is a listener with a bound of open connections. Further callers wait
// in the kernel until one closes; idle connections are closed after idleTimeout.
type bounded struct {
	net.Listener
	slots  chan struct{} // one element for each open connection
	closed chan struct{}
	once   sync.Once
}

func bound(l net.Listener, most int) *bounded {
	return &bounded{Listener: l, slots: make(chan struct{}, most), closed: make(chan struct{})}
}

func (l *bounded) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &boundedConn{Conn: c, free: sync.OnceFunc(func() { <-l.slots })}, nil
}

func (l *bounded) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// boundedConn gives its slot back when it is closed.
type boundedConn struct {
	net.Conn
	free func()
}

func (c *boundedConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}

// CloseWrite lets the server say that nothing follows, and a caller who still
// sends read why.
func (c *boundedConn) CloseWrite() error {
	if half, can := c.Conn.(interface{ CloseWrite() error }); can {
		return half.CloseWrite()
	}
	return nil
}
