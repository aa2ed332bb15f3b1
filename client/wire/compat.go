package wire

import (
	"encoding/json"
	"fmt"
)

// This file holds the words of the first FrameDB that both its REST answers
// and its pub/sub messages are made of. The spelling, odd as it is, is fixed:
// existing clients read it.

// NodeEntry says how to reach what a source writes to on one node tag. It
// stands in getMapping's "framedbNodes" and in the payload of CommandAdd and
// CommandUpdate.
type NodeEntry struct {
	// ServiceIP and SentinelPort are where a Sentinel of the cluster answers.
	ServiceIP    string `json:"serviceIp"`
	SentinelPort int    `json:"sentinelPort"`
	// ServiceName is the cluster's service, "C-redis.<namespace>.svc.cluster.local".
	ServiceName string `json:"serviceName"`
	// RedisPort and MasterIP are the last known master; Sentinel has the truth.
	RedisPort int             `json:"redisPort"`
	MasterIP  string          `json:"masterIP"`
	NodeTag   NodeTag         `json:"nodeTag"`
	Cluster   ClusterName     `json:"cluster_name"`
	Metadata  json.RawMessage `json:"metadata"`
}

// NodeEntryOf builds the entry of a mapping from the members of its cluster.
// With no members the addresses stay empty and the ports 0.
func NodeEntryOf(m Mapping, members []Instance, namespace string) NodeEntry {
	e := NodeEntry{ServiceName: m.Cluster.ServiceName(namespace), NodeTag: m.NodeTag, Cluster: m.Cluster, Metadata: m.Metadata}
	if len(e.Metadata) == 0 {
		e.Metadata = json.RawMessage("{}")
	}
	if s := bestMember(members, func(i *Instance) bool { return i.SentinelPort != 0 }); s != nil {
		e.ServiceIP, e.SentinelPort = s.Host, s.SentinelPort
	}
	if r := bestMember(members, func(i *Instance) bool { return i.Port != 0 }); r != nil {
		e.MasterIP, e.RedisPort = r.Host, r.Port
	}
	return e
}

// bestMember prefers a healthy master, then a master, then a healthy member.
func bestMember(members []Instance, usable func(*Instance) bool) *Instance {
	var best *Instance
	bestRank := -1
	for i := range members {
		m := &members[i]
		rank := 0
		if m.Role == RoleMaster {
			rank += 2
		}
		if m.Health == HealthHealthy {
			rank++
		}
		if usable(m) && rank > bestRank {
			best, bestRank = m, rank
		}
	}
	return best
}

// ServiceName is the DNS name of the cluster's service.
func (n ClusterName) ServiceName(namespace string) string {
	return fmt.Sprintf("%s-redis.%s.svc.cluster.local", n, namespace)
}

// RoutingCommand says what a message on a routing channel is about.
type RoutingCommand string

// The commands that follow from a change of a mapping, with their payloads.
const (
	CommandAdd        RoutingCommand = "add"         // []NodeEntry
	CommandUpdate     RoutingCommand = "update"      // []NodeEntry
	CommandRemove     RoutingCommand = "remove"      // []NodeTag
	CommandMetaUpdate RoutingCommand = "meta_update" // MetaUpdate
)

// RoutingMessage is what writers hear on RoutingChannel.
type RoutingMessage struct {
	Command RoutingCommand `json:"command"`
	Payload any            `json:"payload"`
}

// MetaUpdate is the payload of CommandMetaUpdate.
type MetaUpdate struct {
	NodeTag  NodeTag         `json:"nodeTag"`
	Metadata json.RawMessage `json:"metadata"`
}

// RoutingChannel is the pub/sub channel on which a source's writers follow
// changes of its mappings.
func RoutingChannel(s SourceID) string { return string(s) + "__routing_updates" }
