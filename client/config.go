package client

import (
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// Environment variables that fill what Config leaves open.
const (
	// EnvAddr names the agent: http://host:port or unix:///path, several
	// separated by commas.
	EnvAddr = "FRAMEDB_ADDR"
	// EnvSocket is the path of the agent's unix socket.
	EnvSocket = "FRAMEDB_SOCKET"
	// EnvPasswordFile is a file that holds the deployment's Redis password.
	EnvPasswordFile = "FRAMEDB_PASSWORD_FILE"
)

// Where an agent listens unless told otherwise.
const (
	DefaultAddr       = "http://127.0.0.1:5000"
	defaultSocket     = "/run/framedb/agent.sock"
	defaultDataSocket = "/var/lib/framedb/agent.sock"
)

// Config says how to reach FrameDB. The zero value finds the agent of this
// machine.
type Config struct {
	// Addrs are agents, http://host:port or unix:///path. Any agent answers
	// for all of FrameDB and tells of all others, so one that lives is enough:
	// the others are asked when it fails, over TLS if it was. One on this
	// machine is preferred, over its unix socket if it can be reached here.
	// Empty: FRAMEDB_ADDR, else the first that answers among the unix sockets
	// FRAMEDB_SOCKET, /run/framedb/agent.sock and /var/lib/framedb/agent.sock
	// and http://127.0.0.1:5000.
	Addrs []string
	// AddrsOnly asks no agent but those of Addrs, for example to hear what one
	// agent knows. It gives up what the others could do when those fail.
	AddrsOnly bool
	// HTTPClient serves http:// and https:// addresses, for TLS settings and
	// tests. Its Timeout should be zero: calls may wait long on purpose. Nil
	// makes one with its own connections, which Close closes.
	HTTPClient *http.Client
	// NodeTags are the tags of the node that this program runs on, best first:
	// they choose among a source's mappings. Empty: those of the agent, when
	// it runs on this machine.
	NodeTags []wire.NodeTag
	// Password is the deployment's Redis password, for Open. Empty: the file
	// named by FRAMEDB_PASSWORD_FILE, else it is asked of the agent over its
	// unix socket, which answers root and its own user only.
	Password string
	// Logger hears of retries and reconnects; nil is silent.
	Logger *slog.Logger
	// Timeout bounds one attempt, beyond the time that the agent was asked to
	// wait. An agent that is dead or frozen is left within a second when another
	// one answers, whatever this says; it is for an agent that lives and does
	// not come to an end. Too short gives up on large bodies. Default 30 s.
	Timeout time.Duration
	// RetryFor is how long after its first failure a call is tried again.
	// Long rides out an election or a restart of the agent; short tells the
	// caller sooner. Default 10 s; negative means never, but for the next
	// agent when one cannot be reached.
	RetryFor time.Duration
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.RetryFor == 0 {
		c.RetryFor = 10 * time.Second
	}
	return c
}

// sockets are the places where the agent's unix socket may be, best first.
func sockets() []string {
	paths := []string{defaultSocket, defaultDataSocket}
	if s := os.Getenv(EnvSocket); s != "" {
		paths = append([]string{s}, paths...)
	}
	return paths
}
