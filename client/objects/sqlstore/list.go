package sqlstore

import (
	"context"
	"database/sql"
	"slices"
	"strings"

	"github.com/framedb/framedb/client/objects"
)

// List merges two sorted ranges: the keys of data_table and the metadata. The
// cursor is the last key that was given or passed over.
func (b *Backend) List(ctx context.Context, opts objects.ListOptions) (objects.Page, error) {
	from, op := opts.Prefix, ">="
	if opts.Cursor != "" {
		from, op = opts.Cursor, ">"
	}
	var page objects.Page
	err := b.again(ctx, "list", func(ctx context.Context) error {
		rows, err := b.listRows(ctx, op, from, opts.Limit)
		if err != nil {
			return err
		}
		metas, now, err := b.listMeta(ctx, op, from, opts.Limit)
		if err != nil {
			return err
		}
		m := merge{prefix: opts.Prefix, limit: opts.Limit, now: now}
		m.run(rows, metas)
		page = m.page
		return b.sizeForeign(ctx, &page)
	})
	return page, err
}

func (b *Backend) listRows(ctx context.Context, op, from string, limit int) ([]string, error) {
	rows, err := b.db.QueryContext(ctx, "SELECT `key` FROM data_table WHERE `key` "+op+" ? ORDER BY `key` LIMIT ?", from, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var keys []string
	for rows.Next() {
		var k string
		if err := rows.Scan(&k); err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, rows.Err()
}

// listed is the metadata of one key.
type listed struct {
	key string
	meta
}

func (b *Backend) listMeta(ctx context.Context, op, from string, limit int) (metas []listed, now int64, err error) {
	rows, err := b.db.QueryContext(ctx, "SELECT "+nowMS+", k, meta"+
		" FROM framedb_objects WHERE k "+op+" ? ORDER BY k LIMIT ?", []byte(from), limit)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var l listed
		var text sql.RawBytes
		if err := rows.Scan(&now, &l.key, &text); err != nil {
			return nil, 0, err
		}
		if l.meta, err = decodeMeta(text); err != nil {
			return nil, 0, err
		}
		metas = append(metas, l)
	}
	return metas, now, rows.Err()
}

// merge walks over both ranges as far as both are known.
type merge struct {
	prefix string
	limit  int
	now    int64
	page   objects.Page
}

func (m *merge) run(rows []string, metas []listed) {
	moreRows, moreMetas := len(rows) == m.limit, len(metas) == m.limit
	last := ""
	for len(rows) > 0 || len(metas) > 0 {
		if len(m.page.Objects) == m.limit ||
			len(rows) == 0 && moreRows || len(metas) == 0 && moreMetas {
			m.page.Next = last
			return
		}
		var row bool
		var meta *listed
		switch {
		case len(metas) == 0 || len(rows) > 0 && rows[0] < metas[0].key:
			row, last = true, rows[0]
		case len(rows) == 0 || metas[0].key < rows[0]:
			meta, last = &metas[0], metas[0].key
		default:
			row, meta, last = true, &metas[0], rows[0]
		}
		if !strings.HasPrefix(last, m.prefix) {
			return
		}
		if row {
			rows = rows[1:]
		}
		if meta != nil {
			metas = metas[1:]
		}
		m.add(last, row, meta)
	}
	if moreRows || moreMetas {
		m.page.Next = last
	}
}

// add decides as resolve does, but believes metadata of a row: looking at the
// bytes of each would read them all.
func (m *merge) add(key string, row bool, l *listed) {
	inRow := l != nil && l.chunks == 0
	switch {
	case row && inRow, !row && l != nil && !inRow:
		if !l.expired(m.now) {
			m.page.Objects = append(m.page.Objects, l.info(objects.Key(key)))
		}
	case row:
		m.page.Objects = append(m.page.Objects, objects.Info{Key: objects.Key(key), Foreign: true})
	}
}

// sizeForeign asks for the sizes of rows that have no metadata.
func (b *Backend) sizeForeign(ctx context.Context, page *objects.Page) error {
	var keys []any
	for _, o := range page.Objects {
		if o.Foreign {
			keys = append(keys, string(o.Key))
		}
	}
	if len(keys) == 0 {
		return nil
	}
	sizes, err := b.rowSizes(ctx, keys)
	if err != nil {
		return err
	}
	page.Objects = slices.DeleteFunc(page.Objects, func(o objects.Info) bool {
		_, there := sizes[string(o.Key)]
		return o.Foreign && !there // deleted meanwhile
	})
	for i := range page.Objects {
		if o := &page.Objects[i]; o.Foreign {
			o.Size = sizes[string(o.Key)]
		}
	}
	return nil
}

func (b *Backend) rowSizes(ctx context.Context, keys []any) (map[string]int64, error) {
	rows, err := b.db.QueryContext(ctx, "SELECT `key`, COALESCE(LENGTH(data), 0) FROM data_table WHERE `key` IN (?"+repeat(len(keys)-1)+")", keys...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	return scanSizes(rows)
}

func scanSizes(rows *sql.Rows) (map[string]int64, error) {
	sizes := map[string]int64{}
	for rows.Next() {
		var k string
		var n int64
		if err := rows.Scan(&k, &n); err != nil {
			return nil, err
		}
		sizes[k] = n
	}
	return sizes, rows.Err()
}

// repeat gives n more parameters of a list.
func repeat(n int) string { return strings.Repeat(", ?", n) }
