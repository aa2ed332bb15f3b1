package actors_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// store is the replicated state without Raft: a command is applied at once.
type store struct {
	*state.State
	mu    sync.Mutex
	index uint64
	err   error // guarded by mu: what reports fail with, if anything
}

// fail makes reports fail, as without a leader.
func (s *store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func newStore() *store { return &store{State: state.New()} }

func (s *store) Propose(ctx context.Context, id wire.RequestID, cmd state.Command) (state.Result, error) {
	if err := ctx.Err(); err != nil {
		return state.Result{}, err
	}
	entry, err := state.Encode(cmd, id, time.Now())
	if err != nil {
		return state.Result{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, report := cmd.(state.ReportCluster); report && s.err != nil {
		return state.Result{}, s.err
	}
	s.index++
	res := s.Apply(s.index, entry)
	if res.Err != nil {
		return res, res.Err
	}
	return res, nil
}

// must applies commands that the test needs to succeed.
func (s *store) must(t *testing.T, commands ...state.Command) {
	t.Helper()
	for _, cmd := range commands {
		if _, err := s.Propose(t.Context(), "", cmd); err != nil {
			t.Fatalf("%s: %v", cmd.Type(), err)
		}
	}
}

func (s *store) cluster(name wire.ClusterName) wire.Cluster {
	row, ok := s.View().Cluster(name)
	if !ok {
		return wire.Cluster{}
	}
	return *row
}
