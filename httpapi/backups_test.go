package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/backup"
	"github.com/framedb/framedb/client/objects/mysqltest"
	"github.com/framedb/framedb/client/objects/s3test"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/httpapi"
)

// oneTarget is a configuration with the target s3.
type oneTarget struct{ repo *backup.Repository }

func (oneTarget) Targets() []wire.BackupTarget {
	return []wire.BackupTarget{{Name: "s3", Endpoint: "h:1", Bucket: "backups"}}
}

func (o oneTarget) Repository(name wire.BackupTargetName) (*backup.Repository, error) {
	if name != "s3" {
		return nil, wire.InField("target", wire.Errorf(wire.CodeNotFound, "there is s3"))
	}
	return o.repo, nil
}

// backedUp is an API with the persistent FrameDBs disk and other on a MariaDB,
// and a real S3 server behind a proxy.
type backedUp struct {
	*api
	s3    *s3test.Server
	proxy *s3test.Proxy
}

func newBackedUp(t *testing.T) backedUp {
	t.Helper()
	s3 := s3test.Start(t)
	s3.MakeBucket("backups")
	proxy := s3.Proxy()
	repo, err := backup.New(backup.Target{Name: "s3", Endpoint: proxy.Endpoint, Bucket: "backups", Insecure: true,
		AccessKeyFile: s3.AccessKeyFile, SecretKeyFile: s3.SecretKeyFile}, backup.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(repo.Close)
	a := newAPI(t, func(cfg *httpapi.Config) { cfg.Backups = oneTarget{repo} })
	db := mysqltest.Start(t, "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0")
	for _, id := range []wire.FrameDBID{"disk", "other"} {
		name, _ := database(t, db)
		a.persistent(id, db, name)
	}
	return backedUp{a, s3, proxy}
}

func (a backedUp) put(id wire.FrameDBID, key objects.Key, data string) {
	a.t.Helper()
	if _, err := a.cfg.Objects.Store(id).Put(a.t.Context(), key, strings.NewReader(data), objects.PutOptions{}); err != nil {
		a.t.Fatal(err)
	}
}

func (a backedUp) expect(id wire.FrameDBID, key objects.Key, want string) {
	a.t.Helper()
	got, _, err := a.cfg.Objects.Store(id).ReadAll(a.t.Context(), key, 1<<20)
	if err != nil || string(got) != want {
		a.t.Errorf("%s of %s is %.100q, %v; want %.100q", key, id, got, err, want)
	}
}

// last is the last line of an answer of lines.
func last[Report any](t *testing.T, r answer) wire.BackupLine[Report] {
	t.Helper()
	r.want(t, 200)
	if r.header.Get("Content-Type") != wire.MediaLines {
		t.Errorf("it is %s", r.header.Get("Content-Type"))
	}
	lines := strings.Split(strings.TrimSuffix(r.body, "\n"), "\n")
	return decoded[wire.BackupLine[Report]](t, answer{body: lines[len(lines)-1]})
}

func result200[Report any](t *testing.T, r answer) Report {
	t.Helper()
	line := last[Report](t, r)
	if line.Result == nil || line.Failure != nil {
		t.Fatalf("it ended with %s", r.body)
	}
	return *line.Result
}

const backupsOfDisk = "/v1/framedbs/disk/backups"

func TestBackUpAndRestore(t *testing.T) {
	t.Parallel()
	a := newBackedUp(t)
	a.put("disk", "a/1", "one")
	a.put("disk", "a/2", "two")
	a.put("disk", "b", "three")
	sameJSON(t, a.get("/v1/backup-targets").want(t, 200).body, `[{"name":"s3","endpoint":"h:1","bucket":"backups"}]`)

	made := result200[wire.BackupReport](t, a.post(backupsOfDisk, `{"target":"s3","name":"first"}`))
	if made.Name != "first" || made.FrameDB != "disk" || made.Objects != 3 || made.Sent != 11 || made.Bytes != 11 || made.Prefixes != nil {
		t.Errorf("made %+v", made)
	}
	a.post(backupsOfDisk, `{"target":"s3","name":"first"}`).refused(t, wire.CodeAlreadyExists, "name")
	some := result200[wire.BackupReport](t, a.post(backupsOfDisk, `{"target":"s3","prefixes":["a/"],"keys":["b"]}`))
	if !strings.HasPrefix(string(some.Name), "manual.") || some.Sent != 0 || !slices.Equal(some.Prefixes, []string{"a/"}) || !slices.Equal(some.Keys, []string{"b"}) {
		t.Errorf("some %+v", some)
	}
	list := decoded[[]wire.Backup](t, a.get(backupsOfDisk+"?target=s3").want(t, 200))
	if len(list) != 2 || list[0].Name != "first" || list[1].Name != some.Name {
		t.Errorf("list %+v", list)
	}

	a.put("other", "b", "mine")
	const restore = backupsOfDisk + "/first/restore"
	done := result200[wire.RestoreReport](t, a.post(restore, `{"target":"s3","to":"other"}`))
	if done.Objects != 2 || done.Kept != 1 || !slices.Equal(done.FirstKept, []string{"b"}) {
		t.Errorf("restored %+v", done)
	}
	a.expect("other", "a/1", "one")
	a.expect("other", "b", "mine")
	done = result200[wire.RestoreReport](t, a.post(restore, `{"target":"s3","to":"other","keys":["b"],"overwrite":true}`))
	if done.Objects != 1 || done.Same != 0 {
		t.Errorf("replaced %+v", done)
	}
	a.expect("other", "b", "three")
	if err := a.cfg.Objects.Store("disk").Delete(t.Context(), "a/2", objects.Condition{}); err != nil {
		t.Fatal(err)
	}
	if done = result200[wire.RestoreReport](t, a.post(restore, `{"target":"s3"}`)); done.Objects != 1 || done.Same != 2 {
		t.Errorf("restored in place %+v", done)
	}
	a.expect("disk", "a/2", "two")

	const verify = backupsOfDisk + "/first/verify"
	if found := result200[wire.VerifyReport](t, a.post(verify, `{"target":"s3"}`)); found.Objects != 3 || found.Damaged != 0 {
		t.Errorf("verified %+v", found)
	}
	a.do("DELETE", backupsOfDisk+"/"+string(some.Name)+"?target=s3", "").want(t, 204)
	a.do("DELETE", backupsOfDisk+"/"+string(some.Name)+"?target=s3", "").refused(t, wire.CodeNotFound, "backup")
	if list = decoded[[]wire.Backup](t, a.get(backupsOfDisk+"?target=s3")); len(list) != 1 {
		t.Errorf("one was deleted, and the list is %+v", list)
	}
	for _, file := range a.s3.Files("backups", "/data/") {
		if data, err := os.ReadFile(file); err == nil && string(data) == "three" {
			os.WriteFile(file, []byte("thrEe"), 0o600)
		}
	}
	a.post(verify, `{"target":"s3"}`).refused(t, wire.CodeCorrupt, "")
}

func TestBackupsThatAreRefused(t *testing.T) {
	t.Parallel()
	a := newBackedUp(t)
	a.put("disk", "a", "one")
	result200[wire.BackupReport](t, a.post(backupsOfDisk, `{"target":"s3","name":"first"}`))
	files := a.s3.Files("backups", "")
	const bad = wire.CodeInvalidArgument
	long := strings.Repeat("a", 101)
	a.refuses(t, []refusal{
		{"GET " + backupsOfDisk, wire.CodeMissingField, "target"},
		{"GET " + backupsOfDisk + "?target=", wire.CodeMissingField, "target"},
		{"GET " + backupsOfDisk + "?target=nowhere", wire.CodeNotFound, "target"},
		{"GET /v1/framedbs/UP/backups?target=s3", bad, "framedb_id"},
		{"POST " + backupsOfDisk + ` {"target":"nowhere"}`, wire.CodeNotFound, "target"},
		{"POST " + backupsOfDisk + ` {"target":"s3","name":"UP"}`, bad, "name"},
		{"POST " + backupsOfDisk + ` {"target":"s3","name":"` + long + `"}`, bad, "name"},
		{"POST " + backupsOfDisk + ` {"target":"s3","name":"../x"}`, bad, "name"},
		{"POST " + backupsOfDisk + ` {"target":"s3","keys":["nobody"]}`, wire.CodeNotFound, "keys"},
		{"POST " + backupsOfDisk + ` {"target":"s3","keys":[""]}`, bad, "keys"},
		{"POST " + backupsOfDisk + ` {"target":"s3","prefixes":["a\u0000"]}`, bad, "prefixes"},
		{`POST /v1/framedbs/nobody/backups {"target":"s3"}`, wire.CodeNotFound, "framedb_id"},
		{`POST /v1/framedbs/UP/backups {"target":"s3"}`, bad, "framedb_id"},
		{"POST " + backupsOfDisk + `/nothing/restore {"target":"s3"}`, wire.CodeNotFound, "backup"},
		{"POST " + backupsOfDisk + `/UP/restore {"target":"s3"}`, bad, "backup"},
		{"POST " + backupsOfDisk + `/%2e%2e/restore {"target":"s3"}`, bad, "backup"},
		{"POST " + backupsOfDisk + `/first/restore {"target":"s3","to":"nobody"}`, wire.CodeNotFound, "to"},
		{"POST " + backupsOfDisk + `/first/restore {"target":"s3","to":"UP"}`, bad, "to"},
		{"POST " + backupsOfDisk + `/first/restore {"target":"s3","keys":["b"]}`, wire.CodeNotFound, "keys"},
		{"POST " + backupsOfDisk + `/first/restore {"target":"nowhere"}`, wire.CodeNotFound, "target"},
		{`POST /v1/framedbs/other/backups/first/restore {"target":"s3"}`, wire.CodeNotFound, "backup"},
		{"POST " + backupsOfDisk + `/nothing/verify {"target":"s3"}`, wire.CodeNotFound, "backup"},
		{"DELETE " + backupsOfDisk + `/nothing?target=s3`, wire.CodeNotFound, "backup"},
		{"DELETE " + backupsOfDisk + `/first`, wire.CodeMissingField, "target"},
	})
	if made := a.s3.Files("backups", "nobody"); len(made) > 0 {
		t.Errorf("a refused request made %v", made)
	}
	for _, file := range files {
		if _, err := os.Stat(file); err != nil {
			t.Errorf("a refused request took something away: %v", err)
		}
	}
	a.proxy.Fail(func(w http.ResponseWriter, r *http.Request) bool {
		s3test.Refuse(w, http.StatusNotFound, "NoSuchBucket", "gone")
		return true
	})
	a.get(backupsOfDisk+"?target=s3").refused(t, wire.CodeNotFound, "target.bucket")
	a.proxy.Fail(func(w http.ResponseWriter, r *http.Request) bool {
		s3test.Refuse(w, http.StatusForbidden, "SignatureDoesNotMatch", "no")
		return true
	})
	a.post(backupsOfDisk, `{"target":"s3"}`).refused(t, wire.CodeForbidden, "target.secret_key_file")
}

// Schedules are checked when they are set.
func TestSchedulesThatAreRefused(t *testing.T) {
	a := newAPI(t).populate()
	var list []refusal
	for _, schedule := range []string{"soon", "* * *", "61 * * * *", "@every 5s", "@every 1.5m1ms", "TZ=UTC 0 0 * * *", "0 0 31 2 *", "@reboot"} {
		plan := fmt.Sprintf(`"backup":{"schedule":%q,"target":"s3"}`, schedule)
		list = append(list,
			refusal{`POST /v1/storage {"framedb_id":"new","node_tag":"node-1",` + plan + `}`, wire.CodeInvalidArgument, "backup.schedule"},
			refusal{`PATCH /v1/storage/disk-1 {` + plan + `}`, wire.CodeInvalidArgument, "backup.schedule"})
	}
	a.refuses(t, list)
}

// A caller who goes away ends what it asked for, and when it is asked for again
// it goes on. So many at a time are taken, and no more.
func TestABackupThatIsLeftGoesOn(t *testing.T) {
	t.Parallel()
	a := newBackedUp(t)
	for i := range 20 {
		a.put("disk", objects.Key(fmt.Sprintf("o%02d", i)), strings.Repeat(fmt.Sprint(i%10), 1000+i))
	}
	base := a.tcp()
	held := a.hold(8)
	ctx, leave := context.WithCancel(t.Context())
	lines := make(chan wire.BackupLine[wire.BackupReport])
	for _, name := range []string{"one", "two"} {
		req, _ := http.NewRequestWithContext(ctx, "POST", base+backupsOfDisk, strings.NewReader(`{"target":"s3","name":"`+name+`"}`))
		go func() {
			defer func() { lines <- wire.BackupLine[wire.BackupReport]{} }()
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				return
			}
			defer res.Body.Close()
			for d := json.NewDecoder(res.Body); ; {
				var line wire.BackupLine[wire.BackupReport]
				if d.Decode(&line) != nil {
					return
				}
				lines <- line
			}
		}()
	}
	<-held
	if line := <-lines; line.Progress == nil || line.Progress.Name == "" || line.Result != nil {
		t.Errorf("while S3 hangs it tells %+v", line)
	}
	a.post(backupsOfDisk, `{"target":"s3","name":"three"}`).refused(t, wire.CodeOverloaded, "")
	leave()
	for ended := 0; ended < 2; {
		if line := <-lines; line == (wire.BackupLine[wire.BackupReport]{}) {
			ended++
		}
	}
	a.proxy.Fail(nil)
	var r answer
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); { // the agent hears of it when it does
		if r = a.post(backupsOfDisk, `{"target":"s3","name":"one"}`); r.status != http.StatusTooManyRequests {
			break
		}
	}
	made := result200[wire.BackupReport](t, r)
	if made.Objects != 20 || made.Sent == 0 || made.Sent >= made.Bytes {
		t.Errorf("it went on as %+v", made)
	}
	if list := decoded[[]wire.Backup](t, a.get(backupsOfDisk+"?target=s3")); len(list) != 1 {
		t.Errorf("there are %+v", list)
	}
	if log := a.log.String(); strings.Contains(log, s3test.SecretKey) {
		t.Error("the log tells the secret key")
	}
}

// hold lets S3 take some pieces, and holds what follows until the proxy fails in
// another way or the request is given up.
func (a backedUp) hold(pieces int) (held <-chan struct{}) {
	reached, once := make(chan struct{}), make(chan struct{}, 1)
	once <- struct{}{}
	left := make(chan struct{}, pieces)
	for range pieces {
		left <- struct{}{}
	}
	a.proxy.Fail(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/data/") {
			return false
		}
		select {
		case <-left:
			return false
		default:
		}
		select {
		case <-once:
			close(reached)
		default:
		}
		var sent bytes.Buffer
		sent.ReadFrom(r.Body) // else the server does not see that the caller goes
		<-r.Context().Done()
		return true
	})
	return reached
}
