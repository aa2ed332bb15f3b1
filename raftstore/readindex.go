package raftstore

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/raftstore/peer"
)

// confirmTimeout bounds how long a leader waits for a majority to answer; one
// that hears from none for that long leads no more.
const confirmTimeout = heartbeatTimeout

// reads finds the index that a linearizable read has to wait for. Those that
// come while one is found share the next one.
//
// It asks the voters itself. Raft's VerifyLeader takes any answer for one to its
// question, also those that were under way before: they prove nothing when the
// lead was handed over, or this process stopped for a while, in between.
type reads struct {
	store   *Store
	one     sync.Mutex // held while an index is found
	life    context.Context
	end     context.CancelFunc
	working sync.WaitGroup // questions; added to under mu

	mu     sync.Mutex
	next   func() (uint64, error)       // guarded by mu: the one that has not begun; nil when nobody waits
	conns  map[raft.ServerID]*peer.Conn // guarded by mu
	asked  map[raft.ServerID]bool       // guarded by mu: voters that owe an answer
	closed bool                         // guarded by mu
}

func newReads(s *Store) *reads {
	r := &reads{store: s, conns: map[raft.ServerID]*peer.Conn{}, asked: map[raft.ServerID]bool{}}
	r.life, r.end = context.WithCancel(context.Background())
	return r
}

// index is an index that contains all that was acknowledged before the call.
// Errors: ErrNoLeader when this node does not lead.
func (r *reads) index() (uint64, error) {
	r.mu.Lock()
	if r.next == nil {
		r.next = sync.OnceValues(r.find)
	}
	find := r.next
	r.mu.Unlock()
	return find()
}

// find: what any node has applied, this leader has committed, though perhaps not
// applied yet; what former leaders committed is behind the barrier, and later
// ones there were not when the majority answered.
func (r *reads) find() (uint64, error) {
	r.one.Lock()
	defer r.one.Unlock()
	r.mu.Lock()
	r.next = nil
	r.mu.Unlock()
	s := r.store
	term := s.raft.CurrentTerm()
	if s.caughtUp.Load() != term {
		if err := s.raft.Barrier(enqueueTimeout).Error(); err != nil {
			return 0, s.failure(err, false) // a barrier changes nothing
		}
		if s.raft.CurrentTerm() != term {
			return 0, noLeader("this agent does not lead any more")
		}
		s.caughtUp.Store(term)
	}
	if !s.isLeader() {
		return 0, noLeader("this agent does not lead any more")
	}
	index, err := s.lastCommand(s.raft.CommitIndex())
	if err != nil {
		return 0, err
	}
	return index, r.confirm(term)
}

// lastCommand is an index that View reaches once it contains all commands up to
// the given one, where Raft may have an entry of its own.
func (s *Store) lastCommand(index uint64) (uint64, error) {
	applied := s.View().Index()
	for ; index > applied; index-- {
		var l raft.Log
		switch err := s.logs.GetLog(index, &l); {
		case errors.Is(err, raft.ErrLogNotFound): // a snapshot of View took its place
			return s.View().Index(), nil
		case err != nil:
			return 0, fmt.Errorf("look for the last command: %w", err)
		case l.Type == raft.LogCommand:
			return index, nil
		}
	}
	return applied, nil
}

// confirm returns nil when a majority of the voters has said, after it was
// asked here, that it is in this term, in which this node led. Errors:
// ErrNoLeader.
func (r *reads) confirm(term uint64) error {
	voters := r.store.voters()
	missing, waiting := len(voters)/2+1, 0
	answers := make(chan bool, len(voters))
	for _, v := range voters {
		switch {
		case v.ID == raft.ServerID(r.store.cfg.Node):
			missing--
		case r.begin(v.ID):
			waiting++
			go func() {
				defer r.done(v.ID)
				answers <- r.isIn(v, term)
			}()
		}
	}
	for ; missing > 0; waiting-- {
		if waiting == 0 {
			return noLeader("no majority confirms that this agent leads")
		}
		if <-answers {
			missing--
		}
	}
	return nil
}

// begin reports whether a voter is to be asked: not one that owes an answer.
func (r *reads) begin(id raft.ServerID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.asked[id] {
		return false
	}
	r.asked[id] = true
	r.working.Add(1)
	return true
}

func (r *reads) done(id raft.ServerID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.asked, id)
	r.working.Done()
}

// isIn asks a voter which term it is in. One that voted for a later leader is
// not in this one, and one that lost its data since is in none.
func (r *reads) isIn(v raft.Server, term uint64) bool {
	ctx, cancel := context.WithTimeout(r.life, confirmTimeout)
	defer cancel()
	conn, err := r.connect(ctx, v)
	if err != nil {
		return false
	}
	var reply TermReply
	if err := conn.Call(ctx, "Term", struct{}{}, &reply); err != nil {
		conn.Close()
		return false
	}
	return reply.Term == term
}

// connect returns the connection to a voter. It is not called for the same one
// twice at a time.
func (r *reads) connect(ctx context.Context, v raft.Server) (*peer.Conn, error) {
	r.mu.Lock()
	conn := r.conns[v.ID]
	r.mu.Unlock()
	if conn != nil && !conn.Broken() {
		return conn, nil
	}
	address, err := r.store.directory.ServerAddr(v.ID)
	if err != nil {
		address = v.Address
	}
	name, addr := peer.SplitAddress(address)
	conn, err = r.store.port.Connect(ctx, name, addr)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[v.ID] = conn
	return conn, nil
}

// close ends the questions under way; there are no further ones.
func (r *reads) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.end()
	r.working.Wait()
	for _, conn := range r.conns {
		conn.Close()
	}
}

// TermReply is the term that an agent is in.
type TermReply struct{ Term uint64 }

// Term answers at once.
func (a *answers) Term(_ struct{}, reply *TermReply) error {
	reply.Term = a.s.raft.CurrentTerm()
	return nil
}
