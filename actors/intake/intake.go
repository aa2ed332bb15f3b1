// Package intake joins package ingest to the store: it tells where the frames
// of each source go now, and has the inputs be fetched that are this node's.
package intake

import (
	"log/slog"

	"github.com/framedb/framedb/actors/ingest"
	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/sentinel"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// Config says what an Intake works with; all of it is required.
type Config struct {
	Node     wire.NodeName
	Password string // of Redis
	// View gives the newest state.
	View      func() *state.View
	Sentinels *sentinel.Client
	// Objects gives the objects of a persistent FrameDB.
	Objects func(wire.FrameDBID) *objects.Store
	Logger  *slog.Logger
}

// Intake is an ingest.Router over the store. Safe for concurrent use.
type Intake struct {
	cfg   Config
	paths *paths
}

var _ ingest.Router = (*Intake)(nil)

// New makes it; it dials nothing.
func New(cfg Config) *Intake { return &Intake{cfg: cfg, paths: newPaths(cfg)} }

// Close closes all connections. The service that uses it has ended before.
func (i *Intake) Close() { i.paths.close() }
