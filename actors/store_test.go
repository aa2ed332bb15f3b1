package actors_test

import (
	"bytes"
	"context"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// store is the replicated state without Raft: a command is applied at once, to
// every replica that is not cut off.
type store struct {
	*state.State
	mu       sync.Mutex
	index    uint64
	err      error      // guarded by mu: what reports fail with, if anything
	replicas []*replica // guarded by mu
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
	for _, r := range s.replicas {
		r.missing = append(r.missing, entry)
		r.followLocked()
	}
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

// replica is one agent's copy of the state.
type replica struct {
	*state.State
	of      *store
	cutOff  bool     // guarded by of.mu
	applied uint64   // guarded by of.mu
	missing [][]byte // guarded by of.mu: entries behind applied
}

func (s *store) replicate(t *testing.T) *replica {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &replica{State: state.New(), of: s, applied: s.index}
	var snapshot bytes.Buffer
	if _, err := s.Snapshot().WriteTo(&snapshot); err != nil {
		t.Fatal(err)
	}
	if err := r.Restore(&snapshot); err != nil {
		t.Fatal(err)
	}
	s.replicas = append(s.replicas, r)
	return r
}

func (r *replica) followLocked() {
	for ; !r.cutOff && len(r.missing) > 0; r.missing = r.missing[1:] {
		r.applied++
		r.Apply(r.applied, r.missing[0])
	}
}

// cut has the agent hear nothing of the others, or hear of all it missed.
func (r *replica) cut(off bool) {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	r.cutOff = off
	r.followLocked()
}

func (r *replica) Propose(ctx context.Context, id wire.RequestID, cmd state.Command) (state.Result, error) {
	if err := r.CatchUp(ctx); err != nil {
		return state.Result{}, err
	}
	return r.of.Propose(ctx, id, cmd)
}

func (r *replica) CatchUp(context.Context) error {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	if r.cutOff {
		return wire.Errorf(wire.CodeNoLeader, "this agent is cut off")
	}
	return nil
}

// ring is who lives and who leads, as every agent sees it.
type ring struct {
	mu     sync.Mutex
	alive  map[wire.NodeName]bool // guarded by mu
	leader wire.NodeName          // guarded by mu
	term   uint64                 // guarded by mu
}

// newRing is a ring that node-1 leads.
func newRing() *ring {
	return &ring{alive: map[wire.NodeName]bool{}, leader: node, term: 1}
}

func (r *ring) set(name wire.NodeName, alive bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.alive[name] = alive
}

func (r *ring) elect(name wire.NodeName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leader, r.term = name, r.term+1
}

func (r *ring) leads(name wire.NodeName) (bool, uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leader == name, r.term
}

func (r *ring) living() map[wire.NodeName]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.alive)
}
