package httpapi

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// place is how callers of /framedb say where a FrameDB is to be.
type place struct {
	// Selector is a node tag, or {"framedb": tag} as Kubernetes selects nodes.
	Selector json.RawMessage `json:"node_selector"`
	Tag      *wire.NodeTag   `json:"node_tag"`
	TagCamel *wire.NodeTag   `json:"nodeTag"`
	// Node is a node's name, or else a node tag: the first FrameDB's callers
	// call a tag the identifier of a node.
	Node *string `json:"node_id"`
}

// tag is the node tag that the place means, and which of the fields said so.
// The selector decides where it is given, then the tag. None is a
// CodeMissingField of the field want.
func (p *place) tag(s *Server, v *state.View, want string) (tag wire.NodeTag, field string, err error) {
	switch {
	case len(p.Selector) > 0:
		field = "node_selector"
		tag, err = selected(p.Selector)
	case p.Tag != nil:
		tag, field = *p.Tag, "node_tag"
	case p.TagCamel != nil:
		tag, field = *p.TagCamel, "nodeTag"
	case p.Node != nil:
		field = "node_id"
		tag, err = s.tagOfNode(v, *p.Node)
	default:
		return "", want, wire.InField(want, wire.Errorf(wire.CodeMissingField, "is required"))
	}
	if err == nil {
		err = tag.Validate()
	}
	if err != nil {
		err = wire.InField(field, err)
	}
	return tag, field, err
}

func selected(selector json.RawMessage) (wire.NodeTag, error) {
	var tag wire.NodeTag
	if json.Unmarshal(selector, &tag) == nil {
		return tag, nil
	}
	var labels map[string]wire.NodeTag
	if err := json.Unmarshal(selector, &labels); err != nil || labels[nodeLabel] == "" {
		return "", wire.Errorf(wire.CodeInvalidArgument, "give a node tag, or {%q: a node tag}", nodeLabel)
	}
	return labels[nodeLabel], nil
}

// tagOfNode is the node's tag that the fewest nodes carry, of several the
// first, so that it leads to this node as surely as a tag can. What is no
// node's name may be a tag that a node carries.
//
// Errors: ErrInvalidArgument (it is neither by its form), ErrNotFound,
// ErrNoLiveNode (the node is dead, or carries no tag).
func (s *Server) tagOfNode(v *state.View, id string) (wire.NodeTag, error) {
	if err := wire.NodeTag(id).Validate(); err != nil && wire.NodeName(id).Validate() != nil {
		return "", wire.Errorf(wire.CodeInvalidArgument, "%q is no name of a node and no node tag", clip(id))
	}
	node, registered := v.Node(wire.NodeName(id))
	switch {
	case !registered && len(v.NodesWithTag(wire.NodeTag(id))) > 0:
		return wire.NodeTag(id), nil
	case !registered:
		return "", wire.Errorf(wire.CodeNotFound, "no node has the name or the node tag %q", id)
	case !s.alive(node.Name):
		return "", wire.Errorf(wire.CodeNoLiveNode, "node %q does not answer: start its agent", id)
	case len(node.AllTags()) == 0:
		return "", wire.Errorf(wire.CodeNoLiveNode, "node %q carries no node tag: label it", id)
	}
	return slices.MinFunc(node.AllTags(), func(a, b wire.NodeTag) int {
		return len(v.NodesWithTag(a)) - len(v.NodesWithTag(b))
	}), nil
}

// redisConfig are parameters of redis.conf as callers of /framedb give them: a
// value is a string, a number, or true or false for yes or no.
type redisConfig map[string]json.RawMessage

// update is the change that the parameters ask for. Errors name the parameter
// behind the field.
func (r redisConfig) update(field string) (wire.UpdateCluster, error) {
	settings := wire.RedisSettings{}
	for name, raw := range r {
		var text string
		switch {
		case json.Unmarshal(raw, &text) == nil:
		case string(raw) == "true":
			text = "yes"
		case string(raw) == "false":
			text = "no"
		case strings.ContainsRune("-0123456789", rune(raw[0])):
			text = string(raw)
		default:
			return wire.UpdateCluster{}, wire.InField(join(field, name), wire.Errorf(wire.CodeInvalidArgument, "want a string, a number, or true or false, got %s", kindOf(raw[0])))
		}
		settings[name] = text
	}
	u, err := wire.RedisUpdate(settings)
	if err != nil {
		return u, wire.InField(join(field, wire.AsError(err).Field), err)
	}
	return u, nil
}

// redisSpelling is how callers spell what the store finds wrong with settings.
func redisSpelling(field string) map[string]string {
	return map[string]string{"max_memory": join(field, "maxmemory"), "max_memory_policy": join(field, "maxmemory-policy")}
}

// redisConfigOf are all parameters that are set by a spec.
func redisConfigOf(spec *wire.ClusterSpec) map[string]any {
	all := map[string]any{
		"maxmemory": spec.MaxMemory, "maxmemory-policy": spec.MaxMemoryPolicy,
		"appendonly": map[bool]string{true: "yes", false: "no"}[spec.Backup],
	}
	for name, value := range spec.Settings {
		all[name] = value
	}
	return all
}
