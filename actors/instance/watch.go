package instance

import (
	"context"
	"net"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/framedb/framedb/client/wire"
)

// follow tells the watch which Sentinels and which Redis members run.
type follow struct{ sentinels, members []wire.Endpoint }

func (follow) IgnoreDeadLetterLogging() {}

// watch is the actor that pokes the instance when a Sentinel announces a new
// master, and when a member closes a connection that it holds for nothing but
// this: a process that dies is noticed at once. Missing either costs only
// time: the instance looks by itself as well.
type watch struct {
	cfg    Config
	to     follow
	cancel context.CancelFunc // ends the listening; nil when there is none
}

func newWatch(cfg Config) *watch { return &watch{cfg: cfg} }

// Receive never blocks: listening is done in goroutines.
func (w *watch) Receive(c actor.Context) {
	switch msg := c.Message().(type) {
	case *actor.Stopping, *actor.Restarting:
		w.stop()
	case follow:
		if !slices.Equal(w.to.sentinels, msg.sentinels) || !slices.Equal(w.to.members, msg.members) {
			w.stop()
			w.listen(msg)
		}
	}
}

func (w *watch) stop() {
	if w.cancel != nil {
		w.cancel()
		w.cancel = nil
	}
}

func (w *watch) listen(to follow) {
	w.to = to
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(w.cfg.Context)
	if len(to.sentinels) > 0 {
		w.cfg.Jobs.Go(func() {
			// It returns ctx's error only; it connects again by itself.
			_ = w.cfg.Sentinels.Watch(ctx, to.sentinels, w.cfg.Record.Poke)
		})
	}
	for _, member := range to.members {
		w.cfg.Jobs.Go(func() { w.holdOn(ctx, member) })
	}
}

// holdOn keeps a connection to a member and pokes when it is lost. The
// connection is never used; Redis leaves it alone.
func (w *watch) holdOn(ctx context.Context, member wire.Endpoint) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
			pause.Reset(w.cfg.Timing.Unready)
		case <-ctx.Done():
			return
		}
		dialer := net.Dialer{Timeout: askTimeout}
		conn, err := dialer.DialContext(ctx, "tcp", address(member))
		if err != nil {
			continue
		}
		untilClosed(ctx, conn)
		w.cfg.Record.Poke()
	}
}

// untilClosed returns when the other side closes the connection, or ctx ends.
func untilClosed(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var nothing [1]byte
	for {
		if _, err := conn.Read(nothing[:]); err != nil {
			return
		}
	}
}
