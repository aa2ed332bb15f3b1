package process

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/framedb/framedb/client/wire"
)

// prepare makes the files that must be there before anything runs. In a new
// cluster the Sentinels' files are written before the mark that it was born,
// so that from then on there is always somebody to ask for the master.
func (a *application) prepare(ctx context.Context) error {
	if err := a.writeSpec(); err != nil {
		return err
	}
	for ordinal := range a.spec.Replicas {
		if err := a.prepareMember(ctx, ordinal); err != nil {
			return fmt.Errorf("prepare %s: %w", a.c.name.Member(ordinal), err)
		}
	}
	if a.c.born {
		return nil
	}
	a.fresh = true
	if err := a.writeFirstSentinels(); err != nil {
		return err
	}
	a.c.born = true
	return writeFile(filepath.Join(a.c.dir, bornName), nil)
}

func (a *application) writeSpec() error {
	if a.c.exists && a.c.spec == a.spec {
		return nil
	}
	if err := makeDir(a.c.dir, 0o700); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(a.c.dir, specName), a.spec); err != nil {
		return err
	}
	a.c.exists, a.c.spec = true, a.spec
	return nil
}

// prepareMember gives a member its ports. One that nobody knows of yet gets
// others when somebody took them meanwhile; otherwise they are for life.
func (a *application) prepareMember(ctx context.Context, ordinal int) error {
	m := a.c.member(ordinal)
	if m != nil && (m.file.Started || a.c.born && ordinal == 0) {
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
	m.file.Host = a.cfg.Host
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

// ensurePort leaves a port that is free, or held by the server itself.
func (a *application) ensurePort(ctx context.Context, s server, port *int, base int) error {
	if *port != 0 {
		free, err := portIsFree(ctx, wire.Endpoint{Host: a.cfg.Host, Port: *port})
		if err != nil || free {
			return err
		}
		if _, running, _, err := a.find(s); err != nil || running {
			return err
		}
		a.ports.release(*port)
	}
	taken, err := a.takePort(ctx, base)
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
