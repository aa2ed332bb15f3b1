package state

import (
	"reflect"

	"github.com/framedb/framedb/client/wire"
)

func (c PutIngestion) apply(t *tx) (any, error) {
	if err := c.Source.Validate(); err != nil {
		return nil, wire.InField("source_id", err)
	}
	if err := c.Spec.Validate(); err != nil {
		return nil, err
	}
	if c.Spec.Target != "" {
		if _, err := t.openStorage(c.Spec.Target); err != nil {
			return nil, wire.InField("target", err)
		}
	}
	if q := c.Spec.Queue; q != nil {
		if _, err := t.openCluster(q.Cluster); err != nil {
			return nil, wire.InField("queue.cluster", err)
		}
	}
	row := &wire.Ingestion{Source: c.Source, IngestionSpec: c.Spec, CreateIndex: t.index, ModifyIndex: t.index}
	if old, ok := t.Ingestion(c.Source); ok {
		if reflect.DeepEqual(old.IngestionSpec, c.Spec) {
			return old, nil
		}
		row.CreateIndex = old.CreateIndex
	}
	t.put(wire.TableIngestions, row)
	return row, nil
}

func (c DeleteIngestion) apply(t *tx) (any, error) {
	old, ok := t.Ingestion(c.Source)
	if !ok {
		return nil, wire.Errorf(wire.CodeNotFound, "source %q has no ingestion of its own", c.Source)
	}
	t.delete(wire.TableIngestions, old)
	return old, nil
}
