package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/sentinel"
	"github.com/framedb/framedb/client/wire"
)

const (
	benchTag     wire.NodeTag     = "node-1"
	benchCluster wire.ClusterName = "bench"
	benchSource  wire.SourceID    = "bench"
	// createWithin bounds making and removing a cluster.
	createWithin = time.Minute
)

// target is one way to the master.
type target struct {
	// dial makes new connections, where they are to be made anew; else nil.
	dial func(ctx context.Context) error

	transport string // "TCP" or "unix"
	port      int
	socket    string // "" for TCP
	password  string
	framedb   *frames.Cluster
	redis     *redis.Client
}

// redial replaces both sides' connections. The kernel adapts a TCP connection
// to what it saw of it, and how well that turns out is luck that lasts as long
// as the connection: with BBR writes of 1 MiB take once or twice the time. So
// each round has new ones, and the luck is drawn again.
func (t *target) redial(ctx context.Context) error {
	if t.dial == nil {
		return nil
	}
	return t.dial(ctx)
}

// setup is an agent with one cluster of one member that one source writes to.
type setup struct {
	agent   *agentProcess
	db      *client.FrameDB
	address string    // of the agent's REST API
	targets []*target // TCP, unix
	closers []func() error
}

// newSetup starts everything; the caller closes it.
func newSetup(ctx context.Context, b *bench) (*setup, error) {
	b.say("starting an agent with a cluster of one member")
	agent, err := newAgentProcess(b.agent)
	if err != nil {
		return nil, err
	}
	s := &setup{agent: agent, closers: []func() error{agent.remove}}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("setup: %w", err), s.close())
	}
	return s, nil
}

func (s *setup) open(ctx context.Context) error {
	if _, err := s.agent.start(ctx); err != nil {
		return err
	}
	db, err := client.Open(ctx, client.Config{Addrs: []string{"unix://" + s.agent.socket()}})
	if err != nil {
		return err
	}
	s.db = db
	s.closers = append(s.closers, db.Close)
	if err := s.create(ctx); err != nil {
		return err
	}
	nodes, err := db.Client().Nodes(ctx)
	if err != nil || len(nodes) == 0 {
		return fmt.Errorf("%d nodes: %w", len(nodes), err)
	}
	s.address = nodes[0].Address
	return s.openTargets(ctx)
}

// create makes the cluster and the source.
func (s *setup) create(ctx context.Context) error {
	spec := wire.CreateCluster{Name: benchCluster, ClusterSpec: wire.ClusterSpec{NodeTag: benchTag, Replicas: 1, Quorum: 1}}
	c, err := s.db.Client().CreateCluster(ctx, spec, createWithin)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, s.removeCluster)
	if c.Status.Phase != wire.PhaseReady {
		return fmt.Errorf("the cluster is %s after %v: %s", c.Status.Phase, createWithin, c.Status.Reason)
	}
	_, err = s.db.Client().CreateMapping(ctx, benchSource, wire.CreateMapping{NodeTag: benchTag, Cluster: benchCluster})
	return err
}

// removeCluster does not hear the signal that ends the program.
func (s *setup) removeCluster() error {
	ctx, cancel := context.WithTimeout(context.Background(), createWithin)
	defer cancel()
	_, err := s.db.Client().RemoveCluster(ctx, benchCluster, createWithin)
	return err
}

// openTargets opens both ways to the master. FrameDB's unix socket side is the
// data path that an application gets; it must have found the socket.
func (s *setup) openTargets(ctx context.Context) error {
	local, _, err := s.db.Cluster(ctx, benchSource)
	if err != nil {
		return err
	}
	master, socket, err := local.Master(ctx)
	if err != nil {
		return err
	}
	if socket == "" {
		return errors.New("the client does not use Redis' unix socket on this machine")
	}
	password, err := s.db.Client().Credentials(ctx)
	if err != nil {
		return err
	}
	near := &target{transport: "unix", port: master.Port, socket: socket, password: password, framedb: local,
		redis: redis.NewClient(&redis.Options{Network: "unix", Addr: socket, Password: password})}
	s.closers = append(s.closers, near.redis.Close)
	far, err := s.overTCP(ctx, master, password)
	if err != nil {
		return err
	}
	s.targets = []*target{far, near}
	return nil
}

// overTCP is the way to the master from another node, where there is no socket
// to dial: the members are told without theirs.
func (s *setup) overTCP(ctx context.Context, master wire.Endpoint, password string) (*target, error) {
	routes, err := s.db.Client().Source(ctx, benchSource)
	if err != nil {
		return nil, err
	}
	if len(routes.Routes) != 1 {
		return nil, fmt.Errorf("the source has %d routes", len(routes.Routes))
	}
	members := routes.Routes[0].Members
	for i := range members {
		members[i].Socket = ""
	}
	sentinels := sentinel.New(sentinel.Config{Password: password})
	s.closers = append(s.closers, sentinels.Close)
	t := &target{transport: "TCP", port: master.Port, password: password}
	s.closers = append(s.closers, t.hangUp)
	t.dial = func(ctx context.Context) error {
		err := t.hangUp()
		t.framedb = frames.New(frames.Config{Password: password, Sentinels: sentinels}, benchCluster, members)
		t.redis = redis.NewClient(&redis.Options{Addr: fmt.Sprintf("%s:%d", master.Host, master.Port), Password: password})
		return errors.Join(err, t.greet(ctx))
	}
	return t, t.dial(ctx)
}

// hangUp closes what dial made.
func (t *target) hangUp() error {
	if t.framedb == nil {
		return nil
	}
	return errors.Join(t.framedb.Close(), t.redis.Close())
}

// greet makes both sides connect, so that no slot pays for it.
func (t *target) greet(ctx context.Context) error {
	_, socket, err := t.framedb.Master(ctx)
	if err != nil || socket != t.socket {
		return fmt.Errorf("FrameDB connects to the socket %q, not to %q: %w", socket, t.socket, err)
	}
	batch, err := t.framedb.Get(ctx, "bench:none")
	if err != nil {
		return err
	}
	batch.Release()
	return t.redis.Exists(ctx, "bench:none").Err()
}

// close ends and removes everything, backwards.
func (s *setup) close() error {
	var all error
	for i := len(s.closers) - 1; i >= 0; i-- {
		all = errors.Join(all, s.closers[i]())
	}
	s.closers = nil
	return all
}

// notes explain the words that stand in the table.
func (s *setup) notes() []string {
	t := s.targets[len(s.targets)-1]
	return []string{
		fmt.Sprintf("In the commands PORT=%d, SOCK=%s and PASS=the password of this run's FrameDB. Its cluster has one member.", t.port, t.socket),
		"redis-benchmark's P50 of a read ends at the first bytes of the answer, not at the last.",
	}
}
