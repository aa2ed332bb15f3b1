package ingest

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// Status is what the service has in hand.
type Status struct {
	MemoryBytes int64
	SpoolFrames uint64
	SpoolBytes  int64
	Oldest      time.Time // of the frames on disk; zero when there is none
	// Direct and Spooling count lanes: a source at a target.
	Direct, Spooling int
	// Trouble are those that cannot be written now, or whose spool is full.
	Trouble []Trouble
}

// Trouble is what is wrong with one lane.
type Trouble struct {
	Source wire.SourceID
	Target TargetName
	Reason string
}

// Status tells what the service has in hand.
func (s *Service) Status() Status {
	st := Status{MemoryBytes: s.memory.inUse() + s.drains.inUse()}
	for _, l := range s.allLanes() {
		_, d := l.depth()
		st.SpoolFrames += d.Records
		st.SpoolBytes += d.Bytes
		if d.Records > 0 && (st.Oldest.IsZero() || d.Oldest.Before(st.Oldest)) {
			st.Oldest = d.Oldest
		}
		l.mu.Lock()
		if l.spooling {
			st.Spooling++
		} else {
			st.Direct++
		}
		if err := l.problemLocked(); err != nil {
			st.Trouble = append(st.Trouble, Trouble{l.key.source, l.key.target, err.Error()})
		}
		l.mu.Unlock()
	}
	slices.SortFunc(st.Trouble, func(a, b Trouble) int {
		return strings.Compare(string(a.Source)+" "+string(a.Target), string(b.Source)+" "+string(b.Target))
	})
	return st
}

// Backlog is what waits of one source: in memory, in frames, and on disk.
type Backlog struct {
	MemoryFrames int
	SpoolFrames  uint64
	SpoolBytes   int64
	Oldest       time.Time
}

// Backlog tells what waits of one source, over all its targets.
func (s *Service) Backlog(source wire.SourceID) Backlog {
	var b Backlog
	for _, l := range s.allLanes() {
		if l.key.source != source {
			continue
		}
		n, d := l.depth()
		b.MemoryFrames += n
		b.SpoolFrames += d.Records
		b.SpoolBytes += d.Bytes
		if d.Records > 0 && (b.Oldest.IsZero() || d.Oldest.Before(b.Oldest)) {
			b.Oldest = d.Oldest
		}
	}
	return b
}

// LaneStatus is what one source has in hand at one target.
type LaneStatus struct {
	Source wire.SourceID
	Target TargetName
	// Frames and Bytes were written since the lane was made. One that has
	// nothing to do is forgotten after a while, and begins at zero again.
	Frames, Bytes int64
	Backlog
	// Trouble is why it does not get on; empty when it does.
	Trouble string
}

// Lanes tells of each lane, by source and target.
func (s *Service) Lanes() []LaneStatus {
	var all []LaneStatus
	for _, l := range s.allLanes() {
		n, d := l.depth()
		st := LaneStatus{
			Source: l.key.source, Target: l.key.target, Frames: l.frames.Load(), Bytes: l.bytes.Load(),
			Backlog: Backlog{MemoryFrames: n, SpoolFrames: d.Records, SpoolBytes: d.Bytes},
		}
		if d.Records > 0 {
			st.Oldest = d.Oldest
		}
		l.mu.Lock()
		if err := l.problemLocked(); err != nil {
			st.Trouble = err.Error()
		}
		l.mu.Unlock()
		all = append(all, st)
	}
	slices.SortFunc(all, func(a, b LaneStatus) int {
		return cmp.Or(strings.Compare(string(a.Source), string(b.Source)), strings.Compare(string(a.Target), string(b.Target)))
	})
	return all
}

// problemLocked is why the lane does not get on, or nil.
func (l *lane) problemLocked() error {
	if l.full != nil {
		return l.full
	}
	return l.trouble
}
