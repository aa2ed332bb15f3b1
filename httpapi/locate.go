package httpapi

import (
	"context"
	"net/url"

	"github.com/framedb/framedb/client/objects/pool"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// Locator tells a pool of objects where FrameDBs are, from the store of the
// agent on a node.
type Locator struct {
	Node     wire.NodeName
	Password string // the deployment's
	View     func() *state.View
}

var _ pool.Locator = Locator{}

// Locate takes the ID of a member of a cluster, of a persistent FrameDB, or
// else the name of a cluster. Whichever member is named, its cluster's master
// is meant: the others take no writes and may be behind.
//
// Errors: as pool.Locator has them.
func (l Locator) Locate(_ context.Context, id wire.FrameDBID) (pool.Place, error) {
	if err := check("framedb_id", id); err != nil {
		return pool.Place{}, err
	}
	v := l.View()
	if member, found := v.Instance(id); found {
		return l.memory(v, id, member.Cluster)
	}
	if p, found := v.Persistent(id); found {
		return l.storage(v, p)
	}
	if _, found := v.Cluster(wire.ClusterName(id)); found {
		return l.memory(v, id, wire.ClusterName(id))
	}
	e := wire.Errorf(wire.CodeNotFound, "FrameDB %q is unknown", id)
	e.Field = "framedb_id"
	return pool.Place{}, e
}

func (l Locator) memory(v *state.View, id wire.FrameDBID, name wire.ClusterName) (pool.Place, error) {
	if row, found := v.Cluster(name); found && row.Status.Phase == wire.PhaseRemoving {
		return pool.Place{}, beingRemoved(id)
	}
	members := rowsOf(v.InstancesOf(name))
	if len(members) == 0 {
		return pool.Place{}, later(wire.CodeUnavailable, "FrameDB %q does not run yet", id)
	}
	return pool.Place{ID: id, Kind: wire.KindMemory, Cluster: name, Members: members, Passwords: []string{l.Password}}, nil
}

func (l Locator) storage(v *state.View, p *wire.PersistentInstance) (pool.Place, error) {
	u, err := url.Parse(p.Status.URL)
	switch {
	case p.Status.Phase == wire.PhaseRemoving:
		return pool.Place{}, beingRemoved(p.ID)
	case err != nil || u.Host == "":
		return pool.Place{}, later(wire.CodeUnavailable, "FrameDB %q does not run yet: %s", p.ID, p.Status.Reason)
	}
	place := pool.Place{
		ID: p.ID, Kind: wire.KindStorage, Address: u.Host, Exclusive: p.Exclusive, Passwords: l.passwords(v, p.ID),
		User: wire.DefaultStorageUser, Database: wire.DefaultDatabase,
	}
	if p.External != nil {
		place.User, place.Database, place.TLS = p.External.User, p.External.Database, p.External.TLS
	}
	if p.Status.Node == l.Node {
		place.Socket = p.Status.Socket
	}
	return place, nil
}

// passwords are the new one and, while it is changed, the one before; where
// there is none, the deployment's.
func (l Locator) passwords(v *state.View, id wire.FrameDBID) []string {
	secret, found := v.Secret(id)
	if !found {
		return []string{l.Password}
	}
	own := func(password string) string {
		if password == "" {
			return l.Password
		}
		return password
	}
	list := []string{own(secret.Password)}
	if secret.Changing {
		list = append(list, own(secret.Former))
	}
	return list
}

func beingRemoved(id wire.FrameDBID) error {
	e := wire.Errorf(wire.CodeConflict, "FrameDB %q is being removed", id)
	e.Field = "framedb_id"
	return e
}
