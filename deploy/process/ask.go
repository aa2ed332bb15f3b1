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

// askPID asks the server at an address which process it is.
func (d *Driver) askPID(ctx context.Context, e wire.Endpoint) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	// Dialled before the client is made, which complains to the standard log
	// of a port where nobody listens yet.
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address(e))
	if err != nil {
		return 0, err
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
	info, err := rdb.Info(ctx, "server").Result()
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(info, "process_id:")
	var pid int
	_, err = fmt.Sscanf(rest, "%d", &pid)
	return pid, err
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
