package raftstore

import (
	"context"
	"net"

	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/peer"
)

// JoinArgs is a node that wants to be in the configuration.
type JoinArgs struct {
	Name wire.NodeName
	Addr string
	// Cluster is where the node belongs by its Dir. A node without one has
	// nothing of what it may have acknowledged before.
	Cluster string
	// Promised says that it has nothing of Cluster either: it only takes part in
	// founding it.
	Promised bool
}

// JoinReply is the cluster that took the node up, or why none did.
type JoinReply struct {
	Cluster string
	Failure *Failure
}

// Join takes a node up if this one leads.
func (a *answers) Join(args *JoinArgs, reply *JoinReply) error {
	ctx, cancel := context.WithTimeout(a.s.membership.life, changeTimeout)
	defer cancel()
	cluster, err := a.s.membership.takeUp(ctx, args)
	reply.Cluster, reply.Failure = cluster, failureOf(err)
	return nil
}

func (a *JoinArgs) validate() error {
	if err := a.Name.Validate(); err != nil {
		return wire.InField("name", err)
	}
	if _, _, err := net.SplitHostPort(a.Addr); err != nil {
		return wire.InField("addr", wire.Errorf(wire.CodeInvalidArgument, "%q is no host:port: %v", a.Addr, err))
	}
	return nil
}

// takeUp has a node in the configuration and returns the name of the cluster. One that has nothing of the cluster only loses the vote that it
// had, since it can keep none of what it acknowledged; it asks again when its
// Raft may be spoken to.
func (m *membership) takeUp(ctx context.Context, args *JoinArgs) (string, error) {
	if err := args.validate(); err != nil {
		return "", err
	}
	ours := m.belonging().belongs()
	blank := args.Cluster == "" || args.Promised && args.Cluster != ours
	switch {
	case !m.s.isLeader():
		return "", noLeader("another agent leads")
	case args.Name == m.s.cfg.Node:
		return "", wire.Errorf(wire.CodeConflict, "two agents are named %q: give one of them another name", args.Name)
	case !blank && args.Cluster != ours:
		return "", wire.Errorf(wire.CodeConflict, "the data of agent %q is of another cluster, or of before its recovery: end the agent, put its data directory aside, and start it with an empty one", args.Name)
	}
	return ours, m.change(ctx, func() error {
		_, known := m.s.server(args.Name)
		switch {
		case blank && known:
			m.log.Info("an agent has lost its data", "agent", args.Name)
			return m.remove(args.Name)
		case blank || known:
			return nil
		}
		m.log.Info("takes up an agent", "agent", args.Name, "addr", args.Addr)
		err := m.s.configured(m.s.raft.AddNonvoter(raft.ServerID(args.Name), peer.Address(args.Name, args.Addr), 0, changeTimeout))
		if err == nil {
			m.deaf.forget(args.Name) // a heartbeat to the one before may have failed since it was removed
		}
		return err
	})
}

// join asks the leader to have this node in the configuration.
func (m *membership) join(leader Peer) {
	err := m.askToJoin(leader)
	switch {
	case err == nil:
		m.failures = 0
	case wire.CodeOf(err) == wire.CodeConflict:
		m.log.Warn("the leader does not take this agent up", "leader", leader.Name, "err", err)
	default:
		m.log.Debug("not taken up yet", "leader", leader.Name, "err", err)
	}
}

func (m *membership) askToJoin(leader Peer) error {
	ctx, cancel := context.WithTimeout(m.life, changeTimeout)
	defer cancel()
	conn, err := m.s.port.Connect(ctx, leader.Name, leader.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	for {
		r := m.belonging()
		args := &JoinArgs{Name: m.s.cfg.Node, Addr: m.s.Addr(), Cluster: r.belongs(), Promised: r.Cluster == ""}
		var reply JoinReply
		if err := conn.Call(ctx, "Join", args, &reply); err != nil {
			return err
		}
		if err := reply.Failure.err(); err != nil || reply.Cluster == args.Cluster {
			return err
		}
		if err := m.belong(reply.Cluster); err != nil {
			return err
		}
	}
}

// belong lets the cluster in that is to take this node up, instead of a
// founding of which it has nothing.
func (m *membership) belong(cluster string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.leaveLocked(); err != nil {
		return err
	}
	return m.becomeLocked(m.record.join(cluster))
}
