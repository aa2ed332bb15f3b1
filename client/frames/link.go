package frames

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/framedb/framedb/client/internal/resp"
	"github.com/framedb/framedb/client/wire"
)

const (
	dialTimeout = time.Second
	// stall bounds the time in which nothing comes from the master.
	stall = 5 * time.Second
)

// errNotMaster is returned when a new connection leads to another server than
// the one that was resolved, or to one that is no master any more.
var errNotMaster = errors.New("the server is not the master that was found")

// errClosed is returned by a link that was given up.
var errClosed = errors.New("the connection to the master was given up")

// link is the way to one master: a bounded pool of connections, each of which
// was checked to lead to the same running server.
type link struct {
	master   wire.Endpoint
	socket   string // the unix socket that is used; "" is TCP
	runID    string // of the server process; "" accepts any
	password string
	slots    chan struct{} // one element for each connection that is in use

	mu     sync.Mutex
	idle   []*conn // last used last
	inUse  map[*conn]struct{}
	closed bool
	rdb    *redis.Client
}

// conn is a pooled connection.
type conn struct {
	*resp.Conn
	spoiled bool // replies are outstanding: not to be used again
}

func newLink(master wire.Endpoint, socket, password string, size int) *link {
	return &link{
		master: master, socket: socket, password: password,
		slots: make(chan struct{}, size), inUse: map[*conn]struct{}{},
	}
}

func (l *link) network() (network, addr string) {
	if l.socket != "" {
		return "unix", l.socket
	}
	return "tcp", net.JoinHostPort(l.master.Host, strconv.Itoa(l.master.Port))
}

// get waits for a free slot and returns a connection, dialled if need be.
func (l *link) get(ctx context.Context) (*conn, error) {
	select {
	case l.slots <- struct{}{}:
	default:
		select {
		case l.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	cn := l.takeIdle()
	if cn != nil {
		return cn, nil
	}
	cn, runID, err := l.dial(ctx)
	if err == nil && l.runID != runID {
		err = errNotMaster
		cn.Close()
	}
	if err == nil {
		err = l.use(cn)
	}
	if err != nil {
		<-l.slots
		return nil, err
	}
	return cn, nil
}

// takeIdle returns an idle connection that is still open, or nil.
func (l *link) takeIdle() *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.idle) > 0 {
		last := len(l.idle) - 1
		cn := l.idle[last]
		l.idle = l.idle[:last]
		if cn.Alive() {
			l.inUse[cn] = struct{}{}
			return cn
		}
		cn.Close()
	}
	return nil
}

func (l *link) use(cn *conn) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		cn.Close()
		return errClosed
	}
	l.inUse[cn] = struct{}{}
	return nil
}

// put gives a connection back; one that is not good is closed.
func (l *link) put(cn *conn, good bool) {
	l.mu.Lock()
	delete(l.inUse, cn)
	if good && !cn.spoiled && !l.closed {
		l.idle = append(l.idle, cn)
	} else {
		cn.Close()
	}
	l.mu.Unlock()
	<-l.slots
}

// close gives the link up. Connections in use are closed when they come back,
// or at once with now.
func (l *link) close(now bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, cn := range l.idle {
		cn.Close()
	}
	l.idle = nil
	if now {
		for cn := range l.inUse {
			cn.Close()
		}
	}
	if l.rdb != nil {
		l.rdb.Close()
		l.rdb = nil
	}
}

// dial connects, and asks the server whether it is a master and which process
// it is.
func (l *link) dial(ctx context.Context) (*conn, string, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	network, addr := l.network()
	c, err := resp.Dial(ctx, network, addr)
	if err != nil {
		return nil, "", err
	}
	end := c.Within(ctx, dialTimeout)
	replies, err := c.Login(l.password, []string{"ROLE"}, []string{"INFO", "server"})
	switch {
	case !end() && err == nil:
		err = ctx.Err()
	case err == nil && resp.Role(replies[0]) != wire.RoleMaster:
		err = errNotMaster
	}
	if err != nil {
		c.Close()
		return nil, "", fmt.Errorf("connect to %s: %w", addr, err)
	}
	info, _ := replies[1].(string)
	return &conn{Conn: c}, infoField(info, "run_id"), nil
}

// infoField finds a field in the answer to INFO.
func infoField(info, name string) string {
	for line := range strings.SplitSeq(info, "\r\n") {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return value
		}
	}
	return ""
}

// client makes the plain client at first use. It has connections of its own,
// at most four, checked like the others.
func (l *link) client() (*redis.Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errClosed
	}
	if l.rdb == nil {
		network, addr := l.network()
		l.rdb = redis.NewClient(&redis.Options{
			Network: network, Addr: addr, Password: l.password,
			Protocol:                 2,
			DisableIdentity:          true,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
			MaxRetries:               -1,
			DialerRetries:            1,
			DialTimeout:              dialTimeout,
			ReadTimeout:              stall,
			WriteTimeout:             stall,
			ContextTimeoutEnabled:    true,
			PoolSize:                 4,
			MaxActiveConns:           64, // beside the pool: one for each subscription
			OnConnect:                l.check,
		})
	}
	return l.rdb, nil
}

func (l *link) check(ctx context.Context, cn *redis.Conn) error {
	role, err := cn.Do(ctx, "ROLE").Slice()
	if err != nil {
		return err
	}
	info, err := cn.Info(ctx, "server").Result()
	if err != nil {
		return err
	}
	if resp.Role([]any(role)) != wire.RoleMaster || infoField(info, "run_id") != l.runID {
		return errNotMaster
	}
	return nil
}
