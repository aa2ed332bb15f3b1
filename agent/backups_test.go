package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/backup"
	"github.com/framedb/framedb/client/objects/redisstore"
	"github.com/framedb/framedb/client/objects/s3test"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

func TestBackupTargetsAreChecked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, []byte("word"), 0o600); err != nil {
		t.Fatal(err)
	}
	target := func(more string) string {
		return "backup_targets:\n- {name: s3, endpoint: 'h:1', bucket: backups, access_key_file: " + key + ", secret_key_file: " + key + more + "}\n"
	}
	c, err := load(t, []string{"--data-dir", dir}, nil, target(", prefix: x, region: eu-1, insecure: true"))
	want := backup.Target{Name: "s3", Endpoint: "h:1", Bucket: "backups", Prefix: "x", Region: "eu-1", AccessKeyFile: key, SecretKeyFile: key, Insecure: true}
	if err != nil || len(c.BackupTargets) != 1 || c.BackupTargets[0] != want {
		t.Fatalf("%+v, %v", c.BackupTargets, err)
	}
	if again, err := load(t, nil, nil, c.YAML()); err != nil || len(again.BackupTargets) != 1 || again.BackupTargets[0] != want {
		t.Errorf("what is printed gives %+v, %v:\n%s", again.BackupTargets, err, c.YAML())
	}
	for file, field := range map[string]string{
		"backup_targets: s3":                                    "backup_targets",
		"backup_targets: {a: 1}":                                "backup_targets.a",
		"backup_targets: [s3]":                                  "backup_targets[0]",
		target(", buckets: x"):                                  "backup_targets[0].buckets",
		target(", Prefix: x"):                                   "backup_targets[0].Prefix",
		target(", prefix: 7"):                                   "backup_targets[0].prefix",
		target(", insecure: 7"):                                 "backup_targets[0].insecure",
		target(", prefix: ../x"):                                "backup_targets[0].prefix",
		target(", ca_file: /nonexistent"):                       "backup_targets[0].ca_file",
		target("") + strings.Split(target(""), "\n")[1] + "\n":  "backup_targets[1].name",
		strings.Replace(target(""), "name: s3", "name: S3", 1):  "backup_targets[0].name",
		strings.Replace(target(""), "h:1", "http://h:1", 1):     "backup_targets[0].endpoint",
		strings.Replace(target(""), key, "/nonexistent", 1):     "backup_targets[0].access_key_file",
		strings.Replace(target(""), "bucket: backups, ", "", 1): "backup_targets[0].bucket",
	} {
		_, err := load(t, []string{"--data-dir", dir}, nil, file)
		var e *wire.Error
		if !errors.As(err, &e) || e.Field != field || e.Code.HTTPStatus() != 400 || strings.Count(err.Error(), field) != 1 {
			t.Errorf("%s\ngives %v, want one with field %s", file, err, field)
		}
	}
	_, err = load(t, []string{"--data-dir", dir}, []string{"FRAMEDB_BACKUP_TARGETS=s3"}, "")
	if wire.CodeOf(err) != wire.CodeInvalidArgument || !strings.Contains(err.Error(), "file alone") {
		t.Errorf("in the environment: %v", err)
	}
}

// fixed is a master that never changes.
type fixed struct{ *redis.Client }

func (f fixed) Redis(context.Context) (*redis.Client, error) { return f.Client, nil }

func targetAt(s3 *s3test.Server, endpoint string) backup.Target {
	return backup.Target{
		Name: "s3", Endpoint: endpoint, Bucket: "backups", Insecure: true, AccessKeyFile: s3.AccessKeyFile, SecretKeyFile: s3.SecretKeyFile,
	}
}

// TestOneBackupOfEachInstant: two agents that both believe that they own a
// FrameDB make one backup of each instant, and keep what the plan keeps.
func TestOneBackupOfEachInstant(t *testing.T) {
	t.Parallel()
	s3 := s3test.Start(t)
	s3.MakeBucket("backups")
	store := objects.New(redisstore.New(redisstore.Config{Master: fixed{redistest.Start(t).Client()}}))
	if _, err := store.Put(t.Context(), "a", strings.NewReader("one"), objects.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 1, 12, 0, 7, 0, time.UTC)
	var two [2]*backups
	for i := range two {
		b, err := newBackups([]backup.Target{targetAt(s3, s3.Endpoint)}, backup.Config{}, func(wire.FrameDBID) *objects.Store { return store })
		if err != nil {
			t.Fatal(err)
		}
		defer b.close()
		b.now = func() time.Time { return now }
		two[i] = b
	}
	plan := wire.BackupPlan{Schedule: "@every 1m", Target: "s3", Keep: 2}
	var last time.Time
	for i := range 3 {
		var work sync.WaitGroup
		for _, b := range two {
			if due, err := b.Due("disk", plan, last, now); !due || err != nil {
				t.Fatalf("instant %d: due %v, %v", i, due, err)
			}
			work.Go(func() {
				name, at, err := b.Run(t.Context(), "disk", plan)
				if want := fmt.Sprintf("planned.20260301t12%02d00z", i); name != want || at.IsZero() || err != nil {
					t.Errorf("instant %d: %s at %v, %v; want %s", i, name, at, err, want)
				}
			})
		}
		work.Wait()
		last = now
		for ; now.Sub(last) < time.Minute; now = now.Add(10 * time.Second) {
			due, err := two[1].Due("disk", plan, last, now)
			if want := now.Minute() > i; due != want || err != nil {
				t.Fatalf("at %v it is due: %v, %v", now, due, err)
			}
		}
	}
	all, err := two[0].repos["s3"].List(t.Context(), "disk")
	if err != nil || len(all) != 2 || all[0].Name != "planned.20260301t120100z" || all[1].Name != "planned.20260301t120200z" {
		t.Errorf("there are %+v, %v", all, err)
	}
	for field, bad := range map[string]wire.BackupPlan{"backup.target": {Schedule: "@daily", Target: "nowhere"}, "backup.schedule": {Schedule: "soon", Target: "s3"}} {
		if _, err := two[0].Due("disk", bad, last, now); wire.CodeOf(err) != wire.CodeInvalidArgument || wire.AsError(err).Field != field {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// lastLine asks for what takes long. It calls heard at each line, and gives the
// last one.
func (p *proc) lastLine(path, body string, heard func()) (map[string]any, error) {
	p.t.Helper()
	res, err := p.http().Post("http://"+p.addr+path, "application/json", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var line map[string]any
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		line = nil
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return nil, err
		}
		if heard != nil {
			heard()
		}
	}
	return line, lines.Err()
}

// TestAgentKilledInABackup, which then is completed and restored into another
// FrameDB; and what is planned is made, once.
func TestAgentKilledInABackup(t *testing.T) {
	t.Parallel()
	s3 := s3test.Start(t)
	s3.MakeBucket("backups")
	proxy := s3.Proxy()
	p := newProc(t)
	config := filepath.Join(p.dir, "agent.yaml")
	text := fmt.Sprintf("backup_targets:\n- {name: s3, endpoint: '%s', bucket: backups, access_key_file: %s, secret_key_file: %s, insecure: true}\n",
		proxy.Endpoint, s3.AccessKeyFile, s3.SecretKeyFile)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p.env = []string{"FRAMEDB_CONFIG=" + config}
	p.up()
	p.change(http.MethodPost, "/v1/clusters", `{"name": "mem", "node_tag": "node-1", "replicas": 1, "quorum": 1}`)
	p.change(http.MethodPost, "/v1/storage", `{"framedb_id": "disk", "node_tag": "node-1"}`)
	server := p.diskReady("disk", p.password())
	for i := range 8 {
		path := fmt.Sprintf("/v1/framedbs/mem/objects/k%d", i)
		eventually(t, 60*time.Second, func() error {
			if status, answer := p.put(path, fmt.Sprintf("the bytes of k%d", i)); status > 299 {
				return fmt.Errorf("%d %s", status, answer)
			}
			return nil
		})
	}

	left := make(chan struct{}, 3)
	for range cap(left) {
		left <- struct{}{}
	}
	proxy.Fail(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/data/") {
			return false
		}
		select {
		case <-left:
			return false
		default:
			io.Copy(io.Discard, r.Body) // else nobody sees that the agent is gone
			<-r.Context().Done()
			return true
		}
	})
	const create = `{"target": "s3", "name": "first"}`
	line, err := p.lastLine("/v1/framedbs/mem-redis-node-0/backups", create, sync.OnceFunc(func() { p.cmd.Process.Kill() }))
	if err == nil && line["result"] != nil {
		t.Fatalf("it ended: %v", line)
	}
	p.kill()
	proxy.Fail(nil)
	p.up()
	eventually(t, 60*time.Second, func() error {
		line, err = p.lastLine("/v1/framedbs/mem/backups", create, nil)
		if result, _ := line["result"].(map[string]any); err != nil || result["objects"] != 8.0 || result["framedb_id"] != "mem" {
			return fmt.Errorf("%v, %v", line, err)
		}
		return nil
	})
	if result := line["result"].(map[string]any); result["sent"].(float64) >= result["bytes"].(float64) {
		t.Errorf("all was sent again: %v", result)
	}
	line, err = p.lastLine("/v1/framedbs/mem-redis-node-0/backups/first/restore", `{"target": "s3", "to": "disk"}`, nil)
	if result, _ := line["result"].(map[string]any); err != nil || result["objects"] != 8.0 {
		t.Errorf("restored %v, %v", line, err)
	}
	for i := range 8 {
		expectObject(t, server, objects.Key(fmt.Sprintf("k%d", i)))
	}

	p.change(http.MethodPatch, "/v1/storage/disk", `{"backup": {"schedule": "@daily", "target": "s3", "keep": 3}}`)
	p.planned(t, "disk")
	p.kill()
	p.up()
	p.planned(t, "disk")
}

// planned waits until there is a planned backup, and sees to it that there is
// one.
func (p *proc) planned(t *testing.T, id string) {
	t.Helper()
	eventually(t, 90*time.Second, func() error {
		status, _ := p.disk(id)["status"].(map[string]any)
		if status["phase"] != "ready" || !strings.HasPrefix(fmt.Sprint(status["last_backup"]), "planned.") || status["backup_reason"] != nil {
			return fmt.Errorf("it is %v", status)
		}
		return nil
	})
	res, err := p.http().Get("http://" + p.addr + "/v1/framedbs/" + id + "/backups?target=s3")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var all []wire.Backup
	if err := json.NewDecoder(res.Body).Decode(&all); err != nil || len(all) != 1 || all[0].Objects != 8 || all[0].Instant.IsZero() {
		t.Errorf("there are %+v, %v", all, err)
	}
}

func (p *proc) put(path, body string) (int, string) {
	p.t.Helper()
	req, err := http.NewRequest(http.MethodPut, "http://"+p.addr+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	res, err := p.http().Do(req)
	if err != nil {
		return http.StatusServiceUnavailable, err.Error()
	}
	defer res.Body.Close()
	return res.StatusCode, res.Status
}
