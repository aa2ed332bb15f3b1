package pool

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/objects/redisstore"
	"github.com/framedb/framedb/client/objects/sqlstore"
	"github.com/framedb/framedb/client/wire"
)

// connect opens a FrameDB and tells those who wait. One that cannot be opened
// leaves the pool, so that the next call tries again.
func (p *Pool) connect(o *opened, place Place) {
	ctx, cancel := context.WithTimeout(p.ctx, openWithin)
	defer cancel()
	var err error
	if place.Kind == wire.KindMemory {
		p.openMemory(o, place)
	} else {
		err = p.openStorage(ctx, o, place)
	}
	if err != nil && p.ctx.Err() != nil {
		err = wire.Errorf(wire.CodeUnavailable, "the connections to FrameDBs are closed")
	}
	o.err = err
	p.mu.Lock()
	defer p.mu.Unlock()
	close(o.ready)
	if err != nil {
		if !p.closed {
			p.retireLocked(o)
		}
		return
	}
	if o.members != nil {
		o.members(o.place.Members) // they may have moved meanwhile
	}
}

// tellMembersLocked keeps an open cluster up to date.
func (p *Pool) tellMembersLocked(o *opened, place Place) {
	if slices.Equal(o.place.Members, place.Members) {
		return
	}
	o.place.Members = place.Members
	select {
	case <-o.ready:
		if o.members != nil {
			o.members(place.Members)
		}
	default: // connect does
	}
}

// openMemory dials nothing: the first call does.
func (p *Pool) openMemory(o *opened, place Place) {
	password := ""
	if len(place.Passwords) > 0 {
		password = place.Passwords[0]
	}
	cluster := frames.New(frames.Config{Password: password, Sentinels: p.cfg.Sentinels, Logger: p.cfg.Logger}, place.Cluster, place.Members)
	o.backend = redisstore.New(redisstore.Config{Master: cluster, Exclusive: place.Exclusive, Logger: p.cfg.Logger})
	o.members, o.close = cluster.SetMembers, cluster.Close
}

// openStorage logs in with the first password that is accepted, over the unix
// socket where it is there.
func (p *Pool) openStorage(ctx context.Context, o *opened, place Place) error {
	server := sqlstore.Server{Address: place.Address, User: place.User, Database: place.Database, TLS: place.TLS}
	if _, err := os.Stat(place.Socket); err == nil {
		server.Socket = place.Socket
	}
	var err error
	for _, server.Password = range place.Passwords {
		err = p.login(ctx, o, server, place.Exclusive)
		if !errors.Is(err, wire.ErrForbidden) {
			return err
		}
	}
	if err == nil {
		return wire.Errorf(wire.CodeForbidden, "there is no password for FrameDB %q", place.ID)
	}
	return err
}

func (p *Pool) login(ctx context.Context, o *opened, server sqlstore.Server, exclusive bool) error {
	cfg := sqlstore.Config{PoolSize: p.cfg.MaxConns, Exclusive: exclusive, Logger: p.cfg.Logger}
	b, err := sqlstore.OpenServer(ctx, server, cfg)
	if err != nil && server.Socket != "" && !errors.Is(err, wire.ErrForbidden) && ctx.Err() == nil {
		p.cfg.Logger.Info("the unix socket is not used", "socket", server.Socket, "err", err)
		server.Socket = ""
		b, err = sqlstore.OpenServer(ctx, server, cfg)
	}
	if err != nil {
		return err
	}
	o.backend, o.close = b, b.Close
	return nil
}
