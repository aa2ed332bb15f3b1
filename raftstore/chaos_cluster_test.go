package raftstore

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/peer/memnet"
)

const (
	// seedEnv reruns the faults and operations of one seed. What depends on how
	// goroutines happen to run differs still.
	seedEnv = "FRAMEDB_TEST_SEED"
	// soakEnv is how long the random runs take instead of a few seconds.
	soakEnv = "FRAMEDB_TEST_SOAK"
)

// chance returns the random numbers of a test, and tells how to have them again.
func chance(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if given := os.Getenv(seedEnv); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedEnv, err)
		}
	}
	t.Logf("%s=%d", seedEnv, seed)
	name := fnv.New64a()
	_, _ = name.Write([]byte(t.Name()))
	return rand.New(rand.NewPCG(seed, name.Sum64()))
}

// chaos is stores in one process on a network with faults.
type chaos struct {
	t        *testing.T
	ctx      context.Context
	rand     *rand.Rand
	net      *memnet.Network
	messages *messages
	compacts bool
	born     int // nodes so far
	watching sync.WaitGroup

	mu      sync.Mutex
	nodes   []*node       // guarded by mu: those that are, or were and come back
	past    []*watch      // guarded by mu: of nodes that do not come back
	changed chan struct{} // guarded by mu: closed and replaced when nodes change
}

// newChaos starts n nodes, an odd number, that all vote. With compacts, most of
// the log is in snapshots all the time.
func newChaos(t *testing.T, n int, compacts bool) *chaos {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute+soak())
	r := chance(t)
	c := &chaos{
		t: t, ctx: ctx, rand: r, net: memnet.New(), compacts: compacts, changed: make(chan struct{}),
		messages: newMessages(rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))),
	}
	t.Cleanup(func() {
		cancel()
		c.messages.close()
		c.net.Heal()
		for _, n := range c.all() {
			if n.store() != nil {
				n.kill()
			}
		}
		c.watching.Wait()
	})
	for range n {
		c.add()
	}
	c.allVote()
	return c
}

// soak is how much longer random runs take.
func soak() time.Duration {
	d, _ := time.ParseDuration(os.Getenv(soakEnv))
	return d
}

func (c *chaos) all() []*node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*node(nil), c.nodes...)
}

func (c *chaos) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.changed)
	c.changed = make(chan struct{})
}

// Peers and Changed are the gossip of all nodes: it sees at once who is dead.
func (c *chaos) Peers() []Peer {
	var peers []Peer
	for _, n := range c.all() {
		peers = append(peers, n.peer())
	}
	return peers
}

func (c *chaos) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// until polls what must come true.
func (c *chaos) until(what string, ok func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 30*time.Second)
	defer cancel()
	waitFor(c.t, ctx, what, ok)
}

// pass lets time go by, for a fault to take effect.
func (c *chaos) pass(d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.ctx.Done():
	}
}

// leader is the node of the highest term that says it leads; it may not know
// yet that it is none any more.
func (c *chaos) leader() *node {
	c.t.Helper()
	var leader *node
	c.until("a leader", func() bool {
		var term uint64
		leader = nil
		for _, n := range c.all() {
			s := n.store()
			if s == nil || n.isHeld() {
				continue
			}
			if st := s.Status(); st.IsLeader && st.Term > term {
				leader, term = n, st.Term
			}
		}
		return leader != nil
	})
	return leader
}

// followers are all nodes but the leader.
func (c *chaos) followers() (followers []*node) {
	leader := c.leader()
	for _, n := range c.all() {
		if n != leader {
			followers = append(followers, n)
		}
	}
	return followers
}

// add starts a new node, which joins by itself.
func (c *chaos) add() {
	c.t.Helper()
	c.born++
	name := fmt.Sprint("n", c.born)
	n := &node{chaos: c, name: wire.NodeName(name), dir: c.t.TempDir(), founds: c.born == 1, watch: &watch{name: name}}
	n.start()
	c.change(func() { c.nodes = append(c.nodes, n) })
}

// allVote waits until the voters are the nodes that there are.
func (c *chaos) allVote() {
	c.t.Helper()
	c.until("all nodes vote, and no others", func() bool {
		var want []wire.NodeName
		for _, n := range c.all() {
			want = append(want, n.name)
		}
		leader := c.leader().store()
		if leader == nil {
			return false
		}
		got := leader.Status().Voters
		slices.Sort(got)
		slices.Sort(want)
		return slices.Equal(got, want)
	})
	for _, n := range c.all() {
		c.until(string(n.name)+" is ready", func() bool { return n.store().tryReady(c.ctx) == nil })
	}
}

// replace takes a node away for good, and has a new one with an empty
// directory vote in its place.
func (c *chaos) replace(old *node) {
	c.t.Helper()
	old.kill()
	c.change(func() {
		c.nodes = slices.DeleteFunc(c.nodes, func(n *node) bool { return n == old })
		c.past = append(c.past, old.watch)
	})
	c.add()
	c.allVote()
}

// heal ends all faults and waits until every node has caught up.
func (c *chaos) heal() {
	c.t.Helper()
	c.messages.set(messageFaults{})
	c.net.Heal()
	c.until("what is late has arrived", func() bool { return c.messages.late.Load() == 0 })
	for _, n := range c.all() {
		n.release()
		if n.store() == nil {
			n.start()
		}
	}
	for _, n := range c.all() {
		c.until(string(n.name)+" catches up", func() bool {
			ctx, cancel := context.WithTimeout(c.ctx, 2*time.Second)
			defer cancel()
			return n.store().CatchUp(ctx) == nil
		})
	}
}

// node is one agent's store through all its lives.
type node struct {
	chaos  *chaos
	name   wire.NodeName
	dir    string
	founds bool
	skew   atomic.Int64 // nanoseconds that its clock is ahead
	watch  *watch

	mu   sync.Mutex
	life *life         // guarded by mu; nil while it is dead
	addr string        // guarded by mu: of the last life
	held chan struct{} // guarded by mu; nil while it runs, closed when it does again
}

// life is what ends when a node is killed.
type life struct {
	store   *Store
	ctx     context.Context
	end     context.CancelFunc
	watched chan struct{} // closed when nobody reads its watch any more
}

var (
	errDown = wire.Errorf(wire.CodeUnavailable, "nobody is there") // nothing was asked
	errGone = wire.Errorf(wire.CodeOutcomeUnknown, "the node died before it answered")
)

func (n *node) peer() Peer {
	n.mu.Lock()
	defer n.mu.Unlock()
	return Peer{Name: n.name, Addr: n.addr, Alive: n.life != nil}
}

func (n *node) store() *Store {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life == nil {
		return nil
	}
	return n.life.store
}

// start opens the node on what is in its directory, at a new address.
func (n *node) start() {
	c := n.chaos
	c.t.Helper()
	cfg := Config{
		Node: n.name, Dir: n.dir, Bind: string(n.name) + ":0",
		Network: c.net.Host(string(n.name)), Peers: c, Membership: quick(),
	}
	if n.founds {
		cfg.Expect = 1
	}
	cfg.hooks = hooks{
		now:  func() time.Time { return time.Now().Add(time.Duration(n.skew.Load())) },
		call: c.messages.call,
		transport: func(t *raft.NetworkTransport) raft.Transport {
			return &transport{NetworkTransport: t, name: n.name, messages: c.messages}
		},
	}
	s, err := Open(cfg)
	if err != nil {
		c.t.Fatalf("open %s: %v", n.name, err)
	}
	if c.compacts {
		conf := s.raft.ReloadableConfig()
		conf.TrailingLogs, conf.SnapshotThreshold, conf.SnapshotInterval = 16, 32, 100*time.Millisecond
		if err := s.raft.ReloadConfig(conf); err != nil {
			c.t.Fatal(err)
		}
	}
	l := &life{store: s, watched: make(chan struct{})}
	l.ctx, l.end = context.WithCancel(c.ctx)
	c.change(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.life, n.addr = l, s.Addr()
	})
	c.watching.Go(func() {
		defer close(l.watched)
		n.watch.follow(l.ctx, s)
	})
}

// kill ends the node as kill -9 does: nothing more leaves it, nothing more
// reaches its log, nobody is told, and callers hear nothing. What is on disk by
// then stays, synced or not, as it does when the machine goes on.
func (n *node) kill() {
	var l *life
	n.chaos.change(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		l, n.life = n.life, nil
	})
	l.end()
	n.chaos.net.Kill(string(n.name))
	l.store.handsOver.Store(false)
	l.store.logs.stop()
	_ = l.store.Close()
	<-l.watched
}

// hold does what SIGSTOP looks like from outside: nothing that is sent to the
// node or by it arrives, nor do answers to its callers, until release; all comes
// late then. Its goroutines and timers run on, though, so it notices that it
// hears nothing, where a stopped process would wake up and believe that no time
// has passed; agents that are stopped are tested as processes.
func (n *node) hold() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.held == nil {
		n.held = make(chan struct{})
		n.chaos.net.Isolate(string(n.name))
	}
}

func (n *node) release() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.held != nil {
		n.chaos.net.HealHost(string(n.name))
		close(n.held)
		n.held = nil
	}
}

func (n *node) isHeld() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.held != nil
}

// ask has a client ask the node, and hear what a client hears over a network.
func (n *node) ask(ctx context.Context, f func(context.Context, *Store) error) error {
	if n.whenReleased(ctx) != nil {
		return errGone // it is in the node's socket
	}
	n.mu.Lock()
	l := n.life
	n.mu.Unlock()
	if l == nil {
		return errDown
	}
	err := f(ctx, l.store)
	if n.whenReleased(ctx) != nil || l.ctx.Err() != nil {
		return errGone
	}
	return err
}

func (n *node) whenReleased(ctx context.Context) error {
	n.mu.Lock()
	held := n.held
	n.mu.Unlock()
	if held == nil {
		return nil
	}
	select {
	case <-held:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// isUncertain reports whether what was asked for may have been done.
func isUncertain(err error) bool {
	return errors.Is(err, wire.ErrOutcomeUnknown)
}
