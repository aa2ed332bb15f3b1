package instance

import (
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/framedb/framedb/client/wire"
)

// askTimeout bounds one dial and one answer of a member: far above what a live
// one takes, and short enough that a round with a dead one goes on.
const askTimeout = time.Second

// Conns keeps connections to the members of one cluster. Safe for concurrent
// use.
type Conns struct {
	password string

	mu      sync.Mutex
	closed  bool
	clients map[wire.Endpoint]*redis.Client // guarded by mu
}

// NewConns makes an empty set; it does not dial.
func NewConns(password string) *Conns {
	return &Conns{password: password, clients: map[wire.Endpoint]*redis.Client{}}
}

// At returns the client of one member. It is closed when the member is not
// kept any more. After Close it fails every command.
func (c *Conns) At(e wire.Endpoint) *redis.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rdb, ok := c.clients[e]; ok {
		return rdb
	}
	rdb := redis.NewClient(&redis.Options{
		Addr:     net.JoinHostPort(e.Host, strconv.Itoa(e.Port)),
		Password: c.password,
		// The caller goes on in its next round; a second try here would only
		// make this one longer.
		MaxRetries:               -1,
		PoolSize:                 2,
		MaxIdleConns:             2,
		DialTimeout:              askTimeout,
		ReadTimeout:              askTimeout,
		WriteTimeout:             askTimeout,
		ContextTimeoutEnabled:    true,
		Protocol:                 2,
		DisableIdentity:          true,
		DialerRetries:            1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	c.clients[e] = rdb
	if c.closed {
		rdb.Close()
	}
	return rdb
}

// Keep closes the connections to all others.
func (c *Conns) Keep(list []wire.Endpoint) {
	keep := map[wire.Endpoint]bool{}
	for _, e := range list {
		keep[e] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for e, rdb := range c.clients {
		if !keep[e] {
			rdb.Close()
			delete(c.clients, e)
		}
	}
}

// Close closes all connections.
func (c *Conns) Close() {
	c.Keep(nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
}
