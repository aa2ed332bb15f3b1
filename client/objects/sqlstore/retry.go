package sqlstore

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// A transaction is tried so often, with pauses that double up to a bound and
// are jittered by half: under a second in all, beside what statements take.
const (
	maxTries   = 8
	firstPause = 5 * time.Millisecond
	maxPause   = 250 * time.Millisecond
)

// commitWithin bounds the step that makes a change visible, with all its
// retries. It does not end with the caller's context: half a commit is worse
// than a late answer.
const commitWithin = 15 * time.Second

// again runs f, which changes nothing or is idempotent, until it succeeds or
// there is no use in it.
func (b *Backend) again(ctx context.Context, what string, f func(context.Context) error) error {
	var last error
	for try := range maxTries {
		if err := pause(ctx, try); err != nil {
			return err
		}
		err := f(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			_, err = judge(ctx.Err())
			return err
		}
		kind, told := judge(err)
		if kind == final {
			return told
		}
		last = told
		b.log.Debug("trying again", "what", what, "try", try+1, "error", err)
	}
	return last
}

// pause waits before every try but the first.
func pause(ctx context.Context, try int) error {
	if try == 0 {
		return nil
	}
	d := min(firstPause<<(try-1), maxPause)
	d = d/2 + rand.N(d)
	select {
	case <-ctx.Done():
		_, err := judge(ctx.Err())
		return err
	case <-time.After(d):
		return nil
	}
}

// inTx runs f in a transaction, again as long as the database asks for that.
// f learns with unsure that an earlier run may have been committed: it must
// find out, and must not run twice. f's own *wire.Error ends it.
func (b *Backend) inTx(ctx context.Context, what string, f func(ctx context.Context, tx *sql.Tx, unsure bool) error) error {
	unsure := false
	err := b.again(ctx, what, func(ctx context.Context) error {
		tx, err := b.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if err := f(ctx, tx, unsure); err != nil {
			tx.Rollback()
			return err
		}
		err = tx.Commit()
		if err != nil {
			unsure = unsure || doubtful(err)
		}
		return err
	})
	if err != nil && unsure {
		return wire.Errorf(wire.CodeOutcomeUnknown, "%s: it may have happened or not: %v", what, err)
	}
	return err
}

// doubtful reports whether a COMMIT that ended with err may have happened.
func doubtful(err error) bool {
	kind, told := judge(err)
	switch wire.CodeOf(told) {
	case wire.CodeInternal, wire.CodeTimeout:
		return true
	}
	return kind == unknown
}
