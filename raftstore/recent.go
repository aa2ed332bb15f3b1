package raftstore

import (
	"sync"

	"github.com/hashicorp/raft"
)

// recent are the last entries in memory: Raft reads each one that it stored
// again, a leader for each follower, a follower to apply it.
type recent struct {
	mu    sync.RWMutex
	logs  [recentEntries]*raft.Log // each at its index modulo recentEntries
	bytes int                      // of their data
	next  uint64                   // behind the last one
	n     int                      // how many there are
}

// Bounds of what is kept, whichever is met first.
const (
	recentEntries = 1024
	recentBytes   = 4 << 20
)

// get is GetLog's; it reports whether the entry is here.
func (r *recent) get(index uint64, l *raft.Log) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if index >= r.next || index+uint64(r.n) < r.next {
		return false
	}
	*l = *r.logs[index%recentEntries]
	return true
}

// add takes entries that were stored. Nobody changes them from here on.
func (r *recent) add(logs []*raft.Log) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next != logs[0].Index {
		r.cutLocked(0)
		r.next = logs[0].Index
	}
	for _, l := range logs {
		for r.n == recentEntries || r.n > 0 && r.bytes+len(l.Data) > recentBytes {
			r.forget(r.next - uint64(r.n))
		}
		r.logs[l.Index%recentEntries] = l
		r.bytes += len(l.Data)
		r.next++
		r.n++
	}
}

// drop forgets the entries before index.
func (r *recent) drop(index uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.n > 0 && r.next-uint64(r.n) < index {
		r.forget(r.next - uint64(r.n))
	}
}

// cut forgets the entries from index on.
func (r *recent) cut(index uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cutLocked(index)
}

func (r *recent) cutLocked(index uint64) {
	for r.n > 0 && r.next > index {
		r.next--
		r.forget(r.next)
	}
}

// forget is for the first or the last entry.
func (r *recent) forget(index uint64) {
	l := &r.logs[index%recentEntries]
	r.bytes -= len((*l).Data)
	r.n--
	*l = nil
}
