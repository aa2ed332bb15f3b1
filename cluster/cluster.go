// Package cluster is gossip membership (memberlist): which agents are alive and
// where they listen.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/framedb/framedb/client/wire"
)

const (
	// deadNodeReclaim is how long an agent must be dead before one of its
	// name may come back at another address. Lower: it is back sooner; higher:
	// an agent that only stalled is not replaced by an impostor of its name.
	// Without it that takes until memberlist forgets the dead one.
	deadNodeReclaim = time.Second
	// tcpTimeout bounds one exchange of states. Lower: an address in Join where
	// nobody answers holds up Open less; higher: a slower network will do. A
	// thousand agents are about 200 KiB.
	tcpTimeout = 5 * time.Second
	// leaveTimeout bounds Leave, also where its context has no end: word of it
	// goes out with the next few rounds of gossip, 200 ms apart, or not at all.
	leaveTimeout = 5 * time.Second
)

// Config says how one agent gossips.
type Config struct {
	Node wire.NodeName
	// Label keeps clusters apart that meet by accident; it must be the same on
	// all agents of one FrameDB. 1 to 255 bytes.
	Label string
	// Key encrypts gossip: 16, 24 or 32 bytes, or none.
	Key []byte
	// Bind is the host:port on which gossip listens, TCP and UDP. Port 0 picks
	// one. The host is an IP address or resolves to one.
	Bind string
	// Join are addresses of other agents, host:port; may be empty.
	Join []string
	Meta Meta

	Logger     *slog.Logger          // nil logs nothing
	Registerer prometheus.Registerer // nil registers nothing
}

func (c *Config) validate() error {
	if err := c.Node.Validate(); err != nil {
		return wire.InField("node", err)
	}
	if c.Label == "" || len(c.Label) > memberlist.LabelMaxSize {
		return wire.InField("label", wire.Errorf(wire.CodeInvalidArgument, "give 1 to %d bytes, the same on all agents of one FrameDB", memberlist.LabelMaxSize))
	}
	switch len(c.Key) {
	case 0, 16, 24, 32:
	default:
		return wire.InField("key", wire.Errorf(wire.CodeInvalidArgument, "it has %d bytes: give 16, 24 or 32, or none", len(c.Key)))
	}
	return nil
}

// Cluster is this agent's membership. All methods are safe for concurrent use.
type Cluster struct {
	log      *slog.Logger
	list     *memberlist.Memberlist
	members  *members
	takeUp   *takeUp
	join     []string
	joinErr  error // of Open's one try
	metrics  prometheus.Collector
	registry prometheus.Registerer

	closing chan struct{}  // closed when Close begins
	working sync.WaitGroup // rejoin, and Leave's goroutines; begun with mu held and closed false

	mu     sync.Mutex
	closed bool // guarded by mu
}

// Open starts gossip and asks each of cfg.Join once, all at the same time; it
// waits for them five seconds at most. That none of them answered is no error,
// because the first agent of a cluster has nobody to meet, and the others find
// it later: JoinError tells, and Join tries again. Close ends it.
//
// Errors: ErrInvalidArgument (Field names the part of cfg), ErrTooLarge (Meta),
// ErrConflict (Bind is taken).
func Open(cfg Config) (*Cluster, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Cluster{
		log: cfg.Logger.With("component", "gossip"), join: cfg.Join, registry: cfg.Registerer,
		members: newMembers(), closing: make(chan struct{}),
	}
	c.takeUp = &takeUp{cfg.Node, c.members, make(chan struct{}, 1)}
	conf, err := c.settings(cfg)
	if err != nil {
		return nil, err
	}
	if c.list, err = memberlist.Create(conf); err != nil {
		return nil, bindError(cfg.Bind, err)
	}
	if err := c.register(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.working.Go(c.rejoin)
	if c.joinErr = c.Join(); c.joinErr != nil {
		c.log.Warn("no other agent answered", "error", c.joinErr)
	}
	return c, nil
}

// settings are memberlist's for a local network, with ours.
func (c *Cluster) settings(cfg Config) (*memberlist.Config, error) {
	meta, err := cfg.Meta.encode()
	if err != nil {
		return nil, err
	}
	host, port, err := splitBind(cfg.Bind)
	if err != nil {
		return nil, err
	}
	conf := memberlist.DefaultLANConfig()
	conf.Name = string(cfg.Node)
	conf.BindAddr, conf.BindPort, conf.AdvertisePort = host, port, port
	conf.Label = cfg.Label
	conf.SecretKey = cfg.Key
	conf.DeadNodeReclaimTime = deadNodeReclaim
	conf.Delegate = nodeMeta(meta)
	conf.Events = c.members
	conf.Merge = c.takeUp
	conf.TCPTimeout = tcpTimeout
	conf.Logger = lineLogger(c.log)
	return conf, nil
}

// splitBind resolves the host, because memberlist takes a name that is no IP
// address for all addresses.
func splitBind(bind string) (host string, port int, err error) {
	addr, err := net.ResolveTCPAddr("tcp", bind)
	if err != nil {
		return "", 0, wire.InField("bind", wire.Errorf(wire.CodeInvalidArgument, "%v: give host:port", err))
	}
	if addr.IP == nil {
		return "0.0.0.0", addr.Port, nil
	}
	return addr.IP.String(), addr.Port, nil
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

// Join asks each of Config.Join once, all at the same time, and returns nil
// when one of them answered or there is none to ask.
//
// Errors: ErrUnavailable names who did not answer, and why.
func (c *Cluster) Join() error {
	errs := make([]error, len(c.join))
	var wg sync.WaitGroup
	for i, addr := range c.join {
		wg.Go(func() { _, errs[i] = c.list.Join([]string{addr}) })
	}
	wg.Wait()
	var reasons []string
	for i, err := range errs {
		if err == nil {
			return nil
		}
		reasons = append(reasons, fmt.Sprintf("%s: %s", c.join[i], strings.TrimSpace(err.Error())))
	}
	if len(reasons) == 0 {
		return nil
	}
	return wire.Errorf(wire.CodeUnavailable, "no agent answered: %s", strings.Join(reasons, "; "))
}

// JoinError is what Join gave in Open.
func (c *Cluster) JoinError() error { return c.joinErr }

// Addr is the host:port that others reach this agent's gossip at.
func (c *Cluster) Addr() string {
	n := c.list.LocalNode()
	return net.JoinHostPort(n.Addr.String(), strconv.Itoa(int(n.Port)))
}

// Members returns all agents that are known, by name, this one among them.
// Those that are dead or left stay, not Alive, until they come back; of these
// the 1024 that went last.
func (c *Cluster) Members() []Member { return c.members.list() }

// Changed returns a channel that closes at the next change of Members. Take it
// before Members, so that no change falls between.
func (c *Cluster) Changed() <-chan struct{} { return c.members.changed() }

// Leave tells the others that this agent goes on purpose, and waits until it
// was heard or ctx ends, five seconds at most. Close afterwards. Alone, or after
// Close, it does nothing.
func (c *Cluster) Leave(ctx context.Context) error {
	timeout := leaveTimeout
	if end, ok := ctx.Deadline(); ok {
		timeout = max(min(timeout, time.Until(end)), time.Millisecond)
	}
	done := make(chan error, 1)
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.working.Go(func() { done <- c.list.Leave(timeout) })
	c.mu.Unlock()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("leave gossip: %w", wire.Errorf(wire.CodeTimeout, "%v", err))
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("leave gossip: %w", ctx.Err())
	}
}

// Close stops gossip; without Leave before, the others take it for a crash.
// Members stays as it was last.
func (c *Cluster) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	close(c.closing)
	c.mu.Unlock()
	if c.metrics != nil {
		c.registry.Unregister(c.metrics)
	}
	c.working.Wait() // memberlist panics at a Leave that comes after
	return c.list.Shutdown()
}

func (c *Cluster) register() error {
	if c.registry == nil {
		return nil
	}
	alive := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "framedb_gossip_members_alive", Help: "Agents that gossip takes for alive, this one among them.",
	}, func() float64 { return float64(c.list.NumMembers()) })
	if err := c.registry.Register(alive); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	c.metrics = alive
	return nil
}
