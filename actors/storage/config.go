// Package storage is the actor that keeps one persistent FrameDB in line with
// the store: it observes, plans and acts, again and again, and has it backed up
// when its plan says so. The plan is a pure function of what was observed.
package storage

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/framedb/framedb/actors/instance"
	"github.com/framedb/framedb/actors/sweep"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
	"github.com/framedb/framedb/raftstore/state"
)

// Store is what the actor reads and reports to.
type Store interface {
	Propose(ctx context.Context, id wire.RequestID, cmd state.Command) (state.Result, error)
	View() *state.View
}

// Login is where a database is and how one gets in.
type Login struct {
	Address string // host:port
	// Socket is its unix socket on this machine; empty for TCP.
	Socket         string
	User, Password string
	Database       string
	TLS            bool
}

// Database is what is asked of a database, and made in it.
type Database interface {
	// Ask logs in anew and asks the server what it is.
	//
	// Errors: ErrForbidden (it does not take the password), ErrUnavailable,
	// ctx's, and others that say what is wrong.
	Ask(ctx context.Context, at Login) (engine wire.Engine, version string, err error)
	// Prepare makes what is missing of the database and what is in it.
	Prepare(ctx context.Context, at Login) error
}

// Backups backs up FrameDBs. Safe for concurrent use.
type Backups interface {
	// Due reports whether the plan asks for a backup now, when the last one
	// that is complete was made at last; zero for none. It does not block.
	//
	// Errors: ErrInvalidArgument (the schedule, the target) with the Field.
	Due(id wire.FrameDBID, plan wire.BackupPlan, last, now time.Time) (bool, error)
	// Run makes one backup, or finds that another owner has made it, and sees
	// to it that no more stay than the plan keeps. It goes on for as long as
	// that takes, and ends with ctx. At is when the backup was begun: what was
	// written later may not be in it.
	Run(ctx context.Context, id wire.FrameDBID, plan wire.BackupPlan) (name string, at time.Time, err error)
}

// Config says which persistent FrameDB an actor works on, and with what.
type Config struct {
	// Context ends every job; Jobs counts those that run.
	Context context.Context
	Jobs    *sync.WaitGroup

	ID wire.FrameDBID
	// Node works on it while it owns it in Epoch, and nothing is done before
	// Begin, when a former owner has stopped for certain.
	Node  wire.NodeName
	Epoch uint64
	Begin time.Time
	Lease instance.Lease
	// Password is the deployment's, for those without one of their own.
	Password string

	Store    Store
	Driver   deploy.StorageDriver
	Database Database
	Backups  Backups       // nil: nothing is backed up, and a plan says so
	Objects  sweep.Objects // nil: nothing is swept
	Record   *Record
	Observer instance.Observer
	Logger   *slog.Logger
	Timing   instance.Timing
}
