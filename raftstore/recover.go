package raftstore

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/peer"
	"github.com/framedb/framedb/raftstore/state"
)

// RecoverConfig says how Recover writes Raft's configuration anew.
type RecoverConfig struct {
	// Dir is Config.Dir of an agent that does not run.
	Dir string
	// Servers are all that are to be in the configuration, Dir's agent among
	// them: Name, Address and Voter count, and at least one votes.
	Servers []wire.RaftServer
	// Lost says that voters of before which are not in Servers are lost for
	// good. They, and all others that are not recovered with this list, are of
	// another cluster from then on: they are not taken up until they start with
	// an empty directory, and should most of them come back, they go on as that
	// other cluster.
	Lost   bool
	Logger *slog.Logger // nil logs nothing
}

// Recovery is what Recover found and did.
type Recovery struct {
	Node          wire.NodeName     // whose directory it is
	Before, After []wire.RaftServer // in Raft's order; Alive and Leader are not known
	// Term and Index are of the last entry: of several agents, the one with the
	// highest term, and of those the highest index, has most.
	Term, Index uint64
	// Cluster names the cluster from now on. On all agents that are recovered it
	// must be the same.
	Cluster string
}

// Recover writes Raft's configuration in Dir anew without asking anybody, for
// when the agents cannot do it themselves: all their addresses changed and
// gossip does not tell the new ones, or most voters are lost for good. End all
// agents, call it with the same list for each agent on the list, then start
// them. It may be repeated.
//
// It is not safe in general. All entries in Dir count as acknowledged from then
// on, also those that no majority had. What the lost ones had acknowledged and
// nobody on the list has is lost.
//
// Errors: ErrInvalidArgument (Field says which part), ErrConflict (an agent
// runs on Dir, or voters would be left out without Lost), ErrNotFound (there is
// nothing in Dir to recover), ErrDiskFull; anything else is a damaged Dir.
func Recover(cfg RecoverConfig) (_ Recovery, err error) {
	if err := cfg.validate(); err != nil {
		return Recovery{}, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, logDir)); err != nil {
		return Recovery{}, wire.InField("dir", wire.Errorf(wire.CodeNotFound, "%v: give the directory of an agent's Raft log", err))
	}
	logs, err := openLogStore(cfg.Dir, "", func(time.Duration) {})
	if err != nil {
		return Recovery{}, err
	}
	defer func() { err = errors.Join(err, logs.close()) }()
	r := recovery{cfg: cfg, logs: logs, log: &raftLogger{log: cfg.Logger}}
	if r.snaps, err = openSnapshots(logs, r.log); err != nil {
		return Recovery{}, err
	}
	_, r.trans = raft.NewInmemTransport("")
	return r.run()
}

func (c *RecoverConfig) validate() error {
	seen, voters := map[wire.NodeName]bool{}, 0
	for _, s := range c.Servers {
		if err := s.Name.Validate(); err != nil {
			return wire.InField("servers", err)
		}
		if _, _, err := net.SplitHostPort(s.Address); err != nil {
			return wire.InField("servers", wire.Errorf(wire.CodeInvalidArgument, "%q of %s is no host:port: %v", s.Address, s.Name, err))
		}
		if seen[s.Name] {
			return wire.InField("servers", wire.Errorf(wire.CodeInvalidArgument, "%q is there twice: name each agent once", s.Name))
		}
		seen[s.Name] = true
		if s.Voter {
			voters++
		}
	}
	if voters == 0 {
		return wire.InField("servers", wire.Errorf(wire.CodeInvalidArgument, "nobody votes: name at least one voter"))
	}
	return nil
}

// recovery is one Recover.
type recovery struct {
	cfg   RecoverConfig
	logs  *logStore
	snaps *snapshots
	trans raft.Transport
	log   *raftLogger
}

func (r *recovery) run() (Recovery, error) {
	belongs := r.logs.record()
	done, err := r.look()
	if err != nil {
		return Recovery{}, err
	}
	if err := r.check(done); err != nil {
		return Recovery{}, err
	}
	after := r.belongsAfter(belongs)
	if err := raft.RecoverCluster(r.raftConfig(), fsm{state.New()}, r.logs, r.logs, r.snaps, r.trans, r.configuration()); err != nil {
		return Recovery{}, fmt.Errorf("recover %s: %w", r.cfg.Dir, whyNotWritten(r.logs.dir, err))
	}
	// Last, so that a repetition after a failure comes to the same.
	if err := r.logs.putRecord(after); err != nil {
		return Recovery{}, err
	}
	done.After, done.Cluster = r.cfg.Servers, after.Cluster
	return done, nil
}

func (r *recovery) raftConfig() *raft.Config { return raftConfig(r.logs.node(), r.log) }

// look reads what there is, as Raft would.
func (r *recovery) look() (Recovery, error) {
	found := Recovery{Node: r.logs.node()}
	last, err := r.logs.LastIndex()
	if err != nil {
		return Recovery{}, err
	}
	shots, err := r.snaps.List()
	if err != nil {
		return Recovery{}, fmt.Errorf("look for snapshots: %w", err)
	}
	switch {
	case last > 0:
		var entry raft.Log
		if err := r.logs.GetLog(last, &entry); err != nil {
			return Recovery{}, err
		}
		found.Term, found.Index = entry.Term, entry.Index
	case len(shots) > 0:
		found.Term, found.Index = shots[0].Term, shots[0].Index
	default:
		return Recovery{}, wire.InField("dir", wire.Errorf(wire.CodeNotFound, "agent %q has no data: start it with an empty directory, and it joins by itself", r.logs.node()))
	}
	before, err := r.configurationBefore()
	if err != nil {
		return Recovery{}, err
	}
	for _, s := range before.Servers {
		_, addr := peer.SplitAddress(s.Address)
		found.Before = append(found.Before, wire.RaftServer{Name: wire.NodeName(s.ID), Address: addr, Voter: s.Suffrage == raft.Voter})
	}
	return found, nil
}

// configurationBefore is Raft's latest; it panics at a damaged entry.
func (r *recovery) configurationBefore() (_ raft.Configuration, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("read %s: %v", r.cfg.Dir, p)
		}
	}()
	return raft.GetConfiguration(r.raftConfig(), fsm{state.New()}, r.logs, r.logs, r.snaps, r.trans)
}

// check refuses what would leave somebody out.
func (r *recovery) check(found Recovery) error {
	named := func(name wire.NodeName, voter bool) bool {
		return slices.ContainsFunc(r.cfg.Servers, func(s wire.RaftServer) bool { return s.Name == name && (s.Voter || !voter) })
	}
	if !named(found.Node, false) {
		return wire.InField("servers", wire.Errorf(wire.CodeInvalidArgument, "agent %q, whose directory it is, is not among them: name it, or recover the directories of those that are", found.Node))
	}
	for _, s := range found.Before {
		if s.Voter && !r.cfg.Lost && !named(s.Name, true) {
			return wire.InField("servers", wire.Errorf(wire.CodeConflict, "agent %q votes: name it as a voter, or say that it is lost for good", s.Name))
		}
	}
	return nil
}

func (r *recovery) configuration() raft.Configuration {
	var c raft.Configuration
	for _, s := range r.cfg.Servers {
		suffrage := raft.Nonvoter
		if s.Voter {
			suffrage = raft.Voter
		}
		c.Servers = append(c.Servers, raft.Server{
			Suffrage: suffrage, ID: raft.ServerID(s.Name), Address: peer.Address(s.Name, s.Address),
		})
	}
	return c
}

// belongsAfter has the agents of a recovery with Lost belong to a cluster of
// their own: the voters that are lost could otherwise elect one of theirs when
// they come back. All on the list come to the same name, and a repetition does
// not change it.
func (r *recovery) belongsAfter(before record) record {
	after := before.join(before.belongs())
	if !r.cfg.Lost {
		return after
	}
	servers := slices.Clone(r.cfg.Servers)
	slices.SortFunc(servers, func(a, b wire.RaftServer) int { return compareNames(a.Name, b.Name) })
	list := ""
	for _, s := range servers {
		list += fmt.Sprintf(" %s %v", s.Name, s.Voter)
	}
	if before.Recovered == list && r.logs.isEmpty() {
		return after // Raft has not run since
	}
	sum := sha256.Sum256([]byte(before.belongs() + list))
	after.Recovered, after.Cluster = list, base32.StdEncoding.EncodeToString(sum[:])[:26]
	return after
}
