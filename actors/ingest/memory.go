package ingest

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
)

// Bounds of what goes to a cluster at once.
const (
	maxWrites     = 2 // so that one is prepared while another one is on its way
	maxWriteBytes = 16 << 20
	maxWritePairs = 5000
)

// silence is after how long without a message it is asked whether the
// connection still lives.
const silence = 15 * time.Second

// Memory stores frames in an in-memory cluster. What several lanes have for it
// at the same time goes in one pipeline.
type Memory struct {
	cluster *frames.Cluster

	mu      sync.Mutex
	waiting []*write // guarded by mu
	running int      // guarded by mu: callers that write for themselves and others
}

var (
	_ Destination = (*Memory)(nil)
	_ Messenger   = (*Memory)(nil)
)

// NewMemory makes the destination. There should be one for each cluster.
func NewMemory(c *frames.Cluster) *Memory { return &Memory{cluster: c} }

// write is what one lane has to be written.
type write struct {
	lane  frames.Lane
	opts  frames.PutOptions
	bytes int
	pairs int

	stored []frames.Stored
	err    error
	// turn gets false when it is written, and true when its caller is to write
	// what waits.
	turn chan bool
}

// Store implements Destination. A caller that finds nobody writing writes what
// waits, its own first, until its own is done; then the next one goes on.
func (m *Memory) Store(ctx context.Context, lane frames.Lane, opts frames.PutOptions) ([]frames.Stored, error) {
	w := &write{lane: lane, opts: opts, turn: make(chan bool, 2)}
	for _, f := range lane.Frames {
		for _, p := range f.Pairs {
			w.bytes += len(p.Value)
			w.pairs++
		}
	}
	m.mu.Lock()
	m.waiting = append(m.waiting, w)
	lead := m.running < maxWrites
	if lead {
		m.running++
	}
	m.mu.Unlock()
	if lead || <-w.turn {
		m.lead(ctx, w)
	}
	return w.stored, w.err
}

// lead writes until own is written, and gives the turn to somebody else.
func (m *Memory) lead(ctx context.Context, own *write) {
	for done := false; !done; {
		group := m.take()
		m.writeAll(ctx, group)
		for _, w := range group {
			if w == own {
				done = true
			} else {
				w.turn <- false
			}
		}
		done = done || m.taken(own, len(group) == 0)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.waiting) == 0 {
		m.running--
		return
	}
	m.waiting[0].turn <- true
}

// taken reports whether another leader has written own, waiting for it when
// there is nothing else to do.
func (m *Memory) taken(own *write, wait bool) bool {
	if wait {
		return !<-own.turn
	}
	select {
	case turn := <-own.turn:
		return !turn
	default:
		return false
	}
}

// take takes from what waits as much as may go at once.
func (m *Memory) take() []*write {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, bytes, pairs := 0, 0, 0
	for _, w := range m.waiting {
		bytes, pairs = bytes+w.bytes, pairs+w.pairs
		if n > 0 && (bytes > maxWriteBytes || pairs > maxWritePairs) {
			break
		}
		n++
	}
	group := m.waiting[:n:n]
	m.waiting = m.waiting[n:]
	return group
}

// writeAll writes the group in one step. When that is refused for good, each is
// written by itself, so that one lane does not suffer for another.
func (m *Memory) writeAll(ctx context.Context, group []*write) {
	if len(group) == 0 {
		return
	}
	lanes := make([]frames.Lane, len(group))
	var opts frames.PutOptions
	for i, w := range group {
		lanes[i] = w.lane
		opts.Replicas = max(opts.Replicas, w.opts.Replicas)
		opts.ReplicaTimeout = max(opts.ReplicaTimeout, w.opts.ReplicaTimeout)
	}
	stored, err := m.cluster.StoreOnce(ctx, lanes, opts)
	if err != nil && len(group) > 1 && forGood(err) {
		for _, w := range group {
			m.writeAll(ctx, []*write{w})
		}
		return
	}
	for i, w := range group {
		w.stored, w.err = stored[i], err
		if fewReplicas(err) && w.opts.Replicas == 0 {
			w.err = nil
		}
	}
}

// forGood reports whether what failed will fail again, because of the frame.
// Whatever else it is may be over at the next try.
func forGood(err error) bool {
	switch wire.CodeOf(err) {
	case wire.CodeInvalidArgument, wire.CodeTooLarge, wire.CodeMalformed, wire.CodeMissingField, wire.CodePrecondition:
		return true
	}
	return false
}

// fewReplicas reports whether err says that the master has the frames and too
// few replicas do.
func fewReplicas(err error) bool {
	var e *wire.Error
	return errors.As(err, &e) && e != nil && e.Code == wire.CodeUnavailable && e.Field == "replicas"
}

// Publish implements Messenger.
func (m *Memory) Publish(ctx context.Context, channel string, message []byte) error {
	rdb, err := m.cluster.Redis(ctx)
	if err != nil {
		return err
	}
	return rdb.Publish(ctx, channel, message).Err()
}

// Subscribe implements Messenger.
func (m *Memory) Subscribe(ctx context.Context, pattern string, f func(channel string, message []byte)) error {
	rdb, err := m.cluster.Redis(ctx)
	if err != nil {
		return err
	}
	sub := rdb.PSubscribe(ctx, pattern)
	defer sub.Close()
	defer context.AfterFunc(ctx, func() { sub.Close() })()
	for asked := false; ctx.Err() == nil; {
		m, err := sub.ReceiveTimeout(ctx, silence)
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout() && !asked:
			asked = true
			if err := sub.Ping(ctx); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		asked = false
		if m, ok := m.(*redis.Message); ok {
			f(m.Channel, []byte(m.Payload))
		}
	}
	return ctx.Err()
}
