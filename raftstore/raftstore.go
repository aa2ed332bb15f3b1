// Package raftstore runs one Raft node over package state: it proposes
// commands and lets everyone read, watch and wait.
package raftstore

import (
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// Config says how one Raft node runs.
type Config struct {
	// Node is the Raft identity. It stays with Dir: another name on the same
	// directory is refused.
	Node wire.NodeName
	// Dir holds raft.db and snapshots; it is made when absent.
	Dir string
	// Bind is the host:port of the Raft transport, with a host that the other
	// agents can reach; port 0 picks one. It may change from run to run.
	Bind string
	// Bootstrap founds a cluster of one when Dir has no state. On a Dir with
	// state it does nothing, so it may stay set.
	Bootstrap bool

	Logger     *slog.Logger          // nil logs nothing
	Registerer prometheus.Registerer // nil registers nothing
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
	return nil
}

// Store is one Raft node. All methods are safe for concurrent use.
type Store struct {
	raft      *raft.Raft
	state     *state.State
	logs      *logStore
	transport *raft.NetworkTransport
	metrics   *metrics
	opened    time.Time

	slots   chan struct{} // one for each proposal that Raft has not answered
	closing chan struct{} // closed when Close begins
	stopped chan struct{} // closed when Raft has stopped
	close   func() error  // runs once
}

// Close lets proposals under way end for at most two seconds, then stops Raft
// and closes the log. What Raft did not answer by then gives
// ErrOutcomeUnknown. It takes no snapshot: what was acknowledged is on disk
// already. Further calls return what the first one did.
func (s *Store) Close() error { return s.close() }

func (s *Store) closeOnce() func() error {
	return sync.OnceValue(func() error {
		close(s.closing)
		s.drain()
		stopped := s.raft.Shutdown()
		s.logs.stop()
		err := stopped.Error() // waits, and closes the transport
		close(s.stopped)
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

// Addr is the host:port on which the Raft transport listens.
func (s *Store) Addr() string { return string(s.transport.LocalAddr()) }
