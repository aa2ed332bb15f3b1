package cli

import (
	"net/http"
	"strings"
	"testing"

	"github.com/framedb/framedb/client/wire"
)

const (
	backupRow  = `{"name":"b","framedb_id":"archive","created":"2026-01-02T03:04:05Z","finished":"2026-01-02T03:04:09Z","objects":2,"bytes":2048`
	progressed = `{"progress":{"name":"b","objects":1,"bytes":1024,"total_objects":2,"total_bytes":2048,"moved":1024}}` + "\n"
)

func lines(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", wire.MediaLines)
		w.Write([]byte(text))
	}
}

// TestBackupCommands compares what is asked, printed and answered to the shell.
func TestBackupCommands(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.answer("GET /v1/backup-targets", []wire.BackupTarget{{Name: "s3", Endpoint: "h:1", Bucket: "backups"}})
	f.on("GET /v1/framedbs/archive/backups", lines("["+backupRow+`,"prefixes":["a/"],"skipped":1,"first_skipped":[{"key":"x","why":"bad"}]},{"name":"c","framedb_id":"archive","objects":0,"bytes":0,"damaged":"torn"}]`))
	f.on("POST /v1/framedbs/archive/backups", lines(progressed+`{"result":`+backupRow+`,"sent":1024}}`+"\n"))
	f.on("POST /v1/framedbs/archive/backups/b/restore", lines(progressed+`{"result":{"objects":1,"bytes":1024,"same":1,"kept":1,"first_kept":["k"],"expired":1}}`))
	f.on("POST /v1/framedbs/archive/backups/b/verify", lines(`{"result":{"objects":1,"bytes":1024,"damaged":1,"first_damaged":[{"key":"k","why":"bad"}]},"failure":{"success":false,"code":"corrupt","message":"one is damaged"}}`))
	f.on("DELETE /v1/framedbs/archive/backups/b", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	for _, c := range []struct {
		args, asks, prints string
		code               int
	}{
		{"targets", "GET /v1/backup-targets", "TARGET  ENDPOINT  BUCKET   PREFIX\ns3      h:1       backups  -\n", 0},
		{"list archive", "GET /v1/framedbs/archive/backups?target=s3", "BACKUP  CREATED               TOOK  OBJECTS  SIZE   OF   NOTE\n" +
			"b       2026-01-02T03:04:05Z  4s    2        2 KiB  a/*  1 left out, the first is \"x\": bad\nc       -                     -     -        -      -    cannot be read: torn\n", 0},
		{"create archive --target s3 --name b --prefix a,b --key k --skip-damaged",
			`POST /v1/framedbs/archive/backups {"target":"s3","name":"b","prefixes":["a,b"],"keys":["k"],"skip_damaged":true}`,
			"BACKUP  CREATED               TOOK  OBJECTS  SIZE   OF   NOTE\nb       2026-01-02T03:04:05Z  4s    2        2 KiB  all  -\n1 KiB sent, the rest was there\n", 0},
		{"restore archive b --to other --prefix a --overwrite --ignore-expiry",
			`POST /v1/framedbs/archive/backups/b/restore {"target":"s3","to":"other","prefixes":["a"],"overwrite":true,"ignore_expiry":true}`,
			"1 object restored, 1 KiB; 1 there already; 1 left out, as their time is over\n1 object there with other bytes and stayed, the first is k: --overwrite replaces them\n", 0},
		{"verify archive b", `POST /v1/framedbs/archive/backups/b/verify {"target":"s3"}`, "1 object right, 1 KiB\ndamaged: k: bad\nframedb: one is damaged\n", exitFailed},
		{"delete archive b", "DELETE /v1/framedbs/archive/backups/b?target=s3", "b  deleted\n", 0},
		{"verify archive b -o json", `POST /v1/framedbs/archive/backups/b/verify {"target":"s3"}`,
			"{\n  \"objects\": 1,\n  \"bytes\": 1024,\n  \"damaged\": 1,\n  \"first_damaged\": [\n    {\n      \"key\": \"k\",\n      \"why\": \"bad\"\n    }\n  ]\n}\nframedb: one is damaged\n", exitFailed},
		{"create UP", "", "", exitUsage}, {"restore archive", "", "", exitUsage}, {"verify archive UP", "", "", exitUsage}, {"list", "", "", exitUsage},
		{"list nobody", "", "", exitNotFound},
	} {
		o := stage{api: f}.run(t, append([]string{"backup"}, strings.Fields(c.args)...)...)
		calls := f.asked("")
		if o.code != c.code || c.prints != "" && o.stdout+o.stderr != c.prints || c.asks != "" && calls[len(calls)-1] != c.asks {
			t.Errorf("%s: exit %d, asked %s\n%s%s", c.args, o.code, calls[len(calls)-1], o.stdout, o.stderr)
		}
	}
	f.answer("GET /v1/backup-targets", []wire.BackupTarget{{Name: "s3"}, {Name: "far"}})
	if o := (stage{api: f}).run(t, "backup", "create", "archive"); o.code != exitUsage || !strings.Contains(o.stderr, "one of s3, far") {
		t.Errorf("two targets: exit %d, %s", o.code, o.stderr)
	}
	f.answer("GET /v1/backup-targets", nil)
	if o := (stage{api: f}).run(t, "backup", "create", "archive"); o.code != exitNotFound {
		t.Errorf("no target: exit %d, %s", o.code, o.stderr)
	}
	if o := (stage{api: f, terminal: true, stdin: "n\n"}).run(t, "backup", "delete", "archive", "b", "--target", "s3"); o.code != exitFailed || len(f.asked("DELETE")) != 1 {
		t.Errorf("it was not confirmed: exit %d, %v", o.code, f.asked("DELETE"))
	}
	if o := (stage{api: f, terminal: true}).run(t, "backup", "create", "archive", "--target", "s3"); !strings.Contains(o.stderr, "backing up [===============               ] 1 KiB/2 KiB 1/2 objects") {
		t.Errorf("the bar: %q", o.stderr)
	}
}
