package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/sentinel"
	"github.com/framedb/framedb/client/wire"
)

// FrameDB is the data path: the first FrameDB's class in Go form. It resolves a
// source to the cluster that serves it on this node and then talks to that
// cluster's Redis master directly; no agent stands between a program and its
// frames. Safe for concurrent use.
//
// # What it follows
//
// Routes are resolved once and then kept: a stream of changes from the agent
// tells when one must be resolved again, and so does a master that cannot be
// reached. When no agent answers, the routes that are known serve on. Within a
// cluster every call follows failovers, see package frames. When a source moves
// to another cluster, calls go there from the next one on; frames that it left
// behind are still found and counted down for ten minutes, as long as their
// cluster can be reached.
//
// # What is promised
//
// A write that returned nil is in the master's memory, and with
// PutOptions.Replicas also in that many replicas. A call never turns an
// uncertain write into a second one: that is ErrOutcomeUnknown. Each read
// handed to GetFramesAsync is called back exactly once. Each decrement that was
// taken is applied exactly once, or Close says that it was not.
//
// # Goroutines
//
// One follows the agent's changes; each cluster in use has two for its
// Sentinels and one for each of them; each frames channel has two and each
// delete channel one. Close ends them all and waits.
//
// Besides the errors that a method documents, each may return ErrNotFound (the
// source has no mapping), ErrUnavailable (neither an agent nor a known route,
// or no master for as long as Config.RetryFor) and ctx's.
type FrameDB struct {
	client    *Client
	cfg       Config
	log       *slog.Logger
	password  string
	tags      []wire.NodeTag
	sentinels *sentinel.Client

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	// lastCtx ends when Close no longer waits for decrements.
	lastCtx context.Context
	giveUp  context.CancelFunc
	work    sync.WaitGroup

	mu         sync.Mutex
	closed     bool // no call is taken any more
	routes     map[wire.SourceID]*sourceRoute
	clusters   map[wire.ClusterName]*frames.Cluster // nil at the end of Close
	readers    map[wire.SourceID]*framesChannel
	deleters   map[wire.SourceID]*deleteChannel
	sizes      []string
	serializer OutputSerializer
}

// Open makes the control plane client and the data path over it. It asks the
// agent who it is and, unless Config has them, for the password and for the
// node tags of this machine.
//
// Errors: ErrUnavailable (no agent), ErrForbidden (the agent does not give the
// password to this user, or is not asked over its unix socket: set
// Config.Password or FRAMEDB_PASSWORD_FILE), ErrInvalidArgument.
func Open(ctx context.Context, cfg Config) (*FrameDB, error) {
	c, err := New(cfg)
	if err != nil {
		return nil, err
	}
	db, err := open(ctx, c, cfg.withDefaults())
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("open FrameDB: %w", err)
	}
	return db, nil
}

func open(ctx context.Context, c *Client, cfg Config) (*FrameDB, error) {
	status, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	password, err := findPassword(ctx, c, cfg)
	if err != nil {
		return nil, err
	}
	tags, err := findTags(ctx, c, cfg)
	if err != nil {
		return nil, err
	}
	db := &FrameDB{
		client: c, cfg: cfg, log: cfg.Logger, password: password, tags: tags,
		sentinels: sentinel.New(sentinel.Config{Password: password, Logger: cfg.Logger}),
		routes:    map[wire.SourceID]*sourceRoute{},
		clusters:  map[wire.ClusterName]*frames.Cluster{},
		readers:   map[wire.SourceID]*framesChannel{},
		deleters:  map[wire.SourceID]*deleteChannel{},
	}
	db.ctx, db.stop = context.WithCancel(context.Background())
	db.lastCtx, db.giveUp = context.WithCancel(context.Background())
	db.work.Go(func() { db.follow(status.Index) })
	return db, nil
}

func findPassword(ctx context.Context, c *Client, cfg Config) (string, error) {
	if cfg.Password != "" {
		return cfg.Password, nil
	}
	path := os.Getenv(EnvPasswordFile)
	if path == "" {
		return c.Credentials(ctx)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", wire.InField(EnvPasswordFile, wire.Errorf(wire.CodeInvalidArgument, "%v", err))
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// findTags returns the tags of the node whose agent answers over its unix
// socket: only that is this node.
func findTags(ctx context.Context, c *Client, cfg Config) ([]wire.NodeTag, error) {
	if len(cfg.NodeTags) > 0 {
		return cfg.NodeTags, nil
	}
	node, err := c.agents.here(ctx)
	if err != nil || node == "" {
		return nil, err
	}
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if n.Name == node && n.Label != "" {
			return append(n.Tags, n.Label), nil
		} else if n.Name == node {
			return n.Tags, nil
		}
	}
	return nil, nil
}

// Client is the control plane that db uses. It is closed with db.
func (db *FrameDB) Client() *Client { return db.client }

// Close ends the background work and closes all connections. Reads that wait
// in a frames channel are called back with ErrUnavailable. Decrements that wait
// in a delete channel are sent first, for as long as Config.RetryFor; if some
// could not be, the error says how many.
func (db *FrameDB) Close() error {
	db.mu.Lock()
	if db.closed {
		db.mu.Unlock()
		return nil
	}
	db.closed = true
	db.mu.Unlock()
	for _, d := range db.deleters {
		d.queue.close()
	}
	for _, r := range db.readers {
		r.requests.close()
	}
	// Reads end now, decrements have their time.
	db.stop()
	late := time.AfterFunc(db.cfg.RetryFor, db.giveUp)
	db.work.Wait()
	late.Stop()
	db.giveUp()
	var errs []error
	for source, d := range db.deleters {
		if d.unsent > 0 {
			errs = append(errs, wire.Errorf(wire.CodeUnavailable, "%d decrements of source %q could not be applied", d.unsent, source))
		}
	}
	db.mu.Lock()
	clusters := db.clusters
	db.clusters = nil
	db.mu.Unlock()
	for _, c := range clusters {
		errs = append(errs, c.Close())
	}
	errs = append(errs, db.sentinels.Close())
	db.client.Close()
	return errors.Join(errs...)
}

// live returns an error after Close.
func (db *FrameDB) live() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.closed {
		return errDBClosed()
	}
	return nil
}

func errDBClosed() error { return wire.Errorf(wire.CodeUnavailable, "this FrameDB is closed") }

// Cluster is the data path to the cluster that the source writes to on this
// node's tag, else on its first tag, and the mapping that says so. It follows
// failovers, not re-routing: ask again to follow that. It is closed when the
// cluster is removed, and with db.
func (db *FrameDB) Cluster(ctx context.Context, source wire.SourceID) (*frames.Cluster, wire.Mapping, error) {
	if err := db.live(); err != nil {
		return nil, wire.Mapping{}, err
	}
	r, err := db.route(ctx, source)
	if err != nil {
		return nil, wire.Mapping{}, err
	}
	best := r.best(db.tags)
	return best.cluster, best.Mapping, nil
}
