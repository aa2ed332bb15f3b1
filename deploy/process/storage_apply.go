package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/framedb/framedb/client/objects/sqlstore"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

// restartGrace is how long a database has to end in order before it is killed,
// which costs it time when it starts again, and no data.
const restartGrace = 20 * time.Second

// storageApply is one ApplyStorage under way.
type storageApply struct {
	*Driver
	turn *turn
	s    *storage
	spec wire.StorageSpec
	to   sqlstore.Passwords
	db   database
}

// database is a kind of database server.
type database interface {
	kind() kind
	engine() wire.Engine
	program() string
	// config is its configuration file. Errors: ErrInvalidArgument with the
	// Field of the parameter.
	config(s *storage, spec *wire.StorageSpec) ([]byte, error)
	// check has the program read a configuration file, without effect on what
	// runs. Errors: ErrInvalidArgument with what it says.
	check(ctx context.Context, s *storage, conf []byte) error
	// create makes the files of an empty database in a directory.
	create(ctx context.Context, s *storage, dir string) error
	// setsUpAtStart says that each start executes the setup, not only the first.
	setsUpAtStart() bool
}

// ApplyStorage implements deploy.StorageDriver. A server whose configuration is
// another than the one that it started with is restarted; one that would not
// start with the new one runs on with the old one.
func (d *Driver) ApplyStorage(ctx context.Context, id wire.FrameDBID, spec wire.StorageSpec, password deploy.StoragePassword) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	if spec.External != nil {
		return wire.InField("external", wire.Errorf(wire.CodeInvalidArgument, "an external server is none that runs here"))
	}
	t, err := d.takeStorage(ctx, id)
	if err != nil {
		return err
	}
	defer d.give(t)
	a := &storageApply{Driver: d, turn: t, spec: spec, to: d.passwords(password)}
	procs, err := d.scanStorage()
	if err != nil {
		return err
	}
	if a.s, err = d.loadStorage(id, procs); err != nil {
		return err
	}
	if err := a.run(ctx); err != nil {
		t.reasons[a.s.server().conf()] = wire.AsError(err).Message
		return err
	}
	delete(t.reasons, a.s.server().conf())
	return nil
}

// passwords has the deployment's in the place of the empty one.
func (d *Driver) passwords(p deploy.StoragePassword) sqlstore.Passwords {
	to := sqlstore.Passwords{Password: orElse(p.Password, d.cfg.Password)}
	if p.Changing {
		to.Former, to.HasFormer = orElse(p.Former, d.cfg.Password), true
	}
	return to
}

func (a *storageApply) run(ctx context.Context) error {
	var err error
	if a.db, err = a.cfg.database(a.s.file.Kind); err != nil {
		return err
	}
	if err := a.prepare(ctx); err != nil {
		return err
	}
	conf, err := a.db.config(a.s, &a.spec)
	if err != nil {
		return err
	}
	srv := a.server()
	id, running, err := a.look(a.turn, srv)
	if err != nil {
		return err
	}
	before, err := os.ReadFile(srv.conf())
	same := err == nil && bytes.Equal(before, conf)
	if !same {
		if err := a.db.check(ctx, a.s, conf); err != nil {
			return err
		}
	}
	switch {
	case running && (same || err != nil): // what it started with is not known: let it be
		if err := writeJSON(srv.pidFile(), id); err != nil {
			return err
		}
		if err := a.awaitAnswer(ctx, srv, id); err != nil { // it may have been started just now
			return err
		}
		return a.setPassword(ctx)
	case running:
		a.log.Info("a database is restarted with another configuration", "framedb_id", a.s.id)
		return a.restart(ctx, conf)
	}
	if err := emptyDir(a.s.tmp()); err != nil {
		return err
	}
	if err := a.create(ctx); err != nil {
		return err
	}
	return a.start(ctx, conf)
}

// server is what runs, and how it is asked.
func (a *storageApply) server() server {
	srv := a.s.server()
	srv.program = a.db.program()
	srv.answers = func(ctx context.Context) bool {
		_, err := a.login(a.to.Password).Ask(ctx)
		return err == nil || errors.Is(err, wire.ErrForbidden)
	}
	return srv
}

// login is over the socket where there is one: it leads to nobody else.
func (a *storageApply) login(password string) sqlstore.Server {
	return sqlstore.Server{
		Address: address(a.s.server().Endpoint), Socket: a.s.socket,
		User: wire.DefaultStorageUser, Password: password,
	}
}

// prepare gives it a directory and a port. One whose server never ran gets
// another port when somebody took it meanwhile; otherwise it is for life. The
// address is that of the machine, which may change.
func (a *storageApply) prepare(ctx context.Context) error {
	if _, err := os.Stat(a.s.data()); err == nil {
		a.s.file.Born = true
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look at the data: %w", err)
	}
	file := a.s.file
	file.Kind = a.db.kind()
	if file.Host != "" && file.Host != a.cfg.Host {
		a.log.Info("a database listens at another address from now on", "framedb_id", a.s.id, "former", file.Host, "host", a.cfg.Host)
		if err := a.end(ctx, a.s.server(), restartGrace); err != nil {
			return err
		}
	}
	file.Host = a.cfg.Host
	if !file.Born || file.Port == 0 {
		if err := a.ensurePort(ctx, a.s.server(), &file.Port, a.cfg.BaseStoragePort); err != nil {
			return err
		}
	}
	if file == a.s.file && !a.s.lost {
		return nil
	}
	if err := makeDir(a.s.dir, 0o700); err != nil {
		return err
	}
	a.s.file = file
	return a.note()
}

func (a *storageApply) note() error {
	if err := writeJSON(filepath.Join(a.s.dir, storageName), a.s.file); err != nil {
		return err
	}
	a.s.lost = false
	return nil
}

// create makes the data, aside first, so that what is there is whole. Data that
// was there once is never made anew: it may be on a disk that is not mounted.
func (a *storageApply) create(ctx context.Context) error {
	if a.s.file.Born {
		if _, err := os.Stat(a.s.data()); err != nil {
			return wire.Errorf(wire.CodeUnavailable,
				"its data is not where it was, %v: bring it back (is a disk not mounted?), or remove the FrameDB and create it anew", err)
		}
		return nil
	}
	fresh := filepath.Join(a.s.dir, freshDataName)
	if err := emptyDir(fresh); err != nil {
		return err
	}
	a.log.Info("a database is made", "framedb_id", a.s.id, "engine", a.db.engine(), "dir", a.s.dir)
	if err := a.db.create(ctx, a.s, fresh); err != nil {
		os.RemoveAll(fresh)
		return err
	}
	if err := syncAll(fresh); err != nil {
		return fileError(fresh, err)
	}
	if err := os.Rename(fresh, a.s.data()); err != nil {
		return fileError(fresh, err)
	}
	a.s.file.Born = true
	return a.note()
}

func emptyDir(path string) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return makeDir(path, 0o700)
}

func (a *storageApply) setupSQL() string {
	return sqlstore.Setup(a.db.engine(), wire.DefaultStorageUser, wire.DefaultDatabase, a.to)
}

func (a *storageApply) start(ctx context.Context, conf []byte) error {
	if err := writeFile(a.s.setup(), []byte(a.setupSQL())); err != nil {
		return err
	}
	if err := a.Driver.start(ctx, a.server(), conf); err != nil {
		return err
	}
	return a.setPassword(ctx)
}

func (a *storageApply) restart(ctx context.Context, conf []byte) error {
	if err := a.end(ctx, a.server(), restartGrace); err != nil {
		return err
	}
	return a.start(ctx, conf)
}

// setPassword sees to it that the server that runs takes the passwords that it
// is to take, and no other.
func (a *storageApply) setPassword(ctx context.Context) error {
	set, err := os.ReadFile(a.s.setup())
	_, asked := a.login(a.to.Password).Ask(ctx)
	if err == nil && string(set) == a.setupSQL() && asked == nil {
		return nil
	}
	refused := a.login(a.to.Password).SetPassword(ctx, a.to)
	if errors.Is(refused, wire.ErrForbidden) && a.to.HasFormer {
		refused = a.login(a.to.Former).SetPassword(ctx, a.to)
	}
	switch {
	case refused == nil:
		return writeFile(a.s.setup(), []byte(a.setupSQL()))
	case errors.Is(refused, wire.ErrForbidden) && a.db.setsUpAtStart() && string(set) != a.setupSQL():
		a.log.Warn("a database takes neither the new password nor the former one: it is restarted, which sets the new one", "framedb_id", a.s.id)
		conf, err := os.ReadFile(a.s.server().conf())
		if err != nil {
			return err
		}
		return a.restart(ctx, conf)
	}
	return fmt.Errorf("set its password: %w", refused)
}
