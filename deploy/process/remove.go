package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy/sockets"
)

const (
	// closeWithin bounds Close; closeGrace is what of it the servers have to
	// end by themselves. A little more than Redis' shutdown-timeout.
	closeWithin = 5 * time.Second
	closeGrace  = 3500 * time.Millisecond
	// sideBySide is how many servers are started or ended at once.
	sideBySide = 16
)

// Remove implements deploy.Driver. The processes end first; then the files are
// gone from under the cluster's name in one step, so that a Remove that is cut
// off leaves either a cluster that can be removed again, or nothing.
func (d *Driver) Remove(ctx context.Context, name wire.ClusterName) error {
	t, err := d.take(ctx, name)
	if err != nil {
		return err
	}
	defer d.give(t)
	procs, err := d.scan()
	if err != nil {
		return err
	}
	c, err := d.load(name, procs)
	if err != nil {
		return err
	}
	if err := d.endAll(ctx, c.members, endGrace); err != nil {
		return fmt.Errorf("remove cluster %s: %w", name, err)
	}
	for _, m := range c.members {
		if err := d.dropSockets(m); err != nil {
			return fmt.Errorf("remove cluster %s: %w", name, err)
		}
	}
	if err := discard(c.dir, filepath.Join(d.cfg.Dir, removedPrefix+string(name))); err != nil {
		return fmt.Errorf("remove cluster %s: %w", name, err)
	}
	for _, m := range c.members {
		d.ports.release(m.file.RedisPort, m.file.SentinelPort)
	}
	clear(t.reasons)
	return nil
}

// endAll ends members: their Sentinels first, which would call the others down.
func (d *Driver) endAll(ctx context.Context, members []*member, grace time.Duration) error {
	errs := parallel(members, func(m *member) error { return d.end(ctx, m.sentinel(), grace) })
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return errors.Join(parallel(members, func(m *member) error { return d.end(ctx, m.redis(d), grace) })...)
}

// endMember ends one member and deletes all of it.
func (d *Driver) endMember(ctx context.Context, t *turn, m *member) error {
	if err := d.endAll(ctx, []*member{m}, endGrace); err != nil {
		return err
	}
	if err := d.dropSockets(m); err != nil {
		return err
	}
	if err := discard(m.dir, filepath.Join(d.cfg.Dir, removedPrefix+string(m.id))); err != nil {
		return err
	}
	d.ports.release(m.file.RedisPort, m.file.SentinelPort)
	delete(t.reasons, m.redis(d).conf())
	delete(t.reasons, m.sentinel().conf())
	return nil
}

func (d *Driver) dropSockets(m *member) error {
	if err := sockets.Remove(d.socketPath(m.id)); err != nil {
		return err
	}
	return d.dropLinks(m.id)
}

// discard makes a directory vanish in one step, to aside, and then deletes it.
// It needs no space, so it works on a full disk.
func discard(dir, aside string) error {
	if err := os.RemoveAll(aside); err != nil {
		return err
	}
	if err := os.Rename(dir, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(aside)
}

// Close ends the processes when Config.StopOnClose says so, within 5 seconds,
// and otherwise leaves them to the next driver. Calls under way are waited
// for, as long; later ones fail with ErrUnavailable.
func (d *Driver) Close(ctx context.Context) error {
	d.mu.Lock()
	again := d.closed
	d.closed = true
	d.mu.Unlock()
	if again {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, closeWithin)
	defer cancel()
	return errors.Join(d.closeAll(ctx), d.sentinels.Close())
}

func (d *Driver) closeAll(ctx context.Context) error {
	procs, err := d.scan()
	if err != nil {
		return err
	}
	names, err := d.names(procs)
	if err != nil {
		return err
	}
	errs := parallel(names, func(name wire.ClusterName) error { return d.closeCluster(ctx, name, procs) })
	return errors.Join(append(errs, d.closeAllStorage(ctx))...)
}

func (d *Driver) closeCluster(ctx context.Context, name wire.ClusterName, procs table) error {
	t, err := d.acquire(ctx, d.clusterDir(name))
	if err != nil {
		return err
	}
	defer d.give(t)
	if !d.cfg.StopOnClose {
		return nil
	}
	c, err := d.load(name, procs)
	if err != nil {
		return err
	}
	return d.endAll(ctx, c.members, closeGrace)
}

// parallel does work for all items, some at a time, and returns the errors in
// the order of the items.
func parallel[T any](items []T, work func(T) error) []error {
	errs := make([]error, len(items))
	slots := make(chan struct{}, sideBySide)
	var all sync.WaitGroup
	for i, item := range items {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			errs[i] = work(item)
		})
	}
	all.Wait()
	return errs
}
