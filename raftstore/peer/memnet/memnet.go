// Package memnet is a peer.Network in memory, with faults: many agents in one
// process, each behind a Host of its own.
//
// Faults go by the names of the hosts and one way: from, to. They last until
// Heal, hold for connections that are open and for new ones, and behave as a
// bad network does under TCP: nothing within a connection is lost or changes
// its place; it comes late, or the connection ends.
package memnet

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/framedb/framedb/raftstore/peer"
)

// backlog is how many connections wait to be accepted; further ones wait to be
// opened.
const backlog = 64

// Network connects its hosts. All methods are safe for concurrent use.
type Network struct {
	mu        sync.Mutex
	port      int                   // guarded by mu, as are all below: the last given out
	hosts     map[string]*host      // the last of each name
	listeners map[string]*listener  // by address
	conns     map[*conn]bool        // open ends
	cut       map[way]bool          // "" stands for every host
	delay     map[way]time.Duration // held up
	changed   chan struct{}         // closed and replaced when faults change
}

// way is a direction between two hosts.
type way struct{ from, to string }

// New returns a network without faults.
func New() *Network {
	return &Network{
		hosts: map[string]*host{}, listeners: map[string]*listener{}, conns: map[*conn]bool{},
		cut: map[way]bool{}, delay: map[way]time.Duration{}, changed: make(chan struct{}),
	}
}

// Cut holds all that goes from one to the other, until Heal: bytes written
// before and not read yet, too. No connection opens between the two when either
// way is cut.
func (n *Network) Cut(from, to string) {
	n.spoil(func() { n.cut[way{from, to}] = true })
}

// Isolate cuts a host off from all others, both ways. Others do not hear that
// it is gone, as of a machine whose cable was drawn.
func (n *Network) Isolate(name string) {
	n.spoil(func() { n.cut[way{name, ""}], n.cut[way{"", name}] = true, true })
}

// Partition cuts each side off from the other ones, both ways.
func (n *Network) Partition(sides ...[]string) {
	n.spoil(func() {
		for i, side := range sides {
			for j, other := range sides {
				if i == j {
					continue
				}
				for _, from := range side {
					for _, to := range other {
						n.cut[way{from, to}] = true
					}
				}
			}
		}
	})
}

// Delay holds up each byte for d.
func (n *Network) Delay(from, to string, d time.Duration) {
	n.spoil(func() { n.delay[way{from, to}] = d })
}

// Heal ends all faults; what was held goes on at once.
func (n *Network) Heal() {
	n.spoil(func() { clear(n.cut); clear(n.delay) })
}

// HealHost ends the faults of all ways from and to one host.
func (n *Network) HealHost(name string) {
	n.spoil(func() {
		for w := range n.cut {
			if w.from == name || w.to == name {
				delete(n.cut, w)
			}
		}
		for w := range n.delay {
			if w.from == name || w.to == name {
				delete(n.delay, w)
			}
		}
	})
}

func (n *Network) spoil(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
	close(n.changed)
	n.changed = make(chan struct{})
}

// Kill closes all that a host holds, as the kernel does for a process that is
// killed: what it sent still arrives, then the end. It can open nothing more;
// whoever takes its place asks for a new Host.
func (n *Network) Kill(name string) {
	n.mu.Lock()
	if h := n.hosts[name]; h != nil && !h.dead {
		h.dead = true
		close(h.died)
	}
	var listeners []*listener
	for _, l := range n.listeners {
		if l.host == name {
			listeners = append(listeners, l)
		}
	}
	var conns []*conn
	for c := range n.conns {
		if c.host == name {
			conns = append(conns, c)
		}
	}
	n.mu.Unlock()
	for _, l := range listeners {
		_ = l.Close()
	}
	for _, c := range conns {
		_ = c.Close()
	}
}

// faults are those of one way now, and a channel that closes when they change.
func (n *Network) faults(w way) (cut bool, delay time.Duration, changed <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.isCutLocked(w), n.delay[w], n.changed
}

func (n *Network) isCutLocked(w way) bool {
	return w.from != w.to && (n.cut[w] || n.cut[way{w.from, ""}] || n.cut[way{"", w.to}])
}

// Host returns the end of the network that belongs to one agent. A name may
// come back, as an agent does that starts again.
func (n *Network) Host(name string) peer.Network {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &host{net: n, name: name, died: make(chan struct{})}
	n.hosts[name] = h
	return h
}

type host struct {
	net  *Network
	name string
	died chan struct{} // closed by Kill
	dead bool          // guarded by net.mu
}

// Listen takes a host:port. Port 0 picks one that nobody had before.
func (h *host) Listen(addr string) (net.Listener, error) {
	name, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if port == "0" {
		n.port++
		addr = net.JoinHostPort(name, fmt.Sprint(n.port))
	}
	switch {
	case h.dead:
		return nil, opError("listen", addr, net.ErrClosed)
	case n.listeners[addr] != nil:
		return nil, opError("listen", addr, syscall.EADDRINUSE)
	}
	l := &listener{net: n, host: h.name, addr: address(addr), conns: make(chan *conn, backlog), closed: make(chan struct{})}
	n.listeners[addr] = l
	return l, nil
}

// Dial opens a connection. Nobody at addr is an error at once; where either way
// is cut there is none before ctx ends.
func (h *host) Dial(ctx context.Context, addr string) (net.Conn, error) {
	for {
		l, wait, changed := h.way(addr)
		if l == nil {
			return nil, opError("dial", addr, syscall.ECONNREFUSED)
		}
		var ready <-chan time.Time
		if wait >= 0 {
			timer := time.NewTimer(wait)
			defer timer.Stop()
			ready = timer.C
		}
		select {
		case <-ready:
			return h.open(ctx, l)
		case <-changed:
		case <-h.died:
			return nil, opError("dial", addr, net.ErrClosed)
		case <-ctx.Done():
			return nil, opError("dial", addr, ctx.Err())
		}
	}
}

// way is who listens at addr and how long it takes to get there and back, below
// 0 for ever.
func (h *host) way(addr string) (l *listener, wait time.Duration, changed <-chan struct{}) {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if l = n.listeners[addr]; l == nil {
		return nil, 0, nil
	}
	there, back := way{h.name, l.host}, way{l.host, h.name}
	if n.isCutLocked(there) || n.isCutLocked(back) {
		return l, -1, n.changed
	}
	return l, n.delay[there] + n.delay[back], n.changed
}

func (h *host) open(ctx context.Context, l *listener) (net.Conn, error) {
	near, far := h.net.pair(h, l)
	if near == nil {
		return nil, opError("dial", l.addr.String(), net.ErrClosed)
	}
	select {
	case l.conns <- far:
		return near, nil
	case <-l.closed:
		_, _ = near.Close(), far.Close()
		return nil, opError("dial", l.addr.String(), syscall.ECONNREFUSED)
	case <-ctx.Done():
		_, _ = near.Close(), far.Close()
		return nil, opError("dial", l.addr.String(), ctx.Err())
	}
}

type listener struct {
	net    *Network
	host   string
	addr   address
	conns  chan *conn
	once   sync.Once
	closed chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, opError("accept", l.addr.String(), net.ErrClosed)
	default:
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, opError("accept", l.addr.String(), net.ErrClosed)
	}
}

// Close ends the connections that nobody has accepted, too.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.net.mu.Lock()
		delete(l.net.listeners, string(l.addr))
		l.net.mu.Unlock()
		close(l.closed)
		for {
			select {
			case c := <-l.conns:
				_ = c.Close()
			default:
				return
			}
		}
	})
	return nil
}

func (l *listener) Addr() net.Addr { return l.addr }

type address string

func (address) Network() string  { return "mem" }
func (a address) String() string { return string(a) }

func opError(op, addr string, err error) error {
	if err == context.DeadlineExceeded {
		err = os.ErrDeadlineExceeded
	}
	return &net.OpError{Op: op, Net: "mem", Addr: address(addr), Err: err}
}
