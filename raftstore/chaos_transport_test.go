package raftstore

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/client/wire"
)

// messageFaults are what happens to single calls between nodes, Raft's own and
// those of the leader, each with a probability.
type messageFaults struct {
	only       string  // the name of the calls that they happen to; empty for all
	dropCall   float64 // it never arrives
	dropAnswer float64 // it is carried out, and the caller does not hear of it
	duplicate  float64 // it arrives once more, up to maxLate later
	delay      float64 // it arrives up to maxLate later
}

// maxLate is above one heartbeat, and below what ends leadership.
const maxLate = 150 * time.Millisecond

// messages passes single calls on, or does not.
type messages struct {
	tap  *tap
	done chan struct{} // closed at the end: nothing is late any more

	mu      sync.Mutex
	rand    *rand.Rand    // guarded by mu, as are those below
	faults  messageFaults // in force now
	ended   bool
	working sync.WaitGroup // duplicates under way; added to under mu
	late    atomic.Int64   // how many those are
}

func newMessages(r *rand.Rand) *messages {
	return &messages{tap: newTap(), done: make(chan struct{}), rand: r}
}

func (m *messages) set(f messageFaults) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = f
}

// close waits for what is late.
func (m *messages) close() {
	m.mu.Lock()
	m.ended = true
	m.mu.Unlock()
	close(m.done)
	m.working.Wait()
}

// fate is what becomes of one call.
type fate struct {
	dropCall, dropAnswer bool
	again, late          time.Duration // 0 for not
}

func (m *messages) draw(method string) fate {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.faults.only != "" && m.faults.only != method {
		return fate{}
	}
	lateness := func(p float64) time.Duration {
		if m.rand.Float64() >= p {
			return 0
		}
		return 1 + time.Duration(m.rand.Int64N(int64(maxLate)))
	}
	return fate{
		m.rand.Float64() < m.faults.dropCall, m.rand.Float64() < m.faults.dropAnswer,
		lateness(m.faults.duplicate), lateness(m.faults.delay),
	}
}

// pass makes a call, as fate has it; again makes it a second time, with an
// answer that nobody reads.
func (m *messages) pass(method string, call func() error, again func()) error {
	f := m.draw(method)
	lost := wire.Errorf(wire.CodeOutcomeUnknown, "%s or its answer was lost", method)
	if f.dropCall {
		return lost
	}
	m.wait(f.late)
	if f.again > 0 {
		m.later(f.again, again)
	}
	if err := call(); err != nil {
		return err
	}
	if f.dropAnswer {
		return lost
	}
	return nil
}

func (m *messages) wait(d time.Duration) {
	select {
	case <-time.After(d):
	case <-m.done:
	}
}

func (m *messages) later(d time.Duration, call func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		return
	}
	m.late.Add(1)
	m.working.Go(func() {
		defer m.late.Add(-1)
		m.wait(d)
		call()
	})
}

// call is hooks.call.
func (m *messages) call(method string, reply any, call func(any) error) error {
	return m.pass(method, func() error { return call(reply) },
		func() { _ = call(reflect.New(reflect.TypeOf(reply).Elem()).Interface()) })
}

// transport is a node's Raft transport. What it sends goes by tap and is subject
// to messages.
type transport struct {
	*raft.NetworkTransport
	name     wire.NodeName
	messages *messages
}

var _ raft.WithPreVote = (*transport)(nil)

func (t *transport) AppendEntries(id raft.ServerID, to raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	t.messages.tap.appends(t.name, args)
	copied := *args
	return t.messages.pass("AppendEntries",
		func() error { return t.NetworkTransport.AppendEntries(id, to, args, resp) },
		func() { _ = t.NetworkTransport.AppendEntries(id, to, &copied, new(raft.AppendEntriesResponse)) })
}

func (t *transport) RequestVote(id raft.ServerID, to raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	copied := *args
	return t.messages.pass("RequestVote",
		func() error { return t.NetworkTransport.RequestVote(id, to, args, resp) },
		func() { _ = t.NetworkTransport.RequestVote(id, to, &copied, new(raft.RequestVoteResponse)) })
}

func (t *transport) RequestPreVote(id raft.ServerID, to raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	copied := *args
	return t.messages.pass("RequestPreVote",
		func() error { return t.NetworkTransport.RequestPreVote(id, to, args, resp) },
		func() { _ = t.NetworkTransport.RequestPreVote(id, to, &copied, new(raft.RequestPreVoteResponse)) })
}

func (t *transport) TimeoutNow(id raft.ServerID, to raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	copied := *args
	return t.messages.pass("TimeoutNow",
		func() error { return t.NetworkTransport.TimeoutNow(id, to, args, resp) },
		func() { _ = t.NetworkTransport.TimeoutNow(id, to, &copied, new(raft.TimeoutNowResponse)) })
}

// tap knows who led in which term and all entries that went from node to node.
// Who leads sends, so it sees every leader of more than one node; an observer
// would miss one that is killed before it is asked for its term.
type tap struct {
	mu      sync.Mutex
	leaders map[uint64]wire.NodeName // guarded by mu: by term
	entries map[position]entry       // guarded by mu
	broken  []string                 // guarded by mu
}

// position is where an entry is in a log. In Raft it says what all entries
// before it are, too.
type position struct{ index, term uint64 }

type entry struct {
	raft.Log
	before uint64 // the term of the entry before
}

func newTap() *tap {
	return &tap{leaders: map[uint64]wire.NodeName{}, entries: map[position]entry{}}
}

func (p *tap) appends(from wire.NodeName, args *raft.AppendEntriesRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if leader, ok := p.leaders[args.Term]; ok && leader != from {
		p.broken = append(p.broken, fmt.Sprintf("%s and %s both led in term %d", leader, from, args.Term))
	}
	p.leaders[args.Term] = from
	before := args.PrevLogTerm
	for _, l := range args.Entries {
		p.addLocked(from, entry{*l, before})
		before = l.Term
	}
}

// holds notes an entry that is in a node's log.
func (p *tap) holds(node wire.NodeName, e entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.addLocked(node, e)
}

func (p *tap) addLocked(node wire.NodeName, e entry) {
	at := position{e.Index, e.Term}
	known, ok := p.entries[at]
	if ok && (known.Type != e.Type || !bytes.Equal(known.Data, e.Data) || known.before != e.before) {
		p.broken = append(p.broken, fmt.Sprintf("entry %+v differs at %s, or what is before it", at, node))
	}
	p.entries[at] = e
}

// upTo are the entries from the first to that at a position. What is missing is
// empty.
func (p *tap) upTo(last position) []entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]entry, last.index)
	for at := last; at.index > 0; {
		e := p.entries[at]
		all[at.index-1] = e
		at = position{at.index - 1, e.before}
	}
	return all
}

func (p *tap) violations() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.broken)
}

// terms is how many terms had a leader.
func (p *tap) terms() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.leaders)
}
