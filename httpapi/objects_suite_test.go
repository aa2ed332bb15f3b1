package httpapi_test

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/mysqltest"
	"github.com/framedb/framedb/client/objects/objecttest"
	"github.com/framedb/framedb/client/objects/redisstore"
	"github.com/framedb/framedb/client/objects/reststore"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
	"github.com/framedb/framedb/raftstore/state"
)

// database makes a database and gives its name.
func database(t testing.TB, s *mysqltest.Server) (name string, db *sql.DB) {
	t.Helper()
	dsn := s.Database()
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	if db, err = sql.Open("mysql", dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return cfg.DBName, db
}

// persistent adds a persistent FrameDB that a real server holds, as its owner
// would report it.
func (a *api) persistent(id wire.FrameDBID, s *mysqltest.Server, database string) {
	a.t.Helper()
	address := net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
	a.store.must(a.t, state.CreateStorage{ID: id, Spec: wire.StorageSpec{
		NodeTag: "node-1", External: &wire.ExternalStorage{Address: address, Database: database},
	}})
	a.store.must(a.t, state.ReportStorage{ID: id, Status: wire.StorageStatus{
		Phase: wire.PhaseReady, ObservedGeneration: 1, URL: "mysql://" + address, Engine: wire.EngineMariaDB, Node: "n1", Socket: s.Socket,
	}})
}

// swept is REST but for the sweep, which is not served.
type swept struct {
	*reststore.Backend
	direct *objects.Store
}

func (s swept) Sweep(ctx context.Context, ages objects.SweepAges) (objects.Swept, error) {
	return s.direct.Sweep(ctx, ages)
}

func rest(t testing.TB, base string, id wire.FrameDBID) *reststore.Backend {
	t.Helper()
	hc := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: 5 * time.Second, MaxIdleConnsPerHost: 16}}
	t.Cleanup(hc.CloseIdleConnections)
	return reststore.New(reststore.Config{Base: base, HTTP: hc, ID: id})
}

// TestRESTMySQLProtocol runs the suite through the routes and a MariaDB.
func TestRESTMySQLProtocol(t *testing.T) {
	s := mysqltest.Start(t, "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0")
	a := newAPI(t)
	base := a.tcp()
	var n atomic.Int64
	objecttest.Run(t, objecttest.Backend{
		Open: func(t testing.TB) (*objects.Store, objecttest.Under) {
			id := wire.FrameDBID(fmt.Sprint("t", n.Add(1)))
			name, db := database(t, s)
			a.persistent(id, s, name)
			direct := a.cfg.Objects.Store(id)
			if found, err := direct.Exists(t.Context(), "o"); found || err != nil { // makes the tables, for old clients
				t.Fatal(found, err)
			}
			return objects.New(swept{rest(t, base, id), direct}), objecttest.SQL{DB: db}
		},
		Limits:  []int64{1 << 20, 6<<20 - 4<<10},
		Largest: 8<<20 + 3<<20 + 7,
	})
}

// stores are objects that are open already.
type stores struct {
	mu sync.Mutex
	by map[wire.FrameDBID]*objects.Store // guarded by mu
}

func (s *stores) Store(id wire.FrameDBID) *objects.Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by[id]
}

func (s *stores) set(id wire.FrameDBID, store *objects.Store) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by[id] = store
}

// fixed is a master that never changes.
type fixed struct{ *redis.Client }

func (f fixed) Redis(context.Context) (*redis.Client, error) { return f.Client, nil }

// TestRESTRedis runs the suite through the routes and a real Redis, a database
// for each test.
func TestRESTRedis(t *testing.T) {
	s := redistest.Start(t, "--databases", "100")
	opened := &stores{by: map[wire.FrameDBID]*objects.Store{}}
	a := newAPI(t, func(cfg *httpapiConfig) { cfg.Objects = opened })
	base := a.tcp()
	const partSize = 2 * redisstore.BlockSize // smaller than in earnest, for tests that are quick
	var n atomic.Int64
	objecttest.Run(t, objecttest.Backend{
		Open: func(t testing.TB) (*objects.Store, objecttest.Under) {
			opts := *s.Client().Options()
			opts.DB = int(n.Add(1))
			rdb := redis.NewClient(&opts)
			t.Cleanup(func() { rdb.Close() })
			direct := objects.New(redisstore.New(redisstore.Config{Master: fixed{rdb}, UploadTTL: 20 * time.Second, ReadGrace: 100 * time.Millisecond, PartSize: partSize}))
			id := wire.FrameDBID(fmt.Sprint("t", opts.DB))
			opened.set(id, direct)
			return objects.New(swept{rest(t, base, id), direct}), objecttest.Redis{Client: rdb}
		},
		Limits:  []int64{redisstore.BlockSize, partSize},
		Largest: partSize + 5<<20,
	})
}
