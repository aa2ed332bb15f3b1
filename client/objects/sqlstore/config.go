package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"log/slog"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// Config says which database holds the objects and how it is used.
type Config struct {
	// Connector makes connections; see Connector.
	Connector driver.Connector
	// PoolSize bounds the connections. More transfers at one time wait for
	// each other, at each statement, not for whole transfers. Default 8.
	PoolSize int
	// Exclusive says that no other program writes into data_table. A row that
	// is not what was stored is then damage (ErrCorrupt). Without it, such a
	// row is what another program put there, is served as it is, as Foreign,
	// and only the database's own checksums guard it at rest: an UPDATE by an
	// old client and one by an accident look the same. Rows of old clients
	// that were never stored through this package are served in both cases.
	Exclusive bool
	// Logger hears of retries and of what sweeps found; nil is silent.
	Logger *slog.Logger
}

// Bounds of one connection: how long it takes to make one, how long an answer
// may take, and how long a statement waits for another's lock.
const (
	dialTimeout     = 5 * time.Second
	answerTimeout   = 30 * time.Second
	idleTimeout     = 2 * time.Minute
	lifeTime        = 10 * time.Minute // of a connection, so that none stays with a former primary
	lockWait        = "5"              // seconds
	defaultPoolSize = 8
)

// Connector reads a DSN of github.com/go-sql-driver/mysql, which must name the
// database, and sets what this package relies on: strict mode, UTC, utf8mb4
// compared by bytes, matched instead of changed rows, and timeouts where the
// DSN has none.
//
// Errors: ErrInvalidArgument; it does not repeat the DSN, which holds a
// password.
func Connector(dsn string) (driver.Connector, error) {
	bad := wire.Errorf(wire.CodeInvalidArgument, "the DSN is not user:password@tcp(host:port)/database")
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil || cfg.DBName == "" {
		return nil, bad
	}
	cfg.ClientFoundRows = true
	cfg.MaxAllowedPacket = 0 // ask the server
	cfg.Collation = "utf8mb4_bin"
	cfg.InterpolateParams = false
	cfg.MultiStatements = false
	cfg.ParseTime = false
	cfg.Logger = &mysql.NopLogger{}
	setDefault(&cfg.Timeout, dialTimeout)
	setDefault(&cfg.ReadTimeout, answerTimeout)
	setDefault(&cfg.WriteTimeout, answerTimeout)
	if cfg.Params == nil {
		cfg.Params = map[string]string{}
	}
	cfg.Params["time_zone"] = "'+00:00'"
	cfg.Params["sql_mode"] = "'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'"
	cfg.Params["innodb_lock_wait_timeout"] = lockWait
	cfg.Params["autocommit"] = "1"
	c, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, bad
	}
	return c, nil
}

func setDefault(d *time.Duration, v time.Duration) {
	if *d == 0 {
		*d = v
	}
}

// Backend keeps objects in one database. Its goroutines are those of
// database/sql, which end with Close, and one for each object that is being
// read, which ends with that object's Close.
type Backend struct {
	db        *sql.DB
	stmt      statements
	limits    Limits
	exclusive bool
	log       *slog.Logger
	batches   sync.Pool // of *[]byte with the capacity of a batch
	rowBufs   sync.Pool // of *[]byte for rows that are read

	mu        sync.Mutex
	staleFrom string // where the next sweep goes on looking for stale metadata; under mu
}

var _ objects.Backend = (*Backend)(nil)

// Open connects, makes the tables that are missing, and reads the server's
// limits.
//
// Errors: those of objects.Backend; ErrConflict when there is a data_table
// whose keys the database does not compare by bytes.
func Open(ctx context.Context, cfg Config) (*Backend, error) {
	if cfg.PoolSize == 0 {
		cfg.PoolSize = defaultPoolSize
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	db := sql.OpenDB(cfg.Connector)
	db.SetMaxOpenConns(cfg.PoolSize)
	db.SetMaxIdleConns(cfg.PoolSize)
	db.SetConnMaxIdleTime(idleTimeout)
	db.SetConnMaxLifetime(lifeTime)
	b := &Backend{db: db, exclusive: cfg.Exclusive, log: cfg.Logger}
	if err := b.prepare(ctx); err != nil {
		db.Close()
		return nil, err
	}
	return b, nil
}

func (b *Backend) prepare(ctx context.Context) error {
	err := b.again(ctx, "connect", func(ctx context.Context) error {
		if err := b.db.PingContext(ctx); err != nil {
			return err
		}
		if err := createTables(ctx, b.db); err != nil {
			return err
		}
		limits, err := readLimits(ctx, b.db)
		b.limits = limits
		return err
	})
	if err != nil {
		return err
	}
	return b.again(ctx, "prepare", func(ctx context.Context) error {
		b.stmt.close()
		stmt, err := prepareAll(ctx, b.db)
		b.stmt = stmt
		return err
	})
}

// Limits tells what was read from the server.
func (b *Backend) Limits() Limits { return b.limits }

// Close closes all connections.
func (b *Backend) Close() error {
	b.stmt.close()
	return b.db.Close()
}
