package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// held is a key whose metadata this transaction has locked.
type held struct {
	b   *Backend
	tx  *sql.Tx
	key objects.Key
	now int64
	meta
}

// commit makes an object visible: it locks the key, checks the condition, has
// store put the bytes in place, and writes the metadata, in one transaction.
func (b *Backend) commit(ctx context.Context, key objects.Key, m *meta, opts objects.PutOptions,
	store func(context.Context, *sql.Tx) error) (objects.Info, error) {
	if err := ctx.Err(); err != nil {
		_, err = judge(err)
		return objects.Info{}, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitWithin)
	defer cancel()
	var before version // what the first run found
	err := b.inTx(ctx, "put", func(ctx context.Context, tx *sql.Tx, unsure bool) error {
		h, err := b.hold(ctx, tx, key)
		if err != nil {
			return err
		}
		switch {
		case h.version == m.version: // an earlier run was committed
			*m = h.meta
			return nil
		case unsure && h.version != before:
			return wire.Errorf(wire.CodeOutcomeUnknown, "put %q: another writer came in between", key)
		}
		before = h.version
		return h.replace(ctx, m, opts, store)
	})
	if err != nil {
		return objects.Info{}, err
	}
	return m.info(key), nil
}

// hold locks the key for this transaction.
func (b *Backend) hold(ctx context.Context, tx *sql.Tx, key objects.Key) (*held, error) {
	var none [16]byte
	if _, err := tx.StmtContext(ctx, b.stmt.place).ExecContext(ctx, []byte(key), none[:]); err != nil {
		return nil, err
	}
	h := &held{b: b, tx: tx, key: key}
	var text []byte
	if err := tx.StmtContext(ctx, b.stmt.lock).QueryRowContext(ctx, []byte(key)).Scan(&h.now, &text); err != nil {
		return nil, err
	}
	var err error
	h.meta, err = decodeMeta(text)
	if errors.Is(err, wire.ErrCorrupt) {
		err = nil // whoever writes or deletes does not need it
	}
	return h, err
}

func (h *held) replace(ctx context.Context, m *meta, opts objects.PutOptions, store func(context.Context, *sql.Tx) error) error {
	if err := h.check(ctx, opts.Condition); err != nil {
		return err
	}
	m.modified, m.created, m.expires = h.now, h.now, 0
	if h.exists() && !h.expired(h.now) {
		m.created = h.created
	}
	if opts.TTL > 0 {
		m.expires = h.now + int64((opts.TTL+time.Millisecond-1)/time.Millisecond)
	}
	if err := store(ctx, h.tx); err != nil {
		return err
	}
	if err := h.retireParts(ctx); err != nil {
		return err
	}
	_, err := h.tx.StmtContext(ctx, h.b.stmt.setMeta).ExecContext(ctx, m.version[:], m.expires, m.encode(), []byte(h.key))
	return err
}

// retireParts leaves the parts of the object that was there to the sweep.
func (h *held) retireParts(ctx context.Context) error {
	if h.chunks == 0 {
		return nil
	}
	_, err := h.tx.StmtContext(ctx, h.b.stmt.retire).ExecContext(ctx, h.version[:], h.now)
	return err
}

// check locks the row, too: other programs do not know of the metadata's lock.
func (h *held) check(ctx context.Context, cond objects.Condition) error {
	if cond.Always() {
		return nil
	}
	st, err := h.state(ctx)
	if err != nil {
		return err
	}
	sum := h.sum
	if st == foreign && len(cond.IfMatch) > 0 {
		if sum, err = h.foreignSum(ctx); err != nil {
			return err
		}
	}
	return cond.Check(st != absent, sum)
}

func (h *held) state(ctx context.Context) (state, error) {
	r := row{there: true}
	err := h.tx.StmtContext(ctx, h.b.stmt.lockRow).QueryRowContext(ctx, string(h.key)).Scan(&r.size, &r.crc)
	if errors.Is(err, sql.ErrNoRows) {
		r, err = row{}, nil
	}
	if err != nil {
		return absent, err
	}
	return resolve(&h.meta, r, h.now), nil
}

func (h *held) foreignSum(ctx context.Context) (objects.Sum, error) {
	var data []byte
	err := h.tx.StmtContext(ctx, h.b.stmt.lockData).QueryRowContext(ctx, string(h.key)).Scan(&data)
	return objects.SumOf(data), err
}

// Delete takes away row, metadata and parts in one transaction.
func (b *Backend) Delete(ctx context.Context, key objects.Key, cond objects.Condition) error {
	if err := ctx.Err(); err != nil {
		_, err = judge(err)
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitWithin)
	defer cancel()
	var before version
	return b.inTx(ctx, "delete", func(ctx context.Context, tx *sql.Tx, unsure bool) error {
		h, err := b.hold(ctx, tx, key)
		if err != nil {
			return err
		}
		st, err := h.state(ctx)
		switch {
		case err != nil:
			return err
		case unsure && st == absent: // an earlier run was committed
			return h.drop(ctx)
		case unsure && (h.version != before || st == foreign):
			return wire.Errorf(wire.CodeOutcomeUnknown, "delete %q: another writer came in between", key)
		}
		before = h.version
		if err := h.check(ctx, cond); err != nil {
			return err
		}
		if st == absent {
			return wire.Errorf(wire.CodeNotFound, "there is no object %q", key)
		}
		return h.drop(ctx)
	})
}

// drop removes everything under the key. Metadata that hold only put there to
// have a lock goes with it.
func (h *held) drop(ctx context.Context) error {
	if err := h.retireParts(ctx); err != nil {
		return err
	}
	if _, err := h.tx.StmtContext(ctx, h.b.stmt.dropRow).ExecContext(ctx, string(h.key)); err != nil {
		return err
	}
	_, err := h.tx.StmtContext(ctx, h.b.stmt.dropMeta).ExecContext(ctx, []byte(h.key))
	return err
}
