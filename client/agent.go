package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// statusPath asks an agent who it is and which agents it knows, without the
// lists of what FrameDB runs.
const statusPath = "/v1/status?brief=true"

// agent is one way to an agent. Its address, its socket and what other agents
// tell of it are several ways to one.
type agent struct {
	addr   string // as the user wrote it
	base   string // what request paths are appended to
	socket string // the unix socket path, or ""
	given  bool   // by configuration
	near   bool   // a TCP address of this machine
	http   *http.Client

	// What follows belongs to agents, whose lock guards it.

	node   wire.NodeName // who answers there; "" if nobody was asked yet
	told   time.Time     // when a list of members named it last
	gone   bool          // the newest list did not, or called it dead
	heard  time.Time     // when it last answered a probe
	silent time.Time     // when it last answered none while another agent did
	failed time.Time     // when it was last left, or found dead
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
	return &agent{addr: full, base: strings.TrimSuffix(full, "/"), near: isHere(u.Hostname()), http: shared}, nil
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
	d := net.Dialer{Timeout: contactTimeout}
	return d.DialContext(ctx, network, addr)
}

// isHere reports whether the host is an address of this machine.
func isHere(host string) bool {
	ip := net.ParseIP(host)
	if ip == nil {
		return host == "localhost"
	}
	if ip.IsLoopback() {
		return true
	}
	own, _ := net.InterfaceAddrs()
	return slices.ContainsFunc(own, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(ip)
	})
}

// ready asks the agent, once, whether it may be asked. A *wire.Error says that
// it is there but not ready. A 4xx at an address that the user gave is an
// answer of something that will say better itself what is wrong; at one that
// other agents told of, it is somebody else's: seen from here, the network is
// another one.
func (w *agent) ready(ctx context.Context) error {
	res, err := w.get(ctx, "/readyz")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode >= http.StatusInternalServerError:
		return refusal(w, res)
	case res.StatusCode >= http.StatusBadRequest && w.node != "":
		return &transportError{addr: w.addr, err: fmt.Errorf("%s, which no agent says here", res.Status)}
	}
	io.Copy(io.Discard, io.LimitReader(res.Body, maxErrorBody)) // the connection serves on
	return nil
}

// status asks, once, who answers and which agents it knows.
func (w *agent) status(ctx context.Context) (wire.Status, error) {
	var s wire.Status
	res, err := w.get(ctx, statusPath)
	if err != nil {
		return s, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return s, refusal(w, res)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return s, &transportError{addr: w.addr, err: err}
	}
	return s, json.Unmarshal(body, &s)
}

func (w *agent) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.base+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := w.http.Do(req)
	if err != nil {
		return nil, newTransportError(w.addr, err)
	}
	return res, nil
}

// ownSocket returns the unix socket of the agent at an address of this machine,
// which says so in its status; nil when it cannot be used here, or another
// agent answers on it.
func ownSocket(ctx context.Context, there wire.Status) *agent {
	if there.Socket == "" {
		return nil
	}
	local := socketAgent(there.Socket)
	here, err := local.status(ctx)
	if err == nil && here.Node == there.Node && here.StartedAt.Equal(there.StartedAt) {
		local.node = here.Node
		return local
	}
	local.http.CloseIdleConnections()
	return nil
}
