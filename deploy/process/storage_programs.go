package process

import (
	"os/exec"

	"golang.org/x/sys/unix"
	"os"

	"github.com/framedb/framedb/client/wire"
)

// database is the kind of server that holds a persistent FrameDB: the one that
// can read its data, or else the best that this machine has.
//
// Errors: ErrUnavailable (a program is missing) with the key to set.
func (c *Config) database(has kind) (database, error) {
	switch has {
	case tidbServer:
		return c.tidb()
	case mariadbServer:
		return c.mariadb()
	}
	if db, err := c.tidb(); err == nil || c.TiDBServer != "" {
		return db, err
	}
	db, err := c.mariadb()
	if err != nil && c.MariaDB == "" {
		return nil, wire.InField("mariadbd", wire.Errorf(wire.CodeUnavailable,
			"there is neither tidb-server nor mariadbd in PATH: install one (for development: apt-get install mariadb-server-core), or create the FrameDB on an external server"))
	}
	return db, err
}

func (c *Config) tidb() (database, error) {
	path, err := lookUp(c.TiDBServer, "tidb-server")
	if err != nil {
		return nil, wire.InField("tidb_server", wire.Errorf(wire.CodeUnavailable, "%v: install TiDB or set tidb_server to the program", err))
	}
	return tidb{path}, nil
}

// mariadbPlaces are where distributions put it, outside of many a PATH.
var mariadbPlaces = [...]string{"/usr/sbin/mariadbd", "/usr/libexec/mariadbd", "/usr/local/sbin/mariadbd"}

func (c *Config) mariadb() (database, error) {
	path, err := lookUp(c.MariaDB, "mariadbd")
	if err == nil {
		return mariadb{path}, nil
	}
	for _, place := range mariadbPlaces {
		if _, missing := exec.LookPath(place); missing == nil && c.MariaDB == "" {
			return mariadb{place}, nil
		}
	}
	return nil, wire.InField("mariadbd", wire.Errorf(wire.CodeUnavailable, "%v: install MariaDB (apt-get install mariadb-server-core) or set mariadbd to the program", err))
}

// syncAll has the kernel write down everything of the file system on which the
// directory is: a program that ended need not have done that.
func syncAll(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}
