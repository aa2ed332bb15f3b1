package process

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"

	"github.com/framedb/framedb/client/wire"
)

const (
	maxPort = 65535
	// Where AnyPort picks: above the ports of well-known services, below
	// Linux' ip_local_port_range, from which an outgoing connection could take
	// a port while its member is down.
	anyPortFirst = 10240
	anyPortLast  = 32767
)

// ports knows which ports members own, running or not.
type ports struct {
	mu    sync.Mutex
	owned map[int]bool
}

func (p *ports) own(ports ...int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range ports {
		p.owned[n] = true
	}
}

func (p *ports) release(ports ...int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range ports {
		delete(p.owned, n)
	}
}

// take finds a port that no member owns and nobody listens on, from first to
// last, and owns it.
func (p *ports) take(ctx context.Context, host string, first, last int) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n := first; n <= last; n++ {
		if p.owned[n] {
			continue
		}
		free, err := portIsFree(ctx, wire.Endpoint{Host: host, Port: n})
		if err != nil {
			return 0, err
		}
		if free {
			p.owned[n] = true
			return n, nil
		}
	}
	return 0, wire.Errorf(wire.CodeUnavailable, "no port from %d to %d is free at %s: end what holds them or set another first port", first, last, host)
}

// takePort takes the next port for Redis or Sentinel.
func (d *Driver) takePort(ctx context.Context, base int) (int, error) {
	last := maxPort
	if d.cfg.AnyPort {
		base, last = anyPortFirst+rand.IntN((anyPortLast-anyPortFirst)/2), anyPortLast
	}
	return d.ports.take(ctx, d.cfg.Host, base, last)
}

// portIsFree tries to listen, as Redis will.
func portIsFree(ctx context.Context, e wire.Endpoint) (bool, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address(e))
	switch {
	case err == nil:
		l.Close()
		return true, nil
	case errors.Is(err, syscall.EADDRINUSE), errors.Is(err, syscall.EACCES):
		return false, nil // EACCES: a port that only root may have
	default:
		return false, wire.InField("host", wire.Errorf(wire.CodeUnavailable, "cannot listen at %s: %v", address(e), err))
	}
}

func address(e wire.Endpoint) string { return net.JoinHostPort(e.Host, strconv.Itoa(e.Port)) }
