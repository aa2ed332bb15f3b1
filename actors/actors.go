// Package actors is the supervision tree of one agent: the node actor, one
// actor for each FrameDB that this node owns, and their children; and
// the assigner, which names the owners while this node leads Raft.
package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/framedb/framedb/actors/instance"
	"github.com/framedb/framedb/actors/routing"
	"github.com/framedb/framedb/actors/storage"
	"github.com/framedb/framedb/actors/sweep"
	"github.com/framedb/framedb/client/sentinel"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
	"github.com/framedb/framedb/raftstore/state"
)

// Store is what the actors need of raftstore.Store.
type Store interface {
	Propose(ctx context.Context, id wire.RequestID, cmd state.Command) (state.Result, error)
	View() *state.View
	Subscribe(index uint64, tables ...wire.Table) *state.Subscription
	// CatchUp returns once View contains everything that was acknowledged, by
	// any node, before CatchUp was called.
	CatchUp(ctx context.Context) error
}

// Config says what the actors work on. None of the functions may block.
type Config struct {
	Node      wire.NodeName
	Namespace string
	Store     Store
	Driver    deploy.Driver

	// Storage is what persistent FrameDBs are worked on with.
	Storage Storage
	// Objects sweeps the objects of FrameDBs; nil leaves that undone.
	Objects sweep.Objects
	// Counts says how reference counts are kept in order; nil leaves them alone.
	Counts *instance.Counts

	// Leader tells whether this node leads Raft now, and the term.
	Leader func() (leads bool, term uint64)
	// Alive are the nodes whose agents live, as this one sees it; it is one of
	// them.
	Alive func() map[wire.NodeName]bool
	// Ownership says when clusters change hands; zero is DefaultOwnership.
	Ownership Ownership

	// Logger is silent when nil.
	Logger *slog.Logger
	// Registerer gets the metrics while Run runs; nil for none.
	Registerer prometheus.Registerer
	// Timing says how often instances look; zero is instance.DefaultTiming.
	Timing instance.Timing
	// Restarts says how crashes are dealt with; zero is DefaultRestarts.
	Restarts Restarts
}

// Storage is what persistent FrameDBs are worked on with.
type Storage struct {
	// Driver deploys them; External is for those on a server that exists.
	Driver, External deploy.StorageDriver
	Database         storage.Database
	// Backups is nil where nothing is backed up.
	Backups storage.Backups
}

func (s *Storage) driver(row *wire.PersistentInstance) deploy.StorageDriver {
	if row.External != nil {
		return s.External
	}
	return s.Driver
}

// Actors is the running tree.
type Actors struct {
	cfg       Config
	log       *slog.Logger
	sentinels *sentinel.Client
	records   *records
	tags      *tags
	lease     *lease
	crashes   *crashes
	metrics   *metrics
	// jobs counts every goroutine that the tree started and that is not an
	// actor.
	jobs    sync.WaitGroup
	names   atomic.Int64  // of actors, so far
	looks   chan look     // to the node actor, from outside of the tree
	stopped chan struct{} // closed when Run has returned
}

// New builds the tree; Run starts it.
//
// Errors: ErrInvalidArgument (cfg.Ownership; Field is owner_grace).
func New(cfg Config) (*Actors, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Timing == (instance.Timing{}) {
		cfg.Timing = instance.DefaultTiming()
	}
	if cfg.Restarts == (Restarts{}) {
		cfg.Restarts = DefaultRestarts()
	}
	if cfg.Ownership == (Ownership{}) {
		cfg.Ownership = DefaultOwnership()
	}
	if err := cfg.Ownership.validate(); err != nil {
		return nil, err
	}
	a := &Actors{
		cfg:       cfg,
		log:       cfg.Logger,
		sentinels: sentinel.New(sentinel.Config{Password: cfg.Driver.Password(), Logger: cfg.Logger}),
		records:   newRecords(cfg.Driver.Password()),
		tags:      newTags(cfg.Driver),
		lease:     newLease(cfg.Store.CatchUp, cfg.Ownership.Lease),
		crashes:   newCrashes(),
		looks:     make(chan look),
		stopped:   make(chan struct{}),
	}
	a.metrics = newMetrics(a.records, cfg.Store)
	return a, nil
}

// bindings are those of this node's drivers, which are those of all nodes.
func (a *Actors) bindings() bindings {
	return bindings{clusters: a.cfg.Driver.NodeBound(), storage: a.cfg.Storage.Driver.StorageNodeBound()}
}

// Run runs the tree until ctx ends and everything in it has stopped; Redis runs
// on. It is called once. Errors: ctx's; another one says that it could not
// start, or that an actor did not stop.
func (a *Actors) Run(ctx context.Context) error {
	defer close(a.stopped)
	defer a.sentinels.Close()
	unregister, err := a.metrics.register(a.cfg.Registerer)
	if err != nil {
		return fmt.Errorf("register the metrics of the actors: %w", err)
	}
	defer unregister()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	system := newSystem(a.log)
	defer system.Shutdown()
	supervisor := newSupervisor(a.cfg.Restarts, crashReporter{a, ctx}, a.log)
	node := system.Root.Spawn(actor.PropsFromProducer(
		func() actor.Actor { return newNode(ctx, a, supervisor) },
		actor.WithSupervisor(supervisor), actor.WithGuardian(supervisor)))
	a.jobs.Go(func() { a.follow(ctx, system.Root, node) })
	a.jobs.Go(func() { _ = routing.Dispatch(ctx, a.cfg.Store, a.records, a.log) })
	a.jobs.Go(func() { (&assigner{Actors: a}).run(ctx) })
	a.jobs.Go(func() { a.cleanUp(ctx) })

	<-ctx.Done()
	return errors.Join(ctx.Err(), a.stop(system, node, supervisor))
}

// stop ends the tree from the leaves up, then waits for the jobs, whose
// context has ended.
func (a *Actors) stop(system *actor.ActorSystem, node *actor.PID, supervisor *supervisor) error {
	supervisor.close()
	err := system.Root.StopFuture(node).Wait()
	a.jobs.Wait()
	a.records.close()
	if err != nil {
		return fmt.Errorf("stop the actors: %w", err)
	}
	return nil
}

// newSystem makes an actor system that logs to log.
func newSystem(log *slog.Logger) *actor.ActorSystem {
	return actor.NewActorSystem(
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return log.With("lib", "proto.actor") }),
		// The throttle keeps a goroutine for this long after a dead letter.
		actor.WithDeadLetterThrottleInterval(10*time.Millisecond),
	)
}
