package sqlstore_test

import (
	"crypto/rand"
	"database/sql"
	"errors"
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
			return objects.New(open(t, dsn, sqlstore.Config{})), under{plain(t, dsn)}
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

// under is an old client, which knows data_table alone, and a look behind.
type under struct{ db *sql.DB }

func (u under) Write(t testing.TB, key string, data []byte) {
	t.Helper()
	u.exec(t, "REPLACE INTO data_table VALUES (?, ?)", key, append([]byte{}, data...))
}

func (u under) Remove(t testing.TB, key string) {
	t.Helper()
	u.exec(t, "DELETE FROM data_table WHERE `key` = ?", key)
}

func (u under) Read(t testing.TB, key string) []byte {
	t.Helper()
	var data []byte
	err := u.db.QueryRow("SELECT data FROM data_table WHERE `key` = ?", key).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (u under) Damage(t testing.TB, key string) {
	t.Helper()
	u.exec(t, "UPDATE framedb_chunks SET data = CONCAT(LEFT(data, 999), CHAR((ASCII(SUBSTRING(data, 1000, 1)) + 1) % 256), SUBSTRING(data, 1001)) WHERE n = 3 AND version ="+
		" (SELECT version FROM framedb_objects WHERE k = ?)", []byte(key))
}

func (u under) Hidden(t testing.TB) int {
	t.Helper()
	var n, uploads int
	err := u.db.QueryRow("SELECT COUNT(*), (SELECT COUNT(*) FROM framedb_uploads) FROM framedb_chunks c"+
		" WHERE NOT EXISTS (SELECT 1 FROM framedb_objects o WHERE o.version = c.version)").Scan(&n, &uploads)
	if err != nil {
		t.Fatal(err)
	}
	return n + uploads
}

func (u under) exec(t testing.TB, query string, args ...any) {
	t.Helper()
	if _, err := u.db.Exec(query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}
