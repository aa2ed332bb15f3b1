package raftstore

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/client/wire"
)

const (
	// maxDoublings is how often a node's patience doubles while it is not taken
	// up: it asks every four intervals at last.
	maxDoublings = 2
	// askTimeout bounds one question to one agent.
	askTimeout = 2 * time.Second
	// maxAsked bounds the agents that are asked at the same time.
	maxAsked = 32
)

// membership keeps this node in a cluster: it founds one or joins one, and on
// the leader sees to who votes.
type membership struct {
	s       *Store
	log     *slog.Logger
	life    context.Context // ends when Close begins
	end     context.CancelFunc
	working sync.WaitGroup // run

	mu      sync.Mutex
	record  record // guarded by mu; what is kept beside the log
	leaving bool   // guarded by mu: this node had itself forgotten

	deaf *deaf

	// changing holds one token, for whoever changes Raft's configuration. Guarded
	// by it are
	changing chan struct{}
	term     uint64 // in which seen began
	seen     map[wire.NodeName]sighting

	// Of run alone:
	failures int       // rounds in which this node did not get where it belongs
	lost     time.Time // since when the founder does not answer
	crowd    []Peer    // whom gossip saw when this node might have founded
	crowded  time.Time // since when it sees them
}

func newMembership(s *Store, r record) *membership {
	m := &membership{
		s: s, record: r, log: s.cfg.Logger.With("component", "membership"),
		changing: make(chan struct{}, 1), deaf: newDeaf(s.raft),
	}
	m.life, m.end = context.WithCancel(context.Background())
	return m
}

func (m *membership) start() { m.working.Go(m.run) }

// wait waits until the goroutines have ended, after end and after Raft has
// stopped.
func (m *membership) wait() {
	m.working.Wait()
	m.deaf.close()
}

func (m *membership) run() {
	for m.life.Err() == nil {
		changed := m.s.cfg.Peers.Changed()
		m.round()
		select {
		case <-m.life.Done():
		case <-time.After(m.pause()):
		case <-changed:
			// Gossip tells of many at a time: look once.
			m.sleep(m.s.cfg.Membership.Interval / 10)
		}
	}
}

// pause is the time to the next round, each time another one, so that agents
// which started together do not ask together.
func (m *membership) pause() time.Duration {
	d := m.s.cfg.Membership.Interval << min(m.failures, maxDoublings)
	return d/2 + rand.N(d)
}

func (m *membership) sleep(d time.Duration) {
	select {
	case <-m.life.Done():
	case <-time.After(d):
	}
}

func (m *membership) round() {
	if m.s.hasState() {
		m.arrived()
	}
	switch {
	case m.s.isLeader():
		m.failures = 0
		m.care()
	case m.settled():
		m.failures = 0
	default:
		m.failures++
		m.look()
	}
}

// settled reports whether there is nothing to ask for: a leader is heard, and
// this node is in the configuration.
func (m *membership) settled() bool {
	if m.isLeaving() {
		return true
	}
	_, ok := m.s.server(m.s.cfg.Node)
	return ok && m.s.hasLeader()
}

func (m *membership) setLeaving(leaving bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.leaving = leaving
}

func (m *membership) isLeaving() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.leaving
}

// look asks others for a leader to join, or founds a cluster where there is
// none.
func (m *membership) look() {
	if leader, ok := m.findLeader(); ok {
		m.join(leader)
		return
	}
	switch r := m.belonging(); {
	case r.Cluster != "": // its leader will be back
	case r.Promise != nil:
		m.reconsider(*r.Promise)
	default:
		m.lost = time.Time{}
		m.found()
	}
}

func (m *membership) belonging() record {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.record
}

// arrived notes that the founding has become a cluster.
func (m *membership) arrived() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.record.Cluster != "" || m.record.belongs() == "" {
		return
	}
	if err := m.becomeLocked(m.record.join(m.record.belongs())); err != nil {
		m.log.Warn("cannot note the cluster", "err", err)
	}
}

// becomeLocked writes what the record is from now on and lets in the Raft of
// where this node then belongs. What came from elsewhere has been dealt with
// when it returns.
func (m *membership) becomeLocked(r record) error {
	if err := m.s.logs.putRecord(r); err != nil {
		return err
	}
	m.record = r
	return m.s.port.SetCluster(m.life, r.belongs())
}

// hasState reports whether Raft has an entry or a snapshot. A term alone is
// none: it may come of a founding that was given up.
func (s *Store) hasState() bool { return s.raft.LastIndex() > 0 }

// server is a node in Raft's latest configuration.
func (s *Store) server(name wire.NodeName) (raft.Server, bool) {
	for _, server := range s.configuration().Servers {
		if server.ID == raft.ServerID(name) {
			return server, true
		}
	}
	return raft.Server{}, false
}
