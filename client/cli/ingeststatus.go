package cli

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
)

func (a *app) ingestStatusCommand() *cobra.Command {
	watch := false
	cmd := &cobra.Command{
		Use:   "status [SOURCE]",
		Short: "Show rate, lag and spool of the sources whose frames the agent takes in",
		Long: `Show rate, lag and spool of the sources whose frames this agent takes in, at each
of their targets. LAG is the age of the oldest frame that waits on disk.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeSources(nil),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			var source wire.SourceID
			if len(args) > 0 {
				source = wire.SourceID(args[0])
			}
			return s.ingestStatus(ctx, source, watch)
		}),
	}
	cmd.Flags().BoolVar(&watch, "watch", false, "show it again each second")
	return cmd
}

// ratePause is between two looks of which a rate is made.
const ratePause = time.Second

// lanesNow is what the status is at a time, with the rates since the look before.
type lanesNow struct {
	wire.IngestStatus
	// FramesPerSecond and BytesPerSecond are those of Lanes, in their order.
	FramesPerSecond []float64 `json:"frames_per_second"`
	BytesPerSecond  []float64 `json:"bytes_per_second"`
}

func (s *session) ingestStatus(ctx context.Context, source wire.SourceID, watch bool) error {
	before, err := s.client.IngestStatus(ctx, source)
	if err != nil {
		return err
	}
	for at := time.Now(); ; {
		select {
		case <-time.After(ratePause):
		case <-ctx.Done():
			return ctx.Err()
		}
		after, err := s.client.IngestStatus(ctx, source)
		if err != nil {
			return err
		}
		now := ratesOf(before, after, time.Since(at).Seconds())
		before, at = after, time.Now()
		if watch && !s.json() && s.terminal(s.out) {
			fmt.Fprint(s.out, "\x1b[H\x1b[2J")
		}
		if err := s.print(now, func() { s.lanesTable(&now) }); err != nil || !watch {
			return err
		}
	}
}

// ratesOf compares two looks. A lane that was begun anew counts from zero.
func ratesOf(before, after wire.IngestStatus, seconds float64) lanesNow {
	type lane struct {
		source wire.SourceID
		target string
	}
	old := map[lane]wire.IngestLane{}
	for _, l := range before.Lanes {
		old[lane{l.Source, l.Target}] = l
	}
	now := lanesNow{IngestStatus: after, FramesPerSecond: []float64{}, BytesPerSecond: []float64{}}
	for _, l := range after.Lanes {
		was := old[lane{l.Source, l.Target}]
		if was.Frames > l.Frames {
			was = wire.IngestLane{}
		}
		now.FramesPerSecond = append(now.FramesPerSecond, float64(l.Frames-was.Frames)/seconds)
		now.BytesPerSecond = append(now.BytesPerSecond, float64(l.Bytes-was.Bytes)/seconds)
	}
	return now
}

func (s *session) lanesTable(now *lanesNow) {
	fmt.Fprintf(s.out, "node %s: %s in memory, %d frames (%s) on disk, lag %s\n",
		now.Node, formatBytes(now.MemoryBytes), now.SpoolFrames, formatBytes(now.SpoolBytes), lagOf(now.LagMS))
	if len(now.Lanes) == 0 {
		return
	}
	t := newTable(s.out, "SOURCE", "TARGET", "FRAMES/S", "BYTES/S", "IN MEMORY", "ON DISK", "LAG", "TROUBLE")
	for i, l := range now.Lanes {
		t.row(l.Source, l.Target, fmt.Sprintf("%.1f", now.FramesPerSecond[i]), formatBytes(int64(now.BytesPerSecond[i])),
			l.MemoryFrames, l.SpoolFrames, lagOf(l.LagMS), l.Trouble)
	}
	t.flush()
}

func lagOf(ms int64) time.Duration {
	return (time.Duration(ms) * time.Millisecond).Round(100 * time.Millisecond)
}

// ingested is what ingest prints at its end.
type ingested struct {
	Frames     int `json:"frames"` // that were acknowledged
	Duplicates int `json:"duplicates"`
	// Spooled were acknowledged as durable though less was asked for: their
	// FrameDB is down or slow, and readers see them later.
	Spooled int `json:"spooled"`
	Failed  int `json:"failed"`
}

// ingestMeter counts results, and draws a line on a terminal.
type ingestMeter struct {
	s      *session
	asked  ingest.Level
	source wire.SourceID
	start  time.Time
	stop   context.CancelFunc
	drawn  sync.WaitGroup

	mu    sync.Mutex
	sum   ingested // guarded by mu
	first error    // guarded by mu: of the first frame that failed
}

func (s *session) newIngestMeter(ctx context.Context, source wire.SourceID, asked ingest.Level) *ingestMeter {
	ctx, stop := context.WithCancel(ctx)
	m := &ingestMeter{s: s, asked: asked, source: source, start: time.Now(), stop: stop}
	if s.terminal(s.cmd.ErrOrStderr()) {
		m.drawn.Go(func() { m.draw(ctx) })
	}
	return m
}

func (m *ingestMeter) result(r ingest.Result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case r.Error != nil:
		m.sum.Failed++
		if m.first == nil {
			m.first = fmt.Errorf("frame %d was not taken: %w", m.sum.Frames+m.sum.Failed, r.Error)
		}
		return
	case r.Duplicate:
		m.sum.Duplicates++
	case r.Level.Promise == ingest.Durable && m.asked.Promise != ingest.Durable:
		m.sum.Spooled++
	}
	m.sum.Frames++
}

// draw shows rate, lag and spool until ctx ends.
func (m *ingestMeter) draw(ctx context.Context) {
	w := m.s.cmd.ErrOrStderr()
	defer fmt.Fprint(w, "\r\x1b[K")
	ticker := time.NewTicker(ratePause / 2)
	defer ticker.Stop()
	last, at := 0, m.start
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		m.mu.Lock()
		frames, failed := m.sum.Frames, m.sum.Failed
		m.mu.Unlock()
		rate := float64(frames-last) / time.Since(at).Seconds()
		last, at = frames, time.Now()
		line := fmt.Sprintf("%s: %d frames, %.1f a second, %d failed", m.source, frames, rate, failed)
		if st, err := m.s.client.IngestStatus(ctx, m.source); err == nil {
			line += spoolLine(st)
		}
		fmt.Fprintf(w, "\r%s\x1b[K", line)
	}
}

// spoolLine is what waits of the sources in a status.
func spoolLine(st wire.IngestStatus) string {
	var frames uint64
	var lag int64
	for _, l := range st.Lanes {
		frames += l.SpoolFrames
		lag = max(lag, l.LagMS)
	}
	return fmt.Sprintf(", %d on disk, lag %s", frames, lagOf(lag))
}

// finish ends the drawing.
func (m *ingestMeter) finish() {
	m.stop()
	m.drawn.Wait()
}

func (s *session) ingestedTable(source wire.SourceID, sum *ingested) {
	t := newTable(s.out, "SOURCE", "FRAMES", "DUPLICATES", "ON DISK", "FAILED")
	t.row(source, sum.Frames, sum.Duplicates, sum.Spooled, sum.Failed)
	t.flush()
}
