package ingest

import (
	"context"
	"sync"
	"time"

	"github.com/framedb/framedb/actors/ingest/spool"
)

// drain writes some of what is in the spool, or all. While a batch is written
// the next one is read.
func (l *lane) drain(ctx context.Context) error {
	log, err := l.openSpool()
	if err != nil {
		l.setTrouble(err)
		return err
	}
	target, err := l.current()
	if err != nil {
		l.setTrouble(err)
		return err
	}
	settings := l.settings()
	size := max(minDrain, min(settings.batchBytes(), log.Depth().Bytes, l.service.drains.max/2))
	if err := l.service.drains.wait(ctx, 2*size); err != nil {
		return err
	}
	defer l.service.drains.release(2 * size)
	log.Rewind()
	d := drainer{lane: l, log: log, storage: target.Storage, limit: settings.batchFrames()}
	for i := range d.bufs {
		d.bufs[i] = drainBuffer(size)
		defer func() { drainBuffers.Put(&d.bufs[i]) }()
	}
	err = d.run(ctx)
	l.setTrouble(err)
	return err
}

// drainBuffers are of those that drained before.
var drainBuffers sync.Pool

func drainBuffer(size int64) []byte {
	if b, ok := drainBuffers.Get().(*[]byte); ok && int64(cap(*b)) >= size && int64(cap(*b)) <= DefaultBatchBytes {
		return (*b)[:size]
	}
	return make([]byte, size)
}

func (l *lane) setTrouble(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trouble = err
}

// drainer reads one batch ahead.
type drainer struct {
	lane    *lane
	log     *spool.Log
	storage bool
	limit   int
	bufs    [2][]byte
	turn    int
}

func (d *drainer) run(ctx context.Context) error {
	now := d.read()
	for range maxDrains {
		if now.err != nil || len(now.batch.Records) == 0 {
			break
		}
		ahead := make(chan drained, 1)
		go func() { ahead <- d.read() }()
		err := d.write(ctx, now.entries)
		next := <-ahead
		if err != nil {
			return err
		}
		if err := d.log.Ack(now.batch); err != nil {
			d.lane.log.Warn("it cannot be noted how far the spool is drained; after a crash frames are written again, which stores none twice", "err", err)
		}
		d.lane.poke()
		now = next
		if ctx.Err() != nil || d.lane.pausedNow() {
			return ctx.Err()
		}
	}
	return now.err
}

// read reads the next batch.
func (d *drainer) read() drained {
	var r drained
	buf := d.bufs[d.turn]
	r.batch, buf, r.err = d.log.Read(buf, d.limit)
	d.bufs[d.turn] = buf
	d.turn = 1 - d.turn
	for _, rec := range r.batch.Records {
		e, err := parseRecord(rec.Payload, d.lane.key.source, d.storage)
		switch {
		case err != nil:
			d.lane.reject(rec.Index, "", err)
		case e.expired(time.Since(rec.At)):
			d.lane.service.metrics.expired.Inc()
		default:
			r.entries = append(r.entries, e)
		}
	}
	return r
}

// write writes entries, each by itself if they are refused together.
func (d *drainer) write(ctx context.Context, entries []*entry) error {
	if len(entries) == 0 {
		return nil
	}
	_, err := d.lane.store(ctx, entries)
	switch {
	case err == nil:
		bytes := int64(0)
		for _, e := range entries {
			bytes += e.bytes
		}
		d.lane.service.metrics.drainedFrames(len(entries), bytes)
		return nil
	case !forGood(err):
		d.lane.service.metrics.retries.Inc()
		return err
	case len(entries) == 1:
		d.lane.reject(entries[0].seq.N, entries[0].key.String(), err)
		return nil
	}
	for i := range entries {
		if err := d.write(ctx, entries[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

// reject gives a spooled frame up that can never be written.
func (l *lane) reject(record uint64, key string, err error) {
	l.log.Error("a spooled frame is of no use and is given up", "record", record, "frame", key, "err", err)
	l.service.metrics.dropped.Inc()
}

func (l *lane) pausedNow() bool {
	l.mu.Lock()
	tag := l.target.NodeTag
	l.mu.Unlock()
	return l.service.pressure.paused(l.key.source, tag)
}
