package state

import (
	"time"

	memdb "github.com/hashicorp/go-memdb"

	"github.com/framedb/framedb/client/wire"
)

// Bounds of what is remembered of request IDs and their results. A retry that
// comes later than any of them is applied again; but age alone forgets none of
// the last requestFew, because the clock of one proposer that is ahead makes
// those of all others look old.
const (
	requestAge   = 10 * time.Minute
	requestFew   = 4096
	requestCount = 131072
	requestBytes = 64 << 20
)

// request is a request ID that was applied, and what it gave.
type request struct {
	ID     wire.RequestID `json:"id"`
	At     time.Time      `json:"at"`
	Result Result         `json:"result"`
}

// tx is the transaction of one command after the other: it reads like a View
// and writes. What several commands change in the same place is written once.
type tx struct {
	*View
	touched map[wire.Table]uint64 // the last index that changed the table
	counts  map[string]uint64     // counters as they will be

	// Of the command of now:
	index   uint64
	changes []change
	wrote   bool
}

func newTx(db *memdb.MemDB) *tx {
	return &tx{View: newView(db.Txn(true), nil), touched: map[wire.Table]uint64{}, counts: map[string]uint64{}}
}

// begin turns to the command at index.
func (t *tx) begin(index uint64) { t.index, t.changes, t.wrote = index, nil, false }

// put inserts or replaces a row of a watched table.
func (t *tx) put(table wire.Table, row any) {
	t.note(table, row, row)
	t.insert(string(table), row)
}

func (t *tx) delete(table wire.Table, row any) {
	t.note(table, row, nil)
	t.remove(string(table), row)
}

// note remembers a change for those who watch. after is row or nil.
func (t *tx) note(table wire.Table, row, after any) {
	t.touched[table] = t.index
	before, err := t.txn.First(string(table), byID, rowName(row)...)
	must(err)
	t.changes = append(t.changes, change{table, rowKey(row), before, after})
}

// insert and remove are for tables that nobody watches.
func (t *tx) insert(table string, row any) {
	t.wrote = true
	must(t.txn.Insert(table, row))
}

func (t *tx) remove(table string, row any) {
	t.wrote = true
	must(t.txn.Delete(table, row))
}

// commit makes the transaction visible, as of the command of now.
func (t *tx) commit() {
	t.set(countApplied, t.index)
	for table, index := range t.touched {
		t.set(countTable(table), index)
	}
	for name, n := range t.counts {
		t.insert(tableCounters, &counter{Name: name, N: n})
	}
	t.txn.Commit()
}

func (t *tx) set(name string, n uint64) {
	t.wrote = true
	t.counts[name] = n
}

func (t *tx) count(name string, by int) {
	t.set(name, uint64(int(t.quiet(name))+by))
}

// quiet is View's, with what will be.
func (t *tx) quiet(name string) uint64 {
	if n, ok := t.counts[name]; ok {
		return n
	}
	return t.View.quiet(name)
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
	t.insert(tableLoads, &l)
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
	t.insert(tableLoads, &l)
}

func (t *tx) deleteCluster(c *wire.Cluster) {
	t.delete(wire.TableClusters, c)
	t.remove(tableLoads, &load{Cluster: c.Name})
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
	t.insert(tableRequests, &request{ID: env.RequestID, At: env.At, Result: res})
	t.count(countRequests, 1)
	t.count(countRequestBytes, len(res.Value))
	for {
		row, err := t.txn.First(tableRequests, byIndex)
		must(err)
		oldest := row.(*request)
		n := t.quiet(countRequests)
		few := n <= requestCount && t.quiet(countRequestBytes) <= requestBytes
		young := n <= requestFew || env.At.Sub(oldest.At) <= requestAge
		if few && young || oldest.ID == env.RequestID {
			return
		}
		t.remove(tableRequests, oldest)
		t.count(countRequests, -1)
		t.count(countRequestBytes, -len(oldest.Result.Value))
	}
}
