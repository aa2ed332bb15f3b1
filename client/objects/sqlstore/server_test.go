package sqlstore_test

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/mysqltest"
	"github.com/framedb/framedb/client/objects/sqlstore"
	"github.com/framedb/framedb/client/wire"
)

// A database that is not there is made, over TCP and over the unix socket.
func TestOpenServer(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t, "--innodb-flush-log-at-trx-commit=0")
	for database, socket := range map[string]string{"fresh": "", "fresh-2": s.Socket} {
		server := sqlstore.Server{Address: net.JoinHostPort(s.Host, strconv.Itoa(s.Port)), Socket: socket, User: "root", Password: "p@s:s/w?rd", Database: database}
		b, err := sqlstore.OpenServer(t.Context(), server, sqlstore.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := objects.New(b).Put(t.Context(), "k", strings.NewReader("v"), objects.PutOptions{}); err != nil {
			t.Error(err)
		}
		b.Close()
		if got := (under{DB: plain(t, server.DSN())}).Read(t, "k"); string(got) != "v" {
			t.Errorf("%s holds %q", database, got)
		}
	}
	gone := sqlstore.Server{Address: "127.0.0.1:1", User: "root", Database: "x"}
	if _, err := sqlstore.OpenServer(t.Context(), gone, sqlstore.Config{}); wire.CodeOf(err) != wire.CodeUnavailable {
		t.Errorf("a server that is not there: %v", err)
	}
}

func TestServerDSN(t *testing.T) {
	for _, password := range []string{"", "p@s:s/w?rd", "a)b(c", "x&y=z%20", "@/:", "tcp(1.2.3.4)"} {
		s := sqlstore.Server{Address: "[::1]:4000", User: "u", Password: password, Database: "d-1", TLS: true}
		cfg, err := mysql.ParseDSN(s.DSN())
		if err != nil || cfg.Passwd != password || cfg.Addr != s.Address || cfg.User != "u" || cfg.DBName != "d-1" || cfg.TLSConfig != "true" {
			t.Errorf("%q: %+v, %v", password, cfg, err)
		}
	}
}
