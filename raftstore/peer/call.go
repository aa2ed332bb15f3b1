package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"sync"
	"sync/atomic"

	"github.com/framedb/framedb/client/wire"
)

// service is the name under which an agent's calls are registered.
const service = "Agent"

// Server answers calls with the exported methods of one value, as net/rpc
// wants them. A method's error crosses as text: what must keep its meaning
// travels in the reply.
type Server struct {
	rpc      *rpc.Server
	listener net.Listener
	working  sync.WaitGroup // accept, and one for each connection
}

// Serve answers what comes in on the port until Close.
func (p *Port) Serve(methods any) (*Server, error) {
	s := &Server{rpc: rpc.NewServer(), listener: p.call}
	if err := s.rpc.RegisterName(service, methods); err != nil {
		return nil, fmt.Errorf("register calls: %w", err)
	}
	s.working.Go(s.accept)
	return s, nil
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.working.Go(func() { s.rpc.ServeConn(coalesce(conn)) })
	}
}

// Close ends all connections and waits for the calls under way.
func (s *Server) Close() {
	_ = s.listener.Close()
	s.working.Wait()
}

// Conn is a connection for calls to one agent. Safe for concurrent use; calls
// do not wait for each other.
type Conn struct {
	to     wire.NodeName
	rpc    *rpc.Client
	broken *atomic.Bool
}

// watched remembers that its connection broke.
type watched struct {
	net.Conn
	broken *atomic.Bool
}

func (w watched) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if err != nil {
		w.broken.Store(true)
	}
	return n, err
}

// Connect connects for calls. Errors are Dial's.
func (p *Port) Connect(ctx context.Context, to wire.NodeName, addr string) (*Conn, error) {
	conn, err := p.Dial(ctx, KindCall, to, addr)
	if err != nil {
		return nil, err
	}
	broken := new(atomic.Bool)
	return &Conn{to, rpc.NewClient(watched{coalesce(conn), broken}), broken}, nil
}

// Broken reports whether the connection has ended.
func (c *Conn) Broken() bool { return c.broken.Load() }

// Close ends the calls under way with ErrOutcomeUnknown.
func (c *Conn) Close() { _ = c.rpc.Close() }

// Call asks and waits for the answer, until the connection ends or ctx does;
// reply must not be used after an error. Errors: ErrUnavailable (nothing was
// sent), ErrOutcomeUnknown (no answer came), or the method's own as
// ErrInternal.
func (c *Conn) Call(ctx context.Context, method string, args, reply any) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", wire.Errorf(wire.CodeUnavailable, "agent %s was not asked", c.to), err)
	}
	call := c.rpc.Go(service+"."+method, args, reply, make(chan *rpc.Call, 1))
	select {
	case <-call.Done:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", wire.Errorf(wire.CodeOutcomeUnknown, "agent %s gave no answer", c.to), ctx.Err())
	}
	var answered rpc.ServerError
	switch {
	case call.Error == nil:
		return nil
	case errors.As(call.Error, &answered):
		return wire.Errorf(wire.CodeInternal, "agent %s: %v", c.to, call.Error)
	}
	return wire.Errorf(wire.CodeOutcomeUnknown, "agent %s gave no answer: %v", c.to, call.Error)
}

// Ask is one call over a connection of its own.
func (p *Port) Ask(ctx context.Context, to wire.NodeName, addr, method string, args, reply any) error {
	conn, err := p.Connect(ctx, to, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Call(ctx, method, args, reply)
}
