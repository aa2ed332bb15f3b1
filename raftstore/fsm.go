package raftstore

import (
	"io"

	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/raftstore/state"
)

// fsm lets Raft drive a state.State. Raft calls it from one goroutine.
type fsm struct{ *state.State }

var _ raft.BatchingFSM = fsm{}

// Apply returns a state.Result.
func (f fsm) Apply(l *raft.Log) any { return f.State.Apply(l.Index, l.Data) }

// ApplyBatch returns a state.Result for each command; Raft sends its changes of
// configuration as well, which are none of ours.
func (f fsm) ApplyBatch(logs []*raft.Log) []any {
	entries := make([]state.Entry, 0, len(logs))
	for _, l := range logs {
		if l.Type == raft.LogCommand {
			entries = append(entries, state.Entry{Index: l.Index, Envelope: l.Data})
		}
	}
	if len(entries) == 0 {
		return make([]any, len(logs))
	}
	applied := f.ApplyAll(entries)
	results := make([]any, len(logs))
	for i, l := range logs {
		if l.Type == raft.LogCommand {
			results[i], applied = applied[0], applied[1:]
		}
	}
	return results
}

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
