package actors

import (
	"sync"

	"github.com/framedb/framedb/actors/instance"
	"github.com/framedb/framedb/actors/routing"
	"github.com/framedb/framedb/actors/storage"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// records are those of the items that this node works on. Safe for concurrent
// use.
type records struct {
	password string

	mu     sync.Mutex
	byName map[wire.ClusterName]*instance.Record // guarded by mu
	byID   map[wire.FrameDBID]*storage.Record    // guarded by mu
	// turns are kept for every name that was ever used: a few bytes each.
	turns map[state.Item]instance.Turn // guarded by mu
}

var _ routing.Outboxes = (*records)(nil)

func newRecords(password string) *records {
	return &records{
		password: password,
		byName:   map[wire.ClusterName]*instance.Record{},
		byID:     map[wire.FrameDBID]*storage.Record{},
		turns:    map[state.Item]instance.Turn{},
	}
}

// open returns the cluster's record, a new one if there is none.
func (r *records) open(name wire.ClusterName) *instance.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	if rec, ok := r.byName[name]; ok {
		return rec
	}
	rec := instance.NewRecord(r.password, r.turnLocked(state.Item{Cluster: name}))
	r.byName[name] = rec
	return rec
}

// openStorage returns the record of a persistent FrameDB, a new one if there is
// none.
func (r *records) openStorage(id wire.FrameDBID) *storage.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec, ok := r.byID[id]
	if !ok {
		rec = storage.NewRecord(r.turnLocked(state.Item{Storage: id}))
		r.byID[id] = rec
	}
	return rec
}

func (r *records) dropStorage(id wire.FrameDBID, rec *storage.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID[id] == rec {
		delete(r.byID, id)
	}
}

// getStorage returns the record of a persistent FrameDB that this node works on.
func (r *records) getStorage(id wire.FrameDBID) (*storage.Record, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec, ok := r.byID[id]
	return rec, ok
}

// turn is held by whoever works on the item, or on what is left of it.
func (r *records) turn(i state.Item) instance.Turn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.turnLocked(i)
}

func (r *records) turnLocked(i state.Item) instance.Turn {
	turn, ok := r.turns[i]
	if !ok {
		turn = instance.NewTurn()
		r.turns[i] = turn
	}
	return turn
}

// drop closes a record.
func (r *records) drop(name wire.ClusterName, rec *instance.Record) {
	r.mu.Lock()
	if r.byName[name] == rec {
		delete(r.byName, name)
	}
	r.mu.Unlock()
	rec.Close(wire.Errorf(wire.CodeNotFound, "cluster %q is not this node's any more", name))
}

// get returns the record of a cluster that this node works on.
func (r *records) get(name wire.ClusterName) (*instance.Record, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec, ok := r.byName[name]
	return rec, ok
}

// all returns every record by its cluster's name.
func (r *records) all() map[wire.ClusterName]*instance.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[wire.ClusterName]*instance.Record, len(r.byName))
	for name, rec := range r.byName {
		all[name] = rec
	}
	return all
}

// close closes every record.
func (r *records) close() {
	for _, rec := range r.all() {
		rec.Close(wire.Errorf(wire.CodeUnavailable, "the agent is stopping"))
	}
}

// Outbox implements routing.Outboxes.
func (r *records) Outbox(name wire.ClusterName) (*routing.Outbox, bool) {
	rec, ok := r.get(name)
	if !ok {
		return nil, false
	}
	return rec.Outbox, true
}

// AllOutboxes implements routing.Outboxes.
func (r *records) AllOutboxes() []*routing.Outbox {
	var boxes []*routing.Outbox
	for _, rec := range r.all() {
		boxes = append(boxes, rec.Outbox)
	}
	return boxes
}
