package instance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/framedb/framedb/actors/routing"
	"github.com/framedb/framedb/actors/sweep"
	"github.com/framedb/framedb/client/wire"
)

type (
	poke struct{} // someone saw a change
	tick struct{} // the pause is over
	done struct { // a round ended
		by  *Instance
		res result
		// crash is what it panicked with, if it did.
		crash any
	}
)

// Messages to an actor that has ended are no news.
func (poke) IgnoreDeadLetterLogging() {}
func (tick) IgnoreDeadLetterLogging() {}
func (done) IgnoreDeadLetterLogging() {}

// Instance is the actor of one cluster. Its fields are lost at a restart; what
// has to outlive one is in the Record.
type Instance struct {
	cfg    Config
	worker worker

	ctx       context.Context
	cancel    context.CancelFunc
	timer     *time.Timer
	running   bool
	again     bool
	pause     time.Duration // after the next round that acted
	watch     *actor.PID
	publisher *actor.PID
}

// New makes the actor; Started starts its first round.
func New(cfg Config) *Instance {
	return &Instance{cfg: cfg, worker: worker{cfg: cfg, now: time.Now}, pause: cfg.Timing.Acted}
}

// Receive never blocks: a round runs in a goroutine, one at a time.
func (i *Instance) Receive(c actor.Context) {
	switch msg := c.Message().(type) {
	case *actor.Started:
		i.start(c)
	case *actor.Stopping, *actor.Restarting:
		i.stop()
	case poke:
		i.cfg.Record.heard()
		i.run(c)
	case tick:
		i.run(c)
	case done:
		i.finish(c, msg)
	}
}

func (i *Instance) start(c actor.Context) {
	i.ctx, i.cancel = context.WithCancel(i.cfg.Context)
	root, self := c.ActorSystem().Root, c.Self()
	i.cfg.Record.onPoke(func() { root.Send(self, poke{}) })
	i.watch = c.Spawn(actor.PropsFromProducer(func() actor.Actor { return newWatch(i.cfg) }))
	i.publisher = c.Spawn(actor.PropsFromProducer(func() actor.Actor { return routing.NewPublisher(i.publisherConfig()) }))
	if i.cfg.Objects != nil {
		c.Spawn(actor.PropsFromProducer(func() actor.Actor {
			return sweep.New(sweep.Config{
				Context: i.cfg.Context, Jobs: i.cfg.Jobs, ID: wire.FrameDBID(i.cfg.Cluster), Objects: i.cfg.Objects,
				Every: sweep.DefaultEvery, Logger: i.cfg.Logger,
			})
		}))
	}
	if i.cfg.Counts != nil {
		c.Spawn(actor.PropsFromProducer(func() actor.Actor { return newCounter(i.cfg) }))
	}
	i.run(c)
}

func (i *Instance) publisherConfig() routing.Config {
	return routing.Config{
		Context: i.cfg.Context, Jobs: i.cfg.Jobs, Cluster: i.cfg.Cluster, Namespace: i.cfg.Namespace,
		Store: i.cfg.Store, Outbox: i.cfg.Record.Outbox, Redis: i.cfg.Record.conns.At,
		Logger: i.cfg.Logger, Sent: i.cfg.Observer.Published,
	}
}

func (i *Instance) stop() {
	i.cfg.Record.onPoke(nil)
	i.cancel()
	if i.timer != nil {
		i.timer.Stop()
	}
}

func (i *Instance) run(c actor.Context) {
	if i.running {
		i.again = true
		return
	}
	if i.timer != nil {
		i.timer.Stop()
	}
	if wait := time.Until(i.cfg.Begin); wait > 0 {
		i.runIn(c, wait)
		return
	}
	i.running, i.again = true, false
	root, self := c.ActorSystem().Root, c.Self()
	i.cfg.Jobs.Go(func() { root.Send(self, i.job()) })
}

// job is one round, in its own goroutine. A former incarnation's may still be
// running: it ends soon, as its context has ended.
func (i *Instance) job() (end done) {
	end.by = i
	release, err := i.cfg.Record.turn.Take(i.ctx)
	if err != nil {
		return end
	}
	defer release()
	waiting := i.cfg.Record.takeWaiting()
	began := time.Now()
	defer func() {
		if crash := recover(); crash != nil {
			end.crash = crash
			end.res.err = wire.Errorf(wire.CodeUnavailable, "the round of cluster %s crashed: %v", i.cfg.Cluster, crash)
			i.cfg.Logger.Error("a round crashed", "cluster", i.cfg.Cluster, "panic", crash, "stack", string(debug.Stack()))
		}
		i.cfg.Observer.Round(time.Since(began), end.res.err)
		i.cfg.Record.answer(waiting, i.answer(end.res))
	}()
	end.res = i.worker.round(i.ctx)
	i.cfg.Record.told(end.res.untold)
	return end
}

// answer is what those hear who wait for a round.
func (i *Instance) answer(res result) error {
	switch {
	case res.err != nil:
		return fmt.Errorf("%w: cluster %s: %w", wire.ErrUnavailable, i.cfg.Cluster, res.err)
	case res.gone:
		return wire.Errorf(wire.CodeNotFound, "cluster %q is not this node's any more", i.cfg.Cluster)
	}
	return nil
}

func (i *Instance) finish(c actor.Context, end done) {
	if end.by != i {
		return // of a former incarnation
	}
	i.running = false
	if end.crash != nil {
		panic(end.crash)
	}
	if end.res.gone || i.ctx.Err() != nil {
		return // the node actor ends this one when it sees the same
	}
	if end.res.err != nil {
		i.cfg.Logger.Warn("a round failed", "cluster", i.cfg.Cluster, "err", end.res.err)
	}
	i.tellChildren(c, end.res)
	if i.again {
		i.run(c)
		return
	}
	i.runIn(c, i.next(end.res))
}

func (i *Instance) runIn(c actor.Context, wait time.Duration) {
	root, self := c.ActorSystem().Root, c.Self()
	i.timer = time.AfterFunc(wait, func() { root.Send(self, tick{}) })
}

func (i *Instance) tellChildren(c actor.Context, res result) {
	if res.master.Port != 0 {
		c.Send(i.publisher, routing.Master{Endpoint: res.master})
	}
	if res.seen {
		c.Send(i.watch, follow{res.sentinels, res.members})
	}
}

// next is the pause until the next round.
func (i *Instance) next(res result) time.Duration {
	t := i.cfg.Timing
	switch {
	case res.err == nil && res.acted:
		pause := i.pause
		i.pause = min(2*i.pause, t.Unready)
		return pause
	case res.ready && res.err == nil:
		i.pause = t.Acted
		return t.Ready - t.Ready/10 + rand.N(t.Ready/5+1)
	}
	i.pause = t.Acted
	return t.Unready - t.Unready/10 + rand.N(t.Unready/5+1)
}
