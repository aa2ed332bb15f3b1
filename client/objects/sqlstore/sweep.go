package sqlstore

import (
	"context"
	"database/sql"
	"time"

	"github.com/framedb/framedb/client/objects"
)

// Bounds of one call of Sweep: what is left, the next one does.
const (
	sweepExpired = 1000 // objects
	sweepUploads = 1000 // versions
	sweepStale   = 5000 // rows of metadata that are looked at
	pageStale    = 500
)

// Sweep frees expired objects, then versions that nobody sees, then looks at
// some of the metadata for what other programs overwrote or deleted.
func (b *Backend) Sweep(ctx context.Context, ages objects.SweepAges) (objects.Swept, error) {
	var s objects.Swept
	for _, step := range []func(context.Context, objects.SweepAges, *objects.Swept) error{
		b.sweepExpired, b.sweepUploads, b.sweepStale,
	} {
		if err := step(ctx, ages, &s); err != nil {
			return s, err
		}
	}
	return s, nil
}

// list collects the first column of a query's rows.
func list[T any](ctx context.Context, b *Backend, query string, args ...any) ([]T, error) {
	var all []T
	err := b.again(ctx, "sweep", func(ctx context.Context) error {
		all = nil
		rows, err := b.db.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var v T
			if err := rows.Scan(&v); err != nil {
				return err
			}
			all = append(all, v)
		}
		return rows.Err()
	})
	return all, err
}

func (b *Backend) sweepExpired(ctx context.Context, _ objects.SweepAges, s *objects.Swept) error {
	keys, err := list[string](ctx, b, "SELECT k FROM framedb_objects WHERE expires > 0 AND expires <= "+nowMS+" LIMIT ?", sweepExpired)
	if err != nil {
		return err
	}
	for _, key := range keys {
		done, err := b.tidy(ctx, objects.Key(key))
		if err != nil {
			return err
		}
		s.Expired += done
	}
	return nil
}

// tidy drops metadata that nobody sees, and its bytes, and tells whether it
// did. A row that another program wrote stays.
func (b *Backend) tidy(ctx context.Context, key objects.Key) (done int, err error) {
	err = b.inTx(ctx, "sweep", func(ctx context.Context, tx *sql.Tx, _ bool) error {
		h, err := b.hold(ctx, tx, key)
		if err != nil {
			return err
		}
		st, err := h.state(ctx)
		if err != nil {
			return err
		}
		done = 1
		switch {
		case st == absent:
			return h.drop(ctx)
		case st == foreign && h.exists():
			if err := h.retireParts(ctx); err != nil {
				return err
			}
		case st == foreign: // no metadata but that of hold
			done = 0
		default:
			done = 0
			return nil
		}
		_, err = tx.StmtContext(ctx, b.stmt.dropMeta).ExecContext(ctx, []byte(key))
		return err
	})
	return done, err
}

func (b *Backend) sweepUploads(ctx context.Context, ages objects.SweepAges, s *objects.Swept) error {
	old := nowMS + " - IF(dead = 1, ?, ?)"
	args := []any{milliseconds(ages.Replaced), milliseconds(ages.Abandoned)}
	versions, err := list[[]byte](ctx, b, "SELECT version FROM framedb_uploads WHERE touched <= "+old+" ORDER BY touched LIMIT ?",
		append(args, sweepUploads)...)
	if err != nil {
		return err
	}
	for _, v := range versions {
		if err := b.sweepUpload(ctx, v, old, args, s); err != nil {
			return err
		}
	}
	return nil
}

func milliseconds(d time.Duration) int64 { return max(d, 0).Milliseconds() }

// sweepUpload first makes sure that its writer adds nothing any more: marking
// it waits for a batch that is on its way, and later ones find the mark.
func (b *Backend) sweepUpload(ctx context.Context, v []byte, old string, args []any, s *objects.Swept) error {
	n, err := b.change(ctx, "UPDATE framedb_uploads SET dead = 1 WHERE version = ? AND touched <= "+old, append([]any{v}, args...)...)
	if err != nil || n == 0 {
		return err
	}
	for {
		n, err := b.change(ctx, "DELETE FROM framedb_chunks WHERE version = ? LIMIT ?", v, b.limits.Batch/b.limits.Chunk)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		s.Chunks += int(n)
	}
	if n, err = b.change(ctx, "DELETE FROM framedb_uploads WHERE version = ? AND dead = 1", v); err != nil {
		return err
	}
	s.Uploads += int(n)
	return nil
}

// change runs one statement that may run twice and tells how many rows it hit.
func (b *Backend) change(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = b.again(ctx, "sweep", func(ctx context.Context) error {
		res, err := b.db.ExecContext(ctx, query, args...)
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	return n, err
}

// sweepStale goes on where the sweep before it ended, and around.
func (b *Backend) sweepStale(ctx context.Context, _ objects.SweepAges, s *objects.Swept) error {
	b.mu.Lock()
	from := b.staleFrom
	b.mu.Unlock()
	for seen := 0; seen < sweepStale; seen += pageStale {
		metas, err := b.stalePage(ctx, from)
		if err != nil {
			return err
		}
		if err := b.dropStale(ctx, metas, s); err != nil {
			return err
		}
		if from = ""; len(metas) < pageStale {
			break
		}
		from = metas[len(metas)-1].key
	}
	b.mu.Lock()
	b.staleFrom = from
	b.mu.Unlock()
	return nil
}

func (b *Backend) stalePage(ctx context.Context, from string) (metas []listed, err error) {
	err = b.again(ctx, "sweep", func(ctx context.Context) error {
		metas, _, err = b.listMeta(ctx, ">", from, pageStale)
		return err
	})
	return metas, err
}

func (b *Backend) dropStale(ctx context.Context, metas []listed, s *objects.Swept) error {
	if len(metas) == 0 {
		return nil
	}
	args := make([]any, len(metas))
	for i, m := range metas {
		args[i] = m.key
	}
	in := "SELECT `key` FROM data_table WHERE `key` IN (?" + repeat(len(args)-1) + ")"
	rows, err := list[string](ctx, b, in, args...)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, k := range rows {
		there[k] = true
	}
	for _, m := range metas {
		if there[m.key] == (m.chunks == 0) {
			continue
		}
		done, err := b.tidy(ctx, objects.Key(m.key))
		if err != nil {
			return err
		}
		s.Stale += done
	}
	return nil
}
