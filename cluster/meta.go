package cluster

import (
	"encoding/json"
	"net"
	"strings"

	"github.com/hashicorp/memberlist"

	"github.com/framedb/framedb/client/wire"
)

// Meta is what an agent tells of itself, at most 512 bytes encoded.
type Meta struct {
	API     string `json:"a,omitempty"` // host:port of the REST API
	Raft    string `json:"r,omitempty"` // host:port of the Raft transport
	Version string `json:"v,omitempty"`
}

// sameHost stands in an encoded Raft for the host of API, so that the longest
// names have room.
const sameHost = "="

// encode returns ErrTooLarge for what memberlist would panic at.
func (m Meta) encode() ([]byte, error) {
	if host, port, err := net.SplitHostPort(m.Raft); err == nil {
		if api, _, err := net.SplitHostPort(m.API); err == nil && api == host {
			m.Raft = sameHost + port
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, wire.InField("meta", err)
	}
	if len(b) > memberlist.MetaMaxSize {
		return nil, wire.InField("meta", wire.Errorf(wire.CodeTooLarge, "it has %d bytes encoded: at most %d are allowed", len(b), memberlist.MetaMaxSize))
	}
	return b, nil
}

// decodeMeta leaves empty what another version tells that cannot be read.
func decodeMeta(b []byte) Meta {
	var m Meta
	if json.Unmarshal(b, &m) != nil {
		return Meta{}
	}
	if port, same := strings.CutPrefix(m.Raft, sameHost); same {
		host, _, _ := net.SplitHostPort(m.API)
		m.Raft = net.JoinHostPort(host, port)
	}
	return m
}

// nodeMeta is the memberlist delegate that has nothing but metadata.
type nodeMeta []byte

var _ memberlist.Delegate = nodeMeta(nil)

func (m nodeMeta) NodeMeta(int) []byte           { return m }
func (nodeMeta) NotifyMsg([]byte)                {}
func (nodeMeta) GetBroadcasts(int, int) [][]byte { return nil }
func (nodeMeta) LocalState(bool) []byte          { return nil }
func (nodeMeta) MergeRemoteState([]byte, bool)   {}
