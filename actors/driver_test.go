package actors_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

// faulty is a driver that shows faults which a real one cannot be made to
// show. Nothing of it listens anywhere, so no cluster becomes ready.
type faulty struct {
	mu      sync.Mutex
	found   map[wire.ClusterName]wire.ClusterSpec
	observe map[wire.ClusterName]func() error // may panic
	apply   map[wire.ClusterName]func(context.Context) error
	remove  error                    // what Remove fails with, if anything
	busy    map[wire.ClusterName]int // Applies under way
	worst   int                      // most Applies of one cluster at once
	calls   map[wire.ClusterName]int
	looked  map[wire.ClusterName][]time.Time
	served  map[wire.NodeTag]wire.FrameDBID
}

var _ deploy.Driver = (*faulty)(nil)

func newFaulty() *faulty {
	return &faulty{
		found: map[wire.ClusterName]wire.ClusterSpec{}, observe: map[wire.ClusterName]func() error{},
		apply: map[wire.ClusterName]func(context.Context) error{}, busy: map[wire.ClusterName]int{},
		calls: map[wire.ClusterName]int{}, looked: map[wire.ClusterName][]time.Time{}, served: map[wire.NodeTag]wire.FrameDBID{},
	}
}

func (f *faulty) onObserve(name wire.ClusterName, do func() error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.observe[name] = do
}

func (f *faulty) onApply(name wire.ClusterName, do func(context.Context) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.apply[name] = do
}

func (f *faulty) removesWith(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.remove = err
}

// observed is how often a cluster was looked at.
func (f *faulty) observed(name wire.ClusterName) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[name]
}

// span is when a cluster was looked at first and last; zero for never.
func (f *faulty) span(name wire.ClusterName) (first, last time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if all := f.looked[name]; len(all) > 0 {
		first, last = all[0], all[len(all)-1]
	}
	return first, last
}

// has is what was deployed, as text.
func (f *faulty) has() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprint(slices.Sorted(maps.Keys(f.found)))
}

func (f *faulty) mostAtOnce() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.worst
}

func (f *faulty) Name() string      { return "faulty" }
func (f *faulty) NodeBound() bool   { return true }
func (f *faulty) Password() string  { return password }
func (f *faulty) SocketDir() string { return "" }

func (f *faulty) Observe(_ context.Context, name wire.ClusterName) (deploy.Deployment, error) {
	f.mu.Lock()
	f.calls[name]++
	f.looked[name] = append(f.looked[name], time.Now())
	do := f.observe[name]
	_, exists := f.found[name]
	f.mu.Unlock()
	if do != nil {
		if err := do(); err != nil {
			return deploy.Deployment{}, err
		}
	}
	return deploy.Deployment{Exists: exists}, nil
}

func (f *faulty) Apply(ctx context.Context, name wire.ClusterName, spec wire.ClusterSpec) error {
	f.mu.Lock()
	f.busy[name]++
	f.worst = max(f.worst, f.busy[name])
	f.found[name] = spec
	do := f.apply[name]
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.busy[name]--
		f.mu.Unlock()
	}()
	if do != nil {
		return do(ctx)
	}
	return nil
}

func (f *faulty) Restart(context.Context, wire.FrameDBID) error { return nil }

func (f *faulty) Remove(_ context.Context, name wire.ClusterName) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.remove == nil {
		delete(f.found, name)
	}
	return f.remove
}

func (f *faulty) List(context.Context) ([]deploy.Found, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []deploy.Found
	for name, spec := range f.found {
		found = append(found, deploy.Found{Name: name, Spec: spec})
	}
	return found, nil
}

func (f *faulty) ServeTag(_ context.Context, tag wire.NodeTag, member wire.FrameDBID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.served[tag] = member
	return nil
}

var _ deploy.StorageDriver = (*faulty)(nil)

// disk is the key under which a persistent FrameDB is kept among the clusters.
func disk(id wire.FrameDBID) wire.ClusterName { return wire.ClusterName("disk/" + id) }

func (f *faulty) StorageNodeBound() bool { return true }

func (f *faulty) ObserveStorage(ctx context.Context, id wire.FrameDBID) (deploy.Storage, error) {
	d, err := f.Observe(ctx, disk(id))
	seen := deploy.Storage{Exists: d.Exists, Running: d.Exists}
	if d.Exists {
		seen.Host, seen.Port, seen.Ready.TiDB = "192.0.2.1", 4000, 1
	}
	return seen, err
}

func (f *faulty) ApplyStorage(ctx context.Context, id wire.FrameDBID, _ wire.StorageSpec, _ deploy.StoragePassword) error {
	return f.Apply(ctx, disk(id), wire.ClusterSpec{})
}

func (f *faulty) RemoveStorage(ctx context.Context, id wire.FrameDBID) error {
	return f.Remove(ctx, disk(id))
}
