package sqlstore_test

import (
	"crypto/rand"
	"database/sql"
	"os"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/mysqltest"
	"github.com/framedb/framedb/client/objects/objecttest"
	"github.com/framedb/framedb/client/objects/sqlstore"
)

// TestMySQLProtocol runs the suite against MariaDB.
func TestMySQLProtocol(t *testing.T) {
	s := mysqltest.Start(t, "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0")
	objecttest.Run(t, suite(t, s.Database))
}

// TestTiDB runs the suite against the TiDB that FRAMEDB_TEST_TIDB names: a DSN
// whose user may create and drop databases. Without it there is none.
func TestTiDB(t *testing.T) {
	dsn := os.Getenv("FRAMEDB_TEST_TIDB")
	if dsn == "" {
		return
	}
	objecttest.Run(t, suite(t, func() string { return freshDatabase(t, dsn) }))
}

func suite(t *testing.T, database func() string) objecttest.Backend {
	probe := open(t, database(), sqlstore.Config{})
	l := probe.Limits()
	t.Logf("limits: %+v", l)
	return objecttest.Backend{
		Open: func(t testing.TB) (*objects.Store, objecttest.Under) {
			dsn := database()
			return objects.New(open(t, dsn, sqlstore.Config{})), under{DB: plain(t, dsn)}
		},
		Limits:  []int64{int64(l.Chunk), int64(l.Row), int64(l.Batch)},
		Largest: int64(l.Batch) + 3<<20 + 7,
	}
}

func open(t testing.TB, dsn string, cfg sqlstore.Config) *sqlstore.Backend {
	t.Helper()
	c, err := sqlstore.Connector(dsn)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Connector == nil {
		cfg.Connector = c
	}
	b, err := sqlstore.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// plain is a database as an old client opens it.
func plain(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func freshDatabase(t *testing.T, dsn string) string {
	t.Helper()
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal("FRAMEDB_TEST_TIDB is no DSN")
	}
	cfg.DBName = "framedb_test_" + strings.ToLower(t.Name()) + "_" + strings.ToLower(rand.Text())
	name := cfg.DBName
	cfg.DBName = ""
	db := plain(t, cfg.FormatDSN())
	if _, err := db.Exec("CREATE DATABASE `" + name + "`"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Exec("DROP DATABASE `" + name + "`") })
	cfg.DBName = name
	return cfg.FormatDSN()
}

type under = objecttest.SQL
