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
	"sync"
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
	// tcpTimeout bounds one exchange of states. Lower: less is lost to who does
	// not answer; higher: a slower network will do. A thousand agents are about
	// 200 KiB.
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
	// KeyFile holds the keys that encrypt gossip, none if empty: one on each
	// line, 16, 24 or 32 bytes in base64, 8 at most; lines that are empty or
	// begin with # do not count. The first encrypts, all decrypt. The file is
	// read again every 5 s. To change the key, put the new one on the second
	// line on all agents, then on the first, then take the old one away; replace
	// the file whole, by renaming. One that cannot be used is logged, and the
	// keys stay.
	KeyFile string
	// Bind is the host:port on which gossip listens, TCP and UDP. Port 0 picks
	// one. The host is an IP address or resolves to one; none is all IPv4
	// addresses of this machine.
	Bind string
	// Advertise is the host:port that others reach Bind at. Port 0 is that of
	// Bind. Default: Bind; if that is all addresses, the first private IP
	// address of this machine, else the first that is not loopback.
	Advertise string
	// Join says where other agents may be; may be empty. Each is
	//   - host:port, where a host that is a name stands for all its addresses,
	//   - file:path of a file with one host:port on each line, of which those
	//     that are empty or begin with # do not count; it may be missing.
	// Names and files are looked at anew at each try.
	Join []string
	Meta Meta

	Resolver  Resolver             // of names in Join; nil is this machine's
	Transport memberlist.Transport // used instead of Bind and Advertise (package memnet); Close shuts it down

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
	for _, seed := range c.Join {
		if err := checkSeed(seed); err != nil {
			return wire.InField("join", err)
		}
	}
	return nil
}

// Cluster is this agent's membership. All methods are safe for concurrent use.
type Cluster struct {
	log      *slog.Logger
	list     *memberlist.Memberlist
	addr     string
	members  *members
	takeUp   *takeUp
	joiner   *joiner
	meta     nodeMeta
	metrics  prometheus.Collector
	registry prometheus.Registerer

	stop    context.CancelFunc // ends working
	working sync.WaitGroup     // follow, join and rejoin, from Open to Close
	leaving sync.WaitGroup     // Leave's goroutines; begun with mu held and closed false

	mu     sync.Mutex
	closed bool // guarded by mu
}

// Open starts gossip and returns at once; joining goes on until Close, because
// the first agent of a cluster has nobody to meet and the others find it later.
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
		log: cfg.Logger.With("component", "gossip"), registry: cfg.Registerer,
		members: newMembers(),
	}
	var err error
	if c.meta, err = cfg.Meta.encode(); err != nil {
		return nil, err
	}
	c.takeUp = &takeUp{cfg.Node, c.members, make(chan struct{}, 1)}
	keys, err := openKeyring(cfg.KeyFile, c.log)
	if err != nil {
		return nil, err
	}
	if err := c.create(cfg, keys.ring); err != nil {
		return nil, err
	}
	if err := c.register(); err != nil {
		return nil, errors.Join(err, c.list.Shutdown())
	}
	c.joiner = newJoiner(c.log, cfg, c.members, c.exchange)
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	c.working.Go(func() { keys.follow(ctx) })
	c.working.Go(func() { c.joiner.run(ctx) })
	c.working.Go(func() { c.rejoin(ctx) })
	return c, nil
}

// create starts memberlist with its settings for a local network, and ours.
func (c *Cluster) create(cfg Config, ring *memberlist.Keyring) error {
	conf := memberlist.DefaultLANConfig()
	conf.Name = string(cfg.Node)
	conf.Label = cfg.Label
	conf.Keyring = ring
	conf.DeadNodeReclaimTime = deadNodeReclaim
	conf.Delegate = c.meta
	conf.Events = c.members
	conf.Merge = c.takeUp
	conf.TCPTimeout = tcpTimeout
	conf.Logger = lineLogger(c.log)
	conf.Transport = cfg.Transport
	if conf.Transport == nil {
		network, err := listen(cfg, conf)
		if err != nil {
			return err
		}
		conf.Transport = network
	}
	var err error
	if c.list, err = memberlist.Create(conf); err != nil {
		return errors.Join(fmt.Errorf("start gossip: %w", err), conf.Transport.Shutdown())
	}
	n := c.list.LocalNode()
	c.addr = net.JoinHostPort(n.Addr.String(), strconv.Itoa(int(n.Port)))
	return nil
}

// exchange tells all that is known to who gossips at addr, an IP address and
// port, and learns all that is known there.
func (c *Cluster) exchange(addr string) error {
	_, err := c.list.Join([]string{addr})
	if cause := errors.Unwrap(err); cause != nil {
		return cause // memberlist gives a list of one, on several lines
	}
	return err
}

// JoinError tells why this agent is alone: who did not answer when last asked,
// and why. It is nil when another agent is alive, when there is nobody to ask,
// and until the first did not answer.
//
// Errors: ErrUnavailable.
func (c *Cluster) JoinError() error { return c.joiner.err() }

// Addr is the host:port that others reach this agent's gossip at.
func (c *Cluster) Addr() string { return c.addr }

// Members returns all agents that are known, by name, this one among them, as
// of now. Those that are dead or left stay, not Alive, until they come back; of
// these the 1024 that went last.
func (c *Cluster) Members() []Member { return c.members.list() }

// Changed returns a channel that closes after the next change of Members: when
// nothing has changed for 100 ms, or after a second of changes. Take it before
// Members, so that no change falls between.
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
	c.leaving.Go(func() { done <- c.list.Leave(timeout) })
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
	c.mu.Unlock()
	if c.metrics != nil {
		c.registry.Unregister(c.metrics)
	}
	c.stop()
	c.leaving.Wait() // memberlist panics at a Leave that comes after
	err := c.list.Shutdown()
	c.working.Wait() // not before: Shutdown ends the exchanges they wait for
	return err
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
