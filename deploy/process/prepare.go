package process

import (
	"context"
	"fmt"
	"path/filepath"
	"reflect"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

// prepare makes the files that must be there before anything runs. In a new
// cluster the Sentinels' files are written before the mark that it was born,
// so that from then on there is always somebody to ask for the master.
func (a *application) prepare(ctx context.Context) error {
	a.fresh = !a.c.born()
	if err := a.writeSpec(); err != nil {
		return err
	}
	for _, m := range a.c.members {
		if err := a.restore(m); err != nil {
			return fmt.Errorf("restore the files of %s: %w", m.id, err)
		}
	}
	for ordinal := range a.spec.Replicas {
		if err := a.prepareMember(ctx, ordinal); err != nil {
			return fmt.Errorf("prepare %s: %w", a.c.name.Member(ordinal), err)
		}
	}
	if a.fresh {
		if err := a.writeFirstSentinels(); err != nil {
			return err
		}
	}
	if a.c.marked {
		return nil
	}
	return writeFile(filepath.Join(a.c.dir, bornName), nil)
}

func (a *application) writeSpec() error {
	if a.c.specced && reflect.DeepEqual(a.c.spec, a.spec) {
		return nil
	}
	if err := makeDir(a.c.dir, 0o700); err != nil {
		return err
	}
	return writeJSON(filepath.Join(a.c.dir, specName), a.spec)
}

// restore writes down again what a member's processes have told.
func (a *application) restore(m *member) error {
	if m.lost {
		a.log.Warn("a member has lost its files: written anew", "member", m.id, "redis", m.file.RedisPort, "sentinel", m.file.SentinelPort)
		if err := makeDir(m.dir, 0o700); err != nil {
			return err
		}
	}
	if m.lost && m.file.Started {
		if err := writeJSON(filepath.Join(m.dir, memberName), m.file); err != nil {
			return err
		}
	}
	for _, s := range []server{m.redis(a.Driver), m.sentinel()} {
		id, running, err := a.look(a.turn, s)
		if err != nil {
			return err
		}
		var noted identity
		if !running || readJSON(s.pidFile(), &noted) == nil && noted == id {
			continue
		}
		a.log.Info("found a process that was not noted", "kind", s.kind, "pid", id.PID, "address", address(s.Endpoint))
		if err := writeJSON(s.pidFile(), id); err != nil {
			return err
		}
	}
	return nil
}

// prepareMember gives a member its ports. One that nobody knows of yet gets
// others when somebody took them meanwhile; otherwise they are for life.
func (a *application) prepareMember(ctx context.Context, ordinal int) error {
	m := a.c.member(ordinal)
	if m != nil && (m.file.Started || !a.fresh && !m.lost && ordinal == 0) {
		return nil
	}
	if m == nil {
		m = &member{id: a.c.name.Member(ordinal), ordinal: ordinal, dir: a.c.memberDir(ordinal)}
		if err := makeDir(m.dir, 0o700); err != nil {
			return err
		}
		a.c.insert(m)
	}
	before := m.file
	if !m.lost {
		m.file.Host = a.cfg.Host
	}
	if m.lost && m.file.RedisPort == 0 && len(a.c.members) == 1 {
		m.file.RedisPort = a.claimedPort(ctx, m)
	}
	if err := a.ensurePort(ctx, m.redis(a.Driver), &m.file.RedisPort, a.cfg.BasePort); err != nil {
		return err
	}
	if err := a.ensurePort(ctx, m.sentinel(), &m.file.SentinelPort, a.cfg.BaseSentinelPort); err != nil {
		return err
	}
	if m.file == before {
		return nil
	}
	return writeJSON(filepath.Join(m.dir, memberName), m.file)
}

// claimedPort is where the Sentinel of an only member, which has lost its
// directory, expects its Redis; 0 when it does not tell. With other members it
// is not asked: the master of a claim may start before them, and this one has
// nothing that they should copy.
func (a *application) claimedPort(ctx context.Context, m *member) int {
	newest, ok := deploy.NewestMaster(a.Driver.claims(ctx, []wire.Endpoint{m.sentinel().Endpoint}))
	if !ok || newest.Master.Host != m.file.Host {
		return 0
	}
	a.ports.own(newest.Master.Port)
	return newest.Master.Port
}

// ensurePort leaves a port that is free, or held by the server itself.
func (d *Driver) ensurePort(ctx context.Context, s server, port *int, base int) error {
	if *port != 0 {
		free, err := portIsFree(ctx, wire.Endpoint{Host: d.cfg.Host, Port: *port})
		if err != nil || free {
			return err
		}
		if _, running, _, err := d.find(s); err != nil || running {
			return err
		}
		d.ports.release(*port)
	}
	taken, err := d.takePort(ctx, base)
	*port = taken
	return err
}

func (a *application) writeFirstSentinels() error {
	for _, m := range a.c.members {
		s := m.sentinel()
		conf := sentinelConf(&a.cfg, s, &a.spec, newKnowledge(*newestOf(a.c, 0)), beside{})
		if err := writeFile(s.conf(), conf); err != nil {
			return err
		}
	}
	return nil
}
