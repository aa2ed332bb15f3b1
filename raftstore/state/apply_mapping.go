package state

import (
	"bytes"
	"encoding/json"

	"github.com/framedb/framedb/client/wire"
)

func (c CreateMapping) apply(t *tx) (any, error) {
	if err := c.Source.Validate(); err != nil {
		return nil, wire.InField("source_id", err)
	}
	if err := c.NodeTag.Validate(); err != nil {
		return nil, wire.InField("node_tag", err)
	}
	metadata, err := checkMetadata(c.Metadata, wire.MaxMetadata)
	if err != nil {
		return nil, err
	}
	if m, ok := t.Mapping(c.Source, c.NodeTag); ok {
		return nil, wire.Errorf(wire.CodeAlreadyExists, "source %q is mapped on node tag %q already, to cluster %q", c.Source, c.NodeTag, m.Cluster)
	}
	to, err := t.target(c.NodeTag, c.Cluster)
	if err != nil {
		return nil, err
	}
	row := &wire.Mapping{Source: c.Source, NodeTag: c.NodeTag, Cluster: to.Name, Metadata: metadata, CreateIndex: t.index}
	t.putMapping(row)
	return row, nil
}

// target is the named cluster if it can take sources of the tag, or the least
// loaded one when none is named.
func (t *tx) target(tag wire.NodeTag, name wire.ClusterName) (*wire.Cluster, error) {
	if name == "" {
		return t.leastLoaded(tag, "")
	}
	c, err := t.openCluster(name)
	if err != nil {
		return nil, wire.InField("cluster", err)
	}
	if c.NodeTag != tag {
		return nil, wire.InField("cluster", wire.Errorf(wire.CodeConflict, "cluster %q is on node tag %q, not %q", name, c.NodeTag, tag))
	}
	return c, nil
}

func (t *tx) leastLoaded(tag wire.NodeTag, but wire.ClusterName) (*wire.Cluster, error) {
	c, ok := t.leastLoadedBut(tag, but)
	if !ok {
		return nil, wire.InField("node_tag", wire.Errorf(wire.CodeNoCluster, "no cluster on %q can take the source: create one there first", tag))
	}
	return c, nil
}

func (t *tx) mapping(s wire.SourceID, tag wire.NodeTag) (*wire.Mapping, error) {
	m, ok := t.Mapping(s, tag)
	if !ok {
		return nil, wire.Errorf(wire.CodeNotFound, "source %q is not mapped on node tag %q", s, tag)
	}
	return m, nil
}

func (c RemoveMapping) apply(t *tx) (any, error) {
	m, err := t.mapping(c.Source, c.NodeTag)
	if err != nil {
		return nil, err
	}
	t.deleteMapping(m)
	return m, nil
}

func (c ReassignSource) apply(t *tx) (any, error) {
	old, err := t.mapping(c.Source, c.NodeTag)
	if err != nil {
		return nil, err
	}
	if c.Cluster == "" {
		return nil, wire.InField("cluster", wire.Errorf(wire.CodeMissingField, "name the cluster to move the source to"))
	}
	to, err := t.target(c.NodeTag, c.Cluster)
	if err != nil {
		return nil, err
	}
	if to.Name == old.Cluster {
		return old, nil
	}
	row := *old
	row.Cluster = to.Name
	t.putMapping(&row)
	return &row, nil
}

func (c ReassignInstance) apply(t *tx) (any, error) {
	from, err := t.cluster(c.Cluster)
	if err != nil {
		return nil, wire.InField("cluster", err)
	}
	if from.NodeTag != c.NodeTag {
		return nil, wire.InField("cluster", wire.Errorf(wire.CodeConflict, "cluster %q is on node tag %q, not %q", c.Cluster, from.NodeTag, c.NodeTag))
	}
	if _, err := t.leastLoaded(from.NodeTag, from.Name); err != nil {
		return nil, err
	}
	return t.moveAll(from), nil
}

func (c UpdateMetadata) apply(t *tx) (any, error) {
	old, err := t.mapping(c.Source, c.NodeTag)
	if err != nil {
		return nil, err
	}
	metadata, err := checkMetadata(c.Metadata, wire.MaxMetadata)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(metadata, old.Metadata) {
		return old, nil
	}
	row := *old
	row.Metadata = metadata
	t.putMapping(&row)
	return &row, nil
}

// checkMetadata returns the metadata compacted, nil for none.
func checkMetadata(raw json.RawMessage, most int) (json.RawMessage, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	if len(raw) > most {
		return nil, wire.InField("metadata", wire.Errorf(wire.CodeTooLarge, "%d bytes: at most %d are allowed", len(raw), most))
	}
	var small bytes.Buffer
	if err := json.Compact(&small, raw); err != nil || small.Bytes()[0] != '{' {
		return nil, wire.InField("metadata", wire.Errorf(wire.CodeInvalidArgument, "give a JSON object"))
	}
	return small.Bytes(), nil
}
