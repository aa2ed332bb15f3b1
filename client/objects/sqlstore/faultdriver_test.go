package sqlstore_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/go-sql-driver/mysql"
)

// op is one thing that a connection is asked to do.
type op struct {
	kind string // begin, exec, query, commit, prepare
	text string
	size int // bytes of the parameters
}

// faulty makes connections to a real server that answer with errors of our
// choice. It stands where TiDB is missing: it has TiDB's limits and numbers,
// and the server behind it does the rest. Transactions that it fails are
// rolled back in the server, as TiDB does.
type faulty struct {
	driver.Connector

	mu sync.Mutex
	// before gives an error instead of doing it; after loses the answer: it is
	// done, and the connection is broken. Either may be nil.
	before func(op) error
	after  func(op) bool
	// vars, when not nil, is what the server says of its variables.
	vars map[string]string
	// entry and txn are TiDB's limits in bytes; 0 is none.
	entry, txn int
}

func (f *faulty) set(change func(*faulty)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *faulty) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := f.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &faultyConn{Conn: c, f: f}, nil
}

// faultyConn passes on what database/sql asks of go-sql-driver's connection.
type faultyConn struct {
	driver.Conn
	f   *faulty
	txn int // bytes of the running transaction
}

// do lets the faulty decide, and then the server.
func (c *faultyConn) do(o op, run func() error) error {
	c.f.mu.Lock()
	before, after, entry, txn := c.f.before, c.f.after, c.f.entry, c.f.txn
	c.f.mu.Unlock()
	if before != nil {
		if err := before(o); err != nil {
			return c.refuse(err)
		}
	}
	if strings.HasPrefix(o.text, "INSERT") {
		if c.txn += o.size; entry > 0 && o.size > entry {
			return c.refuse(tidbError(8025))
		}
		if txn > 0 && c.txn > txn {
			return c.refuse(tidbError(8004))
		}
	}
	err := run()
	if err == nil && after != nil && after(o) {
		c.Conn.Close()
		return mysql.ErrInvalidConn
	}
	return err
}

// refuse breaks the connection when the error says so.
func (c *faultyConn) refuse(err error) error {
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn) {
		c.Conn.Close()
	}
	return err
}

func tidbError(number uint16) error {
	return &mysql.MySQLError{Number: number, SQLState: [5]byte{'H', 'Y', '0', '0', '0'}, Message: "injected"}
}

func (c *faultyConn) BeginTx(ctx context.Context, opts driver.TxOptions) (tx driver.Tx, err error) {
	c.txn = 0
	err = c.do(op{kind: "begin"}, func() error {
		tx, err = c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &faultyTx{tx, c}, nil
}

func (c *faultyConn) PrepareContext(ctx context.Context, text string) (stmt driver.Stmt, err error) {
	err = c.do(op{kind: "prepare", text: text}, func() error {
		stmt, err = c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, text)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &faultyStmt{stmt, c, text}, nil
}

func (c *faultyConn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (res driver.Result, err error) {
	if len(args) > 0 {
		return nil, driver.ErrSkip // prepare it
	}
	err = c.do(op{kind: "exec", text: text}, func() error {
		res, err = c.Conn.(driver.ExecerContext).ExecContext(ctx, text, args)
		return err
	})
	return res, err
}

func (c *faultyConn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (rows driver.Rows, err error) {
	if len(args) > 0 {
		return nil, driver.ErrSkip
	}
	c.f.mu.Lock()
	vars := c.f.vars
	c.f.mu.Unlock()
	if vars != nil && strings.HasPrefix(text, "SHOW VARIABLES") {
		return newVarRows(vars), nil
	}
	err = c.do(op{kind: "query", text: text}, func() error {
		rows, err = c.Conn.(driver.QueryerContext).QueryContext(ctx, text, args)
		return err
	})
	return rows, err
}

func (c *faultyConn) Ping(ctx context.Context) error { return c.Conn.(driver.Pinger).Ping(ctx) }
func (c *faultyConn) ResetSession(ctx context.Context) error {
	return c.Conn.(driver.SessionResetter).ResetSession(ctx)
}
func (c *faultyConn) IsValid() bool { return c.Conn.(driver.Validator).IsValid() }
func (c *faultyConn) CheckNamedValue(v *driver.NamedValue) error {
	return c.Conn.(driver.NamedValueChecker).CheckNamedValue(v)
}

type faultyTx struct {
	driver.Tx
	c *faultyConn
}

func (t *faultyTx) Commit() error {
	ran := false
	err := t.c.do(op{kind: "commit"}, func() error {
		ran = true
		return t.Tx.Commit()
	})
	if err != nil && !ran {
		t.Tx.Rollback() // of no use on a broken connection, and of no harm
	}
	return err
}

type faultyStmt struct {
	driver.Stmt
	c    *faultyConn
	text string
}

func (s *faultyStmt) op(kind string, args []driver.NamedValue) op {
	o := op{kind: kind, text: s.text}
	for _, a := range args {
		switch v := a.Value.(type) {
		case []byte:
			o.size += len(v)
		case string:
			o.size += len(v)
		default:
			o.size += 8
		}
	}
	return o
}

func (s *faultyStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (res driver.Result, err error) {
	err = s.c.do(s.op("exec", args), func() error {
		res, err = s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
		return err
	})
	return res, err
}

func (s *faultyStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (rows driver.Rows, err error) {
	err = s.c.do(s.op("query", args), func() error {
		rows, err = s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
		return err
	})
	return rows, err
}

func (s *faultyStmt) CheckNamedValue(v *driver.NamedValue) error { return s.c.CheckNamedValue(v) }

// varRows answers SHOW VARIABLES.
type varRows struct{ names, values []string }

func newVarRows(vars map[string]string) *varRows {
	r := &varRows{}
	for name, value := range vars {
		r.names, r.values = append(r.names, name), append(r.values, value)
	}
	return r
}

func (r *varRows) Columns() []string { return []string{"Variable_name", "Value"} }
func (r *varRows) Close() error      { return nil }
func (r *varRows) Next(dest []driver.Value) error {
	if len(r.names) == 0 {
		return io.EOF
	}
	dest[0], dest[1] = []byte(r.names[0]), []byte(r.values[0])
	r.names, r.values = r.names[1:], r.values[1:]
	return nil
}
