package intake

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/framedb/framedb/actors/ingest"
	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// paths keeps one way to each cluster that frames go to or are fetched from.
type paths struct {
	cfg Config

	mu     sync.Mutex
	known  map[wire.ClusterName]*path // guarded by mu
	closed bool                       // guarded by mu
}

// path is the way to one cluster. It is an ingest.Destination that has the
// cluster learn which sizes its sources' frames have, for those who count down
// without naming any.
type path struct {
	*ingest.Memory
	cluster *frames.Cluster
	members []wire.Instance // guarded by paths.mu: as it was last told

	mu      sync.Mutex
	learned map[wire.SourceID]map[string]time.Time // guarded by mu: when it was told of a size
}

var (
	_ ingest.Destination = (*path)(nil)
	_ ingest.Messenger   = (*path)(nil)
)

func newPaths(cfg Config) *paths { return &paths{cfg: cfg, known: map[wire.ClusterName]*path{}} }

// to returns the way to a cluster, with its members as the view has them.
//
// Errors: ErrUnavailable when it was closed.
func (ps *paths) to(v *state.View, name wire.ClusterName) (*path, error) {
	rows := v.InstancesOf(name)
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.closed {
		return nil, wire.Errorf(wire.CodeUnavailable, "the agent is stopping")
	}
	p := ps.known[name]
	if p != nil && slices.EqualFunc(p.members, rows, func(a wire.Instance, b *wire.Instance) bool { return a == *b }) {
		return p, nil
	}
	members := make([]wire.Instance, len(rows))
	for i, row := range rows {
		members[i] = *row
	}
	if p != nil {
		p.cluster.SetMembers(members)
		p.members = members
		return p, nil
	}
	ps.forgetLocked(v)
	c := frames.New(frames.Config{Password: ps.cfg.Password, Sentinels: ps.cfg.Sentinels, Logger: ps.cfg.Logger}, name, members)
	p = &path{Memory: ingest.NewMemory(c), cluster: c, members: members, learned: map[wire.SourceID]map[string]time.Time{}}
	ps.known[name] = p
	return p, nil
}

// forgetLocked closes the ways to clusters that are gone. Who still writes to
// one hears that it cannot be reached, and asks for the route again.
func (ps *paths) forgetLocked(v *state.View) {
	for name, p := range ps.known {
		if _, exists := v.Cluster(name); !exists {
			p.cluster.Close()
			delete(ps.known, name)
		}
	}
}

func (ps *paths) close() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.closed = true
	for _, p := range ps.known {
		p.cluster.Close()
	}
	clear(ps.known)
}

// Store implements ingest.Destination. Sizes are learned before frames have
// them: who counts such a frame down finds all of it.
func (p *path) Store(ctx context.Context, lane frames.Lane, opts frames.PutOptions) ([]frames.Stored, error) {
	for source, sizes := range p.unknown(lane, time.Now()) {
		switch err := p.cluster.Learn(ctx, source, sizes...); wire.CodeOf(err) {
		case "", wire.CodeInvalidArgument, wire.CodeTooLarge: // the sweep learns what can be learned
			p.note(source, sizes, time.Now())
		default:
			return make([]frames.Stored, len(lane.Frames)), err
		}
	}
	return p.Memory.Store(ctx, lane, opts)
}

// unknown are the sizes in a lane's frames that the cluster was not told of
// lately.
func (p *path) unknown(lane frames.Lane, now time.Time) map[wire.SourceID][]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found map[wire.SourceID][]string
	for _, f := range lane.Frames {
		for _, pair := range f.Pairs {
			key, size, isData := wire.ParseDataKey(pair.Key)
			if !isData || now.Sub(p.learned[key.Source()][size]) < learnAgain || slices.Contains(found[key.Source()], size) {
				continue
			}
			if found == nil {
				found = map[wire.SourceID][]string{}
			}
			found[key.Source()] = append(found[key.Source()], size)
		}
	}
	return found
}

// maxLearned bounds the sources that are remembered.
const maxLearned = 100_000

func (p *path) note(source wire.SourceID, sizes []string, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.learned) >= maxLearned {
		clear(p.learned) // they are told again
	}
	of := p.learned[source]
	if of == nil {
		of = map[string]time.Time{}
		p.learned[source] = of
	}
	maps.DeleteFunc(of, func(_ string, told time.Time) bool { return at.Sub(told) >= learnAgain })
	for _, size := range sizes {
		of[size] = at
	}
}
