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
	row.Label, row.Draining = "", false
	row.CreateIndex, row.ModifyIndex = t.index, t.index
	if old, ok := t.Node(row.Name); ok {
		row.Label, row.Draining = old.Label, old.Draining
		row.CreateIndex, row.ModifyIndex = old.CreateIndex, old.ModifyIndex
		if reflect.DeepEqual(*old, row) {
			return old, nil
		}
		row.ModifyIndex = t.index
	}
	t.put(wire.TableNodes, &row)
	return &row, nil
}

func (t *tx) node(name wire.NodeName) (*wire.Node, error) {
	n, ok := t.Node(name)
	if !ok {
		return nil, wire.Errorf(wire.CodeNotFound, "node %q is unknown", name)
	}
	return n, nil
}

func (c LabelNode) apply(t *tx) (any, error) {
	old, err := t.node(c.Name)
	if err != nil {
		return nil, err
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

func (c DrainNode) apply(t *tx) (any, error) {
	old, err := t.node(c.Name)
	if err != nil || old.Draining == c.Draining {
		return old, err
	}
	row := *old
	row.Draining, row.ModifyIndex = c.Draining, t.index
	t.put(wire.TableNodes, &row)
	return &row, nil
}

func (c RemoveNode) apply(t *tx) (any, error) {
	old, err := t.node(c.Name)
	if err != nil {
		return nil, err
	}
	if owned := t.ClustersOwnedBy(c.Name); len(owned) > 0 {
		return nil, wire.Errorf(wire.CodeConflict, "node %q owns %d clusters, %q among them: remove them, or wait until another node owns them", c.Name, len(owned), owned[0].Name)
	}
	if owned := t.StorageOwnedBy(c.Name); len(owned) > 0 {
		return nil, wire.Errorf(wire.CodeConflict, "node %q owns %d persistent FrameDBs, %q among them: remove them, or wait until another node owns them", c.Name, len(owned), owned[0].ID)
	}
	for _, l := range t.LeftoversOn(c.Name) {
		t.remove(tableLeftovers, l)
	}
	t.delete(wire.TableNodes, old)
	return old, nil
}
