package raftstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/peer"
	"github.com/framedb/framedb/raftstore/state"
)

// Raft's settings, where they are ours to choose.
const (
	// heartbeatTimeout is how long a follower hears nothing before it stands
	// for election. Lower: a lost leader is replaced sooner; higher: a slow
	// disk or a busy machine is not taken for a lost leader. An election takes
	// one to three times as long, because a follower grants no vote while it
	// believes in the leader itself. Agents share their nodes with Redis; a
	// leader's heartbeats, ten in this time, do not wait for its disk. A node
	// that is its own only voter does not wait for it: see hurry.
	heartbeatTimeout = 700 * time.Millisecond
	// electionTimeout bounds one round of votes; not below heartbeatTimeout.
	electionTimeout = 700 * time.Millisecond
	// leaderLease is how long a leader that reaches no majority goes on; not
	// above heartbeatTimeout.
	leaderLease = 500 * time.Millisecond
	// snapshotThreshold is how many entries there are between snapshots, at
	// least, unless they are large: see maxGrowth. Lower: a restart replays
	// less; higher: the whole state is written less often. 8192 entries replay
	// in well under a second.
	snapshotThreshold = 8192
	// snapshotInterval is how often the threshold is looked at, up to twice.
	snapshotInterval = 2 * time.Minute
	// trailingLogs is how many entries stay behind a snapshot at most, so that
	// a follower which was away briefly needs no snapshot. See trailingBytes.
	trailingLogs = 10240

	// transportTimeout bounds one exchange with another node.
	transportTimeout = 10 * time.Second
	// transportPool is how many idle connections are kept to each node.
	transportPool = 3
	// transportInFlight is how many messages are under way to a node at a time. 1
	// does without Raft's pipelines: where a follower refuses a message, they may
	// never send it another one, and never end (raft#612). They would overlap the
	// leader's next message with the follower's fsync of this one.
	transportInFlight = 1
)

// Open opens the log and starts Raft; Close ends both. It returns before there
// is a leader: see WaitReady.
//
// Errors: ErrInvalidArgument (Field names the part of cfg), ErrConflict
// (another agent has Dir or Bind, or Dir belongs to another node), ErrDiskFull;
// anything else is a damaged Dir. Each says what to do.
func Open(cfg Config) (_ *Store, err error) {
	cfg.fill()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Store{
		cfg: cfg, state: state.New(), metrics: newMetrics(), opened: time.Now(),
		slots:   make(chan struct{}, maxProposals),
		closing: make(chan struct{}), stopped: make(chan struct{}),
	}
	s.handsOver.Store(true)
	s.close, s.reads = s.closeOnce(), newReads(s)
	undo := func() {}
	defer func() {
		if err != nil {
			undo()
		}
	}()
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, dirError(cfg.Dir, err)
	}
	// The lock on Dir comes first: nothing in it is touched before.
	if s.logs, err = openLogStore(cfg.Dir, cfg.Node, s.metrics.written); err != nil {
		return nil, err
	}
	undo = func() { _ = s.logs.close() }
	s.log = &raftLogger{log: cfg.Logger.With("component", "raft")}
	snaps, err := openSnapshots(s.logs, s.log)
	if err != nil {
		return nil, err
	}
	if s.port, err = peer.Listen(peer.Config{
		Node: cfg.Node, Label: cfg.Label, Bind: cfg.Bind, Advertise: cfg.Advertise, Network: cfg.Network,
		Logger: cfg.Logger.With("component", "peer"),
	}); err != nil {
		return nil, err
	}
	s.directory = &directory{
		peers: cfg.Peers, every: cfg.Membership.Interval,
		me: Peer{Name: cfg.Node, Addr: s.Addr(), Alive: true},
	}
	s.transport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: s.port.Raft(), ServerAddressProvider: s.directory, MaxPool: transportPool,
		MaxRPCsInFlight: transportInFlight, Timeout: transportTimeout, Logger: s.log,
	})
	undo = func() { _ = s.transport.Close(); _ = s.port.Close(); _ = s.logs.close() }
	belongs, err := s.start(raftConfig(cfg.Node, s.log), snaps)
	if err != nil {
		return nil, err
	}
	s.nudge = newNudge(s.raft)
	s.leader, s.membership = newLeaderLink(s), newMembership(s, belongs)
	if s.calls, err = s.port.Serve(&answers{s}); err != nil {
		return nil, errors.Join(err, s.raft.Shutdown().Error(), s.logs.close())
	}
	s.membership.start()
	s.compacting.Go(s.compact)
	undo = func() { _ = s.Close() }
	if err := s.metrics.register(cfg.Registerer, s); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	if v := s.Status().Voters; len(v) == 1 && v[0] == cfg.Node {
		err = s.hurry()
	}
	return s, err
}

func dirError(dir string, err error) error {
	if isDiskFull(err) {
		return diskFull(dir, err)
	}
	return wire.InField("dir", wire.Errorf(wire.CodeInvalidArgument, "%v: give a directory that this user may write to", err))
}

func raftConfig(node wire.NodeName, log *raftLogger) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(node)
	// A little more than what hurry or the first reload sets: see hurry.
	c.HeartbeatTimeout = heartbeatTimeout + time.Millisecond
	c.ElectionTimeout = electionTimeout + time.Millisecond
	c.LeaderLeaseTimeout = leaderLease
	c.SnapshotThreshold = snapshotThreshold
	c.SnapshotInterval = snapshotInterval
	c.TrailingLogs = trailingLogs
	c.NoLegacyTelemetry = true
	c.Logger = log
	return c
}

// start founds a cluster of one where that is due and starts Raft on what is in
// the log.
func (s *Store) start(conf *raft.Config, snaps *snapshots) (record, error) {
	belongs := s.logs.record()
	last, err := s.logs.LastIndex()
	if err != nil {
		return record{}, fmt.Errorf("look for Raft state: %w", err)
	}
	shots, err := snaps.List()
	if err != nil {
		return record{}, fmt.Errorf("look for Raft state: %w", err)
	}
	s.logs.grown(shots)
	switch state := last > 0 || len(shots) > 0; {
	case !state:
		belongs, err = s.begin(belongs, conf, snaps)
	case belongs.belongs() == "": // it was alone when clusters had no names
		belongs = belongs.join(rand.Text())
		err = s.logs.putRecord(belongs)
	}
	if err != nil {
		return record{}, err
	}
	if err := s.port.SetCluster(context.Background(), belongs.belongs()); err != nil {
		return record{}, err
	}
	s.raft, err = newRaft(conf, fsm{s.state}, s.logs, snaps, s.cfg.hooks.transport(s.transport))
	return belongs, err
}

// begin is for a node without state. One that was about to found a cluster was
// stopped before there was any, so nothing can come of it.
func (s *Store) begin(belongs record, conf *raft.Config, snaps *snapshots) (record, error) {
	if p := belongs.Promise; p != nil && p.founder().DataID == s.DataID() {
		belongs = belongs.release()
		if err := s.logs.putRecord(belongs); err != nil {
			return record{}, err
		}
	}
	if s.cfg.Expect != 1 || belongs.Cluster != "" || belongs.Promise != nil {
		return belongs, nil
	}
	belongs = belongs.join(rand.Text())
	return belongs, s.bootstrap(belongs, conf, snaps)
}

// bootstrap founds a cluster of one. Raft writes the term and the first entry
// one after the other; a kill between the two would leave a node with state
// and without a configuration, for ever. So both are one write.
func (s *Store) bootstrap(belongs record, conf *raft.Config, snaps *snapshots) error {
	voters := raft.Configuration{Servers: []raft.Server{{
		Suffrage: raft.Voter, ID: conf.LocalID, Address: s.transport.LocalAddr(),
	}}}
	err := s.logs.atomically(func(logs *logStore) error {
		return errors.Join(
			logs.forgetVotes(), logs.putRecord(belongs),
			raft.BootstrapCluster(conf, logs, logs, snaps, s.transport, voters),
		)
	})
	if full := s.logs.full.Load(); full != nil {
		return full
	}
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	return nil
}

// newRaft is raft.NewRaft, which reads a snapshot and all entries behind it,
// and panics at one that is damaged or missing.
func newRaft(conf *raft.Config, f raft.FSM, logs *logStore, snaps *snapshots, trans raft.Transport) (r *raft.Raft, err error) {
	defer func() {
		if p := recover(); p != nil {
			cause, ok := p.(error)
			if !ok {
				panic(p)
			}
			err = damaged(logs.dir, fmt.Errorf("read the log and the snapshots: %w", cause))
		}
	}()
	if r, err = raft.NewRaft(conf, f, logs, logs, snaps, trans); err != nil {
		return nil, damaged(logs.dir, fmt.Errorf("read the log and the snapshots: %w", err))
	}
	return r, nil
}

// hurry has a node stand for election at once instead of after one to two
// heartbeat timeouts, when there is nobody whom it could disturb: it is the
// only voter, or has just founded the cluster. Lowering the timeout makes Raft
// look right away whether it is past, and it is, since no leader was ever
// heard. So a cluster is ready in milliseconds with the timeouts that it needs
// later. It works once.
func (s *Store) hurry() error {
	s.log.expectWarning()
	return s.reload(func(c *raft.ReloadableConfig) {
		c.HeartbeatTimeout, c.ElectionTimeout = heartbeatTimeout, electionTimeout
	})
}
