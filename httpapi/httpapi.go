// Package httpapi serves FrameDB's REST API with gin: the first FrameDB's
// endpoints, the v1 resources, events, metrics and the OpenAPI document, on TCP
// and on the agent's unix socket.
package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/framedb/framedb/client/sentinel"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// Bounds of a connection. Bodies, large answers and pieces of event streams
// have deadlines of their own, which are much shorter.
const (
	readHeaderTimeout = 10 * time.Second
	// writeTimeout bounds a request as a whole, for a caller who does not read
	// small answers: the longest wait, a proposal and some more.
	writeTimeout   = maxWait + 5*time.Minute
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
)

// Store is what the handlers need of raftstore.Store.
type Store interface {
	Propose(ctx context.Context, id wire.RequestID, cmd state.Command) (state.Result, error)
	View() *state.View
	Subscribe(index uint64, tables ...wire.Table) *state.Subscription
	// CatchUp returns once View contains everything that was acknowledged by
	// any agent before.
	CatchUp(ctx context.Context) error
	// Staleness is how long ago this agent heard of the leader.
	Staleness() time.Duration
}

// Raft is what operators do with Raft.
type Raft interface {
	RaftStatus() wire.RaftStatus
	// TransferLeadership gives the lead to a voter, or to the most up to date
	// one when to is empty.
	TransferLeadership(ctx context.Context, to wire.NodeName) error
	// Forget takes an agent that is gone for good out of Raft.
	Forget(ctx context.Context, name wire.NodeName) error
}

// Synchronizer is what the handlers need of actors.Actors.
type Synchronizer interface {
	Synchronize(ctx context.Context, adopt bool) ([]wire.ClusterName, error)
	SynchronizeCluster(ctx context.Context, name wire.ClusterName) error
	Degraded() []string
}

// Config is what a Server serves. All fields are required unless they say
// otherwise.
type Config struct {
	Node      wire.NodeName
	Version   string
	Driver    string // name of the deploy driver
	Namespace string
	Socket    string // the agent's own unix socket path, for /v1/status
	SocketDir string
	StartedAt time.Time

	Store     Store
	Raft      Raft
	Sync      Synchronizer
	Sentinels *sentinel.Client
	Objects   Objects
	Backups   Backups // nil where there are no backup targets
	Ingest    Ingest  // nil where no frames are taken in
	Password  string  // of Redis, for /v1/credentials and the frames routes
	// Members tells the agents as gossip and Raft know them now.
	Members func() []wire.Member
	// Ready returns nil when the agent can answer, else why not. Until it did so
	// once, every route but /healthz, /readyz, /metrics and /openapi.json gives
	// its error.
	Ready func() error

	Logger *slog.Logger
	// MaxConnections bounds the open connections of each listener; 0 means
	// 8,192. More serves more callers at once. Whatever it is, a listener takes
	// at most a quarter of the process' file descriptors (RLIMIT_NOFILE), and
	// event streams half of that.
	MaxConnections int

	Gatherer   prometheus.Gatherer   // behind /metrics
	Registerer prometheus.Registerer // the handlers' own metrics
}

// Server is the REST API. Serve any number of listeners.
type Server struct {
	cfg     Config
	http    *http.Server
	metrics *metrics
	// wasReady is true once Ready returned nil.
	wasReady atomic.Bool
	paths    *dataPaths
	budget   *budget // bytes of frames in hand
	answers  *budget // bytes of large answers
	listings *budget // lists of frames
	sweeps   *budget // sweeps of clusters
	streams  *budget // event streams

	transfers      *budget // bytes of memory for objects on their way
	objectListings *budget // lists of objects
	backupWork     *budget // backups, restores and verifications
	ingestStreams  *budget // streams of frames

	others *http.Client                // to other agents
	origin *http.CrossOriginProtection // of checkBrowser
	// stopping ends when Shutdown begins; whoever waits on purpose waits on it.
	stopping context.Context
	stop     context.CancelFunc
}

// New builds the routes; it starts nothing. It fails when the metrics are
// registered already.
func New(cfg Config) (*Server, error) {
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, metrics: m, paths: newDataPaths(cfg),
		budget: newBudget(maxFrameBytes), answers: newBudget(maxAnswerBytes), listings: newBudget(maxListings), sweeps: newBudget(maxSweeps),
		streams:   newBudget(min(maxStreams, int64(cfg.connections())/2)),
		transfers: newBudget(maxTransferMemory), objectListings: newBudget(maxObjectListings), backupWork: newBudget(maxBackupWork),
		ingestStreams: newBudget(min(maxIngestStreams, int64(cfg.connections())/2)),
		others:        &http.Client{Transport: &http.Transport{IdleConnTimeout: idleTimeout}}, origin: http.NewCrossOriginProtection(),
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler:           s.engine(),
		ReadHeaderTimeout: readHeaderTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnContext:       withPeer,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// engine is gin with our routes and none of its defaults.
func (s *Server) engine() *gin.Engine {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.RedirectTrailingSlash = false
	e.HandleMethodNotAllowed = true
	e.UseRawPath = true // a name may hold %2F; it is refused then, not routed elsewhere
	if err := e.SetTrustedProxies(nil); err != nil {
		panic(err) // nil is always allowed
	}
	for _, r := range s.routes() {
		e.Handle(r.method, r.path, s.serve(r))
	}
	e.NoRoute(s.serve(route{path: "unknown", early: true, handle: noRoute}))
	e.NoMethod(s.serve(route{path: "unknown", early: true, handle: noMethod}))
	return e
}

// Handler is the API without a listener, for tests.
func (s *Server) Handler() http.Handler { return s.http.Handler }

// Serve answers on l until Shutdown; it returns nil then.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(bound(l, s.cfg.connections())); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown ends event streams and blocking queries, lets calls under way end,
// and returns when all did or ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	s.paths.close()
	s.others.CloseIdleConnections()
	return err
}
