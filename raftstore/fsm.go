package raftstore

import (
	"io"

	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/raftstore/state"
)

// fsm lets Raft drive a state.State. Raft calls it from one goroutine.
type fsm struct{ *state.State }

var _ raft.FSM = fsm{}

// Apply returns a state.Result.
func (f fsm) Apply(l *raft.Log) any { return f.State.Apply(l.Index, l.Data) }

// Snapshot fixes the state of now; Persist writes it beside further Applies.
func (f fsm) Snapshot() (raft.FSMSnapshot, error) { return snapshot{f.State.Snapshot()}, nil }

func (f fsm) Restore(r io.ReadCloser) error { return f.State.Restore(r) }

type snapshot struct{ io.WriterTo }

func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := s.WriteTo(sink); err != nil {
		return err // Raft cancels the sink
	}
	return nil // and closes it
}

func (snapshot) Release() {}
