package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/go-sql-driver/mysql"

	"github.com/framedb/framedb/client/wire"
)

// Server is where a database is and how to log in.
type Server struct {
	Address string // host:port
	// Socket is the server's unix socket on this machine; "" for TCP.
	Socket         string
	User, Password string
	Database       string
	// TLS encrypts TCP connections and checks the server's certificate.
	TLS bool
}

// DSN is the server for Connector. It holds the password.
func (s Server) DSN() string {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.DBName = s.User, s.Password, s.Database
	cfg.Net, cfg.Addr = "tcp", s.Address
	switch {
	case s.Socket != "":
		cfg.Net, cfg.Addr = "unix", s.Socket
	case s.TLS:
		cfg.TLSConfig = "true"
	}
	return cfg.FormatDSN()
}

// OpenServer is Open for a Server. A database that is not there is made, if
// the user may.
//
// Errors: those of Open, ErrInvalidArgument, ErrForbidden.
func OpenServer(ctx context.Context, s Server, cfg Config) (*Backend, error) {
	connector, err := Connector(s.DSN())
	if err != nil {
		return nil, err
	}
	cfg.Connector = connector
	b, err := Open(ctx, cfg)
	if !errors.Is(err, wire.ErrNotFound) {
		return b, err
	}
	if err := s.createDatabase(ctx); err != nil {
		return nil, err
	}
	return Open(ctx, cfg)
}

// createDatabase makes the database.
func (s Server) createDatabase(ctx context.Context) error {
	create := createDatabase(s.Database)
	s.Database = ""
	return s.do(ctx, func(db *sql.DB) error {
		_, err := db.ExecContext(ctx, create)
		return err
	})
}

// createDatabase is the statement by which a database is made, wherever.
func createDatabase(name string) string {
	return "CREATE DATABASE IF NOT EXISTS " + backquoted(name) + " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
}
