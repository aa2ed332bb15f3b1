package sentinel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/framedb/framedb/client/internal/resp"
	"github.com/framedb/framedb/client/wire"
)

// idleAfter is how long a connection may stand unused. Short dials again for a
// rare question, long keeps descriptors on both sides.
const idleAfter = time.Minute

// conns holds one connection for each server that was asked lately.
type conns struct {
	password string
	users    sync.WaitGroup // whoever holds a conn

	mu        sync.Mutex
	byServer  map[wire.Endpoint]*conn
	nextSweep time.Time
	closed    bool
}

// conn is the connection to one server, which may have to be dialled yet.
type conn struct {
	server   wire.Endpoint
	password string
	turn     chan struct{} // holds one token; who has it uses live
	live     *resp.Conn

	holders  int       // guarded by conns.mu
	lastUsed time.Time // guarded by conns.mu
}

func newConns(password string) *conns {
	return &conns{password: password, byServer: map[wire.Endpoint]*conn{}}
}

// hold returns the connection to a server. Call done when the answer is there:
// only connections that nobody holds are closed for being idle.
func (c *conns) hold(server wire.Endpoint) (cn *conn, done func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, wire.Errorf(wire.CodeUnavailable, "the Sentinel client is closed")
	}
	c.sweepLocked(time.Now())
	cn = c.byServer[server]
	if cn == nil {
		cn = &conn{server: server, password: c.password, turn: make(chan struct{}, 1)}
		cn.turn <- struct{}{}
		c.byServer[server] = cn
	}
	cn.holders++
	c.users.Add(1)
	return cn, func() { c.done(cn) }, nil
}

func (c *conns) done(cn *conn) {
	c.mu.Lock()
	cn.holders--
	cn.lastUsed = time.Now()
	c.mu.Unlock()
	c.users.Done()
}

func (c *conns) sweepLocked(now time.Time) {
	if now.Before(c.nextSweep) {
		return
	}
	c.nextSweep = now.Add(idleAfter / 4)
	for server, cn := range c.byServer {
		if cn.holders == 0 && now.Sub(cn.lastUsed) > idleAfter {
			cn.drop()
			delete(c.byServer, server)
		}
	}
}

// close waits for the questions under way, a second at most.
func (c *conns) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.users.Wait()
	for server, cn := range c.byServer {
		cn.drop()
		delete(c.byServer, server)
	}
}

func (cn *conn) drop() {
	if cn.live != nil {
		cn.live.Close()
		cn.live = nil
	}
}

// use runs f with the connection, within ctx and stepTimeout for the dial and
// for f each. The server may have ended a kept connection long ago, so f runs
// once more with a new one when it fails on that. An error reply keeps the
// connection.
func (cn *conn) use(ctx context.Context, f func(*resp.Conn) error) error {
	select {
	case <-cn.turn:
		defer func() { cn.turn <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	kept := cn.live != nil
	err := cn.try(ctx, f)
	if kept && broken(err) && !isTimeout(err) && ctx.Err() == nil {
		err = cn.try(ctx, f)
	}
	return err
}

func (cn *conn) try(ctx context.Context, f func(*resp.Conn) error) error {
	if cn.live == nil {
		live, err := dial(ctx, cn.server, cn.password)
		if err != nil {
			return err
		}
		cn.live = live
	}
	end := cn.live.Within(ctx, stepTimeout)
	err := f(cn.live)
	if !end() || broken(err) {
		cn.drop()
	}
	return err
}

// dial connects and authenticates, within stepTimeout.
func dial(ctx context.Context, server wire.Endpoint, password string) (*resp.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	c, err := resp.Dial(ctx, "tcp", addr(server))
	if err != nil {
		return nil, err
	}
	end := c.Within(ctx, stepTimeout)
	_, err = c.Login(password)
	if !end() || err != nil {
		c.Close()
		return nil, errors.Join(err, ctx.Err())
	}
	return c, nil
}

// broken reports whether err is none that the server answered.
func broken(err error) bool { return err != nil && resp.CodeOf(err) == "" }

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func addr(e wire.Endpoint) string { return net.JoinHostPort(e.Host, strconv.Itoa(e.Port)) }

// unavailable wraps a failed question. A server that answers with an error is
// there, but of no use for the question either.
func unavailable(what string, err error) error {
	return fmt.Errorf("%s: %w", what, fmt.Errorf("%w: %w", wire.ErrUnavailable, err))
}
