// Package apitest serves an agent's real REST API for tests, over a store of its
// own without Raft, on a unix socket and on TCP. Nothing acts on what the store
// says: tests report what they started.
//
//	a := apitest.Start(t)
//	db := a.Persistent("corpus", mysqltest.Start(t))
//	a.Cluster("mem", redistest.StartCluster(t, 2))
//	c := a.Client()
//
// The agent is that of node n1 and its password redistest.Password.
package apitest

import (
	"context"
	"database/sql"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/objects/mysqltest"
	"github.com/framedb/framedb/client/objects/pool"
	"github.com/framedb/framedb/client/sentinel"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/httpapi"
	"github.com/framedb/framedb/internal/redistest"
	"github.com/framedb/framedb/raftstore/state"
)

// store is the replicated state; one mutex is the log.
type store struct {
	*state.State
	mu    sync.Mutex
	index uint64 // guarded by mu
}

func (s *store) Propose(_ context.Context, id wire.RequestID, cmd state.Command) (state.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := state.Encode(cmd, id, time.Unix(1_700_000_000, 0))
	if err != nil {
		return state.Result{}, err
	}
	s.index++
	res := s.Apply(s.index, b)
	if res.Err != nil {
		return res, res.Err
	}
	return res, nil
}

func (*store) CatchUp(context.Context) error { return nil }
func (*store) Staleness() time.Duration      { return 0 }

// idle stands in for the actors and for Raft.
type idle struct{}

func (idle) Synchronize(context.Context, bool) ([]wire.ClusterName, error) { return nil, nil }
func (idle) SynchronizeCluster(context.Context, wire.ClusterName) error    { return nil }
func (idle) Degraded() []string                                            { return nil }
func (idle) RaftStatus() wire.RaftStatus                                   { return wire.RaftStatus{} }
func (idle) TransferLeadership(context.Context, wire.NodeName) error       { return nil }
func (idle) Forget(context.Context, wire.NodeName) error                   { return nil }

// API is one agent's.
type API struct {
	// Socket is the agent's, over which it tells passwords.
	Socket string
	// URL is where it listens on TCP. With Far it does not tell of its socket.
	URL string

	t     testing.TB
	store *store
}

// Start serves until the test ends.
func Start(t testing.TB) *API { return start(t, false) }

// StartFar serves as an agent of another machine would: who reaches it over TCP
// does not learn of its socket, and so gets no password.
func StartFar(t testing.TB) *API { return start(t, true) }

func start(t testing.TB, far bool) *API {
	t.Helper()
	dir, err := os.MkdirTemp("", "f") // short, for the socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	a := &API{t: t, store: &store{State: state.New()}, Socket: filepath.Join(dir, "agent.sock")}
	told := a.Socket
	if far {
		told = ""
	}
	sentinels := sentinel.New(sentinel.Config{Password: redistest.Password})
	objects := pool.New(pool.Config{
		Locator:   httpapi.Locator{Node: "n1", Password: redistest.Password, View: a.store.View},
		Sentinels: sentinels,
	})
	metrics := prometheus.NewRegistry()
	server, err := httpapi.New(httpapi.Config{
		Node: "n1", Socket: told, StartedAt: time.Unix(1_700_000_000, 0), Password: redistest.Password,
		Store: a.store, Raft: idle{}, Sync: idle{}, Sentinels: sentinels, Objects: objects,
		Members: func() []wire.Member { return nil }, Ready: func() error { return nil },
		Logger: slog.New(slog.DiscardHandler), Gatherer: metrics, Registerer: metrics,
	})
	if err != nil {
		t.Fatal(err)
	}
	serving := a.listen(server)
	t.Cleanup(func() {
		server.Shutdown(context.Background())
		serving.Wait()
		objects.Close()
		sentinels.Close()
	})
	a.Propose(state.RegisterNode{Node: wire.Node{Name: "n1", Tags: []wire.NodeTag{"node-1"}}})
	return a
}

func (a *API) listen(server *httpapi.Server) *sync.WaitGroup {
	a.t.Helper()
	unix, err := httpapi.ListenUnix(a.Socket)
	if err != nil {
		a.t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		a.t.Fatal(err)
	}
	a.URL = "http://" + tcp.Addr().String()
	var serving sync.WaitGroup
	for _, l := range []net.Listener{unix, tcp} {
		serving.Go(func() { server.Serve(l) })
	}
	return &serving
}

// Propose applies a command, which has to succeed.
func (a *API) Propose(cmd state.Command) {
	a.t.Helper()
	if _, err := a.store.Propose(context.Background(), "", cmd); err != nil {
		a.t.Fatalf("%s: %v", cmd.Type(), err)
	}
}

// Persistent adds a persistent FrameDB in an empty database of its own, which
// it gives.
func (a *API) Persistent(id wire.FrameDBID, s *mysqltest.Server) *sql.DB {
	a.t.Helper()
	dsn := s.Database()
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		a.t.Fatal(err)
	}
	a.Propose(state.CreateStorage{ID: id, Spec: wire.StorageSpec{
		NodeTag: "node-1", External: &wire.ExternalStorage{Address: address(s), Database: cfg.DBName},
	}})
	a.RunsAt(id, s)
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { db.Close() })
	return db
}

// RunsAt reports where a persistent FrameDB is.
func (a *API) RunsAt(id wire.FrameDBID, s *mysqltest.Server) {
	a.t.Helper()
	a.Propose(state.ReportStorage{ID: id, Status: wire.StorageStatus{
		Phase: wire.PhaseReady, ObservedGeneration: 1, URL: "mysql://" + address(s), Node: "n1", Socket: s.Socket,
	}})
}

func address(s *mysqltest.Server) string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// Cluster adds a cluster that runs.
func (a *API) Cluster(name wire.ClusterName, c *redistest.Cluster) {
	a.t.Helper()
	members := c.Members(name)
	for i := range members {
		members[i].Node = "n1"
	}
	a.Propose(state.CreateClusters{Names: []wire.ClusterName{name}, Spec: wire.ClusterSpec{NodeTag: "node-1", Replicas: len(members), Quorum: 1}})
	a.Propose(state.ReportCluster{Name: name, Instances: members, Status: wire.ClusterStatus{Phase: wire.PhaseReady, ObservedGeneration: 1}})
}

// Client is a client over the agent's socket.
func (a *API) Client() *client.Client {
	a.t.Helper()
	c, err := client.New(client.Config{Addrs: []string{"unix://" + a.Socket}})
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(c.Close)
	return c
}
