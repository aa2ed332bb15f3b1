package ingest

import (
	"context"
	"time"

	"github.com/framedb/framedb/actors/ingest/spool"
	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
)

// maxSpill bounds what goes to the spool, and with one sync, at once.
const maxSpill = 32 << 20

// runSpiller appends to the spool what is in spill until that is empty. At most
// one runs for a lane. It goes on after the writers were stopped: that is when
// what is in memory goes to disk.
func (l *lane) runSpiller() {
	for {
		batch, sync := l.nextSpill()
		if len(batch) == 0 {
			return
		}
		err := l.append(batch, sync)
		l.mu.Lock()
		l.onDisk = false
		if err == nil {
			l.full = nil
			for _, e := range batch {
				l.endLocked(e, nil, true, frames.Stored{})
				l.dropLocked(e)
			}
			l.poke()
			l.mu.Unlock()
			continue
		}
		l.unspillLocked(batch, err)
		l.mu.Unlock()
		if l.waitForRoom() {
			return
		}
	}
}

// nextSpill takes the next entries to append; none ends the spiller.
func (l *lane) nextSpill() (batch []*entry, sync bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	bytes, most := int64(0), min(maxSpill, l.service.cfg.SpoolBytes/8)
	for len(l.spill) > 0 {
		e := l.spill[0]
		if !e.over {
			if bytes += e.bytes; len(batch) > 0 && bytes > most {
				break
			}
			l.holdLocked(e)
			batch = append(batch, e)
			sync = sync || !e.acked()
		}
		l.spill = l.spill[1:]
	}
	l.onDisk = len(batch) > 0
	if len(batch) == 0 {
		l.spill, l.spilling = nil, false
		l.poke()
	}
	return batch, sync
}

// append appends entries to the spool.
func (l *lane) append(batch []*entry, sync bool) error {
	log, err := l.openSpool()
	if err != nil {
		return err
	}
	payloads := make([]spool.Payload, len(batch))
	bytes := int64(0)
	for i, e := range batch {
		payloads[i] = e.payload()
		bytes += e.bytes
	}
	start := time.Now()
	if _, err = log.Append(payloads, sync); err == nil {
		l.service.metrics.spooled(len(batch), bytes, time.Since(start))
	}
	return err
}

// unspillLocked is for entries that the spool did not take: those that were not
// acknowledged fail, with all that is behind them; the others wait.
func (l *lane) unspillLocked(batch []*entry, err error) {
	after := time.Second
	if e := wire.AsError(err); e.RetryAfter > 0 {
		after = e.RetryAfter
	}
	err = overloaded(after, "the FrameDB is down or slow, and the spool takes no more: %v", err)
	if l.full == nil {
		l.log.Warn("the spool takes no more", "err", err)
	}
	l.full, l.fullTill = err, time.Now().Add(after)
	all := append(batch[:len(batch):len(batch)], l.spill...)
	l.spill = nil
	for _, e := range all {
		switch {
		case e.over:
		case e.acked():
			l.spill = append(l.spill, e)
		default:
			l.service.metrics.refused.WithLabelValues("spool").Inc()
			l.endLocked(e, maybe(err, e.tried), false, frames.Stored{})
		}
	}
	for _, e := range batch {
		l.dropLocked(e)
	}
	l.poke()
}

// waitForRoom waits until the spool may be asked again. It is true when there
// is nothing to be spooled, or the service ends: then the spiller ends, too.
func (l *lane) waitForRoom() bool {
	l.mu.Lock()
	wait := time.Until(l.fullTill)
	l.mu.Unlock()
	ended := l.service.writing.Err() != nil
	if !ended {
		sleep(l.service.writing, wait)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.spill) > 0 && !ended {
		return false
	}
	l.spilling = false
	return true
}

const (
	// minDrain is the smallest buffer to drain with.
	minDrain = 64 << 10
	// maxDrains is how many batches a lane drains before it lets others.
	maxDrains = 16
)

// drained is one batch on its way from the spool.
type drained struct {
	batch   spool.Batch
	entries []*entry
	err     error
}

// idleFor is how long an empty spool stays open.
const idleFor = 10 * time.Second

// maintain syncs what is due, and closes an empty spool; it reports whether the
// lane had nothing to do for a while.
func (l *lane) maintain() bool {
	l.mu.Lock()
	log := l.spool
	idle := !l.writing && !l.spilling && !l.idle.IsZero() && time.Since(l.idle) > idleFor
	l.kickLocked() // whoever should run and does not
	l.mu.Unlock()
	if log != nil && l.service.cfg.SyncEvery > 0 {
		if err := log.Sync(); err != nil {
			l.log.Error("the spool cannot be synced: a power cut would lose the last frames", "err", err)
		}
	}
	return idle
}

// retire closes the lane unless it has something to do. Another lane may take
// its place when that has returned, not before: they would share a spool.
func (l *lane) retire() bool {
	l.mu.Lock()
	if l.writing || l.spilling || l.spooling || len(l.queue) > 0 || len(l.spill) > 0 {
		l.mu.Unlock()
		return false
	}
	log := l.spool
	l.spool, l.retired = nil, true
	l.mu.Unlock()
	if log != nil {
		if err := log.Close(); err != nil {
			l.log.Warn("the spool cannot be closed", "err", err)
		}
	}
	return true
}

// flush waits until what is in memory is written or on disk, or until the
// deadline.
func (l *lane) flush(deadline time.Time) {
	for time.Now().Before(deadline) {
		l.mu.Lock()
		done := len(l.queue) == 0 && len(l.flying) == 0 && len(l.spill) == 0
		l.mu.Unlock()
		if done {
			return
		}
		sleep(context.Background(), 5*time.Millisecond)
	}
}

// spillAll sends what is in memory to disk.
func (l *lane) spillAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue)+len(l.flying) > 0 {
		l.startSpoolingLocked()
		l.kickLocked()
	}
}

// close ends the lane, of which nothing runs any more. Frames that neither the
// destination nor the disk took fail; those that were acknowledged as received
// are lost, as that level says.
func (l *lane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := 0
	for _, e := range append(l.queue, l.spill...) {
		if e.over {
			continue
		}
		if e.acked() {
			lost++
		}
		gone := wire.Errorf(wire.CodeUnavailable, "the agent ends, and neither the FrameDB nor the disk took the frame")
		l.endLocked(e, maybe(gone, e.tried), false, frames.Stored{})
	}
	l.queue, l.spill = nil, nil
	if lost > 0 {
		l.log.Error("frames that were acknowledged as received are lost: the agent ends, and neither the FrameDB nor the disk took them", "frames", lost)
		l.service.metrics.dropped.Add(float64(lost))
	}
	if l.spool != nil {
		if err := l.spool.Close(); err != nil {
			l.log.Error("the spool cannot be closed", "err", err)
		}
	}
	l.retired = true
}
