package storage

import (
	"context"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/framedb/framedb/actors/sweep"
	"github.com/framedb/framedb/client/wire"
)

type (
	poke struct{} // someone saw a change
	tick struct{} // the pause is over
	done struct { // a round ended
		by  *Storage
		res result
		// crash is what it panicked with, if it did.
		crash any
	}
)

// Messages to an actor that has ended are no news.
func (poke) IgnoreDeadLetterLogging() {}
func (tick) IgnoreDeadLetterLogging() {}
func (done) IgnoreDeadLetterLogging() {}

// Storage is the actor of one persistent FrameDB. Its fields are lost at a
// restart; what has to outlive one is in the Record.
type Storage struct {
	cfg    Config
	worker worker

	ctx     context.Context
	cancel  context.CancelFunc
	timer   *time.Timer
	running bool
	again   bool
	pause   time.Duration // after the next round that acted
}

// New makes the actor; Started starts its first round.
func New(cfg Config) *Storage {
	return &Storage{cfg: cfg, worker: worker{cfg: cfg, now: time.Now}, pause: cfg.Timing.Acted}
}

// Receive never blocks: a round runs in a goroutine, one at a time.
func (s *Storage) Receive(c actor.Context) {
	switch msg := c.Message().(type) {
	case *actor.Started:
		s.start(c)
	case *actor.Stopping, *actor.Restarting:
		s.stop()
	case poke:
		s.cfg.Record.heard()
		s.run(c)
	case tick:
		s.run(c)
	case done:
		s.finish(c, msg)
	}
}

func (s *Storage) start(c actor.Context) {
	s.ctx, s.cancel = context.WithCancel(s.cfg.Context)
	s.worker.ctx = s.ctx
	root, self := c.ActorSystem().Root, c.Self()
	s.cfg.Record.onPoke(func() { root.Send(self, poke{}) })
	if s.cfg.Objects != nil {
		c.Spawn(actor.PropsFromProducer(func() actor.Actor {
			return sweep.New(sweep.Config{
				Context: s.cfg.Context, Jobs: s.cfg.Jobs, ID: s.cfg.ID, Objects: s.cfg.Objects,
				Every: sweep.DefaultEvery, Logger: s.cfg.Logger,
			})
		}))
	}
	s.run(c)
}

func (s *Storage) stop() {
	s.cfg.Record.onPoke(nil)
	s.cancel()
	if s.timer != nil {
		s.timer.Stop()
	}
}

func (s *Storage) run(c actor.Context) {
	if s.running {
		s.again = true
		return
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	if wait := time.Until(s.cfg.Begin); wait > 0 {
		s.runIn(c, wait)
		return
	}
	s.running, s.again = true, false
	root, self := c.ActorSystem().Root, c.Self()
	s.cfg.Jobs.Go(func() { root.Send(self, s.job()) })
}

// job is one round, in its own goroutine. A former incarnation's may still be
// running: it ends soon, as its context has ended.
func (s *Storage) job() (end done) {
	end.by = s
	release, err := s.cfg.Record.turn.Take(s.ctx)
	if err != nil {
		return end
	}
	defer release()
	began := time.Now()
	defer func() {
		if crash := recover(); crash != nil {
			end.crash = crash
			end.res.err = wire.Errorf(wire.CodeUnavailable, "the round of persistent FrameDB %s crashed: %v", s.cfg.ID, crash)
			s.cfg.Logger.Error("a round crashed", "framedb_id", s.cfg.ID, "panic", crash, "stack", string(debug.Stack()))
		}
		s.cfg.Observer.Round(time.Since(began), end.res.err)
	}()
	end.res = s.worker.round(s.ctx)
	s.cfg.Record.told(end.res.untold)
	return end
}

func (s *Storage) finish(c actor.Context, end done) {
	if end.by != s {
		return // of a former incarnation
	}
	s.running = false
	if end.crash != nil {
		panic(end.crash)
	}
	if end.res.gone || s.ctx.Err() != nil {
		return // the node actor ends this one when it sees the same
	}
	if end.res.err != nil {
		s.cfg.Logger.Warn("a round failed", "framedb_id", s.cfg.ID, "err", end.res.err)
	}
	if s.again {
		s.run(c)
		return
	}
	s.runIn(c, s.next(end.res))
}

func (s *Storage) runIn(c actor.Context, wait time.Duration) {
	root, self := c.ActorSystem().Root, c.Self()
	s.timer = time.AfterFunc(wait, func() { root.Send(self, tick{}) })
}

// next is the pause until the next round.
func (s *Storage) next(res result) time.Duration {
	t := s.cfg.Timing
	if res.err == nil && res.acted {
		pause := s.pause
		s.pause = min(2*s.pause, t.Unready)
		return pause
	}
	s.pause = t.Acted
	pause := t.Unready
	if res.ready && res.err == nil {
		pause = t.Ready
	}
	return pause - pause/10 + rand.N(pause/5+1)
}
