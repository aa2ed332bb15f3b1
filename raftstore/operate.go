package raftstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/peer"
)

// changeTimeout bounds one change of Raft's configuration: waiting for the one
// before, writing it, and a majority's answer.
const changeTimeout = 10 * time.Second

// RaftStatus is what this node knows of Raft, with all servers by name. It
// costs as much as there are servers; Status has what is asked often.
func (s *Store) RaftStatus() wire.RaftStatus {
	st := s.Status()
	return wire.RaftStatus{
		Node: s.cfg.Node, Leader: st.Leader, Term: st.Term, Index: st.AppliedIndex,
		LastContact: st.LastContact.Milliseconds(), Servers: s.servers(st.Leader),
	}
}

func (s *Store) servers(leader wire.NodeName) []wire.RaftServer {
	peers := s.directory.get()
	all := []wire.RaftServer{}
	for _, server := range s.configuration().Servers {
		name := wire.NodeName(server.ID)
		_, addr := peer.SplitAddress(server.Address)
		p := peers[name]
		if p.Addr != "" {
			addr = p.Addr
		}
		all = append(all, wire.RaftServer{
			Name: name, Address: addr, Voter: server.Suffrage == raft.Voter,
			Leader: name == leader, Alive: p.Alive,
		})
	}
	slices.SortFunc(all, func(a, b wire.RaftServer) int { return compareNames(a.Name, b.Name) })
	return all
}

// TransferLeadership gives the lead to a voter, or to any that is alive when to
// is empty, and returns once this node knows who leads. It may be
// called on any node.
//
// Errors: ErrInvalidArgument (to is no voter), ErrConflict (there is no other
// voter, or it does not keep up), ErrNoLeader, ErrOutcomeUnknown (the leader
// gave no answer, or ctx ended first).
func (s *Store) TransferLeadership(ctx context.Context, to wire.NodeName) error {
	former := s.Status().Leader
	err := s.operate(ctx, "Transfer", OperateArgs{to}, s.transferHere)
	if err != nil && wire.CodeOf(err) != wire.CodeOutcomeUnknown {
		return err
	}
	return s.waitForLeader(ctx, func(leader wire.NodeName) bool {
		return leader != "" && (leader == to || to == "" && leader != former)
	})
}

func (s *Store) transferHere(ctx context.Context, to wire.NodeName) error {
	if to == s.cfg.Node {
		return nil // it leads already
	}
	voters := 0
	for _, v := range s.Status().Voters {
		if v != s.cfg.Node && (to == "" || v == to) {
			voters++
		}
	}
	if voters == 0 && to != "" {
		return wire.InField("to", wire.Errorf(wire.CodeInvalidArgument, "agent %q is no voter: name one that is", to))
	}
	if voters == 0 {
		return wire.Errorf(wire.CodeConflict, "there is no other voter: start more agents first")
	}
	return s.membership.change(ctx, func() error {
		if err := s.handOver(to); err != nil {
			return wire.Errorf(wire.CodeConflict, "the lead could not be given away: %v", err)
		}
		return nil
	})
}

// waitForLeader returns once this node knows a leader that will do.
func (s *Store) waitForLeader(ctx context.Context, will func(wire.NodeName) bool) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for !will(s.Status().Leader) {
		select {
		case <-tick.C:
		case <-s.closing:
			return noLeader("the agent is stopping")
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", wire.Errorf(wire.CodeOutcomeUnknown, "who leads is not known yet"), ctx.Err())
		}
	}
	return nil
}

// Forget takes an agent that is gone for good out of Raft's configuration; one
// that is not in it is forgotten already. It may be called on any node. An
// agent may forget itself before it ends for good: it is not taken up again
// until it is started anew.
//
// Errors: ErrConflict (the agent is alive, or those left would have no
// majority), ErrNoLeader, ErrOutcomeUnknown (the leader gave no answer, or ctx
// ended first; it may be repeated).
func (s *Store) Forget(ctx context.Context, name wire.NodeName) error {
	if name != s.cfg.Node {
		if p := s.directory.get()[name]; p.Alive {
			return wire.Errorf(wire.CodeConflict, "agent %q is alive: end it first", name)
		}
		return s.operate(ctx, "Forget", OperateArgs{name}, s.forgetHere)
	}
	s.membership.setLeaving(true)
	err := s.forgetMyself(ctx)
	if err != nil {
		s.membership.setLeaving(false)
	}
	return err
}

func (s *Store) forgetMyself(ctx context.Context) error {
	if s.isLeader() {
		if err := s.TransferLeadership(ctx, ""); err != nil {
			return err
		}
	}
	return s.operate(ctx, "Forget", OperateArgs{s.cfg.Node}, s.forgetHere)
}

func (s *Store) forgetHere(ctx context.Context, name wire.NodeName) error {
	return s.membership.change(ctx, func() error {
		if _, known := s.server(name); !known {
			return nil
		}
		return s.membership.remove(name)
	})
}

// OperateArgs is the agent that an operator's call is about.
type OperateArgs struct{ Name wire.NodeName }

// OperateReply is nothing, or why it was not done.
type OperateReply struct{ Failure *Failure }

// Transfer gives the lead away if this node has it.
func (a *answers) Transfer(args *OperateArgs, reply *OperateReply) error {
	return a.operate(args, reply, a.s.transferHere)
}

// Forget removes a server if this node leads.
func (a *answers) Forget(args *OperateArgs, reply *OperateReply) error {
	return a.operate(args, reply, a.s.forgetHere)
}

func (a *answers) operate(args *OperateArgs, reply *OperateReply, here func(context.Context, wire.NodeName) error) error {
	ctx, cancel := context.WithTimeout(a.s.membership.life, 2*changeTimeout)
	defer cancel()
	reply.Failure = failureOf(here(ctx, args.Name))
	return nil
}

// operate does it here if this node leads, else has the leader do it, over a
// connection of its own: the one of forward ends with the leader's lead.
func (s *Store) operate(ctx context.Context, method string, args OperateArgs, here func(context.Context, wire.NodeName) error) error {
	if s.isLeader() {
		return here(ctx, args.Name)
	}
	leader, addr := s.leaderNow()
	if leader == "" {
		return noLeader("there is no leader just now; nothing was changed")
	}
	var reply OperateReply
	err := s.port.Ask(ctx, leader, addr, method, &args, &reply)
	switch code := wire.CodeOf(err); {
	case err == nil:
		return reply.Failure.err()
	case code == wire.CodeUnavailable || code == wire.CodeForbidden || code == wire.CodeInternal:
		return noLeader(err.Error())
	}
	return err
}

// leave gives the lead to another voter before this node stops, so that nobody
// has to wait for an election. It is the leader's last change, and takes at
// most Membership.HandOver.
func (s *Store) leave() {
	if !s.handsOver.Load() || !s.isLeader() || len(s.Status().Voters) < 2 {
		return
	}
	done := make(chan struct{})
	go func() { // ends with Raft at the latest
		defer close(done)
		_ = s.handOver("")
	}()
	select {
	case <-done:
	case <-time.After(s.cfg.Membership.HandOver):
	}
}
