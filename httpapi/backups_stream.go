package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/objects/backup"
	"github.com/framedb/framedb/client/wire"
)

const (
	// maxBackupWork bounds the backups, restores and verifications that callers
	// have an agent do at one time. Each takes up to 32 MiB of memory for each
	// of its backup.DefaultParallel transfers.
	maxBackupWork = 2
	// progressEvery is how often progress is told. What ends before the first
	// time has an answer with a status of its own.
	progressEvery = 500 * time.Millisecond
)

// working does what takes long, and answers with lines of wire.BackupLine. It
// ends early when the caller goes away, takes no lines, or the server stops:
// what was done stays, and is not done again when somebody asks again.
func working[Report any](s *Server, c *gin.Context, name wire.BackupName, work func(context.Context, func(backup.Progress)) (Report, error)) (reply, error) {
	hold, err := s.backupWork.take(1)
	if err != nil {
		return reply{}, err
	}
	defer hold.release()
	ctx, cancel := context.WithCancelCause(c.Request.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.stopping, func() {
		cancel(later(wire.CodeUnavailable, "the agent is stopping: ask again, and it goes on"))
	})()
	out := &workStream{c: c, last: wire.BackupProgress{Name: name}}
	report, err := during(out, cancel, func() (Report, error) { return work(ctx, out.progress) })
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	line := wire.BackupLine[Report]{Result: &report}
	if err != nil {
		if err = ofBackup(err); !out.begun {
			return reply{}, err
		}
		failure := wire.FailureOf(s.toWire(c, route{path: c.FullPath()}, err))
		line.Failure = &failure
		if failure.Code != wire.CodeCorrupt {
			line.Result = nil // only a verification tells something then
		}
	}
	return reply{written: true}, out.write(line)
}

// workStream is the answer.
type workStream struct {
	c     *gin.Context
	begun bool // for whoever writes

	mu   sync.Mutex
	last wire.BackupProgress // guarded by mu
}

// progress hears of every step; it never blocks for long.
func (w *workStream) progress(p backup.Progress) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = wire.BackupProgress{
		Name: w.last.Name, Objects: p.Objects, Bytes: p.Bytes, TotalObjects: p.TotalObjects, TotalBytes: p.TotalBytes, Moved: p.Moved,
	}
}

func (w *workStream) latest() wire.BackupProgress {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// during tells of progress while f runs. A caller who does not take it ends f.
func during[Report any](w *workStream, cancel context.CancelCauseFunc, f func() (Report, error)) (Report, error) {
	done := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() {
		if err := w.tell(done); err != nil {
			cancel(err)
		}
	})
	defer telling.Wait()
	defer close(done)
	return f()
}

// tell writes what is new, and at each heartbeat, until done is closed.
func (w *workStream) tell(done <-chan struct{}) error {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	var told wire.BackupProgress
	var at time.Time
	for {
		select {
		case <-done:
			return nil
		case now := <-tick.C:
			p := w.latest()
			if p == told && now.Sub(at) < heartbeat {
				continue
			}
			if err := w.write(wire.BackupLine[struct{}]{Progress: &p}); err != nil {
				return err
			}
			told, at = p, now
		}
	}
}

// write writes one line, which has to be taken soon.
func (w *workStream) write(line any) error {
	b, err := json.Marshal(line)
	if err != nil {
		return err
	}
	control := http.NewResponseController(unwrap(w.c.Writer))
	control.SetWriteDeadline(time.Now().Add(eventWriteTimeout))
	if !w.begun {
		w.begun = true
		h := w.c.Writer.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Accel-Buffering", "no")
		startBody(w.c, http.StatusOK, wire.MediaLines)
	}
	if _, err := w.c.Writer.Write(append(b, '\n')); err != nil {
		return err
	}
	return control.Flush()
}
