package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

// miss says what a running Redis has lost that it makes only when it starts.
func miss(p *deploy.Process, s server, id identity, backup bool) {
	var lost string
	if info, err := os.Lstat(s.socket); errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode().Type() != fs.ModeSocket {
		p.Socket = "" // no client could connect
		lost = fmt.Sprintf("its socket %s was deleted", s.socket)
	}
	if backup && movedOut(s, id) {
		lost = fmt.Sprintf("its directory %s was deleted, so that nothing is backed up", s.dir)
	}
	if lost == "" {
		return
	}
	p.NeedsRestart = true
	p.Reason = lost + ": it is made anew when the member restarts, which waits until another member can serve (a cluster of one needs a second: set replicas to 2)"
}

// movedOut says that the process works in another directory than the one that
// is there now.
func movedOut(s server, id identity) bool {
	works, err := os.Stat(fmt.Sprintf("/proc/%d/cwd", id.PID))
	if err != nil {
		return false // it has ended, or could not be seen
	}
	now, err := os.Stat(s.dir)
	return errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(works, now)
}

// Restart implements deploy.Driver.
func (d *Driver) Restart(ctx context.Context, id wire.FrameDBID) error {
	name, ordinal, ok := id.SplitMember()
	if !ok {
		return wire.InField("framedb_id", wire.Errorf(wire.CodeInvalidArgument, "%q is no member's ID", id))
	}
	t, err := d.take(ctx, name)
	if err != nil {
		return err
	}
	defer d.give(t)
	a, err := d.begin(t, name)
	if err != nil {
		return err
	}
	m := a.c.member(ordinal)
	if m == nil || !a.c.specced {
		return wire.Errorf(wire.CodeNotFound, "there is no member %s, or its cluster has to be applied first", id)
	}
	if err := a.observe(); err != nil {
		return err
	}
	return a.restart(ctx, m)
}

// restart ends only what others can do without.
func (a *application) restart(ctx context.Context, m *member) error {
	a.claims = a.Driver.claims(ctx, a.runningSentinels())
	s := m.redis(a.Driver)
	newest, agreed := deploy.NewestMaster(a.claims)
	switch {
	case !agreed:
		return wire.Errorf(wire.CodeUnavailable, "%s is not restarted: the Sentinels name no master", m.id)
	case newest.Master == s.Endpoint:
		return wire.Errorf(wire.CodeConflict, "%s is not restarted: it is the master, make another one master first", m.id)
	case !a.endpointRuns(newest.Master):
		return wire.Errorf(wire.CodeUnavailable, "%s is not restarted: the master %s does not run", m.id, address(newest.Master))
	}
	if err := a.end(ctx, s, endGrace); err != nil {
		return err
	}
	a.saw(s, false)
	a.startMembers(ctx)
	return a.result()
}
