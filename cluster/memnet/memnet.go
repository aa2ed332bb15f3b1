// Package memnet is a network in memory for gossip, with faults: many agents in
// one process, each behind a Transport of its own.
//
// Faults go by the names of the transports and one way: from, to. They last
// until Heal, and hold as well for who comes back under a name.
package memnet

import (
	"bytes"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// Port is that of every address.
	Port = 7946
	// inbox is how many packets a transport holds that nobody has read; those
	// that come then are lost, as they are from a full socket.
	inbox = 1024
)

// Network connects its transports. All methods are safe for concurrent use.
type Network struct {
	mu     sync.Mutex
	last   netip.Addr            // guarded by mu: the last that was given out
	byAddr map[string]*Transport // guarded by mu: those that are not shut down
	faults map[direction]faults  // guarded by mu
	conns  map[*conn]*Transport  // guarded by mu: open ends of streams, by who holds them
}

type direction struct{ from, to string }

type faults struct {
	cut             bool
	delay           time.Duration
	drop, duplicate float64 // probabilities
}

// New returns a network without faults.
func New() *Network {
	return &Network{
		last: netip.AddrFrom4([4]byte{10}), byAddr: map[string]*Transport{},
		faults: map[direction]faults{}, conns: map[*conn]*Transport{},
	}
}

// Transport returns a new end of the network, at an address that nobody had
// before. A name may come back, as an agent does that starts again.
func (n *Network) Transport(name string) *Transport {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last = n.last.Next()
	t := &Transport{
		net: n, name: name, addr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(n.last, Port)),
		packets: make(chan *memberlist.Packet, inbox), streams: make(chan net.Conn), done: make(chan struct{}),
	}
	n.byAddr[t.Addr()] = t
	return t
}

// Cut loses all that goes from one to the other: packets, and what is written
// to streams, which carry nothing more even after Heal. No stream is opened when
// either direction is cut.
func (n *Network) Cut(from, to string) { n.spoil(from, to, func(f *faults) { f.cut = true }) }

// Partition cuts each side off from all others, both ways.
func (n *Network) Partition(sides ...[]string) {
	for i, side := range sides {
		for j, other := range sides {
			for _, from := range side {
				for _, to := range other {
					if i != j {
						n.Cut(from, to)
					}
				}
			}
		}
	}
}

// Delay holds each packet and each write to a stream up for d. Packets do not
// wait for one another.
func (n *Network) Delay(from, to string, d time.Duration) {
	n.spoil(from, to, func(f *faults) { f.delay = d })
}

// Drop loses packets with probability p; streams make up for losses, as TCP
// does.
func (n *Network) Drop(from, to string, p float64) {
	n.spoil(from, to, func(f *faults) { f.drop = p })
}

// Duplicate has packets come twice with probability p.
func (n *Network) Duplicate(from, to string, p float64) {
	n.spoil(from, to, func(f *faults) { f.duplicate = p })
}

// Heal ends all faults.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.faults)
}

func (n *Network) spoil(from, to string, change func(*faults)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := n.faults[direction{from, to}]
	change(&f)
	n.faults[direction{from, to}] = f
}

func (n *Network) between(from, to string) faults {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.faults[direction{from, to}]
}

// Transport is one agent's end of a Network.
type Transport struct {
	net     *Network
	name    string
	addr    *net.TCPAddr
	packets chan *memberlist.Packet
	streams chan net.Conn
	done    chan struct{} // closed by Shutdown
}

var _ memberlist.NodeAwareTransport = (*Transport)(nil)

// Addr is the transport's host:port.
func (t *Transport) Addr() string { return t.addr.String() }

// FinalAdvertiseAddr is always the transport's own address.
func (t *Transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.addr.IP, t.addr.Port, nil
}

// PacketCh gives the packets that came.
func (t *Transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh gives the streams that others opened.
func (t *Transport) StreamCh() <-chan net.Conn { return t.streams }

// WriteTo sends a packet and never tells whether it arrives.
func (t *Transport) WriteTo(b []byte, addr string) (time.Time, error) {
	now := time.Now()
	if t.closed() {
		return now, net.ErrClosed
	}
	to := t.net.at(addr)
	if to == nil {
		return now, nil
	}
	f := t.net.between(t.name, to.name)
	if f.cut || rand.Float64() < f.drop {
		return now, nil
	}
	t.send(to, b, f.delay)
	if rand.Float64() < f.duplicate {
		t.send(to, b, f.delay)
	}
	return now, nil
}

func (t *Transport) send(to *Transport, b []byte, delay time.Duration) {
	p := &memberlist.Packet{Buf: bytes.Clone(b), From: t.addr}
	if delay == 0 {
		to.receive(p)
		return
	}
	time.AfterFunc(delay, func() { to.receive(p) })
}

func (t *Transport) receive(p *memberlist.Packet) {
	p.Timestamp = time.Now()
	select {
	case t.packets <- p:
	default:
	}
}

// DialTimeout opens a stream. Nobody at addr is an error at once; when either
// direction is cut it is one after the timeout.
func (t *Transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "memnet", Source: t.addr, Err: err}
	}
	to := t.net.at(addr)
	if to == nil {
		return fail(syscall.ECONNREFUSED)
	}
	limit := time.NewTimer(timeout)
	defer limit.Stop()
	there, back := t.net.between(t.name, to.name), t.net.between(to.name, t.name)
	ready := time.After(there.delay + back.delay)
	if there.cut || back.cut {
		ready = nil
	}
	var streams chan<- net.Conn
	near, far := t.net.stream(t, to)
	for {
		select {
		case <-ready:
			streams = to.streams
		case streams <- far:
			return near, nil
		case <-limit.C:
			_, _ = near.Close(), far.Close()
			return fail(os.ErrDeadlineExceeded)
		case <-to.done:
			_, _ = near.Close(), far.Close()
			return fail(syscall.ECONNREFUSED)
		case <-t.done:
			_, _ = near.Close(), far.Close()
			return fail(net.ErrClosed)
		}
	}
}

// WriteToAddress is WriteTo: as on a real network a name is no address.
func (t *Transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, a.Addr)
}

// DialAddressTimeout is DialTimeout.
func (t *Transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(a.Addr, timeout)
}

// Shutdown takes the transport off the network and closes its streams.
func (t *Transport) Shutdown() error {
	var mine []*conn
	t.net.mu.Lock()
	if t.net.byAddr[t.Addr()] == t {
		delete(t.net.byAddr, t.Addr())
		close(t.done)
	}
	for c, holder := range t.net.conns {
		if holder == t {
			mine = append(mine, c)
		}
	}
	t.net.mu.Unlock()
	for _, c := range mine {
		_ = c.Close()
	}
	return nil
}

func (t *Transport) closed() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

func (n *Network) at(addr string) *Transport {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.byAddr[addr]
}
