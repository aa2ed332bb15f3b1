package client

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// dialTimeout bounds finding out that an agent is not there.
const dialTimeout = 2 * time.Second

// agent is one way to an agent.
type agent struct {
	addr   string // as the user wrote it
	base   string // what request paths are appended to
	socket string // the unix socket path, or ""
	http   *http.Client
}

// newAgent parses an address. Plain host:port is read as http://host:port.
func newAgent(addr string, shared *http.Client) (*agent, error) {
	if path, ok := strings.CutPrefix(addr, "unix://"); ok {
		if !strings.HasPrefix(path, "/") {
			return nil, badAddr(addr)
		}
		return socketAgent(path), nil
	}
	full := addr
	if !strings.Contains(addr, "://") {
		full = "http://" + addr
	}
	u, err := url.Parse(full)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" {
		return nil, badAddr(addr)
	}
	return &agent{addr: full, base: strings.TrimSuffix(full, "/"), http: shared}, nil
}

func badAddr(addr string) error {
	return wire.InField("addr", wire.Errorf(wire.CodeInvalidArgument,
		"%q is no address of an agent: give http://host:port or unix:///path", addr))
}

func socketAgent(path string) *agent {
	return &agent{
		addr:   "unix://" + path,
		base:   "http://agent", // nobody looks at the host on a socket
		socket: path,
		http: &http.Client{Transport: &http.Transport{
			DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, "unix", path) },
			MaxIdleConnsPerHost: 16,
			IdleConnTimeout:     time.Minute,
		}},
	}
}

func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	return d.DialContext(ctx, network, addr)
}

func answers(ctx context.Context, path string) bool {
	conn, err := dial(ctx, "unix", path)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// loopback reports whether the agent is reached by TCP on this machine.
func (a *agent) loopback() bool {
	u, err := url.Parse(a.base)
	if err != nil || a.socket != "" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// status is one plain GET /v1/status, without retries.
func (a *agent) status(ctx context.Context) (wire.Status, error) {
	var s wire.Status
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+"/v1/status", nil)
	if err != nil {
		return s, err
	}
	res, err := a.http.Do(req)
	if err != nil {
		return s, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		e, _ := responseError(res)
		return s, e
	}
	return s, json.NewDecoder(res.Body).Decode(&s)
}

// ownSocket returns the unix socket of the agent at a loopback address, or nil
// when it cannot be dialled here or another agent answers on it. known is false
// when the agent could not be asked, so that it is asked again.
func (a *agent) ownSocket(ctx context.Context) (local *agent, known bool) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	there, err := a.status(ctx)
	if err != nil {
		return nil, wire.CodeOf(err) == wire.CodeNotFound
	}
	if there.Socket == "" || !answers(ctx, there.Socket) {
		return nil, ctx.Err() == nil
	}
	local = socketAgent(there.Socket)
	here, err := local.status(ctx)
	if err == nil && here.Node == there.Node && here.StartedAt.Equal(there.StartedAt) {
		return local, true
	}
	local.http.CloseIdleConnections()
	return nil, err == nil
}

// agents is the list of ways to FrameDB and which one is in use.
type agents struct {
	shared *http.Client
	owned  bool // shared is ours to close

	// lock holds a token for the one who may use the fields below. It is no
	// Mutex because looking for the agent may take seconds, and whoever waits
	// meanwhile must hear its own context.
	lock  chan struct{}
	list  []*agent // empty until the default is looked for
	found bool     // list is that default
	cur   int
	local *agent // the socket of list[cur], a loopback address; nil if none was found
	asked bool   // list[cur] was asked for its socket
}

func newAgents(cfg Config) (*agents, error) {
	a := &agents{shared: cfg.HTTPClient, lock: make(chan struct{}, 1)}
	if a.shared == nil {
		a.owned = true
		a.shared = &http.Client{Transport: &http.Transport{
			DialContext:         dial,
			MaxIdleConnsPerHost: 16,
			IdleConnTimeout:     time.Minute,
		}}
	}
	addrs := cfg.Addrs
	if env := os.Getenv(EnvAddr); len(addrs) == 0 && env != "" {
		addrs = strings.Split(env, ",")
	}
	for _, addr := range addrs {
		agent, err := newAgent(strings.TrimSpace(addr), a.shared)
		if err != nil {
			return nil, err
		}
		a.list = append(a.list, agent)
	}
	return a, nil
}

func (a *agents) unlock() { <-a.lock }

func (a *agents) close() {
	a.lock <- struct{}{}
	defer a.unlock()
	for _, agent := range append([]*agent{a.local}, a.list...) {
		if agent != nil && (agent.socket != "" || a.owned) {
			agent.http.CloseIdleConnections()
		}
	}
}

// current returns the agent to ask; it fails only when ctx ends first. Without
// addresses the first call looks for the local socket; the first one that goes
// to a loopback address changes to the socket of the same agent, which is
// quicker and gives credentials.
func (a *agents) current(ctx context.Context) (*agent, error) {
	select {
	case a.lock <- struct{}{}:
		defer a.unlock()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if len(a.list) == 0 {
		a.list, a.cur, a.found = []*agent{a.findDefault(ctx)}, 0, true
	}
	use := a.list[a.cur]
	if !a.asked && use.loopback() {
		a.local, a.asked = use.ownSocket(ctx)
	}
	if a.local != nil {
		return a.local, nil
	}
	return use, nil
}

func (a *agents) findDefault(ctx context.Context) *agent {
	for _, path := range sockets() {
		if answers(ctx, path) {
			return socketAgent(path)
		}
	}
	return &agent{addr: DefaultAddr, base: DefaultAddr, http: a.shared}
}

// leave goes on to another agent after a call that failed in a way that
// another one may not: from a socket to the address that it was found by, from
// an address to the next one. It does nothing when someone else did it
// already. It returns how many ways to try there are.
func (a *agents) leave(from *agent, err error) (ways int) {
	a.lock <- struct{}{}
	defer a.unlock()
	ways = max(1, len(a.list))
	if a.local != nil {
		ways++
	}
	switch {
	case from == a.local:
		if isTransport(err) {
			from.http.CloseIdleConnections()
			a.local, a.asked = nil, false
		} else {
			a.nextAddress()
		}
	case len(a.list) > 0 && from == a.list[a.cur]:
		a.nextAddress()
	}
	return ways
}

// nextAddress is called with the lock held. A default that was found is looked
// for again: the agent may have come back elsewhere.
func (a *agents) nextAddress() {
	if a.found {
		a.list, a.local, a.asked = nil, nil, false
		return
	}
	if len(a.list) > 1 {
		a.cur, a.local, a.asked = (a.cur+1)%len(a.list), nil, false
	}
}
