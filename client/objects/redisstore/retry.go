package redisstore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/wire"
)

// A call is tried so often, with doubling pauses that are jittered by half:
// some two seconds in all. Riding out a failover is the Master's part, which
// is asked each time.
const (
	maxTries   = 8
	firstPause = 10 * time.Millisecond
	maxPause   = 500 * time.Millisecond
)

// commitWithin bounds the step that makes a change visible, all tries
// included; it does not end with the caller's context. doneFor is how long
// Redis remembers that step's answer and must be longer.
const (
	commitWithin = 15 * time.Second
	doneFor      = 30 * time.Second
)

// again runs f, which changes nothing or the same once, until it succeeds or
// there is no use in it. sent reports whether a try may have reached Redis and
// got no answer.
func (b *Backend) again(ctx context.Context, f func(context.Context, *redis.Client) error) (sent bool, err error) {
	for try := range maxTries {
		if perr := pause(ctx, try); perr != nil {
			return sent, perr
		}
		rdb, merr := b.cfg.Master.Redis(ctx)
		if merr != nil {
			return sent, merr
		}
		if err = f(ctx, rdb); err == nil {
			return sent, nil
		}
		if ctx.Err() != nil {
			return true, ended(ctx)
		}
		passing, silent, told := judge(err)
		sent = sent || silent
		if err = told; !passing {
			return sent, err
		}
		b.cfg.Logger.Debug("trying again", "try", try+1, "error", err)
	}
	return sent, err
}

// read is again for what changes nothing.
func (b *Backend) read(ctx context.Context, f func(context.Context, *redis.Client) error) error {
	_, err := b.again(ctx, f)
	return err
}

// once is again for the step that makes a change visible, which carries a
// version by which Redis knows a repetition.
func (b *Backend) once(ctx context.Context, what string, f func(context.Context, *redis.Client) error) error {
	if ctx.Err() != nil {
		return ended(ctx)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitWithin)
	defer cancel()
	sent, err := b.again(ctx, f)
	if sent && err != nil {
		return wire.Errorf(wire.CodeOutcomeUnknown, "%s: it may have happened or not: %v", what, err)
	}
	return err
}

func ended(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return typed(wire.CodeTimeout, "the time is over", ctx.Err())
	}
	return ctx.Err()
}

func pause(ctx context.Context, try int) error {
	if try == 0 {
		return nil
	}
	d := min(firstPause<<(try-1), maxPause)
	select {
	case <-ctx.Done():
		return ended(ctx)
	case <-time.After(d/2 + mathrand.N(d)):
		return nil
	}
}

// judge is the one place that knows Redis' errors: whether another try may
// help, whether Redis may have done what it was asked without an answer, and
// what the caller hears.
func judge(err error) (passing, silent bool, told error) {
	var we *wire.Error
	var re redis.Error
	switch {
	case errors.Is(err, errTorn):
		return true, false, err
	case errors.As(err, &we):
		return false, false, err
	case redis.IsOOMError(err):
		return false, false, typed(wire.CodeOverloaded, "Redis is full", err)
	case redis.IsAuthError(err), redis.IsPermissionError(err):
		return false, false, typed(wire.CodeForbidden, "Redis refuses this user", err)
	case redis.HasErrorPrefix(err, "MISCONF"):
		return false, false, typed(wire.CodeDiskFull, "Redis cannot write to its disk and refuses writes", err)
	case redis.IsReadOnlyError(err), redis.IsLoadingError(err), redis.IsMasterDownError(err),
		redis.IsNoReplicasError(err), redis.IsTryAgainError(err), redis.IsMaxClientsError(err),
		redis.HasErrorPrefix(err, "BUSY"):
		return true, false, typed(wire.CodeUnavailable, "Redis refuses for now", err)
	case redis.HasErrorPrefix(err, "WRONGTYPE"):
		return false, false, typed(wire.CodeConflict, "the key holds no string but another type of Redis", err)
	case errors.As(err, &re):
		return false, false, typed(wire.CodeInternal, "Redis refused", err)
	case errors.Is(err, redis.ErrClosed):
		return true, false, typed(wire.CodeUnavailable, "the master changed", err)
	}
	return true, true, typed(wire.CodeUnavailable, "Redis does not answer", err)
}

// errTorn is an ErrConflict: another writer came in the middle of a read.
var errTorn = fmt.Errorf("read: %w", wire.Errorf(wire.CodeConflict, "the object changes all the time"))

func typed(code wire.Code, what string, err error) error {
	return fmt.Errorf("%w: %w", wire.Errorf(code, "%s", what), err)
}

func newVersion() string {
	var v [16]byte
	rand.Read(v[:]) // never fails
	return hex.EncodeToString(v[:])
}

// transaction runs commands in MULTI and EXEC. When Redis refuses one of them,
// the error is why, not that the others were discarded.
func transaction(ctx context.Context, rdb *redis.Client, f func(redis.Pipeliner)) error {
	cmds, err := rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		f(p)
		return nil
	})
	if !redis.IsExecAbortError(err) {
		return err
	}
	for _, cmd := range cmds {
		if cmd.Err() != nil && !redis.IsExecAbortError(cmd.Err()) {
			return cmd.Err()
		}
	}
	return err
}
