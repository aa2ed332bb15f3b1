package sentinel

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/framedb/framedb/client/internal/resp"
	"github.com/framedb/framedb/client/wire"
)

// Why a failover was refused; each comes with ErrConflict.
var (
	// ErrNoGoodReplica is returned when no replica is fit to become master.
	ErrNoGoodReplica = errors.New("no replica is fit to become master")
	// ErrInProgress is returned when a failover is under way already.
	ErrInProgress = errors.New("a failover is in progress")
)

// Failover makes the first Sentinel that answers start a failover, without
// asking the others for agreement. It returns when the failover has started,
// not when it is done.
//
// Errors: ErrNoGoodReplica, ErrInProgress, ErrUnavailable (none answers),
// ctx's. After ErrUnavailable a failover may still have begun.
func (c *Client) Failover(ctx context.Context, sentinels []wire.Endpoint) error {
	last := error(wire.Errorf(wire.CodeUnavailable, "no Sentinel is known"))
	for _, r := range c.inOrderOfAnswer(ctx, sentinels) {
		if last = r.Err; last != nil {
			continue
		}
		last = c.command(ctx, r.Sentinel, "FAILOVER", wire.MasterName)
		if !errors.Is(last, wire.ErrUnavailable) {
			break
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if last != nil {
		return fmt.Errorf("start a failover: %w", last)
	}
	return nil
}

// inOrderOfAnswer returns the reports of the Sentinels, quickest first, so that
// dead ones are never waited for one after the other.
func (c *Client) inOrderOfAnswer(ctx context.Context, sentinels []wire.Endpoint) []Report {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return c.poll(ctx, sentinels, false).majority()
}

// Set changes settings of the master at one Sentinel (SENTINEL SET), such as
// "quorum" or "down-after-milliseconds"; each Sentinel has its own.
//
// Errors: ErrInvalidArgument (it knows no such setting or value), ErrUnavailable,
// ctx's.
func (c *Client) Set(ctx context.Context, one wire.Endpoint, options map[string]string) error {
	if len(options) == 0 {
		return nil
	}
	args := []string{"SET", wire.MasterName}
	for _, name := range slices.Sorted(maps.Keys(options)) {
		args = append(args, name, options[name])
	}
	return c.command(ctx, one, args...)
}

// SetInfoPeriod sets how often one Sentinel reads INFO of master and replicas;
// it holds until that Sentinel restarts. The default of ten seconds leaves it
// choosing the next master by old offsets, and unaware of new replicas.
//
// Errors: ErrInvalidArgument (it is older than Redis 7.0), ErrUnavailable, ctx's.
func (c *Client) SetInfoPeriod(ctx context.Context, one wire.Endpoint, period time.Duration) error {
	return c.command(ctx, one, "DEBUG", "INFO-PERIOD", strconv.FormatInt(period.Milliseconds(), 10))
}

// Reset makes one Sentinel forget the replicas and Sentinels of the master and
// find them anew. Do it to one Sentinel at a time, and only when the master is
// known to be well: until they are found again it can fail over to nobody.
//
// Errors: ErrUnavailable, ctx's.
func (c *Client) Reset(ctx context.Context, one wire.Endpoint) error {
	return c.command(ctx, one, "RESET", wire.MasterName)
}

func (c *Client) command(ctx context.Context, s wire.Endpoint, args ...string) error {
	cn, done, err := c.conns.hold(s)
	if err != nil {
		return err
	}
	defer done()
	err = cn.use(ctx, func(r *resp.Conn) error {
		_, err := r.Do(append([]string{"SENTINEL"}, args...)...)
		return err
	})
	switch code := resp.CodeOf(err); {
	case err == nil:
		return nil
	case code == "NOGOODSLAVE":
		return fmt.Errorf("%w: %w", wire.ErrConflict, ErrNoGoodReplica)
	case code == "INPROG":
		return fmt.Errorf("%w: %w", wire.ErrConflict, ErrInProgress)
	case code != "":
		return fmt.Errorf("%w: the Sentinel at %s says: %w", wire.ErrInvalidArgument, addr(s), err)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return unavailable("tell the Sentinel at "+addr(s), err)
}
