package cluster

import (
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/framedb/framedb/client/wire"
)

const (
	// maxGone bounds how many dead agents are remembered.
	maxGone = 1024
	// quiet is how long nothing must have changed before those who wait are
	// woken, and maxDelay how long after the first change that is at the latest.
	// Lower: they know sooner; higher: an agent that flaps, or hundreds that
	// start at once, wake them less often.
	quiet    = 100 * time.Millisecond
	maxDelay = time.Second
)

// Member is one agent.
type Member struct {
	Name  wire.NodeName
	Addr  string // host:port of gossip
	Alive bool
	Meta  Meta
}

// members follows memberlist's events. memberlist calls it one event at a time
// with its own lock held: nothing here blocks or calls memberlist, and nodes
// are copied.
type members struct {
	mu     sync.Mutex
	all    map[wire.NodeName]known // guarded by mu
	gone   int                     // guarded by mu: how many of all are not alive
	change chan struct{}           // guarded by mu: closed and replaced when those who wait are woken
	since  time.Time               // guarded by mu: of the first change that nobody was woken for, or zero
	timer  *time.Timer             // guarded by mu: wakes them; nil before the first change
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
	m.changedLocked()
}

// changedLocked has those who wait woken when the changes come to rest.
func (m *members) changedLocked() {
	now := time.Now()
	if m.since.IsZero() {
		m.since = now
	}
	rest := min(quiet, m.since.Add(maxDelay).Sub(now))
	if m.timer == nil {
		m.timer = time.AfterFunc(rest, m.wake)
	} else {
		m.timer.Reset(rest)
	}
}

func (m *members) wake() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.since.IsZero() {
		return // the timer was set again while it woke them
	}
	m.since = time.Time{}
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
	return Member{Name: wire.NodeName(n.Name), Addr: addrOf(n), Alive: alive, Meta: decodeMeta(n.Meta)}
}

func addrOf(n *memberlist.Node) string {
	return net.JoinHostPort(n.Addr.String(), strconv.Itoa(int(n.Port)))
}

func (m *members) list() []Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]Member, 0, len(m.all))
	for _, k := range m.all {
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

// alive counts those that are, this agent among them.
func (m *members) alive() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.all) - m.gone
}

// livesAt tells whether an agent that is alive gossips at addr.
func (m *members) livesAt(addr string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.all {
		if k.Alive && k.Addr == addr {
			return true
		}
	}
	return false
}

// some returns the addresses of at most n others, chosen at random, that are
// alive or that are not.
func (m *members) some(n int, self wire.NodeName, alive bool) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var addrs []string
	for _, k := range m.all {
		if k.Alive == alive && k.Name != self {
			addrs = append(addrs, k.Addr)
		}
	}
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	return addrs[:min(n, len(addrs))]
}
