// Package sweep has the objects of one FrameDB swept now and then, by its owner:
// what nobody can see any more is freed.
package sweep

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// DefaultEvery is the pause between two sweeps.
const DefaultEvery = 10 * time.Minute

// Objects sweeps the objects of a FrameDB, in memory or on disk. A sweep does a
// bounded part of what there is to do.
type Objects interface {
	Sweep(ctx context.Context, id wire.FrameDBID) (objects.Swept, error)
}

// Config says what is swept.
type Config struct {
	// Context ends every sweep; Jobs counts those that run.
	Context context.Context
	Jobs    *sync.WaitGroup

	ID      wire.FrameDBID
	Objects Objects
	Every   time.Duration
	Logger  *slog.Logger
}

type (
	due   struct{}
	swept struct{ by *Sweeper }
)

// Messages to an actor that has ended are no news.
func (due) IgnoreDeadLetterLogging()   {}
func (swept) IgnoreDeadLetterLogging() {}

// Sweeper is the actor. It needs no lease: two who sweep at once harm nobody.
type Sweeper struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelFunc
	timer  *time.Timer
}

// New makes the actor; Started starts its first pause.
func New(cfg Config) *Sweeper { return &Sweeper{cfg: cfg} }

// Receive never blocks: a sweep runs in a goroutine, one at a time.
func (s *Sweeper) Receive(c actor.Context) {
	switch msg := c.Message().(type) {
	case *actor.Started:
		s.ctx, s.cancel = context.WithCancel(s.cfg.Context)
		s.rest(c, rand.N(s.cfg.Every+1)) // so that they do not march in step
	case *actor.Stopping, *actor.Restarting:
		s.cancel()
		s.timer.Stop()
	case due:
		root, self := c.ActorSystem().Root, c.Self()
		s.cfg.Jobs.Go(func() {
			s.sweep()
			root.Send(self, swept{s})
		})
	case swept:
		if msg.by == s { // else of a former incarnation
			s.rest(c, s.cfg.Every)
		}
	}
}

func (s *Sweeper) rest(c actor.Context, pause time.Duration) {
	root, self := c.ActorSystem().Root, c.Self()
	s.timer = time.AfterFunc(pause, func() { root.Send(self, due{}) })
}

func (s *Sweeper) sweep() {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.Every)
	defer cancel()
	freed, err := s.cfg.Objects.Sweep(ctx, s.cfg.ID)
	switch {
	case s.ctx.Err() != nil:
	case err != nil:
		s.cfg.Logger.Warn("objects could not be swept, will try again", "framedb_id", s.cfg.ID, "in", s.cfg.Every, "err", err)
	case freed != objects.Swept{}:
		s.cfg.Logger.Info("objects were swept", "framedb_id", s.cfg.ID,
			"expired", freed.Expired, "uploads", freed.Uploads, "chunks", freed.Chunks, "stale", freed.Stale)
	}
}
