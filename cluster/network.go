package cluster

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/framedb/framedb/client/wire"
)

// bindTries is how often a free port is sought that is free for both TCP and
// UDP.
const bindTries = 10

// network is the real one. Unlike memberlist's own it ends the streams that
// were opened here when it shuts down, so that nobody waits for the dead.
type network struct {
	*memberlist.NetTransport
	ctx    context.Context // until Shutdown
	cancel context.CancelFunc
}

var _ memberlist.NodeAwareTransport = (*network)(nil)

// listen opens cfg.Bind, and sets in conf what others are told of it.
func listen(cfg Config, conf *memberlist.Config) (*network, error) {
	bind, err := resolve("bind", cfg.Bind)
	if err != nil {
		return nil, err
	}
	if bind.IP == nil {
		bind.IP = net.IPv4zero
	}
	settings := &memberlist.NetTransportConfig{BindAddrs: []string{bind.IP.String()}, BindPort: bind.Port, Logger: conf.Logger}
	t, err := memberlist.NewNetTransport(settings)
	for i := 1; err != nil && bind.Port == 0 && i < bindTries; i++ {
		t, err = memberlist.NewNetTransport(settings)
	}
	if err != nil {
		return nil, bindError(cfg.Bind, err)
	}
	bind.Port = t.GetAutoBindPort()
	told, err := advertised(cfg.Advertise, bind)
	if err != nil {
		return nil, errors.Join(err, t.Shutdown())
	}
	conf.BindAddr, conf.BindPort = bind.IP.String(), bind.Port
	conf.AdvertiseAddr, conf.AdvertisePort = told.IP.String(), told.Port
	ctx, cancel := context.WithCancel(context.Background())
	return &network{t, ctx, cancel}, nil
}

func (n *network) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	dialer := net.Dialer{Timeout: timeout}
	c, err := dialer.DialContext(n.ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return dialed{c, context.AfterFunc(n.ctx, func() { _ = c.Close() })}, nil
}

func (n *network) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return n.DialTimeout(a.Addr, timeout)
}

func (n *network) Shutdown() error {
	n.cancel()
	return n.NetTransport.Shutdown()
}

// dialed is a stream that the network's end closes.
type dialed struct {
	net.Conn
	release func() bool
}

func (d dialed) Close() error {
	d.release()
	return d.Conn.Close()
}

func resolve(field, addr string) (*net.TCPAddr, error) {
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, wire.InField(field, wire.Errorf(wire.CodeInvalidArgument, "%v: give host:port", err))
	}
	return a, nil
}

// bindError tells whether the address is taken. memberlist does not wrap the
// cause, so it is asked again.
func bindError(bind string, err error) error {
	l, probe := net.Listen("tcp", bind)
	if probe == nil {
		_ = l.Close()
		var p net.PacketConn
		if p, probe = net.ListenPacket("udp", bind); probe == nil {
			_ = p.Close()
		}
	}
	if errors.Is(probe, syscall.EADDRINUSE) {
		return wire.InField("bind", wire.Errorf(wire.CodeConflict, "%v: end what listens there, or give another address for gossip", probe))
	}
	return wire.InField("bind", wire.Errorf(wire.CodeInvalidArgument, "%q: %v: give an address of this machine", bind, err))
}

// advertised is what others are told of an agent that listens at bound.
func advertised(advertise string, bound *net.TCPAddr) (*net.TCPAddr, error) {
	told := *bound
	if advertise != "" {
		given, err := resolve("advertise", advertise)
		if err != nil {
			return nil, err
		}
		if given.IP == nil || given.IP.IsUnspecified() {
			return nil, wire.InField("advertise", wire.Errorf(wire.CodeInvalidArgument, "%q: give the one address that others reach this agent at", advertise))
		}
		told.IP = given.IP
		if given.Port != 0 {
			told.Port = given.Port
		}
		return &told, nil
	}
	if bound.IP.IsUnspecified() {
		told.IP = reachable(ownAddrs(), bound.IP.To4() == nil).AsSlice()
	}
	return &told, nil
}

// ownAddrs are this machine's, in the order of its interfaces.
func ownAddrs() []netip.Addr {
	all, _ := net.InterfaceAddrs() // none known: loopback
	var own []netip.Addr
	for _, a := range all {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			own = append(own, prefix.Addr().Unmap())
		}
	}
	return own
}

// reachable chooses the address that others most likely reach: a private one
// before a public one, IPv4 before IPv6, which counts only where v6 listens.
func reachable(own []netip.Addr, v6 bool) netip.Addr {
	for _, suits := range []func(netip.Addr) bool{
		func(a netip.Addr) bool { return a.Is4() && a.IsPrivate() },
		func(a netip.Addr) bool { return a.Is4() && a.IsGlobalUnicast() },
		func(a netip.Addr) bool { return v6 && a.IsPrivate() },
		func(a netip.Addr) bool { return v6 && a.IsGlobalUnicast() },
	} {
		if i := slices.IndexFunc(own, suits); i >= 0 {
			return own[i]
		}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}
