package state

import (
	"reflect"

	"github.com/framedb/framedb/client/wire"
)

func (c RegisterNode) apply(t *tx) (any, error) {
	row := c.Node
	if err := row.Name.Validate(); err != nil {
		return nil, wire.InField("name", err)
	}
	for _, tag := range row.Tags {
		if err := tag.Validate(); err != nil {
			return nil, wire.InField("tags", err)
		}
	}
	row.Label, row.CreateIndex, row.ModifyIndex = "", t.index, t.index
	if old, ok := t.Node(row.Name); ok {
		row.Label, row.CreateIndex, row.ModifyIndex = old.Label, old.CreateIndex, old.ModifyIndex
		if reflect.DeepEqual(*old, row) {
			return old, nil
		}
		row.ModifyIndex = t.index
	}
	t.put(wire.TableNodes, &row)
	return &row, nil
}

func (c LabelNode) apply(t *tx) (any, error) {
	old, ok := t.Node(c.Name)
	if !ok {
		return nil, wire.Errorf(wire.CodeNotFound, "node %q is unknown", c.Name)
	}
	if c.Label != "" {
		if err := c.Label.Validate(); err != nil {
			return nil, wire.InField("label", err)
		}
	}
	if old.Label == c.Label {
		return old, nil
	}
	row := *old
	row.Label, row.ModifyIndex = c.Label, t.index
	t.put(wire.TableNodes, &row)
	return &row, nil
}

func (c PutPersistent) apply(t *tx) (any, error) {
	row := c.Instance
	if err := row.ID.Validate(); err != nil {
		return nil, wire.InField("framedb_id", err)
	}
	if err := row.NodeTag.Validate(); err != nil {
		return nil, wire.InField("node_tag", err)
	}
	if name, _, ok := row.ID.SplitMember(); ok {
		if _, taken := t.Cluster(name); taken {
			return nil, wire.InField("framedb_id", wire.Errorf(wire.CodeConflict, "%q names a member of cluster %q", row.ID, name))
		}
	}
	row.CreateIndex, row.ModifyIndex = t.index, t.index
	if old, ok := t.Persistent(row.ID); ok {
		row.CreateIndex = old.CreateIndex
	}
	t.put(wire.TablePersistent, &row)
	return &row, nil
}

func (c DeletePersistent) apply(t *tx) (any, error) {
	old, ok := t.Persistent(c.ID)
	if !ok {
		return nil, wire.Errorf(wire.CodeNotFound, "persistent instance %q is unknown", c.ID)
	}
	t.delete(wire.TablePersistent, old)
	return nil, nil
}
