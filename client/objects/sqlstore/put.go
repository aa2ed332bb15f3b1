package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// Put reads up to one batch. What ends there and fits is stored as a row; the
// rest goes in batches of parts, and the last step makes them visible.
func (b *Backend) Put(ctx context.Context, key objects.Key, src *objects.Source, opts objects.PutOptions) (objects.Info, error) {
	u := &upload{b: b, key: key, src: src, opts: opts, version: newVersion()}
	defer u.release()
	if err := u.fill(); err != nil {
		return objects.Info{}, err
	}
	if u.ended && len(u.buf) <= b.limits.Row {
		info, err := u.putRow(ctx)
		if !errors.Is(err, wire.ErrTooLarge) {
			return info, err
		}
		// The server's limit is lower than it said, or was lowered since.
		b.log.Warn("the server takes no row so large, storing parts", "bytes", len(u.buf), "error", err)
	}
	info, err := u.putParts(ctx)
	if err != nil {
		u.abandon(ctx)
	}
	return info, err
}

// upload is one Put on its way.
type upload struct {
	b       *Backend
	key     objects.Key
	src     *objects.Source
	opts    objects.PutOptions
	version version

	buf    []byte // bytes that were read and not stored yet, at most a batch
	ended  bool   // src has ended
	chunks int    // parts that were stored
}

// fill reads until there is a whole batch, or the end.
func (u *upload) fill() error {
	batch := u.b.limits.Batch
	if u.buf == nil {
		u.buf = u.first(batch)
	}
	u.buf = u.buf[:0]
	for len(u.buf) < batch {
		if len(u.buf) == cap(u.buf) {
			u.grow(batch)
		}
		n, err := u.src.Read(u.buf[len(u.buf):min(cap(u.buf), batch)])
		u.buf = u.buf[:len(u.buf)+n]
		if err == io.EOF {
			u.ended = true
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the object: %w", err)
		}
	}
	return nil
}

// first makes a buffer of the announced size and one byte more, in which the
// reader can say io.EOF; or a small one that grows.
func (u *upload) first(batch int) []byte {
	n := int64(64 << 10)
	if a := u.src.Announced(); a >= 0 {
		n = a + 1
	}
	if n >= int64(batch) {
		return u.b.takeBatch()
	}
	return make([]byte, 0, n)
}

func (u *upload) grow(batch int) {
	bigger := u.b.takeBatch
	if n := 4 * cap(u.buf); n < batch {
		bigger = func() []byte { return make([]byte, 0, n) }
	}
	u.buf = append(bigger(), u.buf...)
}

// takeBatch gives a buffer of one batch.
func (b *Backend) takeBatch() []byte {
	if buf, ok := b.batches.Get().(*[]byte); ok {
		return (*buf)[:0]
	}
	return make([]byte, 0, b.limits.Batch)
}

func (u *upload) release() {
	if cap(u.buf) == u.b.limits.Batch {
		u.b.batches.Put(&u.buf)
	}
}

// putRow stores all of the object as the row of data_table.
func (u *upload) putRow(ctx context.Context) (objects.Info, error) {
	m := u.meta()
	m.crc = crc32.ChecksumIEEE(u.buf)
	return u.b.commit(ctx, u.key, &m, u.opts, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.StmtContext(ctx, u.b.stmt.putRow).ExecContext(ctx, string(u.key), u.buf)
		return err
	})
}

// putParts stores the object in parts: what is in buf, and what is still to be
// read.
func (u *upload) putParts(ctx context.Context) (objects.Info, error) {
	for {
		if err := u.putBatch(ctx); err != nil {
			return objects.Info{}, err
		}
		if u.ended {
			break
		}
		if err := u.fill(); err != nil {
			return objects.Info{}, err
		}
	}
	m := u.meta()
	m.chunks, m.chunkSize = u.chunks, int64(u.b.limits.Chunk)
	return u.b.commit(ctx, u.key, &m, u.opts, func(ctx context.Context, tx *sql.Tx) error {
		if err := u.claim(tx.StmtContext(ctx, u.b.stmt.finish).ExecContext(ctx, u.version[:])); err != nil {
			return err
		}
		_, err := tx.StmtContext(ctx, u.b.stmt.dropRow).ExecContext(ctx, string(u.key))
		return err
	})
}

func (u *upload) meta() meta {
	return meta{
		version: u.version, size: u.src.Size(), sum: u.src.Sum(),
		contentType: u.opts.ContentType, user: u.opts.User,
	}
}

// putBatch stores the parts in buf in one transaction. Parts belong to this
// upload alone, so that a repetition changes nothing.
func (u *upload) putBatch(ctx context.Context) error {
	stored := 0
	err := u.b.inTx(ctx, "store parts", func(ctx context.Context, tx *sql.Tx, _ bool) error {
		if err := u.claim(u.enter(ctx, tx)); err != nil {
			return err
		}
		stored = 0
		put := tx.StmtContext(ctx, u.b.stmt.putChunk)
		for rest := u.buf; len(rest) > 0; stored++ {
			part := rest[:min(len(rest), u.b.limits.Chunk)]
			rest = rest[len(part):]
			sum := objects.SumOf(part)
			if _, err := put.ExecContext(ctx, u.version[:], u.chunks+stored, sum[:], part); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, wire.ErrOutcomeUnknown) {
		// Whatever became of these parts: the object is not visible.
		return wire.Errorf(wire.CodeUnavailable, "the database does not answer: %v", err)
	}
	u.chunks += stored
	return err
}

// enter writes the upload down with its first parts, and that it lives with
// the others. It holds the upload's row against a sweep until the transaction
// ends.
func (u *upload) enter(ctx context.Context, tx *sql.Tx) (sql.Result, error) {
	stmt := u.b.stmt.touch
	if u.chunks == 0 {
		stmt = u.b.stmt.begin
	}
	return tx.StmtContext(ctx, stmt).ExecContext(ctx, u.version[:])
}

// claim is an ErrConflict when the upload is not there any more.
func (u *upload) claim(res sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		return wire.Errorf(wire.CodeConflict, "the upload of %q stood still for so long that it was swept", u.key)
	}
	return err
}

// abandonWithin bounds the attempt to leave nothing behind.
const abandonWithin = 5 * time.Second

// abandon hands the parts to the next sweep at once. If it fails, the sweep
// finds them by their age.
func (u *upload) abandon(ctx context.Context) {
	if u.chunks == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonWithin)
	defer cancel()
	const give = "UPDATE framedb_uploads SET dead = 1, touched = 0 WHERE version = ?"
	if _, err := u.b.db.ExecContext(ctx, give, u.version[:]); err != nil {
		u.b.log.Warn("an interrupted upload stays until it is swept", "error", err)
	}
}
