package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"io"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// found is what one statement saw under a key.
type found struct {
	now  int64
	meta meta
	row  row
	data []byte // of the row, when it was asked for
}

// look asks for both tables at one moment: the row's size and CRC-32.
func (b *Backend) look(ctx context.Context, key objects.Key) (found, error) {
	var f found
	err := b.again(ctx, "look", func(ctx context.Context) error {
		f = found{}
		var text []byte
		err := b.stmt.stat.QueryRowContext(ctx, []byte(key), string(key)).Scan(&f.now, &text, &f.row.there, &f.row.size, &f.row.crc)
		if err != nil {
			return err
		}
		f.meta, err = decodeMeta(text)
		return err
	})
	return f, err
}

// lookData asks for the row's bytes, and for what look gives when there is no
// row: small reads are one short statement.
func (b *Backend) lookData(ctx context.Context, key objects.Key) (found, error) {
	for range rereads {
		f, err := b.readRow(ctx, key)
		if !errors.Is(err, sql.ErrNoRows) {
			return f, err
		}
		if f, err = b.look(ctx, key); err != nil || !f.row.there {
			return f, err
		}
		// The row came into being between the two.
	}
	return found{}, wire.Errorf(wire.CodeConflict, "the object %q comes and goes all the time", key)
}

// readRow gives sql.ErrNoRows when there is no row. The bytes are in a buffer
// of rowBufs: the driver's own are gone with the next statement.
func (b *Backend) readRow(ctx context.Context, key objects.Key) (f found, err error) {
	err = b.again(ctx, "read", func(ctx context.Context) error {
		rows, err := b.stmt.read.QueryContext(ctx, string(key), string(key))
		if err != nil {
			return err
		}
		defer rows.Close()
		if !rows.Next() {
			return cmp.Or(rows.Err(), sql.ErrNoRows)
		}
		var text, data sql.RawBytes
		if err := rows.Scan(&text, &data); err != nil {
			return err
		}
		f = found{row: row{there: true}, data: append(b.takeRow(), data...)}
		if f.meta, err = decodeMeta(text); err != nil {
			return err
		}
		return rows.Close()
	})
	if err == nil && f.meta.expires > 0 { // only what expires needs the clock
		err = b.again(ctx, "read the clock", func(ctx context.Context) error {
			return b.stmt.now.QueryRowContext(ctx).Scan(&f.now)
		})
	}
	return f, err
}

func (b *Backend) takeRow() []byte {
	if buf, ok := b.rowBufs.Get().(*[]byte); ok {
		return (*buf)[:0]
	}
	return nil
}

// Stat asks the server whether the row is the one that was stored, without its
// bytes. Only of a row of another program are they read, for the checksum.
func (b *Backend) Stat(ctx context.Context, key objects.Key) (objects.Info, error) {
	f, err := b.look(ctx, key)
	if err != nil {
		return objects.Info{}, err
	}
	switch resolve(&f.meta, f.row, f.now) {
	case whole, parts:
		return f.meta.info(key), nil
	case foreign:
		obj, err := b.Open(ctx, key)
		if err != nil {
			return objects.Info{}, err
		}
		return obj.Info(), obj.Close()
	}
	return objects.Info{}, notFound(key)
}

func notFound(key objects.Key) error {
	return wire.Errorf(wire.CodeNotFound, "there is no object %q", key)
}

// rereads is how often a row that is not what was stored is read again before
// it is believed.
const rereads = 2

// Open reads a row at once. One that is not what its metadata says is read
// again: if it comes the same, then it is what the database holds; if not,
// then it was damaged on its way, or is being written just now.
func (b *Backend) Open(ctx context.Context, key objects.Key) (objects.Object, error) {
	var last objects.Sum
	for try := 0; ; try++ {
		f, err := b.lookData(ctx, key)
		if err != nil {
			return nil, err
		}
		if !f.row.there {
			if resolve(&f.meta, f.row, f.now) == absent {
				return nil, notFound(key)
			}
			return &partsObject{b: b, version: f.meta.version, meta: f.meta, info: f.meta.info(key), end: f.meta.size}, nil
		}
		sum := objects.SumOf(f.data)
		claimed := f.meta.exists() && f.meta.chunks == 0
		switch {
		case claimed && f.meta.sum == sum && f.meta.size == int64(len(f.data)):
			if f.meta.expired(f.now) {
				return nil, notFound(key)
			}
			return &rowObject{b: b, buf: f.data, info: f.meta.info(key), data: f.data}, nil
		case !claimed, try > 0 && sum == last && !b.exclusive:
			info := objects.Info{Key: key, Size: int64(len(f.data)), Sum: sum, Foreign: true}
			return &rowObject{b: b, buf: f.data, info: info, data: f.data}, nil
		case try == rereads:
			return nil, wire.Errorf(wire.CodeCorrupt, "object %q is damaged: its row has another checksum than was stored", key)
		}
		last = sum
	}
}

// rowObject is an object that is in memory.
type rowObject struct {
	b    *Backend
	info objects.Info
	data []byte // what is left of it
	buf  []byte // all of it
}

func (o *rowObject) Info() objects.Info { return o.info }

func (o *rowObject) Checked() bool { return true }

func (o *rowObject) Section(off, n int64) { o.data = o.data[off : off+n] }

func (o *rowObject) Next(context.Context) ([]byte, error) {
	if len(o.data) == 0 {
		return nil, io.EOF
	}
	data := o.data
	o.data = nil
	return data, nil
}

func (o *rowObject) Close() error {
	if buf := o.buf; buf != nil {
		o.b.rowBufs.Put(&buf)
	}
	o.data, o.buf = nil, nil
	return nil
}

// partsObject reads parts, some at a time, and the next ones while those are
// used. It holds no connection in between: a slow reader blocks nobody, and a
// copy within one pool cannot lock itself.
type partsObject struct {
	b       *Backend
	version version
	meta    meta
	info    objects.Info
	off     int64 // next byte of the object
	end     int64
	loaded  [][]byte // parts that were read, from the one with off on
	ahead   *load    // what is being read, or was
	spare   *load    // buffers for the one after
}

// load is some parts, read in one statement.
type load struct {
	first, last int // parts first to last-1
	bufs        [][]byte
	good        int // so many are there and good
	damaged     bool
	err         error
	cancel      context.CancelFunc
	done        chan struct{} // closed behind the last change
}

func (o *partsObject) Info() objects.Info { return o.info }

func (o *partsObject) Checked() bool { return false }

func (o *partsObject) Section(off, n int64) { o.off, o.end = off, off+n }

func (o *partsObject) Next(ctx context.Context) ([]byte, error) {
	if o.off >= o.end {
		return nil, io.EOF
	}
	n := o.off / o.meta.chunkSize
	if len(o.loaded) == 0 {
		if err := o.load(ctx, int(n)); err != nil {
			return nil, err
		}
	}
	part := o.loaded[0]
	o.loaded = o.loaded[1:]
	from := o.off - n*o.meta.chunkSize
	to := min(int64(len(part)), o.end-n*o.meta.chunkSize)
	o.off = n*o.meta.chunkSize + to
	return part[from:to], nil
}

// loadBytes is how much is read at once; twice as much is in memory.
const loadBytes = 4 << 20

// load waits for the parts from first on and begins with those behind them.
func (o *partsObject) load(ctx context.Context, first int) error {
	if o.ahead == nil {
		o.begin(ctx, first, &load{})
	}
	l := o.ahead
	<-l.done
	l.cancel()
	if o.ahead = nil; l.err != nil {
		return l.err
	}
	if l.good < l.last-l.first {
		return o.missing(ctx, l.damaged)
	}
	if int64(l.last)*o.meta.chunkSize < o.end {
		if o.spare == nil {
			o.spare = &load{}
		}
		o.begin(ctx, l.last, o.spare)
	}
	o.loaded, o.spare = l.bufs[:l.good], l
	return nil
}

// begin reads parts in a goroutine, which ends with the statement; Close waits
// for it.
func (o *partsObject) begin(ctx context.Context, first int, l *load) {
	last := int((o.end-1)/o.meta.chunkSize) + 1
	last = min(last, first+max(loadBytes/int(o.meta.chunkSize), 1))
	*l = load{first: first, last: last, bufs: l.bufs, done: make(chan struct{})}
	ctx, l.cancel = context.WithCancel(ctx)
	o.ahead = l
	go func() {
		defer close(l.done)
		for range rereads {
			if l.err = o.query(ctx, l); l.err != nil || l.good == l.last-l.first {
				return
			}
		}
	}()
}

// query reads parts as far as they are there and good.
func (o *partsObject) query(ctx context.Context, l *load) error {
	return o.b.again(ctx, "read parts", func(ctx context.Context) error {
		l.good, l.damaged = 0, false
		rows, err := o.b.stmt.chunks.QueryContext(ctx, o.version[:], l.first, l.last)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var n int
			var sum, data sql.RawBytes
			if err := rows.Scan(&n, &sum, &data); err != nil {
				return err
			}
			if n != l.first+l.good {
				return nil
			}
			buf := l.take(l.good, data)
			if got := objects.SumOf(buf); string(got[:]) != string(sum) || int64(len(buf)) != o.partSize(n) {
				l.damaged = true
				return nil
			}
			l.good++
		}
		return rows.Err()
	})
}

// take copies data into the i-th buffer.
func (l *load) take(i int, data []byte) []byte {
	if i == len(l.bufs) {
		l.bufs = append(l.bufs, nil)
	}
	l.bufs[i] = append(l.bufs[i][:0], data...)
	return l.bufs[i]
}

func (o *partsObject) partSize(n int) int64 {
	return min(o.meta.chunkSize, o.meta.size-int64(n)*o.meta.chunkSize)
}

// missing finds out why parts are not there, or not good.
func (o *partsObject) missing(ctx context.Context, damaged bool) error {
	f, err := o.b.look(ctx, o.info.Key)
	if err != nil {
		return err
	}
	if f.meta.version != o.version && !damaged {
		return wire.Errorf(wire.CodeConflict, "object %q was replaced or deleted while it was read", o.info.Key)
	}
	return wire.Errorf(wire.CodeCorrupt, "object %q is damaged: a part of it is missing or has another checksum", o.info.Key)
}

// Close ends what is being read ahead.
func (o *partsObject) Close() error {
	if l := o.ahead; l != nil {
		l.cancel()
		<-l.done
		o.ahead = nil
	}
	o.loaded, o.spare = nil, nil
	return nil
}
