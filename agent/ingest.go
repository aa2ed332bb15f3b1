package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/framedb/framedb/actors/ingest"
	"github.com/framedb/framedb/actors/intake"
	client "github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/httpapi"
)

// ingestFlush is how long frames in memory are written at the end before they
// go to disk, so that both fit in stopTimeout.
const ingestFlush = 2 * time.Second

// frontDoor is what takes frames in.
type frontDoor struct {
	*ingest.Service
	node   wire.NodeName
	intake *intake.Intake
}

var _ httpapi.Ingest = frontDoor{}

// openIngest takes frames in once the log is replayed: before that the store
// shows where sources wrote at some time in the past. It ends behind the API,
// by which most frames come, and before what it writes through.
func (a *agent) openIngest(context.Context) error {
	a.ingest.node = a.node
	a.ingest.intake = intake.New(intake.Config{
		Node: a.node, Password: a.password, View: a.store.View, Sentinels: a.sentinels, Objects: a.objects.Store, Logger: a.log,
	})
	var err error
	a.ingest.Service, err = ingest.New(ingest.Config{
		Router: a.ingest.intake, Agent: a.node, SpoolDir: a.dir.join(spoolDir),
		MemoryBytes: a.cfg.IngestMemoryBytes, SpoolBytes: a.cfg.IngestSpoolBytes, SpoolAge: a.cfg.IngestSpoolAge,
		SpoolMinFree: a.cfg.IngestSpoolMinFree, SyncEvery: a.cfg.IngestSyncEvery, SpillAfter: a.cfg.IngestSpillAfter,
		FlushFor: ingestFlush, Logger: a.log, Registerer: a.metrics,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	fetching, unplug := context.WithCancel(ctx)
	served := a.background("ingest", func() error {
		if a.store.WaitReady(ctx) != nil {
			return nil // told to stop
		}
		return a.ingest.Run(ctx)
	})
	fetched := a.background("inputs", func() error {
		if a.store.WaitReady(fetching) == nil {
			a.ingest.intake.Fetch(fetching, a.ingest.Service)
		}
		return nil
	})
	a.life.started("ingest", func(stop context.Context) error {
		unplug()
		err := wait(stop, fetched)
		cancel()
		err = errors.Join(err, wait(stop, served))
		a.ingest.intake.Close()
		return err
	})
	return nil
}

// Known implements httpapi.Ingest.
func (f frontDoor) Known(source wire.SourceID) error {
	_, err := f.intake.Route(source)
	return err
}

// Hold implements httpapi.Ingest.
func (f frontDoor) Hold(n int64) (httpapi.Hold, error) {
	g, err := f.Admit(n)
	if err != nil {
		return nil, err
	}
	return &hold{f.Service, g}, nil
}

// hold is memory for a body.
type hold struct {
	service *ingest.Service
	*ingest.Grant
}

func (h *hold) Grow(n int64) error { return h.service.Grow(h.Grant, n) }

// Take implements httpapi.Ingest.
func (f frontDoor) Take(ctx context.Context, source wire.SourceID, frames []client.Frame, level client.Level, held httpapi.Hold) ([]client.Result, error) {
	return f.Ingest(ctx, source, frames, ingest.Options{Level: level, Grant: held.(*hold).Grant})
}

// IngestStatus implements httpapi.Ingest.
func (f frontDoor) IngestStatus() wire.IngestStatus {
	st := f.Service.Status()
	out := wire.IngestStatus{Node: f.node, MemoryBytes: st.MemoryBytes, SpoolFrames: st.SpoolFrames, SpoolBytes: st.SpoolBytes, Lanes: []wire.IngestLane{}}
	for _, l := range f.Lanes() {
		lane := wire.IngestLane{
			Source: l.Source, Target: string(l.Target), Frames: l.Frames, Bytes: l.Bytes,
			MemoryFrames: l.MemoryFrames, SpoolFrames: l.SpoolFrames, SpoolBytes: l.SpoolBytes, Trouble: l.Trouble,
		}
		if !l.Oldest.IsZero() {
			lane.LagMS = time.Since(l.Oldest).Milliseconds()
		}
		out.LagMS = max(out.LagMS, lane.LagMS)
		out.Lanes = append(out.Lanes, lane)
	}
	return out
}

// maxTroubles bounds what the status says of single sources.
const maxTroubles = 20

// degraded tells which sources' frames do not get on.
func (f frontDoor) degraded() []string {
	var wrong []string
	troubles := f.Service.Status().Trouble
	for i, t := range troubles {
		if i == maxTroubles {
			wrong = append(wrong, fmt.Sprintf("ingest: frames of %d more sources wait", len(troubles)-i))
			break
		}
		wrong = append(wrong, fmt.Sprintf("ingest: frames of source %s for %s wait on node %s: %s", t.Source, t.Target, f.node, t.Reason))
	}
	return wrong
}
