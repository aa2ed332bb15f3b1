package frames_test

import (
	"maps"
	"slices"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
)

// worldSizes are those that its frames may have, and that Redis was told.
var worldSizes = []string{"8x8", "4x4"}

// world is what Redis should hold: the model of counts, leases and queues.
type world struct {
	counts map[int]int64
	data   map[string]bool
	leases map[frames.LeaseID]*modelLease
	queued [][]wire.Decrement // batches in the list and the stream
	names  []string           // in del_queue, the next one last
}

type modelLease struct {
	held   map[int]int64
	lapsed bool // and not all is given back
}

func newWorld() *world {
	return &world{counts: map[int]int64{}, data: map[string]bool{}, leases: map[frames.LeaseID]*modelLease{}}
}

func (w *world) put(n int, count int64, sizes ...string) {
	w.counts[n] = count
	for _, s := range sizes {
		w.data[key(n).Data(s)] = true
	}
}

func (w *world) unlink(n int, sizes []string) (gone int64) {
	delete(w.counts, n)
	for _, s := range sizes {
		if w.data[key(n).Data(s)] {
			delete(w.data, key(n).Data(s))
			gone++
		}
	}
	return gone
}

// drop counts one frame down; without sizes all go.
func (w *world) drop(n int, by int64, sizes []string) wire.Decremented {
	r := wire.Decremented{Key: key(n).Count()}
	count, there := w.counts[n]
	switch {
	case !there:
		r.Missing = true
	case count > by:
		w.counts[n] -= by
		r.Remaining = count - by
	case len(sizes) == 0:
		r.Deleted = w.unlink(n, worldSizes)
	default:
		r.Deleted = w.unlink(n, sizes)
	}
	return r
}

func (w *world) decrement(batch []wire.Decrement) []wire.Decremented {
	var out []wire.Decremented
	for _, d := range batch {
		out = append(out, w.drop(frameOf(d.Key), d.By, d.Sizes))
	}
	return out
}

func frameOf(count string) int {
	k, _ := wire.ParseCountKey(count)
	return int(k.Number)
}

func (w *world) retain(uses []frames.Use) []frames.Used {
	var out []frames.Used
	for _, u := range uses {
		r := frames.Used{Key: u.Key, Missing: true}
		if n := frameOf(u.Key); w.counts[n] > 0 {
			w.counts[n] += u.By
			r = frames.Used{Key: u.Key, Count: w.counts[n]}
		}
		out = append(out, r)
	}
	return out
}

// take is what TakeLease of a lease that has not lapsed does.
func (w *world) take(id frames.LeaseID, uses []frames.Use, add bool) []frames.Used {
	l := w.leases[id]
	if l == nil {
		l = &modelLease{held: map[int]int64{}}
	}
	var out []frames.Used
	for _, u := range uses {
		n := frameOf(u.Key)
		r := frames.Used{Key: u.Key, Missing: true}
		if add {
			r = w.retain([]frames.Use{u})[0]
		} else if w.counts[n] > 0 && l.held[n]+u.By <= w.counts[n] {
			r = frames.Used{Key: u.Key, Count: w.counts[n]}
		}
		if !r.Missing {
			l.held[n] += u.By
			w.leases[id] = l
		}
		out = append(out, r)
	}
	return out
}

func (w *world) putBack(id frames.LeaseID, batch []wire.Decrement) []wire.Decremented {
	var out []wire.Decremented
	for _, d := range batch {
		n := frameOf(d.Key)
		r := wire.Decremented{Key: d.Key, Missing: true}
		if l := w.leases[id]; l != nil && l.held[n] > 0 {
			by := min(d.By, l.held[n])
			r = w.drop(n, by, d.Sizes)
			if l.held[n] -= by; l.held[n] == 0 {
				delete(l.held, n)
			}
		}
		out = append(out, r)
	}
	if l := w.leases[id]; l != nil && len(l.held) == 0 {
		delete(w.leases, id)
	}
	return out
}

// giveBack ends a lease.
func (w *world) giveBack(id frames.LeaseID) {
	if l := w.leases[id]; l != nil {
		for n, by := range l.held {
			w.drop(n, by, nil)
		}
		delete(w.leases, id)
	}
}

func (w *world) lapse() {
	for _, id := range slices.Collect(maps.Keys(w.leases)) {
		if w.leases[id].lapsed {
			w.giveBack(id)
		}
	}
}

func (w *world) drain() {
	for _, batch := range w.queued {
		w.decrement(batch)
	}
	w.queued = nil
}

// deleteNames is what becomes of del_queue: nothing while uses are left.
func (w *world) deleteNames() {
	for i := len(w.names) - 1; i >= 0; i-- {
		name := w.names[i]
		if k, ok := wire.ParseCountKey(name); ok {
			if w.counts[int(k.Number)] <= 0 {
				delete(w.counts, int(k.Number))
			}
		} else if k, _, ok := wire.ParseDataKey(name); ok && w.counts[int(k.Number)] <= 0 {
			delete(w.data, name)
		}
	}
	w.names = nil
}

// sweep ends what is left over.
func (w *world) sweep() {
	for n, count := range maps.Clone(w.counts) {
		if has := w.has(n); count <= 0 || !has {
			w.unlink(n, worldSizes)
		}
	}
	for name := range w.data {
		k, _, _ := wire.ParseDataKey(name)
		if _, there := w.counts[int(k.Number)]; !there {
			delete(w.data, name)
		}
	}
}

func (w *world) has(n int) bool {
	return slices.ContainsFunc(worldSizes, func(s string) bool { return w.data[key(n).Data(s)] })
}

// keys are all that should be there of frames, with the counts.
func (w *world) keys() map[string]int64 {
	all := map[string]int64{}
	for n, count := range w.counts {
		all[key(n).Count()] = count
	}
	for name := range w.data {
		all[name] = 0
	}
	return all
}
