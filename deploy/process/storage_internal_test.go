package process

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/framedb/framedb/client/wire"
)

// TestTiDBConfiguration is all that is tested of TiDB here: there is none to
// run.
func TestTiDBConfiguration(t *testing.T) {
	t.Parallel()
	s := &storage{id: "disk", dir: "/d/disk", socket: "/s/_disk.sock"}
	spec := wire.StorageSpec{Parameters: wire.StorageParameters{
		TiDB: []byte(`{"log": {"level": "warn"}, "performance": {"txn-total-size-limit": 104857600}, "lease": "45s", "x": [1, true]}`),
	}}
	got, err := tidb{}.config(s, &spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"store" = "unistore"`, `"path" = "/d/disk/data"`, `"socket" = "/s/_disk.sock"`, `"initialize-sql-file" = "/d/disk/setup.sql"`,
		`"log"."level" = "warn"`, `"performance"."txn-total-size-limit" = 104857600`, `"lease" = "45s"`, `"x" = [1,true]`, `"status"."report-status" = false`,
	} {
		if !strings.Contains(string(got), want+"\n") {
			t.Errorf("%s is missing in\n%s", want, got)
		}
	}
	for parameters, want := range map[string]string{
		`{"path": "/"}`:                       "leave it out",
		`{"status": {"report-status": true}}`: "leave it out",
		`{"a.b": 1}`:                          "no name",
		`{"a": null}`:                         "no value",
	} {
		spec.Parameters.TiDB = []byte(parameters)
		if _, err := (tidb{}).config(s, &spec); !errors.Is(err, wire.ErrInvalidArgument) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", parameters, err)
		}
	}
}

// TestWhichDatabase: what holds data goes on with it, whatever is installed
// later.
func TestWhichDatabase(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "tidb-server")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		cfg  Config
		has  kind
		want kind
	}{
		{"a new one is TiDB", Config{TiDBServer: program}, "", tidbServer},
		{"or else MariaDB", Config{}, "", mariadbServer},
		{"one that is MariaDB stays so", Config{TiDBServer: program}, mariadbServer, mariadbServer},
		{"one that is TiDB needs it", Config{TiDBServer: "/nowhere"}, tidbServer, ""},
		{"what was asked for is used or missed", Config{TiDBServer: "/nowhere"}, "", ""},
	} {
		db, err := c.cfg.database(c.has)
		switch {
		case c.want == "" && !errors.Is(err, wire.ErrUnavailable):
			t.Errorf("%s: %v, %v", c.name, db, err)
		case c.want != "" && (err != nil || db.kind() != c.want):
			t.Errorf("%s: %v, %v, want %s", c.name, db, err, c.want)
		}
	}
}

// TestStorageCommandLines: a server is found by exactly what it is started
// with.
func TestStorageCommandLines(t *testing.T) {
	t.Parallel()
	d := &Driver{cfg: Config{StorageDir: "/d/storage"}}
	for _, k := range []kind{mariadbServer, tidbServer} {
		s := server{kind: k, dir: "/d/storage/disk", Endpoint: wire.Endpoint{Host: "127.0.0.1", Port: 4000}}
		argv := append([]string{"/usr/sbin/x"}, s.args()...)
		if got, ok := d.storageServerOf(argv); !ok || got.conf() != s.conf() || got.Endpoint != s.Endpoint {
			t.Errorf("%v is %+v, %v", argv, got, ok)
		}
		for _, other := range [][]string{
			append(argv, "--more"), argv[:3], {"vi", argv[1], argv[2], "--port=x"},
			{"x", strings.Replace(argv[1], "/d/storage/", "/d/other/", 1), argv[2], argv[3]},
			{"x", strings.Replace(argv[1], "/disk/", "/.removed-disk/", 1), argv[2], argv[3]},
		} {
			if _, ok := d.storageServerOf(other); ok {
				t.Errorf("%v is taken for a server", other)
			}
		}
	}
}

func TestLastErrorOfMariaDB(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{
		"2026-11-30 19:33:06 0 [Note] x\n2026-11-30 19:33:06 0 [ERROR] /usr/sbin/mariadbd: unknown variable 'foo=1'\n2026-11-30 19:33:06 0 [ERROR] Aborting\n": "/usr/sbin/mariadbd: unknown variable 'foo=1'",
		"ERROR: 1064  You have an error\n2026-11-30 19:33:06 0 [ERROR] Aborting\n":                                                                             "ERROR: 1064  You have an error",
		"something else": "something else",
	} {
		if got := lastErrorOf(said); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
