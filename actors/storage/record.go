package storage

import (
	"sync"

	"github.com/framedb/framedb/actors/instance"
)

// Record is what has to outlive a restart of the actor. Safe for concurrent
// use.
type Record struct {
	turn instance.Turn
	past Past // belongs to the holder of turn

	mu     sync.Mutex
	wake   func() // guarded by mu: pokes the actor; may be nil
	woken  bool   // guarded by mu: it was poked and has not looked yet
	untold error  // guarded by mu: why the last report is not in the store
	backup backup // guarded by mu
}

// backup is the one that is under way, and how the last one ended.
type backup struct {
	running bool
	ended   *backupEnd // until the store was told
}

// NewRecord makes the record of one persistent FrameDB.
func NewRecord(turn instance.Turn) *Record { return &Record{turn: turn} }

// Poke asks for a round soon; it does not block, and many pokes are one.
func (r *Record) Poke() {
	r.mu.Lock()
	wake, woken := r.wake, r.woken
	r.woken = true
	r.mu.Unlock()
	if wake != nil && !woken {
		wake()
	}
}

func (r *Record) onPoke(wake func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wake, r.woken = wake, false
}

// heard notes that the actor looks now.
func (r *Record) heard() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.woken = false
}

func (r *Record) told(untold error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.untold = untold
}

// Untold returns why the store does not have what the last round saw, nil if it
// has.
func (r *Record) Untold() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.untold
}

// beginBackup reports whether there is none under way, and notes one.
func (r *Record) beginBackup() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.backup.running {
		return false
	}
	r.backup.running = true
	return true
}

func (r *Record) endBackup(end *backupEnd) {
	r.mu.Lock()
	r.backup = backup{ended: end}
	r.mu.Unlock()
	r.Poke()
}

// backedUp returns whether a backup is under way, and how the last one ended if
// the store was not told of that yet.
func (r *Record) backedUp() (running bool, ended *backupEnd) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.backup.running, r.backup.ended
}

// backupTold notes that the store was.
func (r *Record) backupTold(end *backupEnd) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.backup.ended == end {
		r.backup.ended = nil
	}
}
