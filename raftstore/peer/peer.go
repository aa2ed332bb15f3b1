// Package peer carries what agents say to each other: Raft and calls, over one
// port. Each connection begins with who speaks to whom, so that an address that
// now belongs to another agent, or to another FrameDB, is never taken for the
// one that had it before.
package peer

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/client/wire"
)

// Kind is what a connection is for.
type Kind byte

const (
	KindRaft Kind = 'R' // hashicorp/raft's network transport
	KindCall Kind = 'C' // net/rpc with gob
)

// handshakeTimeout bounds the preface and its answer. Lower: a silent agent is
// given up sooner; higher: a busy one is not taken for a silent one.
const handshakeTimeout = 5 * time.Second

// Network makes connections. TCP is the real one.
type Network interface {
	Listen(addr string) (net.Listener, error)
	Dial(ctx context.Context, addr string) (net.Conn, error)
}

// TCP is the Network of real agents.
type TCP struct{}

// Listen listens on host:port.
func (TCP) Listen(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }

// Dial connects to host:port.
func (TCP) Dial(ctx context.Context, addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

// Config says who this agent is to the others.
type Config struct {
	Node wire.NodeName
	// Label must be the same on all agents of one FrameDB; at most 255 bytes.
	Label string
	// Bind is the host:port to listen on; port 0 picks one.
	Bind string
	// Advertise is the host:port that others reach Bind at; its port 0 is
	// Bind's. Empty: Bind itself.
	Advertise string
	Network   Network      // nil is TCP
	Logger    *slog.Logger // nil logs nothing
}

// Port is one agent's end of all connections.
type Port struct {
	cfg  Config
	tcp  net.Listener
	addr string
	raft *incoming
	call *incoming

	mu      sync.Mutex
	cluster string // guarded by mu

	closing chan struct{}
	working sync.WaitGroup // accept, and one handshake for each new connection
	once    sync.Once
}

// Listen takes the port. Errors: ErrInvalidArgument, ErrConflict (it is taken),
// both with Field.
func Listen(cfg Config) (*Port, error) {
	if cfg.Network == nil {
		cfg.Network = TCP{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if len(cfg.Label) > 255 {
		return nil, wire.InField("label", wire.Errorf(wire.CodeInvalidArgument, "it has %d bytes: give at most 255", len(cfg.Label)))
	}
	tcp, err := cfg.Network.Listen(cfg.Bind)
	if err != nil {
		return nil, bindError(cfg.Bind, err)
	}
	p := &Port{cfg: cfg, tcp: tcp, closing: make(chan struct{})}
	if p.addr, err = cfg.reachable(tcp.Addr().String()); err != nil {
		_ = tcp.Close()
		return nil, err
	}
	p.raft, p.call = newIncoming(p), newIncoming(p)
	p.working.Go(p.accept)
	return p, nil
}

func bindError(bind string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return wire.InField("bind", wire.Errorf(wire.CodeConflict, "%v: end what listens there, or give another address for Raft", err))
	}
	return wire.InField("bind", wire.Errorf(wire.CodeInvalidArgument, "%q: %v: give an address of this machine that the other agents can reach", bind, err))
}

// reachable is what to tell the others of the bound address.
func (c *Config) reachable(bound string) (string, error) {
	field, tell := "advertise", c.Advertise
	if tell == "" {
		field, tell = "bind", bound
	}
	host, port, err := net.SplitHostPort(tell)
	if ip := net.ParseIP(host); err != nil || host == "" || ip != nil && ip.IsUnspecified() {
		return "", wire.InField(field, wire.Errorf(wire.CodeInvalidArgument, "%q is no address that other agents can reach: give the host:port of this machine", tell))
	}
	if port == "0" {
		_, port, _ = net.SplitHostPort(bound)
	}
	return net.JoinHostPort(host, port), nil
}

// Addr is the host:port that others reach this agent at.
func (p *Port) Addr() string { return p.addr }

// Close ends everything that came in; connections that were dialled are their
// users' to close.
func (p *Port) Close() error {
	var err error
	p.once.Do(func() {
		close(p.closing)
		err = p.tcp.Close()
		p.working.Wait()
		_, _ = p.raft.Close(), p.call.Close()
	})
	return err
}

// acceptPause is how long to wait after a failed accept, such as of too many
// open files.
const acceptPause = 50 * time.Millisecond

func (p *Port) accept() {
	for {
		conn, err := p.tcp.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			p.cfg.Logger.Warn("cannot accept another agent's connection", "err", err)
			select {
			case <-p.closing:
				return
			case <-time.After(acceptPause):
			}
			continue
		}
		p.working.Go(func() { p.greet(conn) })
	}
}

// greet reads the preface of a new connection and hands it on.
func (p *Port) greet(conn net.Conn) {
	stop := make(chan struct{})
	defer close(stop)
	go func() { // Close does not wait for a silent caller
		select {
		case <-p.closing:
			_ = conn.SetDeadline(time.Now())
		case <-stop:
		}
	}()
	_ = conn.SetDeadline(time.Now().Add(handshakeTimeout))
	hello, err := readPreface(conn)
	if err == nil {
		err = p.check(hello)
		if answer := writeAnswer(conn, err); err == nil {
			err = answer
		}
	}
	if err != nil {
		p.cfg.Logger.Debug("refused a connection", "from", conn.RemoteAddr(), "err", err)
		_ = conn.Close()
		return
	}
	_ = conn.SetDeadline(time.Time{})
	to := p.call
	if hello.kind == KindRaft {
		to = p.raft
	}
	to.put(arrival{conn, hello.cluster})
}

func (p *Port) check(hello preface) error {
	switch {
	case hello.label != p.cfg.Label:
		return wire.Errorf(wire.CodeForbidden, "this agent is of the FrameDB %q, not %q", p.cfg.Label, hello.label)
	case hello.to != "" && hello.to != p.cfg.Node:
		return wire.Errorf(wire.CodeForbidden, "this is the agent %q, not %q", p.cfg.Node, hello.to)
	case hello.kind == KindRaft && !p.inCluster(hello.cluster):
		return wire.Errorf(wire.CodeForbidden, "this agent does not belong to that cluster")
	case hello.kind != KindRaft && hello.kind != KindCall:
		return wire.Errorf(wire.CodeInvalidArgument, "connections of kind %q are unknown: upgrade this agent", hello.kind)
	}
	return nil
}

// Dial connects to an agent; to may be empty where the address is all that is
// known. Errors: ErrUnavailable (nobody answers), ErrForbidden (somebody else
// does).
func (p *Port) Dial(ctx context.Context, kind Kind, to wire.NodeName, addr string) (net.Conn, error) {
	conn, err := p.cfg.Network.Dial(ctx, addr)
	if err != nil {
		return nil, wire.Errorf(wire.CodeUnavailable, "agent %s: %v", named(to, addr), err)
	}
	if err := p.introduce(ctx, conn, kind, to); err != nil {
		_ = conn.Close()
		if errors.Is(err, wire.ErrForbidden) {
			return nil, err
		}
		return nil, wire.Errorf(wire.CodeUnavailable, "agent %s: %v", named(to, addr), err)
	}
	return conn, nil
}

func (p *Port) introduce(ctx context.Context, conn net.Conn, kind Kind, to wire.NodeName) error {
	deadline := time.Now().Add(handshakeTimeout)
	if end, ok := ctx.Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	hello := preface{kind: kind, label: p.cfg.Label, from: p.cfg.Node, to: to, cluster: p.ofCluster()}
	if _, err := conn.Write(hello.encode()); err != nil {
		return err
	}
	if err := readAnswer(conn); err != nil {
		return err
	}
	if !stop() {
		return ctx.Err()
	}
	return conn.SetDeadline(time.Time{})
}

func named(to wire.NodeName, addr string) string {
	if to == "" {
		return addr
	}
	return string(to) + " at " + addr
}

// Address joins name and host:port to what Raft holds for an address, so that
// a connection can name the one it is for.
func Address(name wire.NodeName, addr string) raft.ServerAddress {
	return raft.ServerAddress(string(name) + "@" + addr)
}

// SplitAddress undoes Address; a plain host:port has no name.
func SplitAddress(a raft.ServerAddress) (name wire.NodeName, addr string) {
	if before, after, ok := strings.Cut(string(a), "@"); ok {
		return wire.NodeName(before), after
	}
	return "", string(a)
}

// SetCluster says which cluster this agent belongs to; at first it is none.
// Raft's connections of any other, and of none, are refused. When SetCluster
// returns, those that were of another one have ended, and what came over them
// has been answered. Errors: ctx's, when that was not so in time.
func (p *Port) SetCluster(ctx context.Context, cluster string) error {
	p.mu.Lock()
	p.cluster = cluster
	p.mu.Unlock()
	return p.raft.endOthers(ctx, cluster)
}

func (p *Port) ofCluster() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cluster
}

func (p *Port) inCluster(cluster string) bool { return cluster != "" && cluster == p.ofCluster() }

// Raft is the stream layer of Raft's network transport.
func (p *Port) Raft() raft.StreamLayer { return stream{p.raft} }

// Calls is the listener of KindCall.
func (p *Port) Calls() net.Listener { return p.call }

// stream lets Raft listen and dial.
type stream struct{ *incoming }

// Dial connects to an Address.
func (s stream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	name, addr := SplitAddress(address)
	return s.port.Dial(ctx, KindRaft, name, addr)
}

// arrival is a connection whose preface was read.
type arrival struct {
	net.Conn
	cluster string
}

// incoming is a net.Listener of the connections of one kind.
type incoming struct {
	port  *Port
	conns chan arrival

	closed chan struct{}
	mu     sync.Mutex
	live   map[*accepted]bool // guarded by mu; nil when closed
}

// accepted is a connection that ends with its listener, because Raft's
// transport leaves those that came in open.
type accepted struct {
	arrival
	l    *incoming
	once sync.Once
	done chan struct{} // closed by Close: its user is through with it
}

// Read ends like one whose caller went when it was closed here: that is how
// connections end in good order.
func (c *accepted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if errors.Is(err, net.ErrClosed) {
		err = io.EOF
	}
	return n, err
}

func (c *accepted) Close() error {
	c.once.Do(func() {
		c.l.mu.Lock()
		delete(c.l.live, c)
		c.l.mu.Unlock()
		close(c.done)
	})
	return c.Conn.Close()
}

func newIncoming(p *Port) *incoming {
	return &incoming{port: p, conns: make(chan arrival), closed: make(chan struct{}), live: map[*accepted]bool{}}
}

func (l *incoming) put(conn arrival) {
	select {
	case l.conns <- conn:
	case <-l.closed:
		_ = conn.Close()
	case <-l.port.closing:
		_ = conn.Close()
	}
}

// Accept returns the next connection, its preface read.
func (l *incoming) Accept() (net.Conn, error) {
	for {
		select {
		case conn := <-l.conns:
			c := &accepted{arrival: conn, l: l, done: make(chan struct{})}
			switch taken, closed := l.take(c); {
			case closed:
				_ = conn.Close()
				return nil, net.ErrClosed
			case taken:
				return c, nil
			}
			_ = conn.Close()
			continue
		case <-l.closed:
		case <-l.port.closing:
		}
		return nil, net.ErrClosed
	}
}

// take notes a connection, unless the cluster changed since its preface.
func (l *incoming) take(c *accepted) (taken, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.live == nil {
		return false, true
	}
	if l == l.port.raft && !l.port.inCluster(c.cluster) {
		return false, false
	}
	l.live[c] = true
	return true, false
}

// endOthers closes the connections of other clusters and waits until their
// users are through with them.
func (l *incoming) endOthers(ctx context.Context, cluster string) error {
	var others []*accepted
	l.mu.Lock()
	for c := range l.live {
		if c.cluster != cluster {
			_ = c.Conn.Close()
			others = append(others, c)
		}
	}
	l.mu.Unlock()
	for _, c := range others {
		select {
		case <-c.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Close ends the connections of this kind and refuses further ones; the port
// stays.
func (l *incoming) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.live == nil {
		return nil
	}
	close(l.closed)
	for c := range l.live {
		_ = c.Conn.Close()
	}
	l.live = nil
	return nil
}

// Addr is an Address.
func (l *incoming) Addr() net.Addr { return netAddr(Address(l.port.cfg.Node, l.port.addr)) }

type netAddr string

func (netAddr) Network() string  { return "tcp" }
func (a netAddr) String() string { return string(a) }

var (
	_ net.Listener     = (*incoming)(nil)
	_ raft.StreamLayer = stream{}
	_ io.Closer        = (*Port)(nil)
)
