// Package sentinel asks a cluster's Sentinels what they know and checks it
// with Redis itself. A Sentinel may be wrong for a moment (it is behind, or cut
// off), so the newest config-epoch wins and the master that it names must say
// ROLE master before it is believed.
package sentinel

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/framedb/framedb/client/internal/resp"
	"github.com/framedb/framedb/client/wire"
)

const (
	// askTimeout bounds one question to all Sentinels: far above what a live
	// one takes, below what a person notices.
	askTimeout = time.Second
	// stepTimeout bounds one dial and one answer of one server.
	stepTimeout = 500 * time.Millisecond
	// grace is how long the others have after the first answer, when so many
	// are silent that no majority can come together.
	grace = 100 * time.Millisecond
)

// Config says how Sentinels and Redis are asked.
type Config struct {
	// Password is the deployment's, for Sentinel and Redis both.
	Password string
	Logger   *slog.Logger // nil is silent
}

// Client keeps one connection to each Sentinel and each master that it asked
// lately; those not used for a minute are closed at the next call. Safe for
// concurrent use.
type Client struct {
	log     *slog.Logger
	conns   *conns
	silence time.Duration // silentFor; tests have less time
}

// New makes a client; it does not dial.
func New(cfg Config) *Client {
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Client{log: log, conns: newConns(cfg.Password), silence: silentFor}
}

// Close closes the connections. It returns when no question is under way any
// more, after a second at most. Calls after it give ErrUnavailable; a Watch
// ends with its own ctx.
func (c *Client) Close() error {
	c.conns.close()
	return nil
}

// Master returns the master that the Sentinels name and that confirms it by
// ROLE. All Sentinels are asked at once and the answers of a majority are
// enough; a dead one costs no time. It takes a second at most, and two when
// the Sentinels disagree.
//
// Errors: ErrUnavailable (no Sentinel answers, or the master that they name
// does not confirm it), ctx's.
func (c *Client) Master(ctx context.Context, sentinels []wire.Endpoint) (wire.Endpoint, error) {
	r, err := c.resolve(ctx, sentinels, false)
	return r.Master, err
}

// Topology returns the master as Master does, and the replicas that the same
// Sentinel knows, without those that it holds for down. The ID stays empty:
// Sentinels do not know it.
func (c *Client) Topology(ctx context.Context, sentinels []wire.Endpoint) (wire.Topology, error) {
	r, err := c.resolve(ctx, sentinels, true)
	if err != nil {
		return wire.Topology{}, err
	}
	t := wire.Topology{Master: r.Master, Replicas: []wire.Endpoint{}}
	for _, replica := range r.Replicas {
		// In the middle of a failover the new master still stands among them.
		if !replica.Down && replica.Endpoint != r.Master {
			t.Replicas = append(t.Replicas, replica.Endpoint)
		}
	}
	return t, nil
}

// resolve asks the Sentinels and returns the report that ROLE confirms.
func (c *Client) resolve(ctx context.Context, sentinels []wire.Endpoint, replicas bool) (Report, error) {
	askCtx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	poll := c.poll(askCtx, sentinels, replicas)
	reports := poll.majority()
	best, err := c.confirm(ctx, reports)
	if err != nil && poll.outstanding() {
		best, err = c.confirm(ctx, append(reports, poll.rest()...))
	}
	if ctx.Err() != nil && err != nil {
		return Report{}, ctx.Err()
	}
	return best, err
}

// confirm goes through what was reported, newest config-epoch first, and
// returns the first whose master says that it is one. A master that says that
// it is none disproves its report. One that cannot be asked ends the search: an
// older report may name a former master that is cut off and does not know it.
func (c *Client) confirm(ctx context.Context, reports []Report) (Report, error) {
	var known []Report
	err := error(wire.Errorf(wire.CodeUnavailable, "no Sentinel is known"))
	for _, r := range reports {
		if r.Err == nil {
			known = append(known, r)
		} else {
			err = r.Err
		}
	}
	slices.SortStableFunc(known, func(a, b Report) int { return cmp.Compare(b.Epoch, a.Epoch) })
	asked := map[wire.Endpoint]bool{}
	for _, r := range known {
		if asked[r.Master] {
			continue
		}
		asked[r.Master] = true
		var role wire.Role
		if role, err = c.Role(ctx, r.Master); err != nil {
			break
		}
		if role == wire.RoleMaster {
			return r, nil
		}
		err = wire.Errorf(wire.CodeUnavailable, "the Sentinel at %s names %s as master, which says that it is none", addr(r.Sentinel), addr(r.Master))
	}
	return Report{}, fmt.Errorf("find the master: %w", err)
}

// Role asks a Redis server what it is, by ROLE.
//
// Errors: ErrUnavailable, ctx's.
func (c *Client) Role(ctx context.Context, server wire.Endpoint) (wire.Role, error) {
	cn, done, err := c.conns.hold(server)
	if err != nil {
		return wire.RoleUnknown, err
	}
	defer done()
	role := wire.RoleUnknown
	err = cn.use(ctx, func(r *resp.Conn) error {
		reply, err := r.Do("ROLE")
		role = resp.Role(reply)
		return err
	})
	switch {
	case ctx.Err() != nil:
		return wire.RoleUnknown, ctx.Err()
	case err != nil:
		return wire.RoleUnknown, unavailable("ask "+addr(server)+" for its role", err)
	}
	return role, nil
}
