package client_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/wire"
)

const (
	halfway  = `{"progress":{"name":"b","objects":1,"bytes":1,"total_objects":2,"total_bytes":2,"moved":1}}` + "\n"
	complete = `{"result":{"name":"b","framedb_id":"disk","objects":2,"bytes":2,"sent":1}}` + "\n"
)

func saying(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }
}

// TestWorkGoesOn at another try when an answer is cut off, under one name.
func TestWorkGoesOn(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := newFakeAgent(t, saying(halfway), saying(halfway+`{"resu`), drop, refuse(wire.CodeOverloaded, 0), saying(halfway+complete))
	steps := 0
	report, err := newClient(t, client.Config{}, f).CreateBackup(ctx, "disk", wire.CreateBackup{Target: "s3"}, func(p wire.BackupProgress) {
		if steps++; p.Name != "b" || p.Bytes != 1 {
			t.Errorf("progress %+v", p)
		}
	})
	if err != nil || report.Objects != 2 || report.Sent != 1 || steps != 3 {
		t.Errorf("%+v after %d steps, %v", report, steps, err)
	}
	for _, c := range f.got() {
		if c.uri != "/v1/framedbs/disk/backups" || c.body != f.got()[0].body || !strings.Contains(c.body, `"name":"manual.`) {
			t.Errorf("asked %s %s", c.uri, c.body)
		}
	}

	f = newFakeAgent(t, saying(halfway), refuse(wire.CodeAlreadyExists, 0), ok([]wire.Backup{{Name: "a"}, {Name: "b", Objects: 2}}))
	if report, err = newClient(t, client.Config{}, f).CreateBackup(ctx, "disk", wire.CreateBackup{Target: "s3", Name: "b"}, nil); err != nil || report.Objects != 2 {
		t.Errorf("the try that was cut off had made it: %+v, %v", report, err)
	}
	f = newFakeAgent(t, refuse(wire.CodeAlreadyExists, 0))
	if _, err = newClient(t, client.Config{}, f).CreateBackup(ctx, "disk", wire.CreateBackup{Target: "s3", Name: "b"}, nil); !errors.Is(err, wire.ErrAlreadyExists) || len(f.got()) != 1 {
		t.Errorf("somebody else had made it: %v after %v", err, f.got())
	}
	f = newFakeAgent(t, saying(halfway+`{"result":{"damaged":1},"failure":{"success":false,"code":"corrupt","message":"m"}}`))
	found, err := newClient(t, client.Config{}, f).VerifyBackup(ctx, "disk", "b", "s3", nil)
	if !errors.Is(err, wire.ErrCorrupt) || found.Damaged != 1 {
		t.Errorf("verified %+v, %v", found, err)
	}
	f = newFakeAgent(t, saying(halfway+`{"failure":{"success":false,"code":"unavailable","message":"m","retry_after_ms":1}}`), saying(`{"result":{"objects":2}}`))
	if done, err := newClient(t, client.Config{}, f).RestoreBackup(ctx, "disk", "b", wire.RestoreBackup{Target: "s3"}, nil); err != nil || done.Objects != 2 {
		t.Errorf("restored %+v, %v", done, err)
	}
}
