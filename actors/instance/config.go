// Package instance is the actor that keeps one FrameDB cluster in line with
// the store: it observes, plans and acts, again and again. The plan is a pure
// function of what was observed; nothing is remembered that could be looked
// at.
package instance

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/framedb/framedb/actors/sweep"
	"github.com/framedb/framedb/client/sentinel"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
	"github.com/framedb/framedb/raftstore/state"
)

// Store is what an instance reads and reports to.
type Store interface {
	Propose(ctx context.Context, id wire.RequestID, cmd state.Command) (state.Result, error)
	View() *state.View
	Subscribe(index uint64, tables ...wire.Table) *state.Subscription
}

// Tags decides which cluster of the node serves a node tag.
type Tags interface {
	// Serves reports whether the cluster does.
	Serves(tag wire.NodeTag, cluster wire.ClusterName) bool
	// Point leads the tag's socket to the cluster's member, unless another
	// cluster serves the tag by now.
	Point(ctx context.Context, tag wire.NodeTag, cluster wire.ClusterName, member wire.FrameDBID) error
}

// Lease says until when this node may act on what its store shows. It is that
// of the node, for all clusters.
type Lease interface {
	// Hold has the lease renewed until release is called, and returns a context
	// that ends when it could not be, or with ctx. The store's View then
	// contains all that was acknowledged before Hold was called.
	//
	// Errors: that of the store, which could not confirm; ctx's.
	Hold(ctx context.Context) (held context.Context, release func(), err error)
	// Stands reports whether it stands at this moment.
	Stands() bool
}

// Observer hears what an instance does, for metrics. It must not block.
type Observer interface {
	// Round is called after each round.
	Round(took time.Duration, err error)
	// Published is called after routing messages were sent.
	Published(n int)
}

// Config says which cluster an actor works on, and with what.
type Config struct {
	// Context ends every job; Jobs counts those that run.
	Context context.Context
	Jobs    *sync.WaitGroup

	Cluster   wire.ClusterName
	Namespace string
	// Node works on the cluster while it owns it in Epoch, and nothing is done
	// before Begin, when a former owner has stopped for certain.
	Node  wire.NodeName
	Epoch uint64
	Begin time.Time
	Lease Lease

	Store     Store
	Driver    deploy.Driver
	Sentinels *sentinel.Client
	Objects   sweep.Objects // nil: nothing is swept
	Counts    *Counts       // nil: reference counts are left alone
	Tags      Tags
	Record    *Record
	Observer  Observer
	Logger    *slog.Logger
	Timing    Timing
}

// Timing says how often an instance looks.
type Timing struct {
	// Ready is the pause between rounds while all is well. Shorter finds a dead
	// process earlier and asks Redis more often. Default 5 s; kept apart by up
	// to a fifth at random, so that instances do not march in step.
	Ready time.Duration
	// Unready is the pause while something is wrong. Default 1 s.
	Unready time.Duration
	// Acted is the pause after something was done. Default 200 ms; it doubles up
	// to Unready while there is always something to do.
	Acted time.Duration
	// Round bounds one round. Default 2 min: a driver may have to start many
	// processes.
	Round time.Duration
	// Goodbye bounds how long the end of a cluster waits until its writers were
	// told where to write from now on. Default 2 s.
	Goodbye time.Duration
}

// DefaultTiming is what an agent uses.
func DefaultTiming() Timing {
	return Timing{
		Ready: 5 * time.Second, Unready: time.Second, Acted: 200 * time.Millisecond,
		Round: 2 * time.Minute, Goodbye: 2 * time.Second,
	}
}
