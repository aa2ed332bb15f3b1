package frames

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/framedb/framedb/client/internal/resp"
	"github.com/framedb/framedb/client/wire"
)

// Pauses between attempts: the first is about what a lost connection needs, the
// last bounds what 1,000 clients do to a cluster without a master.
const (
	firstPause = 10 * time.Millisecond
	maxPause   = 500 * time.Millisecond
)

func newPause() *backoff.ExponentialBackOff {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = firstPause, maxPause
	return pause
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// final is an error that ends a call: another attempt would not end better, or
// might do harm.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

func isFinal(err error) bool {
	_, ok := errors.AsType[final](err)
	return ok
}

// retry calls f until it succeeds, fails for good, or RetryFor has passed since
// its first failure.
func (c *Cluster) retry(ctx context.Context, f func() error) error {
	var pause *backoff.ExponentialBackOff
	var deadline time.Time
	for {
		err := f()
		if err == nil {
			return nil
		}
		if end, ok := errors.AsType[final](err); ok {
			return end.error
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if pause == nil {
			pause, deadline = newPause(), time.Now().Add(c.cfg.RetryFor)
		}
		wait := pause.NextBackOff()
		if _, closed := c.known(); closed != nil || time.Now().Add(wait).After(deadline) {
			return fmt.Errorf("cluster %q: %w", c.name, withCode(wire.CodeUnavailable, "its master cannot be used", err))
		}
		c.log.Debug("trying again", "after", wait, "err", err)
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// withCode gives err a code that its chain had not, or had another one.
func withCode(code wire.Code, what string, err error) error {
	return fmt.Errorf("%w: %w", wire.Errorf(code, "%s", what), err)
}

// do runs op on a connection to the master and tries again where that is safe:
// always when op certainly was not executed, and with repeatable also when it
// may have been.
func (c *Cluster) do(ctx context.Context, repeatable bool, op func(*conn) error) error {
	return c.retry(ctx, func() error {
		l, err := c.master(ctx)
		if err != nil {
			return notAdmitted(err)
		}
		cn, err := l.get(ctx)
		if err != nil {
			if ctx.Err() == nil {
				c.drop(l)
			}
			return notAdmitted(err)
		}
		err = op(cn)
		return c.judge(ctx, l, cn, repeatable, err)
	})
}

// judge gives the connection back and decides what err means for the call.
func (c *Cluster) judge(ctx context.Context, l *link, cn *conn, repeatable bool, err error) error {
	if err == nil {
		l.put(cn, true)
		return nil
	}
	if isFinal(err) || resp.CodeOf(err) != "" {
		l.put(cn, true)
		if moved(err) {
			c.drop(l)
		}
		return forGood(err)
	}
	sent := cn.Sent()
	l.put(cn, false)
	if ctx.Err() != nil {
		err = errors.Join(err, ctx.Err())
	} else {
		c.drop(l)
	}
	if sent && !repeatable {
		return final{withCode(wire.CodeOutcomeUnknown, "it may or may not have been done", err)}
	}
	return err
}

// moved reports whether the server says that it is of no use as a master.
func moved(err error) bool {
	switch resp.CodeOf(err) {
	case "READONLY", "MASTERDOWN", "LOADING":
		return true
	}
	return false
}

// forGood is the one place that decides which error replies are worth another
// attempt; none of them was executed. It marks the others final, with the code
// that fits.
func forGood(err error) error {
	switch code := resp.CodeOf(err); code {
	case "":
		return err
	case "READONLY", "MASTERDOWN", "LOADING", "NOREPLICAS", "BUSY", "TRYAGAIN", "MISCONF":
		return err
	case "OOM":
		return final{withCode(wire.CodeOverloaded, "the FrameDB is full", err)}
	}
	if err := notAdmitted(err); isFinal(err) {
		return err
	}
	return final{withCode(wire.CodeInternal, "Redis refuses", err)}
}

// notAdmitted marks a wrong password final: asking again does not help. What
// else a server says while it is connected to passes.
func notAdmitted(err error) error {
	switch resp.CodeOf(err) {
	case "NOAUTH", "WRONGPASS", "NOPERM":
		return final{withCode(wire.CodeForbidden, "the password is not accepted", err)}
	}
	return err
}
