// Package deploy is how FrameDB makes Redis clusters exist: one interface and
// its drivers. A driver starts, finds and ends processes (or pods); who is
// master, and whether a failover is due, is decided above it, in
// actors/instance, from what Redis and Sentinel say.
package deploy

import (
	"context"

	"github.com/framedb/framedb/client/wire"
)

// Driver deploys clusters. All methods are safe for concurrent use, for one
// cluster too, idempotent, and return when what they were asked is done or ctx
// ends. An error means "could not see" or "could not do", never "is wrong".
type Driver interface {
	// Name is "process" or "kubernetes".
	Name() string
	// Observe tells what there is of a cluster now. A cluster of which there
	// is nothing gives a Deployment with Exists false and no error.
	Observe(ctx context.Context, name wire.ClusterName) (Deployment, error)
	// Apply makes the cluster's members 0..spec.Replicas-1 run with the spec's
	// settings and ends the others, with their data. Running members keep the
	// settings that they run with; what they start with next time is the spec.
	// A member whose start would endanger data is not started, and one beyond
	// the replicas that is still the master is not ended: Observe's Reason
	// says so, and another Apply after the failover goes on. Apply does not
	// wait for sync.
	//
	// Errors: ErrInvalidArgument (name or spec breaks a rule), ErrDiskFull,
	// ErrUnavailable (a process did not start; the others were tried), ctx's.
	Apply(ctx context.Context, name wire.ClusterName, spec wire.ClusterSpec) error
	// Restart ends the member's Redis and starts it as a replica of the master.
	// That the master and the others have the data is for the caller to see.
	//
	// Errors: ErrConflict (it is the master), ErrUnavailable (who is master is
	// not known, or does not run, or the Redis did not start again),
	// ErrNotFound, ErrInvalidArgument (no member's ID), ErrDiskFull, ctx's.
	Restart(ctx context.Context, member wire.FrameDBID) error
	// Remove ends everything of a cluster and deletes its data. Nothing to
	// remove is success.
	Remove(ctx context.Context, name wire.ClusterName) error
	// List names the clusters of which there is something, sorted, with the
	// spec by which they were last deployed. One whose spec is lost is not
	// among them until it is applied again.
	List(ctx context.Context) ([]Found, error)
	// ServeTag makes <socket dir>/<tag>.sock lead to the member's socket, in
	// one step, or removes it when member is empty.
	//
	// Errors: ErrInvalidArgument (the tag is no tag, too long for a unix
	// path, or spelled like a member's ID), ErrConflict (something that is no
	// such link has that name), ErrDiskFull.
	ServeTag(ctx context.Context, tag wire.NodeTag, member wire.FrameDBID) error
	// NodeBound reports whether what was deployed is on this machine alone: the
	// driver of another node neither sees nor ends it.
	NodeBound() bool
	// Password is the deployment's shared password.
	Password() string
	// SocketDir is the directory of the Redis sockets on this machine, empty
	// where there is none.
	SocketDir() string
}

// Found is one cluster that a driver found.
type Found struct {
	Name wire.ClusterName
	Spec wire.ClusterSpec
}

// Deployment is what was observed of a cluster.
type Deployment struct {
	Exists bool
	// FilesLost says that something is gone which the next Apply puts back
	// without touching what runs.
	FilesLost bool
	// Members are those that were ever made and not removed, by ordinal; after
	// a half-done Apply some may be missing, or be beyond the replicas.
	Members []Member
}

// Member is one Redis with the Sentinel beside it.
type Member struct {
	ID       wire.FrameDBID
	Ordinal  int
	Node     wire.NodeName
	Redis    Process
	Sentinel Process
}

// Process is one server of a member.
type Process struct {
	// Running is true when the process was positively seen; false when it was
	// positively seen to be gone.
	Running bool
	Host    string
	Port    int
	Socket  string // unix socket, on Node; empty when it is not there
	// NeedsRestart says that it runs, and has lost what it makes only when it
	// starts, such as its socket. See Driver.Restart.
	NeedsRestart bool
	// Reason says in one sentence why it does not run, is held back from
	// starting, is kept beyond the replicas or needs a restart; empty when all
	// is well.
	Reason string
}
