// Package agent composes one FrameDB agent: configuration, and the order in
// which its parts start and stop.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/framedb/framedb/actors"
	"github.com/framedb/framedb/actors/instance"
	"github.com/framedb/framedb/client/objects/pool"
	"github.com/framedb/framedb/client/sentinel"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/cluster"
	"github.com/framedb/framedb/deploy"
	"github.com/framedb/framedb/deploy/external"
	"github.com/framedb/framedb/deploy/process"
	"github.com/framedb/framedb/httpapi"
	"github.com/framedb/framedb/raftstore"
	"github.com/framedb/framedb/raftstore/state"
)

// version is set by the linker.
var version = "dev"

// Version is this build's.
func Version() string { return version }

// agent is a running agent. Its parts start in the order of start and stop in
// the opposite one; DESIGN.md gives the reasons.
type agent struct {
	cfg     Config
	log     *slog.Logger
	metrics *prometheus.Registry
	started time.Time
	life    lifecycle

	dir       *dataDir
	node      wire.NodeName
	password  string
	listeners []net.Listener
	store     *raftstore.Store
	gossip    *cluster.Cluster
	peers     *peers
	driver    deploy.Driver
	storage   deploy.StorageDriver
	sentinels *sentinel.Client
	objects   *pool.Pool
	backups   *backups
	ingest    frontDoor
	actors    *actors.Actors
	// registered is true once the log is replayed and this node is in the
	// store; what the store shows before that is out of date.
	registered atomic.Bool
	failed     chan error // a part ended by itself
}

// Run runs an agent until ctx ends or one of its parts fails, and returns when
// all of it has stopped. onReady, if not nil, is called once the agent answers,
// with the configuration as it is in force.
//
// Errors: those of starting, each a *wire.Error that names the key at fault and
// the remedy; nil after ctx ended.
func Run(ctx context.Context, cfg Config, log *slog.Logger, onReady func(Config)) error {
	if err := cfg.makeTemporary(); err != nil {
		return err
	}
	a := &agent{
		cfg: cfg, log: log, started: time.Now(),
		metrics: prometheus.NewRegistry(),
		peers:   newPeers(),
		life:    lifecycle{log: log},
		failed:  make(chan error, 8),
	}
	a.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	err := a.start(ctx)
	if err == nil {
		log.Info("ready", "node", a.node, "version", version, "listen", a.cfg.Listen, "socket", a.cfg.Socket, "took", time.Since(a.started).Round(time.Millisecond))
		if onReady != nil {
			onReady(a.cfg)
		}
		select {
		case <-ctx.Done():
			log.Info("stopping", "node", a.node)
		case err = <-a.failed:
		}
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil // told to stop while starting
	}
	return errors.Join(err, a.life.stop())
}

// start starts every part, each of which may use those before it.
func (a *agent) start(ctx context.Context) error {
	steps := []func(context.Context) error{
		a.openDataDir, a.listen, a.openDriver, a.openStore, a.openObjects, a.openBackups, a.openIngest, a.openGossip, a.startActors, a.serve, a.register,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

func (a *agent) openDataDir(context.Context) error {
	dir, err := openDataDir(a.cfg.DataDir)
	if err != nil {
		return err
	}
	a.dir = dir
	a.life.started("data directory", func(context.Context) error { return dir.close(a.cfg.temporary) })
	if a.node, err = dir.nodeName(a.cfg.NodeName); err != nil {
		return err
	}
	a.password, err = dir.password(a.cfg.PasswordFile)
	return err
}

// listen takes the addresses first, so that a second agent on them ends before
// it touched anything; nobody is answered until serve.
func (a *agent) listen(context.Context) error {
	tcp, err := net.Listen("tcp", a.cfg.Listen)
	if err != nil {
		return wire.InField("listen", wire.Errorf(wire.CodeConflict,
			"%v: end what listens there, or give another address (--listen)", err))
	}
	a.listeners = append(a.listeners, tcp)
	a.cfg.Listen = tcp.Addr().String()
	a.life.started("TCP listener", closer(tcp))
	if ip := tcp.Addr().(*net.TCPAddr).IP; a.cfg.Dev && !ip.IsLoopback() {
		a.log.Warn("NOT LOOPBACK ONLY: whoever reaches this address can read and change everything, because there is no authentication yet",
			"listen", a.cfg.Listen, "remedy", "leave --listen out, or give an address of 127.0.0.0/8")
	}
	unix, err := httpapi.ListenUnix(a.cfg.Socket)
	if err != nil {
		return wire.InField("socket", err)
	}
	a.listeners = append(a.listeners, unix)
	a.life.started("unix listener", closer(unix))
	return nil
}

func closer(l net.Listener) func(context.Context) error {
	return func(context.Context) error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

func (a *agent) openDriver(context.Context) error {
	open := a.openProcesses
	if a.cfg.Driver == kubernetesDriver {
		open = a.openKubernetes
	}
	if err := open(); err != nil {
		return err
	}
	a.sentinels = sentinel.New(sentinel.Config{Password: a.password, Logger: a.log})
	a.life.started("Sentinel connections", func(context.Context) error { return a.sentinels.Close() })
	return nil
}

func (a *agent) openProcesses() error {
	driver, err := process.New(process.Config{
		Dir: a.dir.join("process"), SocketDir: a.cfg.SocketDir, Password: a.password, Node: a.node, Host: a.cfg.Advertise,
		RedisServer: a.cfg.RedisServer, RedisSentinel: a.cfg.RedisSentinel,
		BasePort: a.cfg.RedisPort, BaseSentinelPort: a.cfg.SentinelPort, AnyPort: a.cfg.RedisPort == 0,
		StorageDir: a.dir.join(storageDir), TiDBServer: a.cfg.TiDBServer, MariaDB: a.cfg.MariaDB, BaseStoragePort: a.cfg.StoragePort,
		StopOnClose: a.cfg.StopProcessesOnExit, Logger: a.log,
	})
	if err != nil {
		return err
	}
	a.driver, a.storage = driver, driver
	a.life.started("process driver", driver.Close)
	return nil
}

func (a *agent) openStore(context.Context) error {
	store, err := raftstore.Open(raftstore.Config{
		Node: a.node, Dir: a.dir.join(raftDir), Bind: a.cfg.RaftBind, Label: a.cfg.GossipLabel,
		Advertise: net.JoinHostPort(a.cfg.Advertise, "0"), Expect: a.cfg.Expect, MaxVoters: a.cfg.MaxVoters, Peers: a.peers,
		Logger: a.log, Registerer: a.metrics,
	})
	if err != nil {
		return err
	}
	a.store = store
	a.life.started("Raft store", func(context.Context) error { return store.Close() })
	return nil
}

func (a *agent) openGossip(context.Context) error {
	gossip, err := cluster.Open(cluster.Config{
		Node: a.node, Label: a.cfg.GossipLabel, KeyFile: a.cfg.GossipKeyFile, Join: a.cfg.Join,
		Bind: a.cfg.GossipBind, Advertise: net.JoinHostPort(a.cfg.Advertise, "0"),
		Meta:   cluster.Meta{API: a.reachable(), Raft: a.store.Addr(), Version: version},
		Logger: a.log, Registerer: a.metrics,
	})
	if err != nil {
		return err
	}
	a.gossip = gossip
	a.peers.follow(gossip)
	a.life.started("gossip", func(ctx context.Context) error { return errors.Join(gossip.Leave(ctx), gossip.Close()) })
	return nil
}

// startActors has the actors begin once the log is replayed: before that the
// store shows clusters as they were at some time in the past.
func (a *agent) startActors(context.Context) error {
	var err error
	a.actors, err = actors.New(actors.Config{
		Node: a.node, Namespace: a.cfg.Namespace, Store: a.store, Driver: a.driver,
		Storage: actors.Storage{Driver: a.storage, External: external.New(), Database: database{}, Backups: a.backups},
		Objects: sweeper{a.objects}, Counts: &instance.Counts{Registerer: a.metrics},
		Leader: a.leads, Alive: a.alive,
		Logger: a.log, Registerer: a.metrics,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := a.background("actors", func() error {
		if a.store.WaitReady(ctx) != nil {
			return nil // told to stop
		}
		return a.actors.Run(ctx)
	})
	a.life.started("actors", func(stop context.Context) error {
		cancel()
		return wait(stop, done)
	})
	return nil
}

func (a *agent) leads() (bool, uint64) {
	raft := a.store.Status()
	return raft.IsLeader, raft.Term
}

// alive are the nodes whose agents gossip sees, and this one.
func (a *agent) alive() map[wire.NodeName]bool {
	alive := map[wire.NodeName]bool{a.node: true}
	for _, m := range a.gossip.Members() {
		if m.Alive {
			alive[m.Name] = true
		}
	}
	return alive
}

func (a *agent) serve(context.Context) error {
	server, err := httpapi.New(httpapi.Config{
		Node: a.node, Version: version, Driver: a.driver.Name(), Namespace: a.cfg.Namespace,
		Socket: a.cfg.Socket, SocketDir: a.cfg.SocketDir, StartedAt: a.started,
		Store: a.store, Raft: a.store, Sync: synchronizer{a.actors, a.node, a.store, a.ingest}, Sentinels: a.sentinels, Objects: a.objects, Backups: a.backups, Ingest: a.ingest, Password: a.password,
		Members: a.members, Ready: a.ready,
		Logger: a.log, Gatherer: a.metrics, Registerer: a.metrics,
	})
	if err != nil {
		return err
	}
	a.life.started("REST API", server.Shutdown)
	for _, l := range a.listeners {
		a.background("REST API", func() error { return server.Serve(l) })
	}
	return nil
}

// register tells the others what this node is, once there is a leader. Until
// then the API answers and /readyz does not.
func (a *agent) register(ctx context.Context) error {
	self := state.RegisterNode{Node: wire.Node{
		Name: a.node, Address: a.reachable(), Socket: a.cfg.Socket, SocketDir: a.cfg.SocketDir,
		Tags: a.cfg.NodeTags, DataID: a.store.DataID(), Version: version, Driver: a.driver.Name(),
	}}
	for {
		if err := a.store.WaitReady(ctx); err != nil {
			return err
		}
		_, err := a.store.Propose(ctx, "", self)
		switch {
		case err == nil:
			a.registered.Store(true)
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !errors.Is(err, wire.ErrNoLeader) && !errors.Is(err, wire.ErrOutcomeUnknown):
			return err
		}
		a.log.Info("the leader is lost before this node is registered; trying again", "err", err)
		select {
		case <-time.After(registerPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// registerPause is between tries to register; elections take a second or two.
const registerPause = 250 * time.Millisecond

// background runs f until it returns; an error ends the agent.
func (a *agent) background(name string, f func() error) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f(); err != nil {
			a.failed <- fmt.Errorf("%s: %w", name, err)
		}
	}()
	return done
}

func wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reachable is the API's address for others: a host that stands for all of
// this machine's addresses is replaced by the one that is advertised.
func (a *agent) reachable() string {
	host, port, err := net.SplitHostPort(a.cfg.Listen)
	if ip := net.ParseIP(host); err != nil || host != "" && (ip == nil || !ip.IsUnspecified()) {
		return a.cfg.Listen
	}
	return net.JoinHostPort(a.cfg.Advertise, port)
}

// ownAddress is the first address of this machine that others can reach,
// loopback if there is none.
func ownAddress() string {
	all, _ := net.InterfaceAddrs()
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	return "127.0.0.1"
}

func (a *agent) ready() error {
	if !a.registered.Load() {
		e := wire.Errorf(wire.CodeUnavailable, "the agent is starting: its log is not replayed yet")
		e.RetryAfter = time.Second
		return e
	}
	return nil
}
