package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

// askTimeout bounds one question to one server on this machine.
const askTimeout = time.Second

// ask has f ask the server at an address.
func (d *Driver) ask(ctx context.Context, e wire.Endpoint, f func(context.Context, *redis.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	// Dialled before the client is made, which complains to the standard log
	// of a port where nobody listens yet.
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address(e))
	if err != nil {
		return err
	}
	defer conn.Close()
	rdb := redis.NewClient(&redis.Options{
		Dialer:                   func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		Password:                 d.cfg.Password,
		Protocol:                 2,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		PoolSize:                 1,
		MaxRetries:               -1, // the caller asks again
		DialerRetries:            1,
		ContextTimeoutEnabled:    true,
	})
	defer rdb.Close()
	return f(ctx, rdb)
}

// askPID asks the server at an address which process it is.
func (d *Driver) askPID(ctx context.Context, e wire.Endpoint) (pid int, err error) {
	err = d.ask(ctx, e, func(ctx context.Context, rdb *redis.Client) error {
		info, err := rdb.Info(ctx, "server").Result()
		if err != nil {
			return err
		}
		_, rest, _ := strings.Cut(info, "process_id:")
		_, err = fmt.Sscanf(rest, "%d", &pid)
		return err
	})
	return pid, err
}

// askMaster asks a Redis who its master is; one that is master names itself.
func (d *Driver) askMaster(ctx context.Context, e wire.Endpoint) (master wire.Endpoint, err error) {
	err = d.ask(ctx, e, func(ctx context.Context, rdb *redis.Client) error {
		role, err := rdb.Do(ctx, "ROLE").Slice() // "master", … or "slave", host, port, …
		switch {
		case err != nil:
			return err
		case len(role) > 2 && role[0] == "master":
			master = e
			return nil
		case len(role) > 2 && role[0] == "slave":
			_, err = fmt.Sscan(fmt.Sprint(role[1], " ", role[2]), &master.Host, &master.Port)
			return err
		}
		return fmt.Errorf("ROLE answers %v", role)
	})
	return master, err
}

// flushConfig has a Sentinel write its configuration file.
func (d *Driver) flushConfig(ctx context.Context, sentinel wire.Endpoint) error {
	return d.ask(ctx, sentinel, func(ctx context.Context, rdb *redis.Client) error {
		return rdb.Do(ctx, "SENTINEL", "FLUSHCONFIG").Err()
	})
}

// claims asks all Sentinels who is master. Those that do not answer say
// nothing.
func (d *Driver) claims(ctx context.Context, sentinels []wire.Endpoint) []deploy.Claim {
	var claims []deploy.Claim
	for _, r := range d.sentinels.Ask(ctx, sentinels) {
		switch {
		case r.Err == nil:
			claims = append(claims, deploy.Claim{Master: r.Master, Epoch: r.Epoch})
		case !errors.Is(r.Err, context.Canceled):
			d.log.Warn("a Sentinel does not answer", "sentinel", address(r.Sentinel), "error", r.Err)
		}
	}
	return claims
}
