package routing

import (
	"encoding/json"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// message is one PUBLISH.
type message struct {
	channel string
	body    []byte
}

// composer makes messages from one view of the state.
type composer struct {
	view      *state.View
	namespace string
	members   map[wire.ClusterName][]wire.Instance
}

func newComposer(v *state.View, namespace string) *composer {
	return &composer{view: v, namespace: namespace, members: map[wire.ClusterName][]wire.Instance{}}
}

// change makes the message of one change as it stands now; ok is false when it
// was overtaken by a later one that is still to come.
func (c *composer) change(ch Change) (message, bool, error) {
	if ch.Command == wire.CommandRemove {
		m, err := compose(ch.Source, ch.Command, []wire.NodeTag{ch.NodeTag})
		return m, true, err
	}
	row, ok := c.view.Mapping(ch.Source, ch.NodeTag)
	if !ok {
		return message{}, false, nil
	}
	entry := c.entry(row)
	var payload any = []wire.NodeEntry{entry}
	if ch.Command == wire.CommandMetaUpdate {
		payload = wire.MetaUpdate{NodeTag: row.NodeTag, Metadata: entry.Metadata}
	}
	m, err := compose(ch.Source, ch.Command, payload)
	return m, true, err
}

// present makes the message with all entries that a source has now.
func (c *composer) present(s wire.SourceID) (message, bool, error) {
	var entries []wire.NodeEntry
	for _, row := range c.view.MappingsOf(s) {
		entries = append(entries, c.entry(row))
	}
	if len(entries) == 0 {
		return message{}, false, nil
	}
	m, err := compose(s, wire.CommandUpdate, entries)
	return m, true, err
}

func (c *composer) entry(m *wire.Mapping) wire.NodeEntry {
	members, ok := c.members[m.Cluster]
	if !ok {
		for _, row := range c.view.InstancesOf(m.Cluster) {
			members = append(members, *row)
		}
		c.members[m.Cluster] = members
	}
	return wire.NodeEntryOf(*m, members, c.namespace)
}

func compose(s wire.SourceID, command wire.RoutingCommand, payload any) (message, error) {
	body, err := json.Marshal(wire.RoutingMessage{Command: command, Payload: payload})
	return message{wire.RoutingChannel(s), body}, err
}
