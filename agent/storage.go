package agent

import (
	"context"

	"github.com/framedb/framedb/actors/storage"
	"github.com/framedb/framedb/actors/sweep"
	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/pool"
	"github.com/framedb/framedb/client/objects/sqlstore"
	"github.com/framedb/framedb/client/wire"
)

// database is what persistent FrameDBs are held by: all that the agent knows of
// SQL is that sqlstore does.
type database struct{}

var _ storage.Database = database{}

func server(at storage.Login) sqlstore.Server {
	return sqlstore.Server{
		Address: at.Address, Socket: at.Socket, User: at.User, Password: at.Password, Database: at.Database, TLS: at.TLS,
	}
}

func (database) Ask(ctx context.Context, at storage.Login) (wire.Engine, string, error) {
	about, err := server(at).Ask(ctx)
	return about.Engine, about.Version, err
}

func (database) Prepare(ctx context.Context, at storage.Login) error { return server(at).Prepare(ctx) }

// sweeper sweeps what the pool opens.
type sweeper struct{ pool *pool.Pool }

var _ sweep.Objects = sweeper{}

func (s sweeper) Sweep(ctx context.Context, id wire.FrameDBID) (objects.Swept, error) {
	return s.pool.Store(id).Sweep(ctx, objects.DefaultSweepAges())
}
