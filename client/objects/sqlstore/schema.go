package sqlstore

import (
	"context"
	"database/sql"
	"slices"

	"github.com/framedb/framedb/client/wire"
)

// The tables. data_table is that of the first FrameDB and of its clients; no
// column may be added to it, because they may write without naming columns.
var tables = [...]string{
	"CREATE TABLE IF NOT EXISTS data_table (" +
		"`key` VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY, data LONGBLOB)",

	// What is known of each object. version names the object's bytes and is
	// new with each Put; all zero is never committed. expires is milliseconds
	// since 1970 by the server's clock, 0 for never. meta is all that is known,
	// these two included, in one value (metaformat.go): a row of many columns
	// costs a small read a third of its time.
	"CREATE TABLE IF NOT EXISTS framedb_objects (" +
		"k VARBINARY(255) NOT NULL PRIMARY KEY, version BINARY(16) NOT NULL, expires BIGINT NOT NULL, meta BLOB NOT NULL," +
		" INDEX by_expiry (expires))",

	// Parts of objects that are no row; sum is the checksum of data.
	"CREATE TABLE IF NOT EXISTS framedb_chunks (" +
		"version BINARY(16) NOT NULL, n INT UNSIGNED NOT NULL, sum BINARY(16) NOT NULL, data MEDIUMBLOB NOT NULL," +
		" PRIMARY KEY (version, n))",

	// Versions whose parts nobody can see: uploads on their way (dead 0), and
	// what waits for the sweep (dead 1).
	"CREATE TABLE IF NOT EXISTS framedb_uploads (" +
		"version BINARY(16) NOT NULL PRIMARY KEY, dead TINYINT NOT NULL, touched BIGINT NOT NULL," +
		" INDEX by_age (touched))",
}

// byteCollations compare as bytes do, but for spaces at the end, which no Key has.
var byteCollations = [...]string{"utf8mb4_bin", "utf8mb4_0900_bin", "utf8mb4_nopad_bin", "binary"}

func createTables(ctx context.Context, db *sql.DB) error {
	for _, t := range tables {
		if _, err := db.ExecContext(ctx, t); err != nil {
			return err
		}
	}
	var collation sql.NullString
	err := db.QueryRowContext(ctx, "SELECT collation_name FROM information_schema.columns"+
		" WHERE table_schema = DATABASE() AND table_name = 'data_table' AND column_name = 'key'").Scan(&collation)
	if err != nil {
		return err
	}
	if collation.Valid && !slices.Contains(byteCollations[:], collation.String) {
		return wire.Errorf(wire.CodeConflict, "data_table compares keys by %s, which holds different keys for equal: "+
			"ALTER TABLE data_table MODIFY `key` VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL", collation.String)
	}
	return nil
}

// nowMS is the server's clock in milliseconds; the session's zone is UTC.
const nowMS = "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)"

// both reads metadata and row in one statement, hence of one moment, each by
// its primary key.
const both = " FROM (SELECT 1 AS one) o LEFT JOIN framedb_objects m ON m.k = ? LEFT JOIN data_table d ON d.`key` = ?"

// statements are prepared once for each connection, by database/sql.
type statements struct {
	read                           *sql.Stmt // a row's bytes with its metadata; nothing when there is no row
	stat                           *sql.Stmt // metadata with the digest of the row, as far as they are there
	now                            *sql.Stmt
	chunks                         *sql.Stmt
	place, lock, lockRow, lockData *sql.Stmt
	putRow, dropRow, setMeta       *sql.Stmt
	dropMeta                       *sql.Stmt
	begin, touch, finish, retire   *sql.Stmt
	putChunk                       *sql.Stmt
}

func prepareAll(ctx context.Context, db *sql.DB) (statements, error) {
	var s statements
	for _, p := range []struct {
		stmt **sql.Stmt
		text string
	}{
		{&s.read, "SELECT m.meta, d.data FROM data_table d LEFT JOIN framedb_objects m ON m.k = ? WHERE d.`key` = ?"},
		{&s.now, "SELECT " + nowMS},
		{&s.stat, "SELECT " + nowMS + ", m.meta, d.`key` IS NOT NULL, COALESCE(LENGTH(d.data), 0), CRC32(COALESCE(d.data, ''))" + both},
		{&s.chunks, "SELECT n, sum, data FROM framedb_chunks WHERE version = ? AND n >= ? AND n < ? ORDER BY n"},
		// place takes the lock of a key whether it is there or not: waiting
		// for a row to come into being is what InnoDB makes deadlocks of.
		{&s.place, "INSERT INTO framedb_objects (k, version, expires, meta) VALUES (?, ?, 0, '') ON DUPLICATE KEY UPDATE k = k"},
		{&s.lock, "SELECT " + nowMS + ", meta FROM framedb_objects WHERE k = ? FOR UPDATE"},
		{&s.lockRow, "SELECT COALESCE(LENGTH(data), 0), CRC32(COALESCE(data, '')) FROM data_table WHERE `key` = ? FOR UPDATE"},
		{&s.lockData, "SELECT data FROM data_table WHERE `key` = ? FOR UPDATE"},
		{&s.putRow, "INSERT INTO data_table (`key`, data) VALUES (?, ?) ON DUPLICATE KEY UPDATE data = VALUES(data)"},
		{&s.dropRow, "DELETE FROM data_table WHERE `key` = ?"},
		{&s.setMeta, "UPDATE framedb_objects SET version = ?, expires = ?, meta = ? WHERE k = ?"},
		{&s.dropMeta, "DELETE FROM framedb_objects WHERE k = ?"},
		{&s.begin, "INSERT INTO framedb_uploads (version, dead, touched) VALUES (?, 0, " + nowMS + ")" +
			" ON DUPLICATE KEY UPDATE touched = VALUES(touched)"},
		{&s.touch, "UPDATE framedb_uploads SET touched = " + nowMS + " WHERE version = ? AND dead = 0"},
		{&s.finish, "DELETE FROM framedb_uploads WHERE version = ? AND dead = 0"},
		{&s.retire, "INSERT INTO framedb_uploads (version, dead, touched) VALUES (?, 1, ?)" +
			" ON DUPLICATE KEY UPDATE dead = 1, touched = VALUES(touched)"},
		{&s.putChunk, "INSERT INTO framedb_chunks (version, n, sum, data) VALUES (?, ?, ?, ?)" +
			" ON DUPLICATE KEY UPDATE sum = VALUES(sum), data = VALUES(data)"},
	} {
		stmt, err := db.PrepareContext(ctx, p.text)
		if err != nil {
			s.close()
			return statements{}, err
		}
		*p.stmt = stmt
	}
	return s, nil
}

func (s *statements) close() {
	for _, stmt := range []*sql.Stmt{
		s.read, s.stat, s.now, s.chunks, s.place, s.lock, s.lockRow, s.lockData, s.putRow, s.dropRow, s.setMeta, s.dropMeta,
		s.begin, s.touch, s.finish, s.retire, s.putChunk,
	} {
		if stmt != nil {
			stmt.Close()
		}
	}
}
