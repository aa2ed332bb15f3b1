// Package frames is the data path to one in-memory FrameDB cluster: it finds
// the master through Sentinel, checks it with ROLE, takes its unix socket when
// that is on this machine, and reads, writes and counts down frames there.
package frames

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/sentinel"
	"github.com/framedb/framedb/client/wire"
)

// Defaults of Config.
const (
	defaultPoolSize = 16
	defaultRetryFor = 10 * time.Second
)

// Config says how a cluster's data is reached.
type Config struct {
	Password string
	// Sentinels asks who the master is; several clusters may share one. Nil
	// makes one, which Close closes.
	Sentinels *sentinel.Client
	// PoolSize bounds the connections to the master, and with them the calls
	// that are under way at once; further ones wait. More than the server's and
	// the clients' cores gains little. Default 16.
	PoolSize int
	// RetryFor is how long after its first failure a call is tried again. It
	// should exceed a failover, which takes the Sentinels' down-after and some
	// two seconds. Default 10 s; negative means never.
	RetryFor time.Duration
	Logger   *slog.Logger // nil is silent
}

// Cluster is the data path to one cluster. Safe for concurrent use.
//
// Any call may return ErrUnavailable (no master for as long as RetryFor; what
// was asked was not done), ErrForbidden (the password is wrong) and ctx's
// errors.
type Cluster struct {
	cfg          Config
	name         wire.ClusterName
	log          *slog.Logger
	ownSentinels bool
	resolving    chan struct{} // holds one token; who has it may set link
	watchers     sync.WaitGroup
	buffers      buffers

	mu      sync.Mutex
	members []wire.Instance
	link    *link // to the master; nil when it is not known
	watch   *watch
	closed  bool
}

// New makes the data path; it does not dial. Members are where the cluster's
// members were last seen; see SetMembers.
func New(cfg Config, name wire.ClusterName, members []wire.Instance) *Cluster {
	if cfg.PoolSize <= 0 {
		cfg.PoolSize = defaultPoolSize
	}
	if cfg.RetryFor == 0 {
		cfg.RetryFor = defaultRetryFor
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Cluster{cfg: cfg, name: name, members: slices.Clone(members), resolving: make(chan struct{}, 1)}
	c.log = cfg.Logger.With("cluster", name)
	if cfg.Sentinels == nil {
		c.ownSentinels = true
		c.cfg.Sentinels = sentinel.New(sentinel.Config{Password: cfg.Password, Logger: cfg.Logger})
	}
	c.resolving <- struct{}{}
	return c
}

// Name is the cluster's name.
func (c *Cluster) Name() wire.ClusterName { return c.name }

// SetMembers tells where the members are now: their Sentinels are asked from
// then on. The connection to the master stays as long as it works.
func (c *Cluster) SetMembers(members []wire.Instance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members = slices.Clone(members)
	if c.watch != nil && !slices.Equal(c.watch.sentinels, sentinelsOf(members)) {
		c.watch.stop()
		c.watch = nil
		c.startWatchLocked()
	}
}

// Close closes all connections and waits for the background work. Calls under
// way fail as if the server had gone, and are not tried again.
func (c *Cluster) Close() error {
	c.mu.Lock()
	c.closed = true
	link, watch := c.link, c.watch
	c.link, c.watch = nil, nil
	c.mu.Unlock()
	if watch != nil {
		watch.stop()
	}
	c.watchers.Wait()
	if link != nil {
		link.close(true)
	}
	if c.ownSentinels {
		return c.cfg.Sentinels.Close()
	}
	return nil
}

// Master returns the endpoint that calls go to now, and the unix socket when
// one is used.
func (c *Cluster) Master(ctx context.Context) (ep wire.Endpoint, socket string, err error) {
	err = c.retry(ctx, func() error {
		link, err := c.master(ctx)
		if err == nil {
			ep, socket = link.master, link.socket
		}
		return err
	})
	return ep, socket, err
}

// Redis returns the plain client of the master of this moment, for what this
// package has no call for, such as Publish and Subscribe. It is closed when the
// master changes: ask again. It never repeats a command by itself.
func (c *Cluster) Redis(ctx context.Context) (*redis.Client, error) {
	var rdb *redis.Client
	err := c.retry(ctx, func() error {
		link, err := c.master(ctx)
		if err == nil {
			rdb, err = link.client()
		}
		return err
	})
	return rdb, err
}

func sentinelsOf(members []wire.Instance) []wire.Endpoint {
	var eps []wire.Endpoint
	for _, m := range members {
		if m.SentinelPort != 0 && m.Host != "" {
			eps = append(eps, wire.Endpoint{Host: m.Host, Port: m.SentinelPort})
		}
	}
	return eps
}
