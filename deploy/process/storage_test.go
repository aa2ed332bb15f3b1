package process_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/sqlstore"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
	"github.com/framedb/framedb/deploy/process"
)

// What runs here is MariaDB: these are tests of the driver and of the MySQL
// protocol, not of TiDB.

const disk = wire.FrameDBID("disk-1")

func storageSpec() wire.StorageSpec {
	s := wire.StorageSpec{NodeTag: "node-1"}
	s.ApplyDefaults()
	return s
}

func secret(password string) deploy.StoragePassword {
	return deploy.StoragePassword{Password: password}
}

func (b *bed) applyStorage(id wire.FrameDBID, s wire.StorageSpec, p deploy.StoragePassword) deploy.Storage {
	b.t.Helper()
	if err := b.ApplyStorage(b.ctx, id, s, p); err != nil {
		b.t.Fatalf("apply %s: %v", id, err)
	}
	seen := b.observeStorage(id)
	if !seen.Running || seen.NeedsApply || seen.Reason != "" || seen.Ready != seen.Wanted || seen.Node != "node-1" {
		b.t.Fatalf("after apply %s is %+v", id, seen)
	}
	return seen
}

func (b *bed) observeStorage(id wire.FrameDBID) deploy.Storage {
	b.t.Helper()
	seen, err := b.ObserveStorage(b.ctx, id)
	if err != nil {
		b.t.Fatalf("observe %s: %v", id, err)
	}
	return seen
}

func login(seen deploy.Storage, password string) sqlstore.Server {
	return sqlstore.Server{
		Address: net.JoinHostPort(seen.Host, strconv.Itoa(seen.Port)),
		User:    wire.DefaultStorageUser, Password: password, Database: wire.DefaultDatabase,
	}
}

func (b *bed) store(s sqlstore.Server) *objects.Store {
	b.t.Helper()
	backend, err := sqlstore.OpenServer(b.ctx, s, sqlstore.Config{PoolSize: 2})
	if err != nil {
		b.t.Fatalf("open %s: %v", s.Address, err)
	}
	b.t.Cleanup(func() { backend.Close() })
	return objects.New(backend)
}

func (b *bed) put(s sqlstore.Server, key objects.Key, value string) {
	b.t.Helper()
	if _, err := b.store(s).Put(b.ctx, key, strings.NewReader(value), objects.PutOptions{}); err != nil {
		b.t.Fatalf("put %s: %v", key, err)
	}
}

func (b *bed) expect(s sqlstore.Server, key objects.Key, value string) {
	b.t.Helper()
	r, err := b.store(s).Get(b.ctx, key, objects.GetOptions{})
	if err != nil {
		b.t.Fatalf("get %s: %v", key, err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != value {
		b.t.Fatalf("%s is %q, %v; want %q", key, got, err, value)
	}
}

// storagePID finds the server in the process table.
func (b *bed) storagePID(id wire.FrameDBID) int {
	b.t.Helper()
	for _, pid := range b.processes() {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if bytes.Contains(cmdline, []byte("/"+string(id)+"/mariadbd.conf\x00")) {
			return pid
		}
	}
	b.t.Fatalf("no server of %s runs", id)
	return 0
}

// killStorage is kill -9, and waits until the driver sees it.
func (b *bed) killStorage(id wire.FrameDBID) {
	b.t.Helper()
	if err := syscall.Kill(b.storagePID(id), syscall.SIGKILL); err != nil {
		b.t.Fatal(err)
	}
	b.eventually(func() error {
		if b.observeStorage(id).Running {
			return errors.New("it is still reported to run")
		}
		return nil
	})
}

func TestStorageLife(t *testing.T) {
	b := newBed(t)
	if seen := b.observeStorage(disk); seen.Exists {
		t.Fatalf("before it was made it is %+v", seen)
	}
	seen := b.applyStorage(disk, storageSpec(), secret("first"))
	server := login(seen, "first")
	about, err := server.Ask(b.ctx)
	if err != nil || about.Engine != wire.EngineMariaDB || !strings.Contains(about.Version, "MariaDB") {
		t.Fatalf("it says that it is %+v, %v", about, err)
	}
	b.put(server, "a/b", "kept")
	overSocket := server
	overSocket.Socket = seen.Socket
	b.expect(overSocket, "a/b", "kept")
	if want := filepath.Join(b.cfg.SocketDir, "_disk-1.sock"); seen.Socket != want {
		t.Errorf("its socket is %s, want %s", seen.Socket, want)
	}
	for _, wrong := range []string{"", "second", password} {
		if _, err := login(seen, wrong).Ask(b.ctx); !errors.Is(err, wire.ErrForbidden) {
			t.Errorf("password %q: %v, want ErrForbidden", wrong, err)
		}
	}

	b.killStorage(disk)
	if seen := b.observeStorage(disk); !seen.NeedsApply || !strings.Contains(seen.Reason, "signal 9") || seen.Ready.TiDB != 0 {
		t.Errorf("killed it is %+v", seen)
	}
	if again := b.applyStorage(disk, storageSpec(), secret("first")); again.Port != seen.Port {
		t.Errorf("its port was %d and is %d", seen.Port, again.Port)
	}
	b.expect(server, "a/b", "kept")

	before := b.storagePID(disk)
	b.open()
	b.applyStorage(disk, storageSpec(), secret("first"))
	if after := b.storagePID(disk); after != before {
		t.Errorf("after a restart of the agent process %d became %d", before, after)
	}
	for range 2 {
		if err := b.RemoveStorage(b.ctx, disk); err != nil {
			t.Fatal(err)
		}
	}
	left, _ := os.ReadDir(filepath.Join(b.cfg.Dir, ".storage"))
	sockets, _ := os.ReadDir(b.cfg.SocketDir)
	if seen := b.observeStorage(disk); seen.Exists || len(left)+len(sockets)+len(b.processes()) > 0 {
		t.Errorf("after it was removed: %+v, %v, %v, %v", seen, left, sockets, b.processes())
	}
}

func TestTwoStoragesAtOnce(t *testing.T) {
	b := newBed(t)
	done := make(chan error, 2)
	for _, id := range []wire.FrameDBID{"one", "two"} {
		go func() { done <- b.ApplyStorage(b.ctx, id, storageSpec(), secret("of-"+string(id))) }()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	one, two := login(b.observeStorage("one"), "of-one"), login(b.observeStorage("two"), "of-two")
	b.put(one, "k", "in one")
	b.put(two, "k", "in two")
	if err := b.RemoveStorage(b.ctx, "two"); err != nil {
		t.Fatal(err)
	}
	b.expect(one, "k", "in one")
}

func TestStoragePortTaken(t *testing.T) {
	b := newBed(t)
	seen := b.applyStorage(disk, storageSpec(), secret("first"))
	b.put(login(seen, "first"), "k", "v")
	b.killStorage(disk)
	foreign, err := net.Listen("tcp", net.JoinHostPort(seen.Host, strconv.Itoa(seen.Port)))
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	err = b.ApplyStorage(b.ctx, disk, storageSpec(), secret("first"))
	if want := fmt.Sprintf("port %d", seen.Port); !errors.Is(err, wire.ErrUnavailable) || !strings.Contains(err.Error(), want) {
		t.Errorf("with its port taken: %v", err)
	}
	if now := b.observeStorage(disk); now.Running || !strings.Contains(now.Reason, "taken by another program") {
		t.Errorf("it is %+v", now)
	}
	foreign.Close()
	b.applyStorage(disk, storageSpec(), secret("first"))
	b.expect(login(seen, "first"), "k", "v")
}

// TestStorageParameters: what the server refuses is told, and harms nothing.
func TestStorageParameters(t *testing.T) {
	b := newBed(t)
	s := storageSpec()
	s.Parameters.TiDB = []byte(`{"max_connections": 33, "sql-mode": "ANSI_QUOTES"}`)
	seen := b.applyStorage(disk, s, secret("first"))
	server := login(seen, "first")
	b.put(server, "k", "v")
	before := b.storagePID(disk)
	for parameters, want := range map[string]string{
		`{"no_such_thing": 1}`:       "no_such_thing",
		`{"max_connections": "5x"}`:  "5x",
		`{"datadir": "/"}`:           "leave it out",
		`{"socket\n": 1}`:            "no name",
		`{"log": {"level": "info"}}`: "system variables",
		`{"sql_mode": "a\nb"}`:       "one line",
	} {
		s.Parameters.TiDB = []byte(parameters)
		err := b.ApplyStorage(b.ctx, disk, s, secret("first"))
		if !errors.Is(err, wire.ErrInvalidArgument) || wire.AsError(err).Field != "parameters.tidb" || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", parameters, err)
		}
	}
	if now := b.observeStorage(disk); !now.Running || b.storagePID(disk) != before {
		t.Errorf("it was touched: %+v", now)
	}
	s.Parameters.TiDB = []byte(`{"max_connections": 34}`)
	b.applyStorage(disk, s, secret("first"))
	if b.storagePID(disk) == before {
		t.Error("it runs on with the former parameters")
	}
	b.expect(server, "k", "v")
}

func TestStorageDataIsNeverMadeAnew(t *testing.T) {
	b := newBed(t)
	server := login(b.applyStorage(disk, storageSpec(), secret("first")), "first")
	b.put(server, "k", "v")
	b.killStorage(disk)
	data := filepath.Join(b.cfg.Dir, ".storage", "disk-1", "data")
	if err := os.Rename(data, data+".moved"); err != nil {
		t.Fatal(err)
	}
	err := b.ApplyStorage(b.ctx, disk, storageSpec(), secret("first"))
	if !errors.Is(err, wire.ErrUnavailable) || !strings.Contains(err.Error(), "bring it back") {
		t.Errorf("without its data: %v", err)
	}
	if err := os.Rename(data+".moved", data); err != nil {
		t.Fatal(err)
	}
	b.applyStorage(disk, storageSpec(), secret("first"))
	b.expect(server, "k", "v")
}

func TestStorageDiskFull(t *testing.T) {
	b := newBed(t)
	dir := filepath.Join(b.cfg.Dir, ".storage", "disk-1")
	full := func(name string) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/dev/full", filepath.Join(dir, name+".new")); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"storage.json", "setup.sql", "mariadbd.conf", "mariadbd.pid"} {
		full(name)
		err := b.ApplyStorage(b.ctx, disk, storageSpec(), secret("first"))
		if !errors.Is(err, wire.ErrDiskFull) || !strings.Contains(err.Error(), "free some there") {
			t.Errorf("%s: %v", name, err)
		}
	}
	b.put(login(b.applyStorage(disk, storageSpec(), secret("first")), "first"), "k", "v")
}

func TestNoDatabaseProgram(t *testing.T) {
	b := newBed(t, func(c *process.Config) { c.MariaDB = "/nowhere/mariadbd" })
	err := b.ApplyStorage(b.ctx, disk, storageSpec(), secret("first"))
	if !errors.Is(err, wire.ErrUnavailable) || wire.AsError(err).Field != "mariadbd" || !strings.Contains(err.Error(), "apt-get install mariadb-server-core") {
		t.Errorf("without a program: %v", err)
	}
	if seen := b.observeStorage(disk); seen.Exists {
		t.Errorf("something was made: %+v", seen)
	}
	b.cfg.MariaDB = ""
	b.open()
	b.applyStorage(disk, storageSpec(), secret("first"))
}

func TestRefusedStorageChangesNothing(t *testing.T) {
	b := newBed(t)
	external := storageSpec()
	external.External = &wire.ExternalStorage{Address: "db:3306"}
	external.ApplyDefaults()
	for id, s := range map[wire.FrameDBID]wire.StorageSpec{"": storageSpec(), "../x": storageSpec(), "a": {}, "b": external} {
		if err := b.ApplyStorage(b.ctx, id, s, secret("x")); !errors.Is(err, wire.ErrInvalidArgument) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if left, _ := os.ReadDir(b.cfg.Dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
