package agent

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/sqlstore"
)

// What runs here is MariaDB: no test of TiDB.

// disk is what the agent says of a persistent FrameDB; nil when there is none.
func (p *proc) disk(id string) map[string]any {
	p.t.Helper()
	status, answer := p.call(http.MethodGet, "/v1/storage/"+id, "")
	if status == http.StatusNotFound {
		return nil
	}
	if status != http.StatusOK {
		p.t.Fatalf("GET /v1/storage/%s: %d %v", id, status, answer)
	}
	return answer
}

func (p *proc) change(method, path, body string) {
	p.t.Helper()
	if status, answer := p.call(method, path, body); status < 200 || status > 299 {
		p.t.Fatalf("%s %s: %d %v", method, path, status, answer)
	}
}

// diskReady waits until it is, in its newest generation, and logs in.
func (p *proc) diskReady(id, password string) sqlstore.Server {
	p.t.Helper()
	var server sqlstore.Server
	eventually(p.t, 90*time.Second, func() error {
		row := p.disk(id)
		status, _ := row["status"].(map[string]any)
		if status["phase"] != "ready" || status["observed_generation"] != row["generation"] {
			return fmt.Errorf("it is %v", row)
		}
		at, err := url.Parse(fmt.Sprint(status["url"]))
		if err != nil || status["engine"] != "mariadb" {
			return fmt.Errorf("it is %v, %v", row, err)
		}
		server = sqlstore.Server{Address: at.Host, User: "root", Password: password, Database: "framedb"}
		return nil
	})
	return server
}

func withObjects(t *testing.T, s sqlstore.Server, do func(*objects.Store)) {
	t.Helper()
	backend, err := sqlstore.OpenServer(t.Context(), s, sqlstore.Config{PoolSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	do(objects.New(backend))
}

func putObject(t *testing.T, s sqlstore.Server, key objects.Key) {
	t.Helper()
	withObjects(t, s, func(store *objects.Store) {
		if _, err := store.Put(t.Context(), key, strings.NewReader("the bytes of "+string(key)), objects.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	})
}

func expectObject(t *testing.T, s sqlstore.Server, key objects.Key) {
	t.Helper()
	withObjects(t, s, func(store *objects.Store) {
		r, err := store.Get(t.Context(), key, objects.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if got, err := io.ReadAll(r); err != nil || string(got) != "the bytes of "+string(key) {
			t.Fatalf("%s is %q, %v", key, got, err)
		}
	})
}

// diskGone waits until nothing is left of it.
func (p *proc) diskGone(id string) {
	p.t.Helper()
	eventually(p.t, 60*time.Second, func() error {
		left, _ := os.ReadDir(filepath.Join(p.dir, "storage"))
		if row := p.disk(id); row != nil || len(left) > 0 {
			return fmt.Errorf("it is %v, and there is %v", row, left)
		}
		return nil
	})
	if pids := p.pidsOf("mariadb"); len(pids) > 0 {
		p.t.Errorf("processes %v are left", pids)
	}
}

// TestPersistentFrameDB: what is on disk outlives the agent, its database and a
// change of the password.
func TestPersistentFrameDB(t *testing.T) {
	t.Parallel()
	p := newProc(t)
	p.up()
	p.change(http.MethodPost, "/v1/storage", `{"framedb_id": "disk-1", "node_tag": "node-1"}`)
	server := p.diskReady("disk-1", p.password())
	putObject(t, server, "a")
	before := p.pidsOf("mariadb")

	p.kill()
	expectObject(t, server, "a") // it does not need the agent
	p.up()
	p.diskReady("disk-1", p.password())
	if after := p.pidsOf("mariadb"); len(before) != 1 || !slices.Equal(before, after) {
		t.Errorf("processes were %v and are %v", before, after)
	}

	if err := syscall.Kill(before[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, func() error {
		if now := p.pidsOf("mariadb"); len(now) != 1 || now[0] == before[0] {
			return fmt.Errorf("processes %v run", now)
		}
		return nil
	})
	server = p.diskReady("disk-1", p.password())
	expectObject(t, server, "a")

	p.change(http.MethodPatch, "/v1/storage/disk-1", `{"password": "another-one"}`)
	server = p.diskReady("disk-1", "another-one")
	expectObject(t, server, "a")
	p.term()
	if pids := p.pidsOf("mariadb"); len(pids) != 1 {
		t.Errorf("with the agent ended processes %v run", pids)
	}
	p.up()
	p.change(http.MethodDelete, "/v1/storage/disk-1", "")
	p.diskGone("disk-1")
	if strings.Contains(p.log.String(), "another-one") {
		t.Error("the log tells the password")
	}
}

// TestExternalFrameDBIsLeftAlone: its server was there before and stays.
func TestExternalFrameDBIsLeftAlone(t *testing.T) {
	t.Parallel()
	p := newProc(t)
	p.up()
	p.change(http.MethodPost, "/v1/storage", `{"framedb_id": "theirs", "node_tag": "node-1", "password": "of-theirs"}`)
	server := p.diskReady("theirs", "of-theirs")
	pids := p.pidsOf("mariadb")

	p.change(http.MethodPost, "/v1/storage", fmt.Sprintf(
		`{"framedb_id": "ours", "node_tag": "node-1", "password": "wrong", "external": {"address": %q, "database": "made-here"}}`, server.Address))
	eventually(t, 60*time.Second, func() error {
		status, _ := p.disk("ours")["status"].(map[string]any)
		if reason := fmt.Sprint(status["reason"]); !strings.Contains(reason, "refuses the password") {
			return errors.New(reason)
		}
		return nil
	})
	p.change(http.MethodPatch, "/v1/storage/ours", `{"password": "of-theirs"}`)
	ours := p.diskReady("ours", "of-theirs")
	if ours.Address != server.Address {
		t.Errorf("it is at %s, not %s", ours.Address, server.Address)
	}
	ours.Database = "made-here"
	putObject(t, ours, "a")

	p.change(http.MethodDelete, "/v1/storage/ours", "")
	eventually(t, 60*time.Second, func() error {
		if row := p.disk("ours"); row != nil {
			return fmt.Errorf("it is %v", row)
		}
		return nil
	})
	expectObject(t, ours, "a")
	if now := p.pidsOf("mariadb"); !slices.Equal(now, pids) {
		t.Errorf("processes were %v and are %v", pids, now)
	}
}

// TestAgentKilledInTheMiddle of a create and of a remove; what is there agrees
// with the store in the end.
func TestAgentKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	p := newProc(t)
	p.up()
	for _, after := range []time.Duration{0, 300 * time.Millisecond, time.Second, 2 * time.Second} {
		p.change(http.MethodPost, "/v1/storage", `{"framedb_id": "disk-1", "node_tag": "node-1"}`)
		<-time.After(after)
		p.kill()
		p.up()
		server := p.diskReady("disk-1", p.password())
		if pids := p.pidsOf("mariadb"); len(pids) != 1 {
			t.Errorf("killed after %v: processes %v", after, pids)
		}
		putObject(t, server, "a")
		p.change(http.MethodDelete, "/v1/storage/disk-1", "")
		<-time.After(after / 10)
		p.kill()
		p.up()
		p.diskGone("disk-1")
	}
}

// TestPersistentFrameDBOnAFullDisk says so, and can be removed.
func TestPersistentFrameDBOnAFullDisk(t *testing.T) {
	t.Parallel()
	p := newProc(t)
	p.attr = isolated()
	p.env = []string{tmpfsEnv + "=48m"} // a database has 100 MB to begin with
	p.up()
	p.change(http.MethodPost, "/v1/storage", `{"framedb_id": "disk-1", "node_tag": "node-1"}`)
	eventually(t, 60*time.Second, func() error {
		status, _ := p.disk("disk-1")["status"].(map[string]any)
		if reason := fmt.Sprint(status["reason"]); status["phase"] != "creating" || !strings.Contains(reason, "no space is left") || !strings.Contains(reason, "free some there") {
			return fmt.Errorf("it is %v", status)
		}
		return nil
	})
	p.change(http.MethodDelete, "/v1/storage/disk-1", "")
	p.diskGone("disk-1")
}
