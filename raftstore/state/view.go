package state

import (
	"context"
	"errors"
	"iter"
	"strings"
	"sync"

	memdb "github.com/hashicorp/go-memdb"

	"github.com/framedb/framedb/client/wire"
)

// maxWatches bounds what one view watches finely; a view that was asked more
// waits for the next command of any kind.
const maxWatches = 256

// View is a read-only state at one index. Rows are shared: do not change them.
// A view costs next to nothing; take a new one for each look. It is safe for
// concurrent use.
type View struct {
	txn *memdb.Txn
	// replaced is closed when Restore put other tables in place.
	replaced <-chan struct{}

	mu      sync.Mutex
	watches []<-chan struct{} // guarded by mu
	coarse  bool              // guarded by mu: watches is one channel, for any command
	few     [4]<-chan struct{}
}

func newView(txn *memdb.Txn, replaced <-chan struct{}) *View {
	v := &View{txn: txn, replaced: replaced}
	v.watches = v.few[:0]
	return v
}

// watch notes a channel that closes when what was just asked for changes.
func (v *View) watch(ch <-chan struct{}) {
	if v.replaced == nil {
		return // a write transaction reads, nobody waits on it
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.coarse:
	case len(v.watches) < maxWatches:
		v.watches = append(v.watches, ch)
	default:
		applied, _, _ := v.txn.FirstWatch(tableCounters, byID, countApplied)
		v.watches, v.coarse = append(v.watches[:0:0], applied), true
	}
}

// Changed returns nil when anything changed in a table that this view was
// asked for so far, finer where the query names a row or a cluster, and when
// the state was restored from a snapshot; or ctx's error. It may wake without
// a change that matters. A view that was asked nothing waits for Restore only.
func (v *View) Changed(ctx context.Context) error {
	set := memdb.NewWatchSet()
	set.Add(v.replaced)
	v.mu.Lock()
	for _, ch := range v.watches {
		set.Add(ch)
	}
	v.mu.Unlock()
	return set.WatchCtx(ctx)
}

// Index is the last log index that the view contains.
func (v *View) Index() uint64 { return v.quiet(countApplied) }

// WatchIndex makes Changed return after the next command of any kind, also one
// that was refused or changed nothing.
func (v *View) WatchIndex() {
	applied, _, err := v.txn.FirstWatch(tableCounters, byID, countApplied)
	must(err)
	v.watch(applied)
}

// TableIndex is the last index that changed the table.
func (v *View) TableIndex(t wire.Table) uint64 {
	c, ok := one[counter](v, tableCounters, byID, countTable(t))
	if !ok {
		return 0
	}
	return c.N
}

// quiet reads a counter without watching it.
func (v *View) quiet(name string) uint64 {
	row, err := v.txn.First(tableCounters, byID, name)
	if must(err); row == nil {
		return 0
	}
	return row.(*counter).N
}

// Cluster returns the cluster of that name.
func (v *View) Cluster(name wire.ClusterName) (*wire.Cluster, bool) {
	return one[wire.Cluster](v, string(wire.TableClusters), byID, string(name))
}

// Clusters returns all clusters by name.
func (v *View) Clusters() []*wire.Cluster {
	return many[wire.Cluster](v, string(wire.TableClusters), byID)
}

// ClustersOnTag returns the clusters on a node tag by name, also those that
// are being removed.
func (v *View) ClustersOnTag(tag wire.NodeTag) []*wire.Cluster {
	return many[wire.Cluster](v, string(wire.TableClusters), byTag, string(tag))
}

// ClustersOwnedBy returns the clusters that a node owns, by name.
func (v *View) ClustersOwnedBy(n wire.NodeName) []*wire.Cluster {
	return many[wire.Cluster](v, string(wire.TableClusters), byOwner, string(n))
}

// LeftoversOn returns what a node may still have of items that it owned.
func (v *View) LeftoversOn(n wire.NodeName) []*Leftover {
	return many[Leftover](v, tableLeftovers, byID, string(n))
}

// LeastLoaded returns the cluster on a node tag with the fewest mappings, of
// several the first by name; none that is being removed, and one whose owner
// is draining only where there is no other.
func (v *View) LeastLoaded(tag wire.NodeTag) (*wire.Cluster, bool) {
	return v.leastLoadedBut(tag, "")
}

// leastLoadedBut is LeastLoaded among the clusters other than one.
func (v *View) leastLoadedBut(tag wire.NodeTag, but wire.ClusterName) (least *wire.Cluster, ok bool) {
	for l := range rows[load](v, tableLoads, byTag, string(tag)) {
		if l.Cluster == but {
			continue
		}
		c, _ := v.Cluster(l.Cluster)
		if owner, known := v.Node(c.Status.Owner); !known || !owner.Draining {
			return c, true
		}
		if least == nil {
			least = c
		}
	}
	return least, least != nil
}

// MostLoaded returns the cluster on a node tag with the most mappings, of
// several the last by name; none that is being removed.
func (v *View) MostLoaded(tag wire.NodeTag) (*wire.Cluster, bool) {
	it, err := v.txn.GetReverse(tableLoads, byTag, string(tag))
	if errors.Is(err, errNoSuchKey) {
		return nil, false
	}
	must(err)
	v.watch(it.WatchCh())
	row := it.Next()
	if row == nil {
		return nil, false
	}
	return v.Cluster(row.(*load).Cluster)
}

// Instance returns the member of an in-memory cluster that has the ID.
func (v *View) Instance(id wire.FrameDBID) (*wire.Instance, bool) {
	return one[wire.Instance](v, string(wire.TableInstances), byID, string(id))
}

// Instances returns all members of all clusters by ID.
func (v *View) Instances() []*wire.Instance {
	return many[wire.Instance](v, string(wire.TableInstances), byID)
}

// InstancesOf returns the members of one cluster by ordinal.
func (v *View) InstancesOf(c wire.ClusterName) []*wire.Instance {
	return many[wire.Instance](v, string(wire.TableInstances), byCluster, string(c))
}

// Persistent returns the persistent instance that has the ID.
func (v *View) Persistent(id wire.FrameDBID) (*wire.PersistentInstance, bool) {
	return one[wire.PersistentInstance](v, string(wire.TablePersistent), byID, string(id))
}

// PersistentInstances returns all persistent instances by ID.
func (v *View) PersistentInstances() []*wire.PersistentInstance {
	return many[wire.PersistentInstance](v, string(wire.TablePersistent), byID)
}

// StorageOwnedBy returns the persistent instances that a node owns, by ID.
func (v *View) StorageOwnedBy(n wire.NodeName) []*wire.PersistentInstance {
	return many[wire.PersistentInstance](v, string(wire.TablePersistent), byOwner, string(n))
}

// Secret returns the password of a persistent instance, and watches it.
func (v *View) Secret(id wire.FrameDBID) (*Secret, bool) {
	return one[Secret](v, tableSecrets, byID, string(id))
}

// Ingestion returns how a source is taken in, where it was said.
func (v *View) Ingestion(s wire.SourceID) (*wire.Ingestion, bool) {
	return one[wire.Ingestion](v, string(wire.TableIngestions), byID, string(s))
}

// Ingestions returns how sources are taken in, by source.
func (v *View) Ingestions() []*wire.Ingestion {
	return many[wire.Ingestion](v, string(wire.TableIngestions), byID)
}

// Mapping returns the mapping of a source on a node tag.
func (v *View) Mapping(s wire.SourceID, t wire.NodeTag) (*wire.Mapping, bool) {
	return one[wire.Mapping](v, string(wire.TableMappings), byID, string(s), string(t))
}

// Mappings returns all mappings by source, then tag. There may be a million:
// prefer SourcesAfter, or a query that names a source or a cluster.
func (v *View) Mappings() []*wire.Mapping {
	return many[wire.Mapping](v, string(wire.TableMappings), byID)
}

// MappingsOf returns the mappings of one source by tag.
func (v *View) MappingsOf(s wire.SourceID) []*wire.Mapping {
	return many[wire.Mapping](v, string(wire.TableMappings), byID, string(s))
}

// MappingsTo returns the mappings that lead to one cluster, by source.
func (v *View) MappingsTo(c wire.ClusterName) []*wire.Mapping {
	return many[wire.Mapping](v, string(wire.TableMappings), byCluster, string(c))
}

// MappingsOnTag returns the mappings on one node tag, by cluster, then source.
func (v *View) MappingsOnTag(t wire.NodeTag) []*wire.Mapping {
	var all []*wire.Mapping
	for _, c := range v.ClustersOnTag(t) {
		all = append(all, v.MappingsTo(c.Name)...)
	}
	return all
}

// SourcesAfter returns at most limit mapped sources behind after that begin
// with prefix, in order; it watches all mappings.
func (v *View) SourcesAfter(prefix string, after wire.SourceID, limit int) []wire.SourceID {
	v.TableIndex(wire.TableMappings)
	it, err := v.txn.LowerBound(string(wire.TableMappings), byID, max(prefix, string(after)))
	if errors.Is(err, errNoSuchKey) {
		return nil
	}
	must(err)
	var found []wire.SourceID
	last := after
	for row := it.Next(); row != nil && len(found) < limit; row = it.Next() {
		s := row.(*wire.Mapping).Source
		if s == last || string(s) < prefix {
			continue
		}
		if !strings.HasPrefix(string(s), prefix) {
			break
		}
		found, last = append(found, s), s
	}
	return found
}

// CountMappingsTo counts the mappings that lead to a cluster.
func (v *View) CountMappingsTo(c wire.ClusterName) int {
	l, ok := one[load](v, tableLoads, byID, string(c))
	if !ok {
		return 0
	}
	return l.Mappings
}

// CountMappings counts all mappings.
func (v *View) CountMappings() int { return v.count(countMappings) }

// CountSources counts the sources that have a mapping.
func (v *View) CountSources() int { return v.count(countSources) }

func (v *View) count(name string) int {
	c, ok := one[counter](v, tableCounters, byID, name)
	if !ok {
		return 0
	}
	return int(c.N)
}

// Node returns the registration of that name.
func (v *View) Node(name wire.NodeName) (*wire.Node, bool) {
	return one[wire.Node](v, string(wire.TableNodes), byID, string(name))
}

// Nodes returns all registrations by name.
func (v *View) Nodes() []*wire.Node {
	return many[wire.Node](v, string(wire.TableNodes), byID)
}

// NodesWithTag returns the nodes that carry a tag, configured or as a label,
// by name.
func (v *View) NodesWithTag(t wire.NodeTag) []*wire.Node {
	return many[wire.Node](v, string(wire.TableNodes), byTag, string(t))
}

// one finds the row with exactly this key, and watches it.
func one[T any](v *View, table, index string, key ...any) (*T, bool) {
	ch, row, err := v.txn.FirstWatch(table, index, key...)
	if errors.Is(err, errNoSuchKey) {
		return nil, false
	}
	must(err)
	v.watch(ch)
	if row == nil {
		return nil, false
	}
	return row.(*T), true
}

// rows yields the rows whose key begins with these parts, in order, and
// watches them all. Do not write to the table meanwhile.
func rows[T any](v *View, table, index string, prefix ...any) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		it, err := v.txn.Get(table, index, prefix...)
		if errors.Is(err, errNoSuchKey) {
			return
		}
		must(err)
		v.watch(it.WatchCh())
		for row := it.Next(); row != nil; row = it.Next() {
			if !yield(row.(*T)) {
				return
			}
		}
	}
}

func many[T any](v *View, table, index string, prefix ...any) []*T {
	var all []*T
	for row := range rows[T](v, table, index, prefix...) {
		all = append(all, row)
	}
	return all
}

// must stops at an error that only a wrong schema can cause.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
