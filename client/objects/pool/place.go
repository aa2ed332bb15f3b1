package pool

import (
	"context"
	"slices"

	"github.com/framedb/framedb/client/wire"
)

// Place is where a FrameDB is and how to log in.
type Place struct {
	// ID is the FrameDB's own; of a member of a cluster the pool uses Cluster
	// alone, as all of them lead to its master.
	ID   wire.FrameDBID
	Kind wire.Kind
	// Passwords are tried in this order. There are two while one is changed.
	Passwords []string
	// Exclusive says that no other program writes there.
	Exclusive bool

	// Cluster and Members are of a FrameDB in memory. A member's Socket is used
	// if it leads to the same process.
	Cluster wire.ClusterName
	Members []wire.Instance

	// The rest is of a persistent one.

	Address string // host:port
	// Socket is the server's unix socket on this machine; "" for TCP.
	Socket         string
	User, Database string
	TLS            bool
}

// Locator tells where FrameDBs are. It is asked at each call, so it should
// answer from memory.
//
// Errors: ErrNotFound with Field "framedb_id" (there is no such FrameDB),
// ErrUnavailable (it has no address yet), ErrConflict (it is being removed),
// ErrForbidden (no password can be had), ctx's.
type Locator interface {
	Locate(ctx context.Context, id wire.FrameDBID) (Place, error)
}

// Doubter is a Locator that remembers. It hears of a FrameDB whose place failed
// a call, and should ask again when it is asked next.
type Doubter interface {
	Doubt(id wire.FrameDBID)
}

// key is the same for places that share connections.
func (p *Place) key() string {
	if p.Kind == wire.KindMemory {
		return "memory/" + string(p.Cluster)
	}
	return "storage/" + string(p.ID)
}

// same reports whether what was opened at p serves q too. Where members are is
// told to an open cluster.
func (p *Place) same(q *Place) bool {
	return slices.Equal(p.Passwords, q.Passwords) && p.Exclusive == q.Exclusive &&
		p.Address == q.Address && p.Socket == q.Socket && p.User == q.User && p.Database == q.Database && p.TLS == q.TLS
}
