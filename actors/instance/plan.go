package instance

import (
	"strconv"
	"time"

	"github.com/framedb/framedb/client/wire"
)

const (
	// failoverEvery is how long a failover that was started has until it is
	// started again: Sentinel needs one to three seconds for one.
	failoverEvery = 5 * time.Second
	// restartEvery is the least time between restarts of members, however soon
	// the cluster seems well again.
	restartEvery = 10 * time.Second
	// defaultPriority is Redis' replica-priority.
	defaultPriority = 100
)

// Input is all that a plan is made from.
type Input struct {
	Cluster wire.Cluster
	// Stored are the cluster's instances in the store.
	Stored []wire.Instance
	// Serves is true when the node has chosen this cluster for its tag's socket.
	Serves bool
	Past   Past
	Now    time.Time
	Seen   Observation
}

// Past is what this agent did to the cluster earlier.
type Past struct {
	// Applied is the generation that the driver last brought about.
	Applied    uint64
	FailoverAt time.Time
	RestartAt  time.Time
	// logged is what the last plan was to do, so that a plan that is the same
	// again and again is told once.
	logged string
}

// Plan is what to do now, in this order, and what to report then.
type Plan struct {
	Actions []Action
	Report  Report
}

// MakePlan decides. It is pure. Two rules stand above all others: nothing is
// healed that could not be seen, and who follows whom is Sentinel's business.
func MakePlan(in Input) Plan {
	p := planner{Input: in}
	if in.Cluster.Status.Phase == wire.PhaseRemoving {
		return Plan{Actions: []Action{Purge{}}, Report: p.unseen("")}
	}
	if in.Seen.Err == nil {
		p.master, p.agreed = in.Seen.agreed(in.Cluster.Quorum)
		p.configure()
		if !p.failover() && !p.apply() {
			p.restart()
		}
		p.setSentinels()
		p.resetSentinel()
		p.serveTag()
	}
	return Plan{Actions: p.actions, Report: p.report()}
}

type planner struct {
	Input
	// master is whom all Sentinels name, if agreed.
	master  wire.Endpoint
	agreed  bool
	actions []Action
}

func (p *planner) do(a Action) { p.actions = append(p.actions, a) }

// leaves reports whether a member is to end because the cluster shrank.
func (p *planner) leaves(m *Member) bool { return m.Ordinal >= p.Cluster.Replicas }

func (p *planner) shrinks() bool {
	for i := range p.Seen.Members {
		if p.leaves(&p.Seen.Members[i]) {
			return true
		}
	}
	return false
}

// masterMember is the member that all Sentinels name and that says so itself.
func (p *planner) masterMember() *Member {
	if !p.agreed {
		return nil
	}
	m := p.Seen.at(p.master)
	if m == nil || !m.Answers() || m.Info.Role != wire.RoleMaster {
		return nil
	}
	return m
}

// configure brings the settings of each Redis that answers in line. Members
// that leave must not become master.
func (p *planner) configure() {
	for i := range p.Seen.Members {
		m := &p.Seen.Members[i]
		if !m.Answers() {
			continue
		}
		if options := p.options(m); len(options) > 0 {
			p.do(ConfigSet{Member: m.ID, Redis: m.redis(), Options: options})
		}
	}
}

func (p *planner) options(m *Member) map[string]string {
	options := map[string]string{}
	spec, have := &p.Cluster.ClusterSpec, m.Info.Settings
	if have.MaxMemory != spec.MaxMemory {
		options["maxmemory"] = strconv.FormatInt(spec.MaxMemory, 10)
	}
	if have.Policy != spec.MaxMemoryPolicy {
		options["maxmemory-policy"] = spec.MaxMemoryPolicy
	}
	if have.AppendOnly != spec.Backup {
		options["appendonly"] = map[bool]string{true: "yes", false: "no"}[spec.Backup]
	}
	for name, value := range spec.Settings {
		// What this Redis does not know is set all the same: it says why not.
		if was, known := have.Others[name]; !known || !wire.SameSetting(name, was, value) {
			options[name] = value
		}
	}
	switch {
	case p.leaves(m) && have.Priority != 0:
		options[priorityName] = "0"
	case !p.leaves(m) && have.Priority == 0:
		options[priorityName] = strconv.Itoa(defaultPriority)
	}
	return options
}

// apply has the driver start what is missing, end what leaves and put back
// lost files, unless all is as it should be; it reports whether it did.
func (p *planner) apply() bool {
	spec, generation := p.Cluster.ClusterSpec, p.Cluster.Generation
	if p.shrinks() && !p.mayShrink() {
		spec.Replicas, generation = p.present(), 0
	}
	if generation != 0 && (p.Past.Applied != generation || p.shrinks()) || !p.allRun(spec.Replicas) || p.Seen.FilesLost {
		p.do(Apply{Spec: spec, Generation: generation})
		return true
	}
	return false
}

// present is how many members there have to be to keep every one there is.
func (p *planner) present() int {
	n := p.Cluster.Replicas
	for _, m := range p.Seen.Members {
		n = max(n, m.Ordinal+1)
	}
	return n
}

// mayShrink reports whether members may leave: the master was seen, and stays.
func (p *planner) mayShrink() bool {
	m := p.masterMember()
	return m != nil && !p.leaves(m)
}

// allRun reports whether the members 0..n-1 were all seen to run.
func (p *planner) allRun(n int) bool {
	for ordinal := range n {
		m := p.Seen.ordinal(ordinal)
		if m == nil || !m.Redis.Running || !m.Sentinel.Running {
			return false
		}
	}
	return true
}

func (p *planner) serveTag() {
	if m := p.masterMember(); m != nil && p.Serves {
		p.do(ServeTag{Tag: p.Cluster.NodeTag, Member: m.ID})
	}
}
