package state

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"iter"

	"github.com/framedb/framedb/client/wire"
)

// A snapshot is JSON lines: a header, one line a row, and a trailer with the
// number of rows, without which it was cut off.
//
//	{"framedb_snapshot":1,"index":42,"tables":{"clusters":40}}
//	{"t":"clusters","r":{…}}
//	{"end":1}
const snapshotVersion = 1

type snapshotHeader struct {
	Version int                   `json:"framedb_snapshot"`
	Index   uint64                `json:"index"`
	Tables  map[wire.Table]uint64 `json:"tables"`
}

type snapshotLine struct {
	Table string          `json:"t,omitempty"`
	Row   json.RawMessage `json:"r,omitempty"`
	End   *int            `json:"end,omitempty"`
}

// snapshotTables are the tables that a snapshot holds, in this order: clusters
// before the mappings that count towards them. Counters and loads are derived.
var snapshotTables = []string{
	string(wire.TableNodes), string(wire.TableClusters), string(wire.TableInstances),
	string(wire.TablePersistent), string(wire.TableMappings), string(wire.TableIngestions),
	tableSecrets, tableLeftovers, tableRequests,
}

// Snapshot returns a writer of the state as it is now; it does not hold up
// Apply.
func (s *State) Snapshot() io.WriterTo { return snapshot{s.View()} }

type snapshot struct{ view *View }

func (s snapshot) WriteTo(w io.Writer) (int64, error) {
	counted := &countingWriter{w: w}
	buf := bufio.NewWriterSize(counted, 256<<10)
	enc := json.NewEncoder(buf)
	header := snapshotHeader{Version: snapshotVersion, Index: s.view.Index(), Tables: map[wire.Table]uint64{}}
	for _, t := range wire.Tables {
		header.Tables[t] = s.view.quiet(countTable(t))
	}
	if err := enc.Encode(header); err != nil {
		return counted.n, err
	}
	rows := 0
	for _, table := range snapshotTables {
		for row := range s.view.allRows(table) {
			if err := enc.Encode(snapshotLine{Table: table, Row: encode(row)}); err != nil {
				return counted.n, err
			}
			rows++
		}
	}
	if err := enc.Encode(snapshotLine{End: &rows}); err != nil {
		return counted.n, err
	}
	err := buf.Flush()
	return counted.n, err
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// allRows yields every row of a table by primary key, without watching.
func (v *View) allRows(table string) iter.Seq[any] {
	return func(yield func(any) bool) {
		it, err := v.txn.Get(table, byID)
		must(err)
		for row := it.Next(); row != nil; row = it.Next() {
			if !yield(row) {
				return
			}
		}
	}
}

// Restore replaces the state by a snapshot. Open watches and subscriptions are
// woken, and subscriptions start over. On an error the state stays as it was.
func (s *State) Restore(r io.Reader) error {
	dec := json.NewDecoder(bufio.NewReaderSize(r, 256<<10))
	var header snapshotHeader
	if err := dec.Decode(&header); err != nil {
		return fmt.Errorf("snapshot header: %w", err)
	}
	if header.Version != snapshotVersion {
		return fmt.Errorf("snapshot has version %d; this agent reads %d: upgrade it", header.Version, snapshotVersion)
	}
	fresh := newDB()
	t := newTx(fresh)
	t.begin(header.Index)
	if err := t.restoreRows(dec); err != nil {
		t.txn.Abort()
		return err
	}
	clear(t.touched)
	t.commit()
	t = newTx(fresh)
	t.begin(header.Index)
	for table, index := range header.Tables {
		t.set(countTable(table), index)
	}
	t.commit()
	old := s.tables.Swap(&tables{db: fresh, replaced: make(chan struct{})})
	s.events.reset(header.Index)
	close(old.replaced)
	return nil
}

func (t *tx) restoreRows(dec *json.Decoder) error {
	for rows := 0; ; rows++ {
		var line snapshotLine
		if err := dec.Decode(&line); err != nil {
			return fmt.Errorf("snapshot is cut off behind row %d: %w", rows, err)
		}
		if line.End != nil {
			if *line.End != rows {
				return fmt.Errorf("snapshot has %d rows, its trailer says %d", rows, *line.End)
			}
			return nil
		}
		if err := t.restoreRow(line); err != nil {
			return fmt.Errorf("snapshot row %d of %q: %w", rows, line.Table, err)
		}
	}
}

// restoreRow puts one row back with its own indexes, and what is derived of it.
func (t *tx) restoreRow(line snapshotLine) error {
	switch line.Table {
	case string(wire.TableNodes):
		return restore(t, line, func(*wire.Node) error { return nil })
	case string(wire.TableClusters):
		return restore(t, line, func(c *wire.Cluster) error {
			return t.txn.Insert(tableLoads, &load{Cluster: c.Name, NodeTag: c.NodeTag, Closed: c.Status.Phase == wire.PhaseRemoving})
		})
	case string(wire.TableInstances):
		return restore(t, line, func(*wire.Instance) error { return nil })
	case string(wire.TablePersistent):
		return restore(t, line, func(*wire.PersistentInstance) error { return nil })
	case string(wire.TableMappings):
		return restore(t, line, func(m *wire.Mapping) error {
			if _, ok := t.Cluster(m.Cluster); !ok {
				return fmt.Errorf("mapping leads to cluster %q, which is not there", m.Cluster)
			}
			t.addLoad(m.Cluster, 1)
			t.count(countMappings, 1)
			if len(t.MappingsOf(m.Source)) == 1 {
				t.count(countSources, 1)
			}
			return nil
		})
	case string(wire.TableIngestions):
		return restore(t, line, func(*wire.Ingestion) error { return nil })
	case tableSecrets:
		return restore(t, line, func(*Secret) error { return nil })
	case tableLeftovers:
		return restore(t, line, func(*Leftover) error { return nil })
	case tableRequests:
		return restore(t, line, func(r *request) error {
			t.count(countRequests, 1)
			t.count(countRequestBytes, len(r.Result.Value))
			return nil
		})
	}
	return fmt.Errorf("the table is unknown to this agent: upgrade it")
}

func restore[T any](t *tx, line snapshotLine, derive func(*T) error) error {
	row := new(T)
	if err := json.Unmarshal(line.Row, row); err != nil {
		return err
	}
	if err := t.txn.Insert(line.Table, row); err != nil {
		return err
	}
	return derive(row)
}
