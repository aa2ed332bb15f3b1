package client

import (
	"context"
	"log/slog"
	"time"

	"github.com/framedb/framedb/client/objects/pool"
	"github.com/framedb/framedb/client/wire"
)

// Client talks to the v1 API of the agents. It is safe for concurrent use. What
// it starts ends with the call that needs it, but for the connections of
// Objects, which Close ends.
type Client struct {
	cfg    Config
	log    *slog.Logger
	agents *agents
	made   changes
	places *places
	opened *pool.Pool // of Objects
	// silence is maxSilence, but for tests.
	silence time.Duration
}

// New checks cfg and makes a client. It does not dial: the first call does.
//
// Errors: ErrInvalidArgument (an address that is neither http(s)://host:port
// nor unix:///path).
func New(cfg Config) (*Client, error) {
	cfg = cfg.withDefaults()
	agents, err := newAgents(cfg)
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, log: cfg.Logger, agents: agents, silence: maxSilence}
	c.places = newPlaces(c)
	c.opened = pool.New(pool.Config{Locator: c.places, Logger: cfg.Logger})
	return c, nil
}

// Close closes idle connections. Calls under way go on.
func (c *Client) Close() {
	c.opened.Close()
	c.agents.close()
}

// Addr is the address that the next call will try first.
//
// Errors: ErrUnavailable (no agent answers), and ctx's when it ends while one
// is being looked for.
func (c *Client) Addr(ctx context.Context) (string, error) {
	agent, err := c.agents.current(ctx)
	if err != nil {
		return "", coded(ctx, err, false)
	}
	return agent.addr, nil
}

type requestIDKey struct{}

// WithRequestID makes the next mutation called with the context carry this ID
// instead of a fresh one, so that a program can repeat a change of which it
// does not know the outcome. Use one context for one mutation.
func WithRequestID(ctx context.Context, id wire.RequestID) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}
