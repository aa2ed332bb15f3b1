package client_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/mysqltest"
	"github.com/framedb/framedb/client/objects/objecttest"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/apitest"
	"github.com/framedb/framedb/internal/redistest"
	"github.com/framedb/framedb/raftstore/state"
)

func objectsOf(t testing.TB, c *client.Client, id wire.FrameDBID) *objects.Store {
	t.Helper()
	store, err := c.Objects(t.Context(), id)
	if err != nil {
		t.Fatalf("objects of %s: %v", id, err)
	}
	return store
}

func putString(t testing.TB, s *objects.Store, key objects.Key, text string) {
	t.Helper()
	if _, err := s.Put(t.Context(), key, strings.NewReader(text), objects.PutOptions{}); err != nil {
		t.Fatalf("put %q: %v", key, err)
	}
}

func wantString(t testing.TB, s *objects.Store, key objects.Key, want string) {
	t.Helper()
	if got, _, err := s.ReadAll(t.Context(), key, 1<<20); err != nil || string(got) != want {
		t.Errorf("%q holds %q, %v; want %q", key, got, err, want)
	}
}

// On this machine a program goes over the servers' own sockets.
func TestObjectsAreReachedDirectly(t *testing.T) {
	t.Parallel()
	a := apitest.Start(t)
	s := mysqltest.Start(t, "--innodb-flush-log-at-trx-commit=0")
	db := a.Persistent("corpus", s)
	rc := redistest.StartCluster(t, 1)
	a.Cluster("mem", rc)
	c := a.Client()
	for _, id := range []wire.FrameDBID{"corpus", "mem-redis-node-0", "mem"} {
		store := objectsOf(t, c, id)
		putString(t, store, "a/b", string(id))
		wantString(t, store, "a/b", string(id))
	}
	var overTCP int
	if err := db.QueryRow("SELECT COUNT(*) FROM information_schema.processlist WHERE host LIKE '127.0.0.1:%'").Scan(&overTCP); err != nil || overTCP != 0 {
		t.Errorf("%d connections to the database over TCP, %v", overTCP, err)
	}
	if list := rc.Servers[0].Client().ClientList(t.Context()).Val(); !strings.Contains(list, rc.Servers[0].Socket) {
		t.Errorf("no connection to Redis over its socket: %s", list)
	}
	moved, err := objects.Copy(t.Context(), objectsOf(t, c, "corpus"), "copy", objectsOf(t, c, "mem"), "a/b", objects.Condition{})
	if err != nil || moved.Sum != objects.SumOf([]byte("mem")) {
		t.Errorf("copied %+v, %v", moved, err)
	}
}

func TestObjectsOfNobody(t *testing.T) {
	t.Parallel()
	a := apitest.Start(t)
	s := mysqltest.Start(t, "--innodb-flush-log-at-trx-commit=0")
	a.Persistent("corpus", s)
	a.Propose(state.CreateStorage{ID: "new", Spec: wire.StorageSpec{NodeTag: "node-1"}})
	c := a.Client()
	for id, want := range map[wire.FrameDBID]*wire.Error{
		"nobody": {Code: wire.CodeNotFound, Field: "framedb_id"}, "mem-redis-node-0": {Code: wire.CodeNotFound, Field: "framedb_id"},
		"Bad": {Code: wire.CodeInvalidArgument, Field: "framedb_id"}, "": {Code: wire.CodeInvalidArgument, Field: "framedb_id"},
		"new": {Code: wire.CodeUnavailable},
	} {
		_, err := c.Objects(t.Context(), id)
		if e := wire.AsError(err); e == nil || e.Code != want.Code || e.Field != want.Field {
			t.Errorf("%q: %v (%+v), want %+v", id, err, e, want)
		}
	}
	far := apitest.StartFar(t)
	far.Persistent("corpus", s)
	for password, want := range map[string]error{"": wire.ErrForbidden, "x": nil} {
		c, err := client.New(client.Config{Addrs: []string{far.URL}, Password: password})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Objects(t.Context(), "corpus"); !errors.Is(err, want) {
			t.Errorf("over TCP with the password %q: %v, want %v", password, err, want)
		}
	}
	near, err := client.New(client.Config{Addrs: []string{a.URL}}) // finds the socket of the agent there
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	putString(t, objectsOf(t, near, "corpus"), "k", "v")
}

// A store follows its FrameDB: to another master, and to another server.
func TestObjectsFollow(t *testing.T) {
	t.Parallel()
	a := apitest.Start(t)
	rc := redistest.StartCluster(t, 2)
	a.Cluster("mem", rc)
	s := mysqltest.Start(t, "--innodb-flush-log-at-trx-commit=0")
	a.Persistent("corpus", s)
	c := a.Client()
	mem, corpus := objectsOf(t, c, "mem-redis-node-1"), objectsOf(t, c, "corpus")
	putString(t, mem, "k", "one")
	putString(t, corpus, "k", "one")

	rc.Failover()
	putString(t, mem, "k", "two")
	if got := rc.Master().Client().Get(t.Context(), "k").Val(); got != "two" {
		t.Errorf("the new master has %q", got)
	}

	next := mysqltest.Start(t, "--innodb-flush-log-at-trx-commit=0")
	s.Kill()
	a.RunsAt("corpus", next)
	redistest.Eventually(t, time.Minute, "the store is at the new server", func() error {
		_, err := corpus.Put(t.Context(), "k", strings.NewReader("two"), objects.PutOptions{})
		return err
	})
	wantString(t, corpus, "k", "two")
}

// childOf makes the test binary a client that is to be killed:
// "<agent's socket> <FrameDB ID>".
const childOf = "FRAMEDB_TEST_OBJECTS_CHILD"

// TestObjectsChild puts a large object, when TestKilledClients runs it.
func TestObjectsChild(t *testing.T) {
	socket, id, found := strings.Cut(os.Getenv(childOf), " ")
	if !found {
		return
	}
	c, err := client.New(client.Config{Addrs: []string{"unix://" + socket}})
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	_, err = objectsOf(t, c, wire.FrameDBID(id)).Put(t.Context(), "large", readerFunc(func(p []byte) (int, error) {
		if sent += len(p); sent>>20 > (sent-len(p))>>20 {
			fmt.Println("sent", sent>>20)
		}
		return len(p), nil
	}), objects.PutOptions{})
	fmt.Println("ended:", err)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A client that is killed in the middle of a put leaves nothing visible, and
// what was there stays.
func TestKilledClients(t *testing.T) {
	t.Parallel()
	a := apitest.Start(t)
	s := mysqltest.Start(t, "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0")
	db := a.Persistent("corpus", s)
	rc := redistest.StartCluster(t, 1)
	a.Cluster("mem", rc)
	c := a.Client()
	for _, id := range []wire.FrameDBID{"corpus", "mem"} {
		store := objectsOf(t, c, id)
		for round := range 2 {
			killWhile(t, a, id, 1+rand.IntN(40))
			if round == 0 {
				if found, err := store.Exists(t.Context(), "large"); found || err != nil {
					t.Errorf("%s: half an object is visible: %v, %v", id, found, err)
				}
				putString(t, store, "large", "before")
			} else {
				wantString(t, store, "large", "before")
			}
		}
		page, err := store.List(t.Context(), objects.ListOptions{})
		if err != nil || len(page.Objects) != 1 {
			t.Errorf("%s: list %+v, %v", id, page, err)
		}
	}
	redistest.Eventually(t, 30*time.Second, "nothing hidden is left", func() error {
		if _, err := objectsOf(t, c, "corpus").Sweep(t.Context(), objects.SweepAges{}); err != nil {
			return err
		}
		if n := (objecttest.SQL{DB: db}).Hidden(t); n > 0 {
			return fmt.Errorf("%d parts", n)
		}
		return nil
	})
	rdb := rc.Servers[0].Client()
	for _, part := range rdb.Keys(t.Context(), "framedb:part:*").Val() {
		if ttl := rdb.PTTL(t.Context(), part).Val(); ttl <= 0 || ttl > time.Hour {
			t.Errorf("%s stays for %v", part, ttl)
		}
	}
}

// killWhile kills a client once it has sent so many MiB.
func killWhile(t *testing.T, a *apitest.API, id wire.FrameDBID, mib int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestObjectsChild$")
	cmd.Env = append(os.Environ(), childOf+"="+a.Socket+" "+string(id))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(2*time.Minute, func() { cmd.Process.Kill() })
	defer timer.Stop()
	sent := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "ended:"); ok {
			t.Errorf("the put ended: %s", text)
		}
		if fmt.Sscanf(lines.Text(), "sent %d", &sent); sent >= mib {
			cmd.Process.Kill()
		}
	}
	cmd.Wait()
	if sent < mib {
		t.Errorf("%s: the client sent %d MiB, want %d", id, sent, mib)
	}
}

// Many at once, and the pool does not grow beyond what it may.
func TestObjectsInParallel(t *testing.T) {
	t.Parallel()
	a := apitest.Start(t)
	s := mysqltest.Start(t, "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0")
	db := a.Persistent("corpus", s)
	store := objectsOf(t, a.Client(), "corpus")
	var wg sync.WaitGroup
	for w := range 24 {
		wg.Go(func() {
			data := make([]byte, 1<<20)
			rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, w))).Read(data)
			key := objects.Key(fmt.Sprint(w))
			for range 3 {
				if _, err := store.Put(t.Context(), key, bytes.NewReader(data), objects.PutOptions{}); err != nil {
					t.Error(err)
				}
				r, err := store.Get(t.Context(), key, objects.GetOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				r.Close()
			}
		})
	}
	wg.Wait()
	var n int
	if err := db.QueryRow("SELECT COUNT(*) FROM information_schema.processlist").Scan(&n); err != nil || n > 8+2+5 {
		t.Errorf("%d connections, %v", n, err)
	}
}
