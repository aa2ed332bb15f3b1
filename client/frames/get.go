package frames

import (
	"context"

	"github.com/framedb/framedb/client/internal/resp"
	"github.com/framedb/framedb/client/wire"
)

const (
	// keysAtOnce bounds the keys of one MGET: Redis holds the whole answer in
	// memory and serves nobody else while it makes it.
	keysAtOnce = 64
	// moreTime is from which size a value has a stall of its own.
	moreTime = 1 << 20
)

// Frame is one value that was read. Data is valid until Release of its batch.
type Frame struct {
	Key  string
	Data []byte
	// Missing is true when there is no such key (or it holds no string); Data
	// is nil then.
	Missing bool
}

// Batch is what Get read, in the order of the keys.
type Batch struct {
	Frames []Frame
	held   []*buffer
	pool   *buffers
}

// Release gives the buffers back; do not touch any Data after it. A batch that
// is not released costs garbage, nothing else. A second Release does nothing.
func (b *Batch) Release() {
	held := b.held
	b.held = nil
	for i, buf := range held {
		if buf != nil {
			b.Frames[i].Data = nil
			b.pool.put(buf)
		}
	}
}

// Take puts the i-th frame of other, when it is there, in the place at[i] of b.
// The frames are b's then; other is released.
func (b *Batch) Take(other *Batch, at []int) {
	for i, to := range at {
		if !other.Frames[i].Missing {
			b.Frames[to], b.held[to] = other.Frames[i], other.held[i]
			other.held[i] = nil
		}
	}
	other.Release()
}

// Get reads keys from the master in one pipeline. The frames are of one moment
// only up to 64 keys.
//
// Errors: ErrUnavailable (no master for as long as RetryFor), ErrTooLarge (a
// value exceeds wire.MaxFrame; Field is its key), ctx's.
func (c *Cluster) Get(ctx context.Context, keys ...string) (*Batch, error) {
	b := &Batch{Frames: make([]Frame, len(keys)), held: make([]*buffer, len(keys)), pool: &c.buffers}
	read := 0 // what was read before a failure is kept
	for read < len(keys) {
		err := c.do(ctx, true, func(cn *conn) error {
			n, err := b.fill(ctx, cn, keys, read)
			read = n
			return err
		})
		if err != nil {
			b.Release()
			return nil, err
		}
	}
	return b, nil
}

// fill asks for up to keysAtOnce keys from keys[from] on and returns how far it
// came.
func (b *Batch) fill(ctx context.Context, cn *conn, keys []string, from int) (int, error) {
	until := min(from+keysAtOnce, len(keys))
	cn.Begin(1 + until - from)
	cn.Arg("MGET")
	for _, key := range keys[from:until] {
		cn.Arg(key)
	}
	end := cn.Within(ctx, stall)
	defer func() {
		if !end() {
			cn.spoiled = true
		}
	}()
	if err := cn.Flush(); err != nil {
		return from, err
	}
	n, err := cn.Array()
	if err != nil {
		return from, err
	}
	if n != until-from {
		return from, resp.ErrProtocol
	}
	for i := from; i < until; i++ {
		size, err := cn.Bulk()
		if err != nil {
			return i, err
		}
		if size > moreTime {
			if !end() {
				return i, ctx.Err()
			}
			end = cn.Within(ctx, stall)
		}
		if err := b.read(cn, i, keys[i], size); err != nil {
			return i, err
		}
	}
	return until, nil
}

// read reads the value of size bytes for the i-th key; -1 is missing.
func (b *Batch) read(cn *conn, i int, key string, size int) error {
	f := &b.Frames[i]
	*f = Frame{Key: key, Missing: size < 0}
	if size < 0 {
		return nil
	}
	if size > wire.MaxFrame {
		cn.spoiled = true
		return final{wire.InField(key, wire.Errorf(wire.CodeTooLarge, "it has %d bytes, a frame has at most %d", size, wire.MaxFrame))}
	}
	buf := b.pool.get(size)
	if err := cn.Read(buf.bytes[:size]); err != nil {
		b.pool.put(buf)
		return err
	}
	b.held[i], f.Data = buf, buf.bytes[:size:size]
	return nil
}
