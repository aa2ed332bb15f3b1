package state

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"

	memdb "github.com/hashicorp/go-memdb"

	"github.com/framedb/framedb/client/wire"
)

// Tables beside wire.Tables; they cannot be watched.
const (
	tableCounters  = "counters"
	tableLeftovers = "leftovers"
	tableLoads     = "loads"
	tableRequests  = "requests"
	tableSecrets   = "secrets"
)

// Indexes. Every index is unique: what would not be has the primary key behind
// it, so that all keys are built in one place with their exact size.
const (
	byID      = "id"
	byTag     = "tag"     // clusters, loads, nodes
	byCluster = "cluster" // instances, mappings
	byOwner   = "owner"   // clusters, persistent
	byIndex   = "index"   // requests, oldest first
)

// counter is a named number that lives and dies with the transaction that sets
// it: the applied index, the last index of each table, and sizes.
type counter struct {
	Name string
	N    uint64
}

const (
	countApplied  = "applied"
	countSources  = "sources"
	countMappings = "mappings"
	countRequests = "requests"
	// countRequestBytes is how long their results are.
	countRequestBytes = "requests/bytes"
)

func countTable(t wire.Table) string { return "table/" + string(t) }

// load is how many mappings lead to a cluster. It is derived, hence in no
// snapshot, and stands beside the cluster so that a mapping does not count as
// a change of the cluster.
type load struct {
	Cluster  wire.ClusterName
	NodeTag  wire.NodeTag
	Mappings int
	// Closed clusters are being removed and take no sources.
	Closed bool
}

func newDB() *memdb.MemDB {
	db, err := memdb.NewMemDB(schema())
	if err != nil {
		panic(err) // the schema is wrong: every test fails
	}
	return db
}

func schema() *memdb.DBSchema {
	return &memdb.DBSchema{Tables: map[string]*memdb.TableSchema{
		string(wire.TableNodes): table(wire.TableNodes,
			index(byID, by[wire.Node](func(n *wire.Node) []byte { return key(string(n.Name)) })),
			index(byTag, byEach[wire.Node](nodeTagKeys))),
		string(wire.TableClusters): table(wire.TableClusters,
			index(byID, by[wire.Cluster](func(c *wire.Cluster) []byte { return key(string(c.Name)) })),
			index(byTag, by[wire.Cluster](func(c *wire.Cluster) []byte { return key(string(c.NodeTag), string(c.Name)) })),
			index(byOwner, by[wire.Cluster](func(c *wire.Cluster) []byte { return ownerKey(c.Status.Owner, string(c.Name)) }))),
		string(wire.TableInstances): table(wire.TableInstances,
			index(byID, by[wire.Instance](func(i *wire.Instance) []byte { return key(string(i.ID)) })),
			index(byCluster, by[wire.Instance](instanceClusterKey))),
		string(wire.TablePersistent): table(wire.TablePersistent,
			index(byID, by[wire.PersistentInstance](func(p *wire.PersistentInstance) []byte { return key(string(p.ID)) })),
			index(byOwner, by[wire.PersistentInstance](func(p *wire.PersistentInstance) []byte { return ownerKey(p.Status.Owner, string(p.ID)) }))),
		string(wire.TableIngestions): table(wire.TableIngestions,
			index(byID, by[wire.Ingestion](func(i *wire.Ingestion) []byte { return key(string(i.Source)) }))),
		// A third index by node tag would cost 400 bytes a mapping; the tag's
		// clusters and byCluster give the same rows.
		string(wire.TableMappings): table(wire.TableMappings,
			index(byID, by[wire.Mapping](func(m *wire.Mapping) []byte { return key(string(m.Source), string(m.NodeTag)) })),
			index(byCluster, by[wire.Mapping](func(m *wire.Mapping) []byte {
				return key(string(m.Cluster), string(m.Source), string(m.NodeTag))
			}))),
		tableCounters: table(tableCounters,
			index(byID, by[counter](func(c *counter) []byte { return key(c.Name) }))),
		tableLeftovers: table(tableLeftovers,
			index(byID, by[Leftover](leftoverKey))),
		tableLoads: table(tableLoads,
			index(byID, by[load](func(l *load) []byte { return key(string(l.Cluster)) })),
			index(byTag, by[load](loadTagKey))),
		tableSecrets: table(tableSecrets,
			index(byID, by[Secret](func(s *Secret) []byte { return key(string(s.ID)) }))),
		tableRequests: table(tableRequests,
			index(byID, by[request](func(r *request) []byte { return key(string(r.ID)) })),
			index(byIndex, by[request](func(r *request) []byte {
				return binary.BigEndian.AppendUint64(make([]byte, 0, 8), r.Result.Index)
			}))),
	}}
}

func table[N ~string](name N, indexes ...*memdb.IndexSchema) *memdb.TableSchema {
	t := &memdb.TableSchema{Name: string(name), Indexes: map[string]*memdb.IndexSchema{}}
	for _, i := range indexes {
		t.Indexes[i.Name] = i
	}
	return t
}

func index(name string, indexer memdb.Indexer) *memdb.IndexSchema {
	return &memdb.IndexSchema{Name: name, Unique: true, AllowMissing: name != byID, Indexer: indexer}
}

// ownerKey leaves out what nobody owns.
func ownerKey(owner wire.NodeName, name string) []byte {
	if owner == "" {
		return nil
	}
	return key(string(owner), name)
}

func leftoverKey(l *Leftover) []byte {
	if l.Storage != "" {
		return key(string(l.Node), "", string(l.Storage))
	}
	return key(string(l.Node), string(l.Cluster))
}

// loadTagKey sorts the clusters of a tag by mappings, then name. A closed one
// is left out.
func loadTagKey(l *load) []byte {
	if l.Closed {
		return nil
	}
	k := make([]byte, 0, len(l.NodeTag)+len(l.Cluster)+6)
	k = appendPart(k, string(l.NodeTag))
	k = binary.BigEndian.AppendUint32(k, uint32(l.Mappings))
	return appendPart(k, string(l.Cluster))
}

// instanceClusterKey sorts the members of a cluster by ordinal.
func instanceClusterKey(i *wire.Instance) []byte {
	_, ordinal, ok := i.ID.SplitMember()
	if !ok || ordinal > math.MaxUint32 {
		ordinal = math.MaxUint32
	}
	k := make([]byte, 0, len(i.Cluster)+len(i.ID)+6)
	k = appendPart(k, string(i.Cluster))
	k = binary.BigEndian.AppendUint32(k, uint32(ordinal))
	return appendPart(k, string(i.ID))
}

func nodeTagKeys(n *wire.Node) [][]byte {
	keys := make([][]byte, 0, len(n.Tags)+1)
	for _, t := range n.Tags {
		keys = append(keys, key(string(t), string(n.Name)))
	}
	if n.Label != "" {
		keys = append(keys, key(string(n.Label), string(n.Name)))
	}
	return keys
}

// key joins parts, each ended by a zero byte, which no valid name contains; so
// the first parts alone are a prefix that matches whole names only.
func key(parts ...string) []byte {
	n := len(parts)
	for _, p := range parts {
		n += len(p)
	}
	k := make([]byte, 0, n)
	for _, p := range parts {
		k = appendPart(k, p)
	}
	return k
}

func appendPart(k []byte, part string) []byte {
	return append(append(k, part...), 0)
}

// errNoSuchKey says that no row can have the key that was asked for.
var errNoSuchKey = errors.New("no row can have this key")

// keyFromArgs is key for strings that a caller asked for, valid or not.
func keyFromArgs(args []any) ([]byte, error) {
	parts := make([]string, len(args))
	for i, a := range args {
		parts[i] = a.(string)
		if strings.IndexByte(parts[i], 0) >= 0 {
			return nil, errNoSuchKey
		}
	}
	return key(parts...), nil
}

// by is an index with one key a row; a nil key leaves the row out.
type by[T any] func(*T) []byte

func (f by[T]) FromObject(row any) (bool, []byte, error) {
	k := f(row.(*T))
	return k != nil, k, nil
}

func (f by[T]) FromArgs(args ...any) ([]byte, error) { return keyFromArgs(args) }

// byEach is an index with any number of keys a row.
type byEach[T any] func(*T) [][]byte

func (f byEach[T]) FromObject(row any) (bool, [][]byte, error) {
	k := f(row.(*T))
	return len(k) > 0, k, nil
}

func (f byEach[T]) FromArgs(args ...any) ([]byte, error) { return keyFromArgs(args) }
