package client

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/framedb/framedb/client/wire"
)

const (
	// refreshEvery is how old the list of agents may become while it is used.
	// It is also how long a failure is remembered: as the best way is looked for
	// anew at the same time, a client is back at its own agent that long after
	// the agent's restart.
	refreshEvery = 30 * time.Second
	// refreshSoon is when the next try follows one that failed.
	refreshSoon = 5 * time.Second
	// keepFor is how long an agent is remembered that is on no list any more:
	// an agent that has just started knows nobody.
	keepFor = 10 * time.Minute
	// maxHops bounds how many agents are asked in a row without a pause.
	maxHops = 3
)

// agents is the list of ways to FrameDB and which one is in use.
type agents struct {
	shared  *http.Client
	owned   bool // shared is ours to close
	timeout time.Duration
	fixed   bool     // no others than given
	given   []*agent // by configuration, else where the agent of this machine may be

	// lock holds a token for the one who may use the fields below. It is no
	// Mutex because looking for an agent may take a second, and whoever waits
	// meanwhile must hear its own context.
	lock    chan struct{}
	local   *agent   // the socket of an agent on this machine that was found by its address
	learned []*agent // as agents told
	leader  wire.NodeName
	use     *agent    // nil when one must be looked for
	due     time.Time // when use and the list are looked at anew
}

func newAgents(cfg Config) (*agents, error) {
	a := &agents{shared: cfg.HTTPClient, timeout: cfg.Timeout, fixed: cfg.AddrsOnly, lock: make(chan struct{}, 1)}
	if a.shared == nil {
		a.owned = true
		a.shared = &http.Client{Transport: &http.Transport{
			DialContext:         dial,
			MaxIdleConnsPerHost: 16,
			IdleConnTimeout:     time.Minute,
		}}
	}
	for _, addr := range addresses(cfg) {
		way, err := newAgent(strings.TrimSpace(addr), a.shared)
		if err != nil {
			return nil, err
		}
		way.given = true
		a.given = append(a.given, way)
	}
	return a, nil
}

// addresses are those of the configuration, else the places where the agent of
// this machine may be, best first.
func addresses(cfg Config) []string {
	if len(cfg.Addrs) > 0 {
		return cfg.Addrs
	}
	if env := os.Getenv(EnvAddr); env != "" {
		return strings.Split(env, ",")
	}
	addrs := []string{DefaultAddr}
	for _, path := range slices.Backward(sockets()) {
		addrs = append([]string{"unix://" + path}, addrs...)
	}
	return addrs
}

func (a *agents) take(ctx context.Context) error {
	select {
	case a.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *agents) unlock() { <-a.lock }

func (a *agents) close() {
	a.lock <- struct{}{}
	defer a.unlock()
	for _, w := range a.ways() {
		if w.socket != "" || a.owned {
			w.http.CloseIdleConnections()
		}
	}
}

// current returns the agent to ask. It fails when none answers, as one request
// without an answer does, and when ctx ends first.
func (a *agents) current(ctx context.Context) (*agent, error) {
	if err := a.take(ctx); err != nil {
		return nil, err
	}
	defer a.unlock()
	if a.use == nil || !time.Now().Before(a.due) {
		if err := a.choose(ctx); err != nil {
			return nil, err
		}
	}
	return a.use, nil
}

// choose looks for the best agent that is ready and asks it for all the others;
// once more if that told of a better one. When no agent is ready, one that
// answers will say why, and one that is in use stays so.
func (a *agents) choose(ctx context.Context) error {
	for range 2 {
		found := a.contact(ctx, a.ways())
		if err := ctx.Err(); err != nil {
			return err
		}
		switch {
		case found.ready != nil:
			a.use = found.ready
			a.use.failed = time.Time{}
		case len(found.alive) > 0:
			a.use = found.alive[0]
		case a.use == nil:
			return found.err
		}
		a.learn(ctx)
		if found.ready == nil || a.ways()[0] == a.use {
			break
		}
	}
	return nil
}

// contact searches the ways and remembers what it found.
func (a *agents) contact(ctx context.Context, ways []*agent) *contact {
	bound := a.timeout // one agent alone may take its time
	if countNodes(ways) > 1 {
		bound = contactTimeout
	}
	limited, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	found := search(limited, ways)
	now := time.Now()
	for _, w := range found.alive {
		w.heard = now
	}
	for _, w := range found.dead {
		if ctx.Err() == nil {
			w.failed = now
		}
	}
	return found
}

// learn asks the agent in use for all agents. If it was found by an address of
// this machine, its socket takes its place, which is quicker and the only way
// to credentials.
func (a *agents) learn(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, contactTimeout)
	defer cancel()
	s, err := a.use.status(ctx)
	if err != nil {
		a.due = time.Now().Add(refreshSoon)
		return
	}
	a.due = time.Now().Add(refreshEvery)
	a.use.node, a.leader = s.Node, s.Leader
	if !a.fixed {
		a.remember(s.Members)
	}
	if !a.use.near {
		return
	}
	if local := ownSocket(ctx, s); local != nil {
		if a.local != nil {
			a.local.http.CloseIdleConnections()
		}
		a.local, a.use = local, local
	}
}

// remember takes a list of members. They are shuffled, so that the clients of
// an agent that died do not all go to the same one.
func (a *agents) remember(members []wire.Member) {
	now := time.Now()
	for _, w := range a.learned {
		w.gone = true
	}
	for _, m := range members {
		w := a.at(m.Address)
		if w == nil {
			continue // it does not say where it listens
		}
		w.node, w.gone, w.told = m.Name, !m.Alive, now
	}
	a.learned = slices.DeleteFunc(a.learned, func(w *agent) bool { return now.Sub(w.told) > keepFor })
	rand.Shuffle(len(a.learned), func(i, j int) { a.learned[i], a.learned[j] = a.learned[j], a.learned[i] })
}

// at returns the way to host:port, a new one if need be, or nil. It is taken to
// speak TLS if the agent that told of it was reached so.
func (a *agents) at(address string) *agent {
	scheme, _, _ := strings.Cut(a.use.base, "://")
	addr := scheme + "://" + address
	for _, w := range slices.Concat(a.given, a.learned) {
		if w.base == addr {
			return w
		}
	}
	w, err := newAgent(addr, a.shared)
	if err != nil {
		return nil
	}
	a.learned = append(a.learned, w)
	return w
}

// ways are all ways in the order in which they are asked: those that failed of
// late last, the one that did so longest ago first.
func (a *agents) ways() []*agent {
	ways := slices.Concat(a.given, a.learned)
	if a.local != nil {
		ways = append([]*agent{a.local}, ways...)
	}
	now := time.Now()
	failed := func(w *agent) int64 {
		if now.Sub(w.failed) < refreshEvery {
			return w.failed.UnixNano()
		}
		return 0
	}
	slices.SortStableFunc(ways, func(v, w *agent) int {
		return cmp.Or(cmp.Compare(failed(v), failed(w)), cmp.Compare(a.rank(v), a.rank(w)))
	})
	return ways
}

// rank says how good a way is, the lower the better: on this machine, the one
// that works, the one that changes go to in the end, those that the user named,
// and those that were heard of.
func (a *agents) rank(w *agent) int {
	const socket, near, works, leader, given, member, gone = 0, 2, 4, 6, 8, 10, 12
	rank := member
	switch {
	case w.socket != "":
		rank = socket
	case w.near:
		rank = near
	case w.gone:
		rank = gone
	case w.node != "" && w.node == a.leader:
		rank = leader
	case w.given:
		rank = given
	}
	if w == a.use {
		return min(rank, works) - 1 // no change among equals
	}
	return rank
}

// leave makes the next call look for an agent: another one, after one that
// failed in a way that another one may not; the same one if it is still there,
// when err is nil. It returns how many tries may follow each other without a
// pause.
func (a *agents) leave(ctx context.Context, from *agent, err error) (tries int) {
	if a.take(ctx) != nil {
		return 1
	}
	defer a.unlock()
	if err == nil {
		a.due = time.Time{}
		return 1
	}
	ways := a.ways()
	if a.use == from {
		a.use = nil
	}
	from.failed = time.Now()
	switch {
	case errors.Is(err, wire.ErrOverloaded):
		return 1 // asking elsewhere at once makes it worse
	case isTransport(err):
		return min(len(ways), maxHops) // the same agent may answer another way
	}
	a.markNode(from)
	return min(countNodes(ways), maxHops)
}

// markNode remembers a failure that is the agent's, whichever way it is asked.
func (a *agents) markNode(from *agent) {
	for _, w := range a.ways() {
		if w == from || w.node != "" && w.node == from.node {
			w.failed = time.Now()
		}
	}
}

// countNodes takes a way of which it is not known where it leads for another
// agent.
func countNodes(ways []*agent) int {
	nodes, n := map[wire.NodeName]bool{}, 0
	for _, w := range ways {
		if w.node == "" || !nodes[w.node] {
			n++
		}
		nodes[w.node] = true
	}
	return n
}

// here is the node of this machine's agent, or "" unless calls go through its
// socket.
func (a *agents) here(ctx context.Context) (wire.NodeName, error) {
	w, err := a.current(ctx)
	if err != nil || w.socket == "" {
		return "", err
	}
	if err := a.take(ctx); err != nil {
		return "", err
	}
	defer a.unlock()
	return w.node, nil
}
