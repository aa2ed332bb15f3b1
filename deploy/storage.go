package deploy

import (
	"context"

	"github.com/framedb/framedb/client/wire"
)

// StorageDriver deploys persistent FrameDBs. All methods are safe for
// concurrent use, for one FrameDB too, idempotent, and return when what they
// were asked is done or ctx ends. An error means "could not see" or "could not
// do", never "is wrong".
type StorageDriver interface {
	// ObserveStorage tells what there is of it now. One of which there is
	// nothing gives a zero Storage and no error.
	ObserveStorage(ctx context.Context, id wire.FrameDBID) (Storage, error)
	// ApplyStorage makes its servers run with the spec, and have the password.
	// It never deletes data. It does not wait until they are ready.
	//
	// Errors: ErrInvalidArgument (a part of the spec that the driver cannot
	// bring about; Field says which), ErrDiskFull, ErrUnavailable,
	// ErrOperatorMissing (the cluster has no TiDB Operator v2), ctx's.
	ApplyStorage(ctx context.Context, id wire.FrameDBID, spec wire.StorageSpec, password StoragePassword) error
	// RemoveStorage ends everything of it and deletes its data. Nothing to
	// remove is success.
	RemoveStorage(ctx context.Context, id wire.FrameDBID) error
	// StorageNodeBound reports whether what was deployed, its data with it, is
	// on this machine alone: no other node ever takes it over.
	StorageNodeBound() bool
}

// StoragePassword is the password that the database is to have. The empty one
// is the deployment's.
type StoragePassword struct {
	Password string
	// Former is the one that the database may still have, if Changing.
	Former   string
	Changing bool
}

// Storage is what was observed of a persistent FrameDB.
type Storage struct {
	// Exists is true when there is anything of it.
	Exists bool
	// Running is true when a server was positively seen.
	Running bool
	Host    string
	Port    int
	Socket  string        // unix socket, on Node; empty where there is none
	Node    wire.NodeName // where it is, if on one node
	// Engine and Version are what the server, or who deployed it, says of
	// itself; empty while not known.
	Engine  wire.Engine
	Version string
	// Wanted and Ready count the servers of each kind.
	Wanted wire.StorageReplicas
	Ready  wire.StorageReplicas
	// NeedsApply says that something differs from what was last applied: a
	// server that died, a file or an object that is gone.
	NeedsApply bool
	// Reason says in one sentence why it is not ready; empty when all is well.
	Reason string
}
