package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/go-sql-driver/mysql"

	"github.com/framedb/framedb/client/wire"
)

// fault is what an error of the database means for the transaction it hit.
type fault int

const (
	// final: the server refused, and will refuse again. Nothing was changed.
	final fault = iota
	// passing: the server refused and rolled back, or never began. The whole
	// transaction may be run again.
	passing
	// unknown: nobody knows. At COMMIT it may have happened or not; anywhere
	// else it did not, because the transaction ends with its connection.
	unknown
)

// judge is the one place that knows the numbers. They are MySQL's and MariaDB's
// below 8000 and TiDB's above (pkg/errno of pingcap/tidb). The error it returns
// is what the caller hears when there is no more trying.
func judge(err error) (fault, error) {
	var we *wire.Error
	var me *mysql.MySQLError
	switch {
	case errors.As(err, &we), errors.Is(err, sql.ErrNoRows):
		return final, err
	case errors.Is(err, context.Canceled):
		return final, err
	case errors.Is(err, context.DeadlineExceeded):
		return final, typed(wire.CodeTimeout, "the time is over", err)
	case errors.As(err, &me):
		return judgeNumber(me)
	case errors.Is(err, mysql.ErrPktTooLarge):
		return final, typed(wire.CodeTooLarge, "the server takes no packet so large", err)
	case errors.Is(err, driver.ErrBadConn): // nothing was sent, says its contract
		return passing, typed(wire.CodeUnavailable, "the connection broke", err)
	case brokenConnection(err):
		return unknown, typed(wire.CodeUnavailable, "the connection broke", err)
	}
	return unknown, typed(wire.CodeInternal, "the database driver failed", err)
}

func brokenConnection(err error) bool {
	var ne net.Error
	return errors.Is(err, mysql.ErrInvalidConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &ne)
}

func judgeNumber(err *mysql.MySQLError) (fault, error) {
	switch err.Number {
	case 1213, 1205, // deadlock, lock wait timeout
		8002, 8005, 8022, 9007, // TiDB: write conflicts, and a transaction to retry
		8027, 8028, 8113, // TiDB: the schema changed or is not known just now
		8229, 1615: // TiDB: the transaction's locks expired; a statement must be prepared again
		return passing, typed(wire.CodeUnavailable, "others change the same objects", err)
	case 1040, 1203, 1226, 1461, // too many connections or statements
		8001, 8175, 8176, 8252, 9003, 9008: // TiDB: memory, throttled, TiKV busy, store limit
		return passing, typed(wire.CodeOverloaded, "the database has too much to do", err)
	case 9001, 9002, 9004, 9005, 9010, 9011, 1053, 1927: // PD, TiKV, regions; shutting down, connection killed
		return unknown, typed(wire.CodeUnavailable, "the database does not answer", err)
	case 1105, 1180, 1317, 1969, 3024: // TiDB's error of no kind, error at commit, interrupted, time over
		return unknown, typed(wire.CodeUnavailable, "the database failed", err)
	case 1290, 1836, 1792: // read-only: a former primary, or on purpose
		return passing, typed(wire.CodeUnavailable, "the database is read-only", err)
	case 1021, 1114, 3, 1026, 28: // disk full, table full, error on write
		return final, typed(wire.CodeDiskFull, "the database's disk is full", err)
	case 8025, 8004, 1153, 1118: // entry, transaction, packet, row too large
		return final, typed(wire.CodeTooLarge, "the database takes nothing so large", err)
	case 1044, 1045, 1142, 1143, 1227, 1698:
		return final, typed(wire.CodeForbidden, "the database refuses this user", err)
	case 1049:
		return final, typed(wire.CodeNotFound, "there is no such database", err)
	case 1062: // cannot be: each INSERT says what happens then
		return passing, typed(wire.CodeInternal, "two rows have one key", err)
	}
	return final, typed(wire.CodeInternal, "the database refused", err)
}

// typed gives the caller a code and keeps the database's error in the chain.
func typed(code wire.Code, what string, err error) error {
	return fmt.Errorf("%w: %w", wire.Errorf(code, "%s", what), err)
}
