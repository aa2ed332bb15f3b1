package state

import (
	"time"

	memdb "github.com/hashicorp/go-memdb"

	"github.com/framedb/framedb/client/wire"
)

// Bounds of what is remembered of request IDs and their results. A retry that
// comes later than any of them is applied again.
const (
	requestAge   = 10 * time.Minute
	requestCount = 131072
	requestBytes = 64 << 20
)

// request is a request ID that was applied, and what it gave.
type request struct {
	ID     wire.RequestID `json:"id"`
	At     time.Time      `json:"at"`
	Result Result         `json:"result"`
}

// tx is one command's transaction: it reads like a View and writes.
type tx struct {
	*View
	index   uint64
	touched map[wire.Table]bool
}

func newTx(db *memdb.MemDB, index uint64) *tx {
	txn := db.Txn(true)
	txn.TrackChanges()
	return &tx{View: newView(txn, nil), index: index, touched: map[wire.Table]bool{}}
}

// put inserts or replaces a row of a watched table.
func (t *tx) put(table wire.Table, row any) {
	must(t.txn.Insert(string(table), row))
	t.touched[table] = true
}

func (t *tx) delete(table wire.Table, row any) {
	must(t.txn.Delete(string(table), row))
	t.touched[table] = true
}

// commit makes the transaction visible and returns its changes of watched
// tables.
func (t *tx) commit() memdb.Changes {
	t.set(countApplied, t.index)
	for table := range t.touched {
		t.set(countTable(table), t.index)
	}
	changes := t.txn.Changes()
	t.txn.Commit()
	return changes
}

func (t *tx) set(name string, n uint64) {
	must(t.txn.Insert(tableCounters, &counter{Name: name, N: n}))
}

func (t *tx) count(name string, by int) {
	t.set(name, uint64(int(t.quiet(name))+by))
}

// putMapping stores a mapping, new or changed, and keeps the counts.
func (t *tx) putMapping(m *wire.Mapping) {
	if old, ok := t.Mapping(m.Source, m.NodeTag); ok {
		t.addLoad(old.Cluster, -1)
	} else {
		if len(t.MappingsOf(m.Source)) == 0 {
			t.count(countSources, 1)
		}
		t.count(countMappings, 1)
	}
	m.ModifyIndex = t.index
	t.put(wire.TableMappings, m)
	t.addLoad(m.Cluster, 1)
}

func (t *tx) deleteMapping(m *wire.Mapping) {
	t.delete(wire.TableMappings, m)
	t.addLoad(m.Cluster, -1)
	t.count(countMappings, -1)
	if len(t.MappingsOf(m.Source)) == 0 {
		t.count(countSources, -1)
	}
}

func (t *tx) addLoad(c wire.ClusterName, by int) {
	row, err := t.txn.First(tableLoads, byID, string(c))
	must(err)
	l := *row.(*load)
	l.Mappings += by
	must(t.txn.Insert(tableLoads, &l))
}

// putCluster stores a cluster, new or changed, and keeps its load.
func (t *tx) putCluster(c *wire.Cluster) {
	c.ModifyIndex = t.index
	t.put(wire.TableClusters, c)
	l := load{Cluster: c.Name, NodeTag: c.NodeTag}
	if row, err := t.txn.First(tableLoads, byID, string(c.Name)); err == nil && row != nil {
		l = *row.(*load)
	}
	l.Closed = c.Status.Phase == wire.PhaseRemoving
	must(t.txn.Insert(tableLoads, &l))
}

func (t *tx) deleteCluster(c *wire.Cluster) {
	t.delete(wire.TableClusters, c)
	must(t.txn.Delete(tableLoads, &load{Cluster: c.Name}))
}

func (t *tx) remembered(id wire.RequestID) (Result, bool) {
	if id == "" {
		return Result{}, false
	}
	r, ok := one[request](t.View, tableRequests, byID, string(id))
	if !ok {
		return Result{}, false
	}
	return r.Result, true
}

// remember stores the result under its request ID and forgets old ones.
func (t *tx) remember(env Envelope, res Result) {
	if env.RequestID == "" {
		return
	}
	must(t.txn.Insert(tableRequests, &request{ID: env.RequestID, At: env.At, Result: res}))
	t.count(countRequests, 1)
	t.count(countRequestBytes, len(res.Value))
	for {
		row, err := t.txn.First(tableRequests, byIndex)
		must(err)
		oldest := row.(*request)
		few := t.quiet(countRequests) <= requestCount && t.quiet(countRequestBytes) <= requestBytes
		if few && env.At.Sub(oldest.At) <= requestAge || oldest.ID == env.RequestID {
			return
		}
		must(t.txn.Delete(tableRequests, oldest))
		t.count(countRequests, -1)
		t.count(countRequestBytes, -len(oldest.Result.Value))
	}
}
