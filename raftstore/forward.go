package raftstore

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/peer"
	"github.com/framedb/framedb/raftstore/state"
)

const (
	// dialTimeout bounds reaching the leader. Lower: callers hear sooner that it
	// is gone; higher: a slow network will do.
	dialTimeout = time.Second
	// dialPause is how long a leader that could not be reached is not tried
	// again: whoever asks meanwhile hears of it at once.
	dialPause = 250 * time.Millisecond
	// answerTimeout bounds what this node does for another one that asked.
	answerTimeout = 30 * time.Second
)

// forward has the leader apply an encoded command. Nothing is repeated here.
func (s *Store) forward(ctx context.Context, entry []byte) (state.Result, error) {
	var reply ApplyReply
	if err := s.askLeader(ctx, "Apply", &ApplyArgs{Entry: entry}, &reply); err != nil {
		return state.Result{}, err
	}
	if err := reply.Failure.err(); err != nil {
		return state.Result{}, err
	}
	res := state.Result{Index: reply.Index, Value: reply.Value}
	if e := reply.Refused; e != nil {
		res.Err = e.wire()
	}
	return res, nil
}

// askLeader calls a method of the leader's answers. Errors: ErrNoLeader (it was
// not asked), ErrOutcomeUnknown (it gave no answer, or ctx ended first).
func (s *Store) askLeader(ctx context.Context, method string, args, reply any) error {
	return s.ask(ctx, func() error {
		conn, err := s.leader.connect()
		if err != nil {
			return err
		}
		err = s.cfg.hooks.call(method, reply, func(reply any) error { return conn.Call(ctx, method, args, reply) })
		if code := wire.CodeOf(err); code == wire.CodeUnavailable || code == wire.CodeInternal {
			return noLeader(err.Error())
		}
		return err
	})
}

// leaderLink is the connection over which this node asks the leader. Calls on
// it end when another one leads: the former may never answer.
type leaderLink struct {
	store    *Store
	observer *raft.Observer
	elected  chan raft.Observation
	working  sync.WaitGroup // follow, and nudge.run

	dialing sync.Mutex // held while connecting; taken before mu

	mu       sync.Mutex
	to       raft.ServerAddress // guarded by mu, as are those below
	conn     *peer.Conn         // nil while there is none
	failedAt time.Time          // when to could not be reached
	failure  error
	closed   bool
}

func newLeaderLink(s *Store) *leaderLink {
	l := &leaderLink{store: s, elected: make(chan raft.Observation, 16)}
	l.observer = raft.NewObserver(l.elected, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	s.raft.RegisterObserver(l.observer)
	l.working.Go(l.follow)
	l.working.Go(func() { s.nudge.run(s.closing) })
	return l
}

// follow ends the connection to a leader that is none any more, and counts.
func (l *leaderLink) follow() {
	var last raft.ServerAddress
	for range l.elected {
		leader, _ := l.store.raft.LeaderWithID()
		if leader != "" && leader != last {
			l.store.metrics.leaderChanges.Inc()
			last = leader
		}
		l.mu.Lock()
		if l.to != leader {
			l.dropLocked()
		}
		l.mu.Unlock()
	}
}

func (l *leaderLink) dropLocked() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
	l.to, l.failure = "", nil
}

// connect returns the connection to the leader of now. Errors: ErrNoLeader.
func (l *leaderLink) connect() (*peer.Conn, error) {
	leader, _ := l.store.raft.LeaderWithID()
	if leader == "" || leader == l.store.transport.LocalAddr() {
		return nil, noLeader("there is no leader just now; nothing was changed")
	}
	if conn, err := l.known(leader); conn != nil || err != nil {
		return conn, err
	}
	l.dialing.Lock()
	defer l.dialing.Unlock()
	if conn, err := l.known(leader); conn != nil || err != nil {
		return conn, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	name, addr := peer.SplitAddress(leader)
	conn, err := l.store.port.Connect(ctx, name, addr)
	return l.keep(leader, conn, err)
}

// known is what is known of the way to the leader: a connection, that there is
// none just now, or nothing.
func (l *leaderLink) known(leader raft.ServerAddress) (*peer.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, noLeader("the agent is stopping; nothing was changed")
	case l.to != leader:
		return nil, nil
	case l.conn != nil && !l.conn.Broken():
		return l.conn, nil
	case l.failure != nil && time.Since(l.failedAt) < dialPause:
		return nil, l.failure
	}
	return nil, nil
}

func (l *leaderLink) keep(leader raft.ServerAddress, conn *peer.Conn, err error) (*peer.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed && conn != nil {
		conn.Close()
		return nil, noLeader("the agent is stopping; nothing was changed")
	}
	l.dropLocked()
	l.to, l.conn = leader, conn
	if err != nil {
		l.failedAt, l.failure = time.Now(), noLeader(fmt.Sprintf("the leader cannot be reached: %v; nothing was changed", err))
	}
	return conn, l.failure
}

// close ends the connection, and the calls on it. Raft has stopped before.
func (l *leaderLink) close() {
	l.store.raft.DeregisterObserver(l.observer)
	close(l.elected)
	l.working.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.dropLocked()
}

// answers are the calls that other agents make of this one.
type answers struct{ s *Store }

// ApplyArgs is an encoded command to apply.
type ApplyArgs struct{ Entry []byte }

// ApplyReply is a state.Result, or why there is none.
type ApplyReply struct {
	Index   uint64
	Value   []byte
	Refused *Failure
	Failure *Failure
}

// Failure is a wire.Error that crosses between agents.
type Failure struct {
	Code       wire.Code
	Message    string
	Field      string
	RetryAfter time.Duration
}

func failureOf(err error) *Failure {
	if err == nil {
		return nil
	}
	return failureAs(wire.AsError(err))
}

func failureAs(e *wire.Error) *Failure {
	if e == nil {
		return nil
	}
	return &Failure{e.Code, e.Message, e.Field, e.RetryAfter}
}

func (f *Failure) err() error {
	if f == nil {
		return nil
	}
	return f.wire()
}

func (f *Failure) wire() *wire.Error {
	return &wire.Error{Code: f.Code, Message: f.Message, Field: f.Field, RetryAfter: f.RetryAfter}
}

// Apply applies a command if this node leads.
func (a *answers) Apply(args *ApplyArgs, reply *ApplyReply) error {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	res, err := a.s.applyHere(ctx, args.Entry)
	if err != nil {
		reply.Failure = failureOf(err)
		return nil
	}
	a.s.nudge.ask()
	reply.Index, reply.Value, reply.Refused = res.Index, res.Value, failureAs(res.Err)
	return nil
}

// nudge has followers hear at once of what was committed for one of them, which
// waits for it. Raft tells them with the next entry, and without one after 50
// to 100 ms only; so when none comes by itself, one that does nothing is made.
type nudge struct {
	raft  *raft.Raft
	asked chan struct{} // holds one
}

// nudgePause is how long to wait for an entry that comes by itself. Lower: a
// change through a follower is answered sooner; higher: fewer entries for
// nothing.
const nudgePause = time.Millisecond

func newNudge(r *raft.Raft) *nudge { return &nudge{r, make(chan struct{}, 1)} }

func (n *nudge) ask() {
	select {
	case n.asked <- struct{}{}:
	default:
	}
}

// run ends with stop.
func (n *nudge) run(stop <-chan struct{}) {
	for {
		select {
		case <-n.asked:
		case <-stop:
			return
		}
		last := n.raft.LastIndex()
		select {
		case <-time.After(nudgePause):
		case <-stop:
			return
		}
		if n.raft.LastIndex() == last {
			n.raft.Barrier(enqueueTimeout)
		}
	}
}

// ReadIndexReply is the index that a read has to wait for.
type ReadIndexReply struct {
	Index   uint64
	Failure *Failure
}

// ReadIndex answers if this node leads.
func (a *answers) ReadIndex(_ struct{}, reply *ReadIndexReply) error {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	index, err := a.s.readIndexHere(ctx)
	reply.Index, reply.Failure = index, failureOf(err)
	return nil
}
