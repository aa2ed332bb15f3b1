package process

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy/sockets"
)

// The files of a persistent FrameDB, below StorageDir:
//
//	<id>/storage.json                 storageFile
//	<id>/data/                        the database's own
//	<id>/data.new/                    a database that is being made
//	<id>/tmp/                         temporary tables: a server deletes those of others at its start
//	<id>/setup.sql                    what the server executes when it starts: no password, but its hash
//	<id>/{mariadbd,tidb-server}.conf  written before each start, with .log and .pid beside it
//	.removed-*                        what a RemoveStorage is deleting
const (
	storageName   = "storage.json"
	dataName      = "data"
	freshDataName = "data.new"
	tmpName       = "tmp"
	setupName     = "setup.sql"
)

// storageFile is what a persistent FrameDB keeps for life.
type storageFile struct {
	// Kind is the server that can read the data.
	Kind kind   `json:"server"`
	Host string `json:"host"`
	Port int    `json:"port"`
	// Born says that the data is there: a server is never started on none
	// again.
	Born bool `json:"born"`
}

// storage is one persistent FrameDB as its files and its process show it.
type storage struct {
	id     wire.FrameDBID
	dir    string
	socket string // empty where its path would be too long
	file   storageFile
	lost   bool // the file is not there, and was put together from what runs
	found  []proc
}

// exists says that there is anything of it.
func (s *storage) exists() bool { return s.file.Kind != "" }

// noted says that all files are there by which the next driver finds what runs.
func (s *storage) noted() bool { return !s.lost && s.server().noted() }

func (s *storage) data() string  { return filepath.Join(s.dir, dataName) }
func (s *storage) tmp() string   { return filepath.Join(s.dir, tmpName) }
func (s *storage) setup() string { return filepath.Join(s.dir, setupName) }

func (s *storage) server() server {
	return server{
		kind: s.file.Kind, dir: s.dir, socket: s.socket, found: s.found,
		Endpoint: wire.Endpoint{Host: s.file.Host, Port: s.file.Port},
	}
}

func (d *Driver) storageDir(id wire.FrameDBID) string {
	return filepath.Join(d.cfg.StorageDir, string(id))
}

// storageSocket begins with a character with which neither a tag nor a member
// does. It is empty where unix(7) allows no path so long.
func (d *Driver) storageSocket(id wire.FrameDBID) string {
	path := sockets.Path(d.cfg.SocketDir, "_"+id)
	if len(path) > sockets.MaxPath {
		return ""
	}
	return path
}

// seeStorage loads it, with the process table where its files do not tell all.
func (d *Driver) seeStorage(id wire.FrameDBID) (*storage, error) {
	s, err := d.loadStorage(id, nil)
	if err != nil || s.exists() && s.noted() {
		return s, err
	}
	procs, err := d.scanStorage()
	if err != nil {
		return nil, err
	}
	return d.loadStorage(id, procs)
}

// loadStorage reads what there is of it; nothing is no error.
func (d *Driver) loadStorage(id wire.FrameDBID, procs table) (*storage, error) {
	s := &storage{id: id, dir: d.storageDir(id), socket: d.storageSocket(id)}
	err := readJSON(filepath.Join(s.dir, storageName), &s.file)
	if err != nil && !isLost(err) {
		return nil, err
	}
	s.lost = err != nil || s.file.Kind == ""
	for _, k := range []kind{mariadbServer, tidbServer} {
		srv := server{kind: k, dir: s.dir}
		found := procs[srv.conf()]
		_, err := os.Stat(srv.conf())
		switch {
		case s.lost && len(found) > 0:
			s.file = storageFile{Kind: k, Host: found[0].Host, Port: found[0].Port, Born: true}
			s.found = found
		case s.lost && err == nil && s.file.Kind == "":
			s.file.Kind = k // its address is gone; where its data is, tells prepare
		case s.file.Kind == k:
			s.found = found
		}
	}
	return s, nil
}

// scanStorage finds the servers of persistent FrameDBs.
func (d *Driver) scanStorage() (table, error) { return d.scanBy(d.storageServerOf) }

// storageServerOf is the database server that has exactly this command line.
func (d *Driver) storageServerOf(argv []string) (server, bool) {
	if len(argv) != 4 {
		return server{}, false
	}
	value := func(arg string) string { _, v, _ := strings.Cut(arg, "="); return v }
	dir, file := filepath.Split(value(argv[1]))
	port, err := strconv.Atoi(value(argv[3]))
	s := server{kind: kind(strings.TrimSuffix(file, ".conf")), dir: filepath.Clean(dir), Endpoint: wire.Endpoint{Host: value(argv[2]), Port: port}}
	if err != nil || s.kind != mariadbServer && s.kind != tidbServer || !slices.Equal(argv[1:], s.args()) {
		return server{}, false
	}
	return s, wire.FrameDBID(filepath.Base(s.dir)).Validate() == nil && filepath.Dir(s.dir) == d.cfg.StorageDir
}
