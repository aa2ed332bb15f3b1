package client

import (
	"context"
	"errors"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/pool"
	"github.com/framedb/framedb/client/wire"
)

// Objects gives the objects of any FrameDB, in memory or persistent, given its
// ID: that of a persistent one, that of any member of a cluster (its master is
// meant, whichever it is), or the name of a cluster. The program connects to
// Redis or the database directly, over their unix sockets on this machine;
// agents are asked where they are and for the password, and again when a call
// failed or half a minute has passed. Failovers are followed within a call.
//
// The Store may be kept, and need not be closed; connections that nobody uses
// are closed after a minute, and all of them with the client.
//
// Errors: ErrNotFound with Field "framedb_id", ErrUnavailable (no agent, or it
// does not run yet), ErrConflict (it is being removed), ErrForbidden (no password
// can be had: set Config.Password or FRAMEDB_PASSWORD_FILE, or ask the agent over
// its unix socket), ErrInvalidArgument. Any call of the Store may return them too.
func (c *Client) Objects(ctx context.Context, id wire.FrameDBID) (*objects.Store, error) {
	if _, err := c.places.Locate(ctx, id); err != nil {
		return nil, err
	}
	return c.opened.Store(id), nil
}

const (
	// placeFresh is how long a place is used before it is asked for again.
	placeFresh = 30 * time.Second
	// maxPlaces bounds the places that are remembered.
	maxPlaces = 10_000
)

// places remembers where FrameDBs are.
type places struct {
	client *Client

	mu    sync.Mutex
	known map[wire.FrameDBID]*place // guarded by mu
}

// place is one FrameDB. Whoever holds the token of turn may ask for it.
type place struct {
	turn chan struct{}

	mu       sync.Mutex
	is       pool.Place // guarded by mu
	asked    time.Time  // guarded by mu: when an agent was asked last; zero to ask again
	answered bool       // guarded by mu: is is set
}

var (
	_ pool.Locator = (*places)(nil)
	_ pool.Doubter = (*places)(nil)
)

func newPlaces(c *Client) *places { return &places{client: c, known: map[wire.FrameDBID]*place{}} }

// Locate answers from memory while that is fresh. When no agent answers, what
// was known serves on.
func (p *places) Locate(ctx context.Context, id wire.FrameDBID) (pool.Place, error) {
	if err := id.Validate(); err != nil {
		return pool.Place{}, wire.InField("framedb_id", err)
	}
	at := p.of(id)
	if is, fresh := at.fresh(); fresh {
		return is, nil
	}
	select {
	case <-at.turn:
		defer func() { at.turn <- struct{}{} }()
	case <-ctx.Done():
		return pool.Place{}, coded(ctx, ctx.Err(), false)
	}
	if is, fresh := at.fresh(); fresh {
		return is, nil
	}
	is, err := p.client.locate(ctx, id)
	at.mu.Lock()
	defer at.mu.Unlock()
	switch {
	case err == nil:
		at.is, at.asked, at.answered = is, time.Now(), true
	case at.answered && ctx.Err() == nil && (errors.Is(err, wire.ErrUnavailable) || errors.Is(err, wire.ErrTimeout)):
		p.client.log.Warn("cannot ask where the FrameDB is; its last known place serves on", "framedb", id, "err", err)
		return at.is, nil
	default:
		at.answered = false
		return pool.Place{}, err
	}
	return at.is, nil
}

// of returns what is known of a FrameDB, if only that it is asked for.
func (p *places) of(id wire.FrameDBID) *place {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.known[id]
	if at == nil {
		if len(p.known) >= maxPlaces {
			clear(p.known) // they are asked for again
		}
		at = &place{turn: make(chan struct{}, 1)}
		at.turn <- struct{}{}
		p.known[id] = at
	}
	return at
}

func (at *place) fresh() (pool.Place, bool) {
	at.mu.Lock()
	defer at.mu.Unlock()
	return at.is, at.answered && time.Since(at.asked) < placeFresh
}

// Doubt has the next call ask an agent.
func (p *places) Doubt(id wire.FrameDBID) {
	p.mu.Lock()
	at := p.known[id]
	p.mu.Unlock()
	if at != nil {
		at.mu.Lock()
		at.asked = time.Time{}
		at.mu.Unlock()
	}
}

// locate asks an agent. An ID is that of a member, of a persistent FrameDB, or
// the name of a cluster, in this order, as the agents have it too.
func (c *Client) locate(ctx context.Context, id wire.FrameDBID) (pool.Place, error) {
	if cluster, _, isMember := id.SplitMember(); isMember {
		return c.locateCluster(ctx, id, cluster, true)
	}
	row, err := c.PersistentInstance(ctx, id)
	if err == nil {
		return c.locateStorage(ctx, &row)
	}
	if !errors.Is(err, wire.ErrNotFound) || wire.ClusterName(id).Validate() != nil {
		return pool.Place{}, inFrameDB(err)
	}
	return c.locateCluster(ctx, id, wire.ClusterName(id), false)
}

func (c *Client) locateCluster(ctx context.Context, id wire.FrameDBID, name wire.ClusterName, asMember bool) (pool.Place, error) {
	found, err := c.Instances(ctx, InstanceQuery{Cluster: name})
	if err != nil {
		return pool.Place{}, err
	}
	place := pool.Place{ID: id, Kind: wire.KindMemory, Cluster: name}
	known := !asMember
	for _, i := range found {
		known = known || i.ID == id
		place.Members = append(place.Members, i.Instance)
	}
	if !known || len(found) == 0 {
		return pool.Place{}, inFrameDB(wire.Errorf(wire.CodeNotFound, "FrameDB %q is unknown, or does not run yet", id))
	}
	password, err := findPassword(ctx, c, c.cfg)
	place.Passwords = []string{password}
	return place, err
}

func (c *Client) locateStorage(ctx context.Context, row *wire.PersistentInstance) (pool.Place, error) {
	u, err := url.Parse(row.Status.URL)
	switch {
	case row.Status.Phase == wire.PhaseRemoving:
		return pool.Place{}, inFrameDB(wire.Errorf(wire.CodeConflict, "FrameDB %q is being removed", row.ID))
	case err != nil || u.Host == "":
		e := wire.Errorf(wire.CodeUnavailable, "FrameDB %q does not run yet: %s", row.ID, row.Status.Reason)
		e.RetryAfter = time.Second
		return pool.Place{}, e
	}
	place := pool.Place{
		ID: row.ID, Kind: wire.KindStorage, Address: u.Host, Exclusive: row.Exclusive,
		User: wire.DefaultStorageUser, Database: wire.DefaultDatabase,
	}
	if row.External != nil {
		place.User, place.Database, place.TLS = row.External.User, row.External.Database, row.External.TLS
	}
	// A path is a server's only on the node that it is of.
	if here, err := c.agents.here(ctx); err == nil && here != "" && here == row.Status.Node {
		place.Socket = row.Status.Socket
	}
	password, err := c.passwordOf(ctx, row.ID)
	place.Passwords = []string{password}
	return place, err
}

// passwordOf asks the agent, which knows the FrameDB's own. Where it does not
// tell, the deployment's is tried, which is that of all FrameDBs that were given
// none.
func (c *Client) passwordOf(ctx context.Context, id wire.FrameDBID) (string, error) {
	creds, err := c.CredentialsOf(ctx, id)
	if !errors.Is(err, wire.ErrForbidden) || c.cfg.Password == "" && os.Getenv(EnvPasswordFile) == "" {
		return creds.Password, err
	}
	return findPassword(ctx, c, c.cfg)
}

// inFrameDB names the field, so that a FrameDB that is not there is told from
// an object that is not.
func inFrameDB(err error) error {
	var e *wire.Error
	if !errors.As(err, &e) || e.Code != wire.CodeNotFound && e.Code != wire.CodeConflict {
		return err
	}
	named := *wire.AsError(err)
	named.Field = "framedb_id"
	return &named
}
