package backup

import (
	"context"
	"io"
	"sync"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// item is an object that is to be backed up.
type item struct {
	info  objects.Info // of a listing; the key alone for a named one
	named bool         // it must be there
}

// list calls f for the objects that are selected. One may come twice.
func (m *making) list(ctx context.Context, f func(item) error) error {
	for _, k := range m.opts.Selection.Keys {
		info, err := m.store.Stat(ctx, k)
		if err != nil {
			return ofObject(k, err)
		}
		if err := f(item{info: info, named: true}); err != nil {
			return err
		}
	}
	for _, prefix := range m.opts.Selection.Prefixes {
		if err := m.listPrefix(ctx, prefix, f); err != nil {
			return err
		}
	}
	return nil
}

func (m *making) listPrefix(ctx context.Context, prefix string, f func(item) error) error {
	opts := objects.ListOptions{Prefix: prefix}
	for {
		var page objects.Page
		err := again(ctx, func() (err error) {
			page, err = m.store.List(ctx, opts)
			return err
		})
		if err != nil {
			return err
		}
		for _, info := range page.Objects {
			if err := f(item{info: info}); err != nil {
				return err
			}
		}
		if opts.Cursor = page.Next; opts.Cursor == "" {
			return nil
		}
	}
}

// feed sends each object once; a listing of Redis may have one twice.
func (m *making) feed(ctx context.Context, send func(item) error) error {
	seen := map[objects.Sum]struct{}{} // of keys: 16 bytes instead of up to 255
	return m.list(ctx, func(it item) error {
		id := objects.SumOf([]byte(it.info.Key))
		if _, twice := seen[id]; twice {
			return nil
		}
		seen[id] = struct{}{}
		return send(it)
	})
}

// transfer brings one object into the backup, or finds that it is none.
func (m *making) transfer(ctx context.Context, it item) error {
	var e Entry
	key := it.info.Key
	err := again(ctx, func() (err error) {
		e, err = m.entry(ctx, it.info)
		return err
	})
	ours := wire.AsError(err) == nil || wire.AsError(err).Field == "" || wire.AsError(err).Field == "key" // not S3's
	switch code := wire.CodeOf(err); {
	case err == nil:
		if err := m.body.add(ctx, e); err != nil {
			return err
		}
		m.tracker.add(Progress{Objects: 1})
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case code == wire.CodeNotFound && ours && !it.named:
		m.gone.add(1)
	case code == wire.CodeInvalidArgument && ours && !it.named: // another program's key, which no object may have
		m.skipped.add(key, err)
	case code == wire.CodeCorrupt && m.opts.SkipDamaged:
		m.skipped.add(key, err)
	default:
		return ofObject(key, err)
	}
	m.tracker.add(Progress{Objects: 1, Bytes: it.info.Size})
	return nil
}

// entry stores the bytes of an object as it is now.
func (m *making) entry(ctx context.Context, listed objects.Info) (Entry, error) {
	if e, ok, err := m.unread(ctx, listed); ok || err != nil {
		return e, err
	}
	r, err := m.store.Get(ctx, listed.Key, objects.GetOptions{})
	if err != nil {
		return Entry{}, err
	}
	defer r.Close()
	info := r.Info()
	if pieces, ok := m.index.object(content{info.Sum, info.Size}); ok {
		m.count(info.Size, false)
		return Entry{info, pieces}, nil
	}
	pieces, done, err := m.send(ctx, r)
	if err != nil {
		m.tracker.add(Progress{Bytes: -done})
		if info.Foreign && wire.CodeOf(err) == wire.CodeCorrupt {
			// Its checksum is of a reading a moment ago: another program wrote.
			err = wire.Errorf(wire.CodeConflict, "it is changed all the time: %v", err)
		}
		return Entry{}, err
	}
	return Entry{info, pieces}, nil
}

// unread makes the entry of an object without reading it, when it is one that
// S3 has. The listing may be wrong where another program writes; Stat is not.
func (m *making) unread(ctx context.Context, listed objects.Info) (e Entry, ok bool, err error) {
	if listed.Foreign {
		return Entry{}, false, nil
	}
	pieces, ok := m.index.object(content{listed.Sum, listed.Size})
	if !ok {
		return Entry{}, false, nil
	}
	info, err := m.store.Stat(ctx, listed.Key)
	if err != nil || info.Foreign || info.Sum != listed.Sum || info.Size != listed.Size {
		return Entry{}, false, err
	}
	m.count(info.Size, false)
	return Entry{info, pieces}, true, nil
}

// send reads an object and uploads those of its pieces that S3 has not.
func (m *making) send(ctx context.Context, r *objects.Reader) (pieces []piece, done int64, err error) {
	buf := m.repo.bufs.Get().(*[]byte)
	defer m.repo.bufs.Put(buf)
	for {
		n, err := io.ReadFull(r, *buf)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return nil, done, err
		}
		if n > 0 {
			p, sent, err := m.upload(ctx, (*buf)[:n])
			if err != nil {
				return nil, done, err
			}
			pieces = append(pieces, p)
			done += int64(n)
			m.count(int64(n), sent)
		}
		if err != nil { // the end: all bytes came and are right
			return pieces, done, nil
		}
	}
}

func (m *making) count(n int64, sent bool) {
	d := Progress{Bytes: n}
	if sent {
		d.Moved = n
		m.repo.metrics.move("backup", n)
	}
	m.tracker.add(d)
}

// upload stores bytes unless S3 has them.
func (m *making) upload(ctx context.Context, data []byte) (p piece, sent bool, err error) {
	c := contentOf(data)
	if p, ok := m.index.piece(c); ok {
		return p, false, nil
	}
	if p, err = m.place.putPiece(ctx, m.run, c, data); err != nil {
		return piece{}, false, err
	}
	m.index.add(p)
	return p, true, nil
}

// skips are the objects that were left out.
type skips struct {
	mu    sync.Mutex
	count int64
	first []Skipped
}

func (s *skips) add(key objects.Key, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	if len(s.first) < maxSkipped {
		s.first = append(s.first, Skipped{Key: key, Why: why.Error()})
	}
}

type counter struct {
	mu sync.Mutex
	n  int64
}

func (c *counter) add(n int64) { c.mu.Lock(); c.n += n; c.mu.Unlock() }

func (c *counter) get() int64 { c.mu.Lock(); defer c.mu.Unlock(); return c.n }
