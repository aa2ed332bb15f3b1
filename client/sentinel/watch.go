package sentinel

import (
	"context"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/framedb/framedb/client/wire"
)

const (
	switchChannel = "+switch-master"
	// silentFor is how long nothing may come before the Sentinel is pinged; a
	// second time without anything ends the connection. A Sentinel that hangs is
	// noticed after twice that at the latest.
	silentFor = 5 * time.Second
	// Pauses between attempts to reach a Sentinel again.
	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
)

// Watch calls changed after each +switch-master of any of the Sentinels and
// after each connect and reconnect to one (something may have been missed
// before), until ctx ends; then it returns ctx's error. One failover is told
// once by each Sentinel. changed must not block; it is never called by two
// goroutines at once.
//
// It uses one connection for each Sentinel, beside those of the other calls.
func (c *Client) Watch(ctx context.Context, sentinels []wire.Endpoint, changed func()) error {
	var mu sync.Mutex
	tell := func() {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() == nil {
			changed()
		}
	}
	var watchers sync.WaitGroup
	for _, s := range sentinels {
		watchers.Go(func() { c.watchOne(ctx, s, tell) })
	}
	watchers.Wait()
	<-ctx.Done()
	return ctx.Err()
}

func (c *Client) watchOne(ctx context.Context, s wire.Endpoint, changed func()) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = firstPause, maxPause
	for ctx.Err() == nil {
		err := c.follow(ctx, s, func() {
			pause.Reset()
			changed()
		})
		if ctx.Err() != nil {
			return
		}
		c.log.Debug("watching a Sentinel failed", "sentinel", addr(s), "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause.NextBackOff()):
		}
	}
}

// follow subscribes and reports until the connection fails or ctx ends.
func (c *Client) follow(ctx context.Context, s wire.Endpoint, changed func()) error {
	conn, err := dial(ctx, s, c.conns.password)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	conn.Command("SUBSCRIBE", switchChannel)
	for asked := true; ; {
		conn.Deadline(time.Now().Add(c.silence))
		if asked {
			if err := conn.Flush(); err != nil {
				return err
			}
		}
		got, err := conn.Reply(maxText)
		switch {
		case isTimeout(err) && !asked:
			conn.Command("PING")
			asked = true
			continue
		case err != nil:
			return err
		}
		asked = false
		if kind := first(got); kind == "message" || kind == "subscribe" {
			changed()
		}
	}
}

// first is the kind of a message: "subscribe", "message" or "pong".
func first(message any) any {
	if list, ok := message.([]any); ok && len(list) > 0 {
		return list[0]
	}
	return nil
}
