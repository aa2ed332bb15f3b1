package ingest

import (
	"context"
	"time"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
)

// runWriter writes until there is nothing to write or ctx ends. At most one
// runs for a lane.
func (l *lane) runWriter(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		batch, drain, wait := l.nextBatch()
		var err error
		switch {
		case len(batch) > 0:
			err = l.writeBatch(ctx, batch)
		case drain:
			err = l.drain(ctx)
		case wait > 0:
			l.pause(ctx, wait)
			continue
		default:
			if l.endWriter() {
				return
			}
			continue
		}
		if err == nil {
			failures = 0
			continue
		}
		sleep(ctx, backoff(failures))
		failures++
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writing = false
}

// endWriter ends the writer if there is still nothing to do.
func (l *lane) endWriter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) > 0 || l.spooling {
		return false
	}
	l.writing = false
	l.idle = time.Now()
	return true
}

// pausedFor is how often a writer that is asked to wait looks again.
const pausedFor = 500 * time.Millisecond

// nextBatch decides what the writer does next: write a batch, which is in
// flying then, drain the spool, wait, or end (neither).
func (l *lane) nextBatch() (batch []*entry, drain bool, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	paused := l.service.pressure.paused(l.key.source, l.target.NodeTag)
	if !l.spooling && len(l.queue) > 0 && (paused || l.behindLocked()) {
		l.slow = !paused
		l.startSpoolingLocked()
		l.kickLocked()
	}
	if l.spooling {
		return nil, l.drainsLocked(paused), pausedFor
	}
	if len(l.queue) == 0 {
		return nil, false, 0
	}
	settings := l.settings()
	n, bytes := 0, int64(0)
	for ; n < len(l.queue) && n < settings.batchFrames(); n++ {
		if bytes += l.queue[n].bytes; n > 0 && bytes > settings.batchBytes() {
			break
		}
	}
	if left := settings.linger() - time.Since(l.queue[0].at); n == len(l.queue) && left > 0 && bytes < settings.batchBytes() && n < settings.batchFrames() {
		return nil, false, left
	}
	l.flying = l.queue[:n:n]
	l.queue = l.queue[n:]
	for _, e := range l.flying {
		l.holdLocked(e)
	}
	return l.flying, false, 0
}

// settings are the source's of now; those of nobody when it is not known.
func (l *lane) settings() Settings {
	route, err := l.service.cfg.Router.Route(l.key.source)
	if err != nil {
		return Settings{}
	}
	return route.Settings
}

// behindLocked reports whether frames wait for longer than they should.
func (l *lane) behindLocked() bool {
	settings := l.settings()
	return l.service.hasSpool() && time.Since(l.queue[0].at) > settings.linger()+l.service.cfg.SpillAfter
}

// drainsLocked reports whether there is something to drain. When the spool is
// empty and nothing is on its way to it, frames are written straight again.
func (l *lane) drainsLocked(paused bool) bool {
	if paused {
		return false
	}
	if l.spool == nil && !l.spilling {
		return true // of an earlier service
	}
	if l.spool != nil && !l.spool.Empty() {
		return true
	}
	if l.spool != nil && !l.onDisk && (len(l.spill) == 0 && !l.spilling || l.full != nil) {
		// What the full disk did not take is written from memory.
		l.queue, l.spill = l.spill, nil
		l.spooling, l.slow, l.full = false, false, nil
		l.poke()
	}
	return false
}

// writeBatch writes what is in flying.
func (l *lane) writeBatch(ctx context.Context, batch []*entry) error {
	slow := time.AfterFunc(l.service.cfg.SpillAfter, l.tooSlow)
	stored, err := l.store(ctx, batch)
	slow.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() {
		l.flying = nil
		for _, e := range batch {
			l.dropLocked(e)
		}
		l.kickLocked()
	}()
	l.trouble = err
	switch {
	case err == nil:
		for i, e := range batch {
			l.endLocked(e, nil, false, stored[i])
		}
	case fewReplicas(err):
		l.trouble = nil
		for i, e := range batch {
			if e.level.Replicas > 0 {
				l.endLocked(e, err, false, frames.Stored{})
			} else {
				l.endLocked(e, nil, false, stored[i])
			}
		}
	case forGood(err) && len(batch) == 1:
		l.trouble = nil
		l.endLocked(batch[0], err, false, frames.Stored{})
	case forGood(err):
		l.mu.Unlock()
		l.writeSingly(ctx, batch)
		l.mu.Lock()
	default:
		l.failedLocked(batch, err)
		return err
	}
	return nil
}

// writeSingly writes each frame of a batch that was refused, to find the bad
// ones: none of the others suffers for them.
func (l *lane) writeSingly(ctx context.Context, batch []*entry) {
	for i := range batch {
		stored, err := l.store(ctx, batch[i:i+1])
		l.mu.Lock()
		if err != nil && !forGood(err) {
			l.failedLocked(batch[i:], err)
			l.mu.Unlock()
			return
		}
		if err != nil {
			stored = []frames.Stored{{}}
		}
		l.endLocked(batch[i], err, false, stored[0])
		l.mu.Unlock()
	}
}

// failedLocked is for a batch that could not be written now: it goes to disk,
// with all that is behind it, or is tried again for a while.
func (l *lane) failedLocked(batch []*entry, err error) {
	l.service.metrics.retries.Inc()
	l.log.Debug("frames cannot be written now", "frames", len(batch), "err", err)
	for _, e := range batch {
		e.tried = true
	}
	if l.spooling {
		return // they are on their way to disk already
	}
	if l.service.hasSpool() {
		l.startSpoolingLocked()
		return
	}
	var left []*entry
	for _, e := range batch {
		if !e.acked() && time.Since(e.at) > l.service.cfg.RetryFor {
			l.endLocked(e, maybe(err, e.tried), false, frames.Stored{})
		} else {
			left = append(left, e)
		}
	}
	l.queue = append(left, l.queue...)
}

// maybe is the error of a frame that was given up: when it was tried, nobody
// knows whether it is stored.
func maybe(err error, tried bool) error {
	if !tried || wire.CodeOf(err) == wire.CodeOutcomeUnknown {
		return err
	}
	return wire.Errorf(wire.CodeOutcomeUnknown, "it may or may not be stored (repeat it, nothing is stored twice): %v", err)
}

// store writes entries where the target is now.
func (l *lane) store(ctx context.Context, batch []*entry) ([]frames.Stored, error) {
	target, err := l.current()
	if err != nil {
		return nil, err
	}
	lane := frames.Lane{ID: l.id, Frames: make([]frames.LaneFrame, len(batch))}
	opts := frames.PutOptions{ReplicaTimeout: l.service.cfg.ReplicaTimeout}
	bytes := int64(0)
	for i, e := range batch {
		lane.Frames[i] = e.laneFrame()
		opts.Replicas = max(opts.Replicas, e.level.Replicas)
		bytes += e.bytes
	}
	if target.Storage {
		opts.Replicas = 0
	}
	start := time.Now()
	stored, err := target.Destination.Store(ctx, lane, opts)
	l.service.metrics.wrote(len(batch), bytes, time.Since(start), err)
	if err == nil {
		l.frames.Add(int64(len(batch)))
		l.bytes.Add(bytes)
	}
	return stored, err
}

// current is the target as the router has it now.
func (l *lane) current() (Target, error) {
	route, err := l.service.cfg.Router.Route(l.key.source)
	if err != nil {
		return Target{}, err
	}
	for _, t := range route.Targets {
		if t.Name == l.key.target {
			l.mu.Lock()
			l.target = t
			l.mu.Unlock()
			return t, nil
		}
	}
	return Target{}, wire.Errorf(wire.CodeNotFound, "source %q does not write to %s any more", l.key.source, l.key.target)
}
