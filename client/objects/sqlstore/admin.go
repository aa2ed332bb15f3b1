package sqlstore

import (
	"context"
	"crypto/sha1"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/framedb/framedb/client/wire"
)

// About is what a server says of itself.
type About struct {
	Engine  wire.Engine
	Version string
}

// Ask logs in anew and asks the server what it is. It needs no database.
//
// Errors: ErrForbidden (it does not take the password), ErrUnavailable, those of
// Backend, ctx's.
func (s Server) Ask(ctx context.Context) (About, error) {
	s.Database = ""
	var about About
	err := s.do(ctx, func(db *sql.DB) error {
		return db.QueryRowContext(ctx, "SELECT VERSION()").Scan(&about.Version)
	})
	about.Engine = engineOf(about.Version)
	return about, err
}

// engineOf reads VERSION(): "8.0.11-TiDB-v8.5.0", "10.11.6-MariaDB", "8.0.36".
func engineOf(version string) wire.Engine {
	switch {
	case version == "":
		return ""
	case strings.Contains(version, "TiDB"):
		return wire.EngineTiDB
	case strings.Contains(version, "MariaDB"):
		return wire.EngineMariaDB
	}
	return wire.EngineMySQL
}

// Prepare makes the database and the tables that are missing.
//
// Errors: those of OpenServer.
func (s Server) Prepare(ctx context.Context) error {
	b, err := OpenServer(ctx, s, Config{PoolSize: 1})
	if err != nil {
		return err
	}
	return b.Close()
}

// Passwords are what a server is to take. With Former, which only MariaDB can
// do, both are taken, so that who still has the former one gets in.
type Passwords struct {
	Password  string
	Former    string
	HasFormer bool
}

// SetPassword has the server take other passwords for the user as whom it logs
// in.
//
// Errors: as Ask.
func (s Server) SetPassword(ctx context.Context, to Passwords) error {
	about, err := s.Ask(ctx)
	if err != nil {
		return err
	}
	s.Database = ""
	return s.do(ctx, func(db *sql.DB) error {
		_, err := db.ExecContext(ctx, "ALTER USER "+account(s.User)+identified(about.Engine, to))
		return err
	})
}

// Setup are the statements that a server which FrameDB runs executes at each
// start before it lets anyone in: afterwards the user is there, may do
// everything, and has these passwords, and the database is there. It holds no
// password but what is derived from one.
func Setup(engine wire.Engine, user, database string, to Passwords) string {
	who := account(user)
	return strings.Join([]string{
		"CREATE USER IF NOT EXISTS " + who + identified(engine, to) + ";",
		"ALTER USER " + who + identified(engine, to) + ";",
		"GRANT ALL PRIVILEGES ON *.* TO " + who + " WITH GRANT OPTION;",
		createDatabase(database) + ";",
		"",
	}, "\n")
}

// account is a user from wherever it connects.
func account(user string) string { return "'" + strings.ReplaceAll(user, "'", "''") + "'@'%'" }

func backquoted(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// identified is the end of CREATE USER and ALTER USER. The passwords stand there
// as MySQL keeps them, so that nothing of them has to be quoted.
func identified(engine wire.Engine, to Passwords) string {
	if engine != wire.EngineMariaDB {
		return " IDENTIFIED WITH 'mysql_native_password' AS '" + scrambled(to.Password) + "'"
	}
	by := " IDENTIFIED VIA mysql_native_password USING '" + scrambled(to.Password) + "'"
	if to.HasFormer && to.Former != to.Password {
		by += " OR mysql_native_password USING '" + scrambled(to.Former) + "'"
	}
	return by
}

// scrambled is what mysql_native_password keeps of a password.
func scrambled(password string) string {
	once := sha1.Sum([]byte(password))
	return fmt.Sprintf("*%X", sha1.Sum(once[:]))
}

// do runs f on a connection of its own.
func (s Server) do(ctx context.Context, f func(*sql.DB) error) error {
	cfg, err := mysql.ParseDSN(s.DSN())
	if err != nil {
		return errNoDSN
	}
	cfg.Timeout, cfg.ReadTimeout, cfg.WriteTimeout, cfg.Logger = dialTimeout, answerTimeout, answerTimeout, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return errNoDSN
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	db.SetMaxOpenConns(1)
	if err := f(db); err != nil {
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return err
		}
		_, told := judge(err)
		return told
	}
	return nil
}

var errNoDSN = wire.Errorf(wire.CodeInvalidArgument, "the server's address, user or password cannot be put into a DSN")
