package kubernetes

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

// Driver runs clusters on Kubernetes.
type Driver struct {
	cfg     Config
	log     *slog.Logger
	servers servers
	links   *links

	// ctx ends the watches, running counts them.
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	closed   bool                               // guarded by mu
	watching map[wire.NodeTag]*watches          // guarded by mu
	known    map[wire.ClusterName]*knowledge    // guarded by mu
	turns    map[wire.ClusterName]chan struct{} // guarded by mu; each holds one token
	serving  map[wire.NodeTag]wire.FrameDBID    // guarded by mu: whom this agent led each tag to
}

// knowledge is what the driver remembers of a cluster. All of it can be had
// anew by asking; that it is remembered saves requests.
type knowledge struct {
	tag wire.NodeTag
	// applied is what the objects were made from that were applied last, and
	// marks are what came of it.
	applied string
	marks   map[objectKey]mark
	// peer is the cluster's own password.
	peer string
	// stays says why a member beyond the replicas is kept, by ordinal.
	stays map[int]string
}

var _ deploy.Driver = (*Driver)(nil)

// New checks the configuration. Nothing is asked of the API server before the
// first call, and nothing is watched before Run.
//
// Errors: ErrInvalidArgument with the field.
func New(cfg Config) (*Driver, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	d := &Driver{
		cfg: cfg, log: cfg.Logger, servers: realServers{},
		watching: map[wire.NodeTag]*watches{},
		known:    map[wire.ClusterName]*knowledge{},
		turns:    map[wire.ClusterName]chan struct{}{},
		serving:  map[wire.NodeTag]wire.FrameDBID{},
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.links = newLinks(&d.cfg)
	return d, nil
}

// Run keeps this node's socket directory in line with the pods of this node
// until ctx ends. Without it clusters run, and no socket leads to their master.
//
// Errors: ErrInvalidArgument or ErrDiskFull (the directory cannot be made), with
// Field socket_dir.
func (d *Driver) Run(ctx context.Context) error { return d.links.run(ctx) }

// Close ends the watches. Pods run on.
func (d *Driver) Close(context.Context) error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.cancel()
	d.running.Wait()
	return nil
}

// Name is "kubernetes".
func (d *Driver) Name() string { return "kubernetes" }

// NodeBound is false: the agent of any node can work on any cluster.
func (d *Driver) NodeBound() bool { return false }

// Password is Config.Password.
func (d *Driver) Password() string { return d.cfg.Password }

// SocketDir is Layout.SocketDir.
func (d *Driver) SocketDir() string { return d.cfg.SocketDir }

// take waits for the cluster's turn: one call at a time works on a cluster.
func (d *Driver) take(ctx context.Context, name wire.ClusterName) (give func(), err error) {
	if err := name.Validate(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	turn := d.turns[name]
	if turn == nil {
		turn = make(chan struct{}, 1)
		d.turns[name] = turn
	}
	d.mu.Unlock()
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// remember returns what is known of a cluster; whoever has the turn may change
// it.
func (d *Driver) remember(name wire.ClusterName) *knowledge {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.known[name]
	if k == nil {
		k = &knowledge{marks: map[objectKey]mark{}}
		d.known[name] = k
	}
	return k
}

func (d *Driver) forget(name wire.ClusterName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.known, name)
}

func (d *Driver) marksOf(name wire.ClusterName) map[objectKey]mark { return d.remember(name).marks }

// watchesOf returns the watches that show a cluster, nil while its tag is not
// known.
func (d *Driver) watchesOf(name wire.ClusterName) *watches {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.known[name]
	if k == nil || k.tag == "" {
		return nil
	}
	return d.watching[k.tag]
}

// follow begins to watch the clusters on a tag.
func (d *Driver) follow(k *knowledge, tag wire.NodeTag) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k.tag = tag
	if d.watching[tag] == nil && !d.closed && tag != "" {
		d.watching[tag] = d.newWatches(tag)
		d.watching[tag].run(d.ctx, &d.running)
	}
}

// apiError gives a failed request its meaning for people.
func apiError(what string, err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case apierrors.IsForbidden(err):
		return wire.Errorf(wire.CodeUnavailable, "%s: %v: give the agent's service account this right", what, err)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return wire.Errorf(wire.CodeInvalidArgument, "%s: %v", what, err)
	}
	return wire.Errorf(wire.CodeUnavailable, "%s: %v", what, err)
}
