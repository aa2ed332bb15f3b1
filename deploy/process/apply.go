package process

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

// application is one Apply under way.
type application struct {
	*Driver
	turn  *turn
	c     *cluster
	spec  wire.ClusterSpec
	fresh bool // nothing of the cluster ever ran
	// runs holds the servers that were seen running, by configuration file.
	runs   map[string]bool
	claims []deploy.Claim
	failed map[string]error // by configuration file
}

// Apply implements deploy.Driver.
func (d *Driver) Apply(ctx context.Context, name wire.ClusterName, spec wire.ClusterSpec) error {
	if err := spec.Validate(); err != nil {
		return err
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
	a.spec = spec
	return a.run(ctx)
}

// begin loads the cluster to work on it, as it was last specified.
func (d *Driver) begin(t *turn, name wire.ClusterName) (*application, error) {
	procs, err := d.scan()
	if err != nil {
		return nil, err
	}
	c, err := d.load(name, procs)
	if err != nil {
		return nil, err
	}
	return &application{Driver: d, turn: t, c: c, spec: c.spec, runs: map[string]bool{}, failed: map[string]error{}}, nil
}

func (a *application) run(ctx context.Context) error {
	if err := a.prepare(ctx); err != nil {
		return err
	}
	if err := a.observe(); err != nil {
		return err
	}
	a.keepKnowledge(ctx)
	if a.settled() {
		return a.result()
	}
	if a.fresh {
		// Redis first: a Sentinel that finds no master would call it down.
		a.startMembers(ctx)
		a.startSentinels(ctx, newestOf(a.c, 0))
	} else {
		a.startSentinels(ctx, nil)
		if a.claims = a.Driver.claims(ctx, a.runningSentinels()); len(a.claims) == 0 {
			a.claims = a.followed(ctx)
		}
		a.startSentinels(ctx, a.target())
		a.startMembers(ctx)
	}
	a.endSurplus(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return a.result()
}

// wanted says whether the spec asks for the member.
func (a *application) wanted(m *member) bool { return m.ordinal < a.spec.Replicas }

// stays says whether the member is to run: the master remains one, beyond the
// spec too, until another is promoted.
func (a *application) stays(m *member) bool {
	newest, ok := deploy.NewestMaster(a.claims)
	return a.wanted(m) || ok && newest.Master == m.redis(a.Driver).Endpoint
}

// observe sees what runs.
func (a *application) observe() error {
	for _, m := range a.c.members {
		for _, s := range []server{m.redis(a.Driver), m.sentinel()} {
			_, runs, err := a.look(a.turn, s)
			if err != nil {
				return err
			}
			a.saw(s, runs)
		}
	}
	return nil
}

func (a *application) saw(s server, runs bool) {
	a.runs[s.conf()] = runs
	if runs {
		delete(a.turn.reasons, s.conf())
	}
}

// settled says that everything runs and nothing is beyond the spec.
func (a *application) settled() bool {
	for _, m := range a.c.members {
		if !a.wanted(m) || !a.runs[m.redis(a.Driver).conf()] || !a.runs[m.sentinel().conf()] {
			return false
		}
	}
	return true
}

func (a *application) runningSentinels() []wire.Endpoint {
	var running []wire.Endpoint
	for _, m := range a.c.members {
		if s := m.sentinel(); a.runs[s.conf()] {
			running = append(running, s.Endpoint)
		}
	}
	return running
}

// target is what a Sentinel without knowledge is told: the newest claim, or
// nil when there is none to trust.
func (a *application) target() *deploy.Claim {
	if newest, ok := deploy.NewestMaster(a.claims); ok {
		return &newest
	}
	if len(a.claims) == 0 && len(a.c.members) == 1 {
		return newestOf(a.c, 0)
	}
	return nil
}

// followed stands in for the claims where no Sentinel runs and none left what
// it knew: the master is whom every member that runs names, the master itself
// and those that follow it, also one that has died.
func (a *application) followed(ctx context.Context) []deploy.Claim {
	var master wire.Endpoint
	for _, m := range a.c.members {
		if _, knows, err := readKnowledge(m.sentinel().conf()); err != nil || knows || a.runs[m.sentinel().conf()] {
			return nil
		}
		s := m.redis(a.Driver)
		if !a.runs[s.conf()] {
			continue
		}
		names, err := a.askMaster(ctx, s.Endpoint)
		if err != nil || master.Port != 0 && names != master {
			return nil
		}
		master = names
	}
	if !slices.ContainsFunc(a.c.members, func(m *member) bool { return a.peer(m).Endpoint == master }) {
		return nil
	}
	a.log.Warn("no Sentinel knows the master: they learn anew whom the members follow", "cluster", a.c.name, "master", address(master))
	return []deploy.Claim{{Master: master}}
}

// newestOf is the claim that a member is the first master.
func newestOf(c *cluster, ordinal int) *deploy.Claim {
	m := c.member(ordinal)
	return &deploy.Claim{Master: wire.Endpoint{Host: m.file.Host, Port: m.file.RedisPort}}
}

// startSentinels starts the missing Sentinels, those that know the master by
// what they know, the others by what they are told; without that they wait.
func (a *application) startSentinels(ctx context.Context, told *deploy.Claim) {
	others := a.beside()
	var starts []start
	for _, m := range a.c.members {
		s := m.sentinel()
		if !a.stays(m) || a.runs[s.conf()] || a.failed[s.conf()] != nil {
			continue
		}
		k, knows, err := readKnowledge(s.conf())
		switch {
		case err != nil:
			a.fail(s, err)
			continue
		case !knows && told == nil:
			a.turn.reasons[s.conf()] = "no Sentinel of the cluster could be asked which member is the master"
			continue
		case !knows:
			k = newKnowledge(*told)
		}
		starts = append(starts, start{s, sentinelConf(&a.cfg, s, &a.spec, k, others)})
	}
	a.startAll(ctx, starts)
}

// keepKnowledge has the Sentinels that run write down again what they know,
// where that was lost.
func (a *application) keepKnowledge(ctx context.Context) {
	for _, m := range a.c.members {
		s := m.sentinel()
		if _, knows, err := readKnowledge(s.conf()); err != nil || knows || !a.runs[s.conf()] {
			continue
		}
		if err := a.flushConfig(ctx, s.Endpoint); err != nil {
			a.fail(s, fmt.Errorf("have it write %s: %w", s.conf(), err))
		}
	}
}

func (a *application) beside() beside {
	b := beside{sentinels: map[string]wire.Endpoint{}}
	for _, m := range a.c.members {
		if !a.wanted(m) {
			continue
		}
		b.replicas = append(b.replicas, m.redis(a.Driver).Endpoint)
		if k, knows, err := readKnowledge(m.sentinel().conf()); err == nil && knows {
			b.sentinels[k.id] = m.sentinel().Endpoint
		}
	}
	return b
}

// startMembers starts the missing members that may start, the master before
// those that follow it.
func (a *application) startMembers(ctx context.Context) {
	for ctx.Err() == nil {
		starts := a.startable()
		if len(starts) == 0 {
			return
		}
		a.startAll(ctx, starts)
	}
}

func (a *application) startable() []start {
	var starts []start
	for _, m := range a.c.members {
		s := m.redis(a.Driver)
		if !a.stays(m) || a.runs[s.conf()] || a.failed[s.conf()] != nil {
			continue
		}
		boot := deploy.DecideBoot(a.peer(m), a.fresh, a.claims, a.peersOf(m))
		if boot.ReplicaOf != nil && !a.endpointRuns(*boot.ReplicaOf) {
			boot = deploy.Boot{Hold: true, Reason: "waits for the master " + address(*boot.ReplicaOf) + " to start first"}
		}
		if boot.Hold {
			a.turn.reasons[s.conf()] = boot.Reason
			continue
		}
		starts = append(starts, start{s, redisConf(&a.cfg, s, &a.spec, boot)})
	}
	return starts
}

func (a *application) peer(m *member) deploy.Peer {
	s := m.redis(a.Driver)
	return deploy.Peer{Ordinal: m.ordinal, Endpoint: s.Endpoint, Running: a.runs[s.conf()]}
}

func (a *application) peersOf(self *member) []deploy.Peer {
	var peers []deploy.Peer
	for _, m := range a.c.members {
		if m != self {
			peers = append(peers, a.peer(m))
		}
	}
	return peers
}

func (a *application) endpointRuns(e wire.Endpoint) bool {
	for _, m := range a.c.members {
		if p := a.peer(m); p.Endpoint == e && p.Running {
			return true
		}
	}
	return false
}

// start is a server and the file to start it with.
type start struct {
	server
	conf []byte
}

// startAll starts servers side by side. What fails is remembered, and tried
// again by the next Apply.
func (a *application) startAll(ctx context.Context, starts []start) {
	errs := parallel(starts, func(st start) error { return a.start(ctx, st.server, st.conf) })
	for i, st := range starts {
		if errs[i] != nil {
			a.fail(st.server, errs[i])
			continue
		}
		a.saw(st.server, true)
		if m := a.c.memberOf(st.server); !m.file.Started {
			m.file.Started = true
			if err := writeJSON(filepath.Join(m.dir, memberName), m.file); err != nil {
				a.fail(st.server, err)
			}
		}
	}
}

func (a *application) fail(s server, err error) {
	a.failed[s.conf()] = err
	a.turn.reasons[s.conf()] = err.Error()
	a.log.Warn("could not set up a server", "kind", s.kind, "address", address(s.Endpoint), "error", err)
}

// result is the first failure in the order of the members; Observe has all.
func (a *application) result() error {
	for _, m := range a.c.members {
		for _, s := range []server{m.redis(a.Driver), m.sentinel()} {
			if err := a.failed[s.conf()]; err != nil {
				return fmt.Errorf("%s: %w", m.id, err)
			}
		}
	}
	return nil
}

// endSurplus ends the members beyond the spec, except one that may be the
// master: with it would go the only data, or all that the others follow.
func (a *application) endSurplus(ctx context.Context) {
	_, agreed := deploy.NewestMaster(a.claims)
	for _, m := range a.c.members {
		s := m.redis(a.Driver)
		switch {
		case a.wanted(m):
		case !agreed:
			a.turn.reasons[s.conf()] = "is beyond the replicas, but no Sentinel could be asked whether it is the master"
		case a.stays(m):
			a.turn.reasons[s.conf()] = "is beyond the replicas, but still the master: waits for a failover to a member that stays"
		default:
			if err := a.endMember(ctx, a.turn, m); err != nil {
				a.fail(s, err)
			}
		}
	}
}
