package backup

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// Transfers at one time.
const (
	DefaultParallel = 4
	MaxParallel     = 64
)

func checkParallel(n int) (int, error) {
	switch {
	case n == 0:
		return DefaultParallel, nil
	case n < 0 || n > MaxParallel:
		return 0, invalid("parallel", "give 1 to %d, or 0 for %d", MaxParallel, DefaultParallel)
	}
	return n, nil
}

// each calls do, in n goroutines, for all that feed sends, until one fails. It
// returns when all have ended, with the first error.
func each[T any](ctx context.Context, n int, feed func(send func(T) error) error, do func(context.Context, T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	items := make(chan T)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for item := range items {
				if err := do(ctx, item); err != nil {
					cancel(err)
				}
			}
		})
	}
	err := feed(func(item T) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		select {
		case items <- item:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	close(items)
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// objectTries is how often the transfer of one object is tried.
const objectTries = 6

// again tries a transfer until it succeeds or there is no use in it, for some
// ten seconds in all.
func again(ctx context.Context, f func() error) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 100*time.Millisecond, 4*time.Second
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := f()
		if err != nil && !passing(err) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pause), backoff.WithMaxTries(objectTries), backoff.WithMaxElapsedTime(0))
	return unwrapPermanent(err)
}

func unwrapPermanent(err error) error {
	if p, ok := err.(*backoff.PermanentError); ok {
		return p.Unwrap()
	}
	return err
}

// passing reports whether another try may help.
func passing(err error) bool {
	switch wire.CodeOf(err) {
	case wire.CodeUnavailable, wire.CodeOverloaded, wire.CodeOutcomeUnknown, wire.CodeConflict, wire.CodeChecksum:
		return wire.AsError(err).Field == "" // those of S3 were tried often enough
	}
	return false
}

// ended gives the end of a context's time its code.
func ended(err error) error {
	var known *wire.Error
	if errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &known) {
		return fmt.Errorf("%w: %w", wire.Errorf(wire.CodeTimeout, "the time is over"), err)
	}
	return err
}

func ofObject(key objects.Key, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("object %q: %w", key, err)
}
