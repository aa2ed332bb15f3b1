package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
	"github.com/framedb/framedb/deploy/sockets"
)

var _ deploy.StorageDriver = (*Driver)(nil)

// StorageNodeBound is true: the data is on a disk of this machine.
func (d *Driver) StorageNodeBound() bool { return true }

// ObserveStorage implements deploy.StorageDriver.
func (d *Driver) ObserveStorage(ctx context.Context, id wire.FrameDBID) (deploy.Storage, error) {
	t, err := d.takeStorage(ctx, id)
	if err != nil {
		return deploy.Storage{}, err
	}
	defer d.give(t)
	s, err := d.seeStorage(id)
	if err != nil || !s.exists() {
		return deploy.Storage{}, err
	}
	srv := s.server()
	_, running, err := d.look(t, srv)
	if err != nil {
		return deploy.Storage{}, err
	}
	seen := deploy.Storage{
		Exists: true, Running: running, Host: srv.Host, Port: srv.Port, Node: d.cfg.Node,
		Wanted: wire.StorageReplicas{TiDB: 1}, NeedsApply: !running || !s.noted(), Reason: t.reasons[srv.conf()],
	}
	switch {
	case running:
		seen.Ready.TiDB = 1
		if _, err := os.Stat(srv.socket); err == nil {
			seen.Socket = srv.socket
		}
	case seen.Reason == "":
		seen.Reason = "its server does not run, see " + srv.log()
	}
	return seen, nil
}

// RemoveStorage implements deploy.StorageDriver. As with Remove the files are
// gone from under the name in one step.
func (d *Driver) RemoveStorage(ctx context.Context, id wire.FrameDBID) error {
	t, err := d.takeStorage(ctx, id)
	if err != nil {
		return err
	}
	defer d.give(t)
	procs, err := d.scanStorage()
	if err != nil {
		return err
	}
	s, err := d.loadStorage(id, procs)
	if err != nil {
		return err
	}
	if s.exists() {
		if err := d.end(ctx, s.server(), endGrace); err != nil {
			return fmt.Errorf("remove persistent FrameDB %s: %w", id, err)
		}
	}
	if s.socket != "" {
		if err := sockets.Remove(s.socket); err != nil {
			return fmt.Errorf("remove persistent FrameDB %s: %w", id, err)
		}
	}
	if err := discard(s.dir, filepath.Join(d.cfg.StorageDir, removedPrefix+string(id))); err != nil {
		return fmt.Errorf("remove persistent FrameDB %s: %w", id, err)
	}
	d.ports.release(s.file.Port)
	clear(t.reasons)
	return nil
}

// takeStorage waits for the turn on a persistent FrameDB.
func (d *Driver) takeStorage(ctx context.Context, id wire.FrameDBID) (*turn, error) {
	if err := id.Validate(); err != nil {
		return nil, err
	}
	return d.takeDir(ctx, d.storageDir(id))
}

// openStorage learns which ports persistent FrameDBs have.
func (d *Driver) openStorage() error {
	if err := sweepRemoved(d.cfg.StorageDir); err != nil {
		return err
	}
	procs, err := d.scanStorage()
	if err != nil {
		return err
	}
	ids, err := d.storageIDs(procs)
	if err != nil {
		return err
	}
	for _, id := range ids {
		s, err := d.loadStorage(id, procs)
		if err != nil {
			return err
		}
		d.ports.own(s.file.Port)
	}
	return nil
}

// storageIDs are those that have a directory or a process.
func (d *Driver) storageIDs(procs table) ([]wire.FrameDBID, error) {
	entries, err := os.ReadDir(d.cfg.StorageDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the persistent FrameDBs: %w", err)
	}
	known := map[wire.FrameDBID]bool{}
	for _, e := range entries {
		if id := wire.FrameDBID(e.Name()); e.IsDir() && id.Validate() == nil {
			known[id] = true
		}
	}
	for conf := range procs {
		known[wire.FrameDBID(filepath.Base(filepath.Dir(conf)))] = true
	}
	ids := make([]wire.FrameDBID, 0, len(known))
	for id := range known {
		ids = append(ids, id)
	}
	return ids, nil
}

// closeAllStorage ends the database servers, if Config.StopOnClose says so.
func (d *Driver) closeAllStorage(ctx context.Context) error {
	procs, err := d.scanStorage()
	if err != nil {
		return err
	}
	ids, err := d.storageIDs(procs)
	if err != nil {
		return err
	}
	return errors.Join(parallel(ids, func(id wire.FrameDBID) error {
		t, err := d.acquire(ctx, d.storageDir(id))
		if err != nil {
			return err
		}
		defer d.give(t)
		s, err := d.loadStorage(id, procs)
		if err != nil || !d.cfg.StopOnClose || !s.exists() {
			return err
		}
		return d.end(ctx, s.server(), closeGrace)
	})...)
}
