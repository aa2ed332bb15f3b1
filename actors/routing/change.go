package routing

import (
	"encoding/json"
	"slices"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// Change is one change of a mapping. It carries no entry: that is made from
// the newest state at the moment it is sent.
type Change struct {
	Source  wire.SourceID
	NodeTag wire.NodeTag
	Command wire.RoutingCommand
}

// key is what the order of changes matters for.
type key struct {
	source wire.SourceID
	tag    wire.NodeTag
}

func (c Change) key() key { return key{c.Source, c.NodeTag} }

// merge is the one change that has the effect of two after each other, when
// neither was heard.
func merge(first, second Change) Change {
	merged := second
	switch {
	case second.Command == wire.CommandRemove:
	case first.Command == wire.CommandAdd:
		merged.Command = wire.CommandAdd
	case first.Command == wire.CommandMetaUpdate && second.Command == wire.CommandMetaUpdate:
	default:
		merged.Command = wire.CommandUpdate
	}
	return merged
}

// changeOf reads an event of the mappings; ok is false when nothing differs
// that writers care about. clusters are those that it went from and to.
func changeOf(e wire.Event) (c Change, clusters []wire.ClusterName, ok bool, err error) {
	before, err := decode(e.Before)
	if err != nil {
		return c, nil, false, err
	}
	after, err := decode(e.After)
	if err != nil {
		return c, nil, false, err
	}
	switch {
	case before == nil && after == nil:
		return c, nil, false, nil
	case before == nil:
		return Change{after.Source, after.NodeTag, wire.CommandAdd}, []wire.ClusterName{after.Cluster}, true, nil
	case after == nil:
		return Change{before.Source, before.NodeTag, wire.CommandRemove}, []wire.ClusterName{before.Cluster}, true, nil
	case before.Cluster != after.Cluster:
		return Change{after.Source, after.NodeTag, wire.CommandUpdate}, []wire.ClusterName{before.Cluster, after.Cluster}, true, nil
	}
	c = Change{after.Source, after.NodeTag, wire.CommandMetaUpdate}
	return c, []wire.ClusterName{after.Cluster}, string(before.Metadata) != string(after.Metadata), nil
}

func decode(row json.RawMessage) (*wire.Mapping, error) {
	if len(row) == 0 {
		return nil, nil
	}
	var m wire.Mapping
	if err := json.Unmarshal(row, &m); err != nil {
		return nil, err
	}
	return &m, nil
}

// listeners adds the other clusters that the source writes to: its writers
// may listen on any of them.
func listeners(v *state.View, s wire.SourceID, clusters []wire.ClusterName) []wire.ClusterName {
	for _, m := range v.MappingsOf(s) {
		if !slices.Contains(clusters, m.Cluster) {
			clusters = append(clusters, m.Cluster)
		}
	}
	return clusters
}
