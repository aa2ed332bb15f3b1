package actors

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// Restarts says how an actor that crashed is started again.
type Restarts struct {
	// First is the pause before the first restart; it doubles with each crash
	// within Window up to Longest.
	First   time.Duration
	Longest time.Duration
	// More than Limit crashes within Window mark the FrameDB degraded; it is
	// tried again after Pause.
	Limit  int
	Window time.Duration
	Pause  time.Duration
}

// DefaultRestarts lets a crash that comes from a passing state heal within
// seconds, and keeps one that does not from burning the machine.
func DefaultRestarts() Restarts {
	return Restarts{First: 200 * time.Millisecond, Longest: 10 * time.Second, Limit: 5, Window: time.Minute, Pause: 2 * time.Minute}
}

// supervisor restarts the one actor that crashed, with exponential backoff.
// Safe for concurrent use: proto.actor asks it from the parents of all actors.
type supervisor struct {
	cfg      Restarts
	listener crashListener
	log      *slog.Logger

	mu      sync.Mutex
	closed  bool                   // guarded by mu
	crashes map[string][]time.Time // guarded by mu, by actor
	waiting map[string]*time.Timer // guarded by mu, by actor
}

var _ actor.SupervisorStrategy = (*supervisor)(nil)

// crashListener hears of crashes. It must not block.
type crashListener interface {
	// crashed is called at every crash; rests is the pause if the actor crashed
	// too often and rests for long, else 0.
	crashed(child *actor.PID, crashes int, rests time.Duration, reason any)
	// restarted is called when the pause is over.
	restarted(child *actor.PID)
}

func newSupervisor(cfg Restarts, listener crashListener, log *slog.Logger) *supervisor {
	return &supervisor{cfg: cfg, listener: listener, log: log, crashes: map[string][]time.Time{}, waiting: map[string]*time.Timer{}}
}

// HandleFailure implements actor.SupervisorStrategy. The mailbox of the child
// is suspended until it is restarted.
func (s *supervisor) HandleFailure(_ *actor.ActorSystem, parent actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, message any) {
	n, pause, long := s.crash(child, time.Now())
	rests := time.Duration(0)
	if long {
		rests = pause
	}
	s.log.Error("an actor crashed", "actor", child.Id, "panic", reason, "message", fmt.Sprintf("%T", message), "crashes", n, "restart_in", pause)
	s.listener.crashed(child, n, rests, reason)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.waiting[child.Id] = time.AfterFunc(pause, func() {
		if s.due(child) {
			s.listener.restarted(child)
			parent.RestartChildren(child)
		}
	})
}

// due reports whether a restart whose pause is over is still wanted.
func (s *supervisor) due(child *actor.PID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, waits := s.waiting[child.Id]
	delete(s.waiting, child.Id)
	return waits
}

// crash notes a crash and returns how many there were lately, and the pause.
func (s *supervisor) crash(child *actor.PID, now time.Time) (n int, pause time.Duration, long bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	recent := []time.Time{now}
	for _, at := range s.crashes[child.Id] {
		if now.Sub(at) < s.cfg.Window {
			recent = append(recent, at)
		}
	}
	s.crashes[child.Id] = recent
	if len(recent) > s.cfg.Limit {
		delete(s.crashes, child.Id) // after the long pause it begins anew
		return len(recent), s.cfg.Pause, true
	}
	return len(recent), restartPause(s.cfg, len(recent)), false
}

// restartPause is exponential with a tenth of jitter.
func restartPause(cfg Restarts, crashes int) time.Duration {
	pause := cfg.First
	for range crashes - 1 {
		pause = min(2*pause, cfg.Longest)
	}
	return pause + rand.N(pause/10+1)
}

// forget drops what is known of an actor that has ended.
func (s *supervisor) forget(child *actor.PID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.crashes, child.Id)
	if timer := s.waiting[child.Id]; timer != nil {
		timer.Stop()
		delete(s.waiting, child.Id)
	}
}

// close ends all waiting restarts.
func (s *supervisor) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for id, timer := range s.waiting {
		timer.Stop()
		delete(s.waiting, id)
	}
}
