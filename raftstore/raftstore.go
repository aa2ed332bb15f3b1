// Package raftstore runs one Raft node over package state: it proposes
// commands and lets everyone read, watch and wait.
package raftstore

import (
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/peer"
	"github.com/framedb/framedb/raftstore/state"
)

// Config says how one Raft node runs.
type Config struct {
	// Node is the Raft identity. It stays with Dir: another name on the same
	// directory is refused.
	Node wire.NodeName
	// Dir holds log and snapshots; it is made when absent.
	Dir string
	// Label must be the same on all agents of one FrameDB: agents of another
	// one are refused.
	Label string
	// Bind is the host:port for the other agents; port 0 picks one. It may
	// change from run to run.
	Bind string
	// Advertise is the host:port that the other agents reach Bind at; empty:
	// Bind. Port 0 is Bind's.
	Advertise string
	// Expect is how many agents found a cluster together, once, when no agent
	// that gossip sees has state; 1 founds it alone, without asking anybody, 0
	// waits to be taken up by others. On a Dir with state it does nothing, so it
	// may stay set; but an agent that lost its Dir must not have 1.
	Expect int
	// MaxVoters bounds the agents that vote, odd; 0 is DefaultMaxVoters. The
	// others hold the same state and follow. More: the cluster survives more
	// deaths at a time; fewer: a change waits for fewer disks.
	MaxVoters int
	// Membership times who belongs and who votes; the zero value is
	// DefaultMembership.
	Membership Membership
	// Peers are the other agents, as gossip knows them. Nil: there are none.
	Peers Peers
	// Network carries what agents say to each other; nil is TCP.
	Network peer.Network

	Logger     *slog.Logger          // nil logs nothing
	Registerer prometheus.Registerer // nil registers nothing

	hooks hooks
}

func (c *Config) validate() error {
	if err := c.Node.Validate(); err != nil {
		return wire.InField("node", err)
	}
	if c.Dir == "" {
		return wire.InField("dir", wire.Errorf(wire.CodeInvalidArgument, "name the directory for the Raft log"))
	}
	if _, _, err := net.SplitHostPort(c.Bind); err != nil {
		return wire.InField("bind", wire.Errorf(wire.CodeInvalidArgument, "%q is no host:port: %v", c.Bind, err))
	}
	if c.Expect < 0 {
		return wire.InField("expect", wire.Errorf(wire.CodeInvalidArgument, "it is %d: give how many agents found the cluster, 0 or more", c.Expect))
	}
	if c.MaxVoters < 1 || c.MaxVoters%2 == 0 {
		return wire.InField("max_voters", wire.Errorf(wire.CodeInvalidArgument, "it is %d: give an odd number, such as 3 or 5; an even one survives no more deaths than the odd one below", c.MaxVoters))
	}
	return c.Membership.validate()
}

// fill puts defaults where nothing was given.
func (c *Config) fill() {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Peers == nil {
		c.Peers = nobody{}
	}
	if c.MaxVoters == 0 {
		c.MaxVoters = DefaultMaxVoters
	}
	if c.Membership == (Membership{}) {
		c.Membership = DefaultMembership()
	}
	c.hooks.fill()
}

// Peers is what gossip knows of the other agents. Its methods never block.
type Peers interface {
	// Peers returns every agent that is known, dead ones and perhaps this one
	// among them.
	Peers() []Peer
	// Changed returns a channel that closes at the next change of Peers.
	Changed() <-chan struct{}
}

// Peer is one agent.
type Peer struct {
	Name wire.NodeName
	// Addr is where it is reached: its Store's Addr.
	Addr  string
	Alive bool
}

// nobody is Peers where there are none.
type nobody struct{}

func (nobody) Peers() []Peer            { return nil }
func (nobody) Changed() <-chan struct{} { return nil }

// Store is one Raft node. All methods are safe for concurrent use.
type Store struct {
	cfg       Config
	raft      *raft.Raft
	state     *state.State
	logs      *logStore
	port      *peer.Port
	transport *raft.NetworkTransport
	calls     *peer.Server
	leader    *leaderLink
	reads     *reads
	nudge     *nudge
	log       *raftLogger
	metrics   *metrics
	opened    time.Time

	directory  *directory
	membership *membership
	compacting sync.WaitGroup // compact
	reloading  sync.Mutex     // held while Raft's settings change
	handsOver  atomic.Bool    // whether Close gives the lead away; tests let it die
	// caughtUp is the last term in which this node, as its leader, had applied
	// all that was committed before.
	caughtUp atomic.Uint64

	slots   chan struct{} // one for each proposal that Raft has not answered
	closing chan struct{} // closed when Close begins
	stopped chan struct{} // closed when Raft has stopped
	close   func() error  // runs once
}

// Close lets proposals under way end for at most two seconds, gives the lead to
// another voter if this node has it, then stops Raft and closes the log. What
// Raft did not answer by then gives ErrOutcomeUnknown. The node stays in the
// configuration: see Forget. Close takes no snapshot: what was acknowledged is
// on disk already. Further calls return what the first one did.
func (s *Store) Close() error { return s.close() }

func (s *Store) closeOnce() func() error {
	return sync.OnceValue(func() error {
		close(s.closing)
		s.membership.end()
		s.drain()
		s.leave()
		stopped := s.raft.Shutdown()
		s.logs.stop()
		err := stopped.Error() // waits, and closes the transport
		close(s.stopped)
		s.compacting.Wait()
		s.membership.wait() // it may have waited for Raft
		s.calls.Close()
		s.reads.close()
		s.leader.close()
		if closeErr := s.port.Close(); err == nil {
			err = closeErr
		}
		s.metrics.unregister()
		if closeErr := s.logs.close(); err == nil {
			err = closeErr
		}
		return err
	})
}

// View is the local state. On the leader it contains what Propose returned; on
// others see WaitForIndex for reading one's own write.
func (s *Store) View() *state.View { return s.state.View() }

// Subscribe is state.State's. A subscription of before a restart goes on with
// its last index: it misses nothing, and begins with a reset when the changes
// since then are not in memory any more.
func (s *Store) Subscribe(index uint64, tables ...wire.Table) *state.Subscription {
	return s.state.Subscribe(index, tables...)
}

// Addr is the host:port that other agents reach this one at.
func (s *Store) Addr() string { return s.port.Addr() }

// DataID names Dir: it is made with it and never changes.
func (s *Store) DataID() string { return s.logs.kept.Load().ID }
