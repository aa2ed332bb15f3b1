package process

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/framedb/framedb/client/wire"
)

// turn is the right to work on one cluster or persistent FrameDB.
type turn struct {
	dir   string        // of what is worked on
	token chan struct{} // holds one token while nobody has the turn
	users int           // guarded by Driver.mu: who has it or waits for it
	// reasons are Process.Reason by configuration file, as the last Apply and
	// the observations since left them. Guarded by the turn itself.
	reasons map[string]string
}

// take waits for the turn on a cluster, for a caller.
func (d *Driver) take(ctx context.Context, name wire.ClusterName) (*turn, error) {
	if err := name.Validate(); err != nil {
		return nil, err
	}
	return d.takeDir(ctx, d.clusterDir(name))
}

// takeDir is take by the directory of what is worked on.
func (d *Driver) takeDir(ctx context.Context, dir string) (*turn, error) {
	t, err := d.acquire(ctx, dir)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	if closed {
		d.give(t)
		return nil, wire.Errorf(wire.CodeUnavailable, "the process driver is closed")
	}
	return t, nil
}

// acquire waits for the turn on what has this directory.
func (d *Driver) acquire(ctx context.Context, dir string) (*turn, error) {
	d.mu.Lock()
	t := d.turns[dir]
	if t == nil {
		t = &turn{dir: dir, token: make(chan struct{}, 1), reasons: map[string]string{}}
		t.token <- struct{}{}
		d.turns[dir] = t
	}
	t.users++
	d.mu.Unlock()
	select {
	case <-t.token:
		return t, nil
	case <-ctx.Done():
		d.leave(t)
		return nil, fmt.Errorf("wait for the work on %s that is under way: %w", filepath.Base(dir), ctx.Err())
	}
}

// give hands the turn on.
func (d *Driver) give(t *turn) {
	forget := len(t.reasons) == 0
	t.token <- struct{}{}
	d.mu.Lock()
	defer d.mu.Unlock()
	if t.users--; t.users == 0 && forget {
		delete(d.turns, t.dir)
	}
}

// leave gives up waiting.
func (d *Driver) leave(t *turn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t.users--
}
