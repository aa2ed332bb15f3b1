package objecttest

import (
	"database/sql"
	"errors"
	"testing"
)

// SQL is an old client of a MySQL-protocol server, which knows data_table alone, and a look behind.
type SQL struct{ DB *sql.DB }

func (u SQL) Write(t testing.TB, key string, data []byte) {
	t.Helper()
	u.exec(t, "REPLACE INTO data_table VALUES (?, ?)", key, append([]byte{}, data...))
}

func (u SQL) Remove(t testing.TB, key string) {
	t.Helper()
	u.exec(t, "DELETE FROM data_table WHERE `key` = ?", key)
}

func (u SQL) Read(t testing.TB, key string) []byte {
	t.Helper()
	var data []byte
	err := u.DB.QueryRow("SELECT data FROM data_table WHERE `key` = ?", key).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (u SQL) Damage(t testing.TB, key string) {
	t.Helper()
	u.exec(t, "UPDATE framedb_chunks SET data = CONCAT(LEFT(data, 999), CHAR((ASCII(SUBSTRING(data, 1000, 1)) + 1) % 256), SUBSTRING(data, 1001)) WHERE n = 3 AND version ="+
		" (SELECT version FROM framedb_objects WHERE k = ?)", []byte(key))
}

func (u SQL) Hidden(t testing.TB) int {
	t.Helper()
	var n, uploads int
	err := u.DB.QueryRow("SELECT COUNT(*), (SELECT COUNT(*) FROM framedb_uploads) FROM framedb_chunks c"+
		" WHERE NOT EXISTS (SELECT 1 FROM framedb_objects o WHERE o.version = c.version)").Scan(&n, &uploads)
	if err != nil {
		t.Fatal(err)
	}
	return n + uploads
}

func (u SQL) exec(t testing.TB, query string, args ...any) {
	t.Helper()
	if _, err := u.DB.Exec(query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}
