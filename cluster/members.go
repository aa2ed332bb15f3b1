package cluster

import (
	"encoding/json"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/framedb/framedb/client/wire"
)

// maxGone bounds how many dead agents are remembered.
const maxGone = 1024

// Member is one agent.
type Member struct {
	Name  wire.NodeName
	Addr  string // host:port of gossip
	Alive bool
	Meta  Meta
}

// Meta is what an agent tells of itself, at most 512 bytes encoded.
type Meta struct {
	API     string `json:"a"` // host:port of the REST API
	Raft    string `json:"r"` // host:port of the Raft transport
	Version string `json:"v"`
}

// encode returns ErrTooLarge for what memberlist would panic at.
func (m Meta) encode() ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, wire.InField("meta", err)
	}
	if len(b) > memberlist.MetaMaxSize {
		return nil, wire.InField("meta", wire.Errorf(wire.CodeTooLarge, "it has %d bytes encoded: at most %d are allowed", len(b), memberlist.MetaMaxSize))
	}
	return b, nil
}

// members follows memberlist's events. memberlist calls it one event at a time
// with its own lock held: nothing here blocks or calls memberlist, and nodes
// are copied.
type members struct {
	mu     sync.Mutex
	all    map[wire.NodeName]known // guarded by mu
	gone   int                     // guarded by mu: how many of all are not alive
	change chan struct{}           // guarded by mu: closed and replaced at every change
}

type known struct {
	Member
	goneAt time.Time
}

var _ memberlist.EventDelegate = (*members)(nil)

func newMembers() *members {
	return &members{all: map[wire.NodeName]known{}, change: make(chan struct{})}
}

func (m *members) NotifyJoin(n *memberlist.Node)   { m.set(n, true) }
func (m *members) NotifyUpdate(n *memberlist.Node) { m.set(n, true) }
func (m *members) NotifyLeave(n *memberlist.Node)  { m.set(n, false) }

func (m *members) set(n *memberlist.Node, alive bool) {
	k := known{Member: memberOf(n, alive)}
	if !alive {
		k.goneAt = time.Now()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, ok := m.all[k.Name]; ok && !old.Alive {
		m.gone--
	}
	if !alive {
		m.gone++
	}
	m.all[k.Name] = k
	if m.gone > maxGone {
		m.forgetOldestLocked()
	}
	close(m.change)
	m.change = make(chan struct{})
}

func (m *members) forgetOldestLocked() {
	var oldest known
	for _, k := range m.all {
		if !k.Alive && (oldest.Name == "" || k.goneAt.Before(oldest.goneAt)) {
			oldest = k
		}
	}
	delete(m.all, oldest.Name)
	m.gone--
}

func memberOf(n *memberlist.Node, alive bool) Member {
	member := Member{
		Name: wire.NodeName(n.Name), Addr: net.JoinHostPort(n.Addr.String(), strconv.Itoa(int(n.Port))), Alive: alive,
	}
	// What another version tells that cannot be read leaves Meta empty.
	if json.Unmarshal(n.Meta, &member.Meta) != nil {
		member.Meta = Meta{}
	}
	return member
}

func (m *members) list() []Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]Member, 0, len(m.all))
	for k := range maps.Values(m.all) {
		all = append(all, k.Member)
	}
	slices.SortFunc(all, func(a, b Member) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return all
}

func (m *members) get(name wire.NodeName) (Member, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.all[name]
	return k.Member, ok
}

func (m *members) changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.change
}

// nodeMeta is the memberlist delegate that has nothing but metadata.
type nodeMeta []byte

var _ memberlist.Delegate = nodeMeta(nil)

func (m nodeMeta) NodeMeta(int) []byte           { return m }
func (nodeMeta) NotifyMsg([]byte)                {}
func (nodeMeta) GetBroadcasts(int, int) [][]byte { return nil }
func (nodeMeta) LocalState(bool) []byte          { return nil }
func (nodeMeta) MergeRemoteState([]byte, bool)   {}
