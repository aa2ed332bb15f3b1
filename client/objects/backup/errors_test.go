package backup_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/backup"
	"github.com/framedb/framedb/client/objects/s3test"
	"github.com/framedb/framedb/client/wire"
)

// TestTargets: what is wrong with a target is told by code and field, in every
// call, and no secret is in it.
func TestTargets(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	store, _ := newRedis(t)
	put(t, store, "o", []byte("x"), objects.PutOptions{})
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const secret = "not-the-secret-key"
	wrong := file("wrong", secret)
	for _, c := range []struct {
		what  string
		wrong func(*backup.Target)
		code  wire.Code
		field string
	}{
		{"access key", func(t *backup.Target) { t.AccessKeyFile = wrong }, wire.CodeForbidden, "access_key_file"},
		{"secret key", func(t *backup.Target) { t.SecretKeyFile = wrong }, wire.CodeForbidden, "secret_key_file"},
		{"no key file", func(t *backup.Target) { t.SecretKeyFile = filepath.Join(dir, "none") }, wire.CodeInvalidArgument, "secret_key_file"},
		{"empty key file", func(t *backup.Target) { t.AccessKeyFile = file("empty", " \n") }, wire.CodeInvalidArgument, "access_key_file"},
		{"two words", func(t *backup.Target) { t.SecretKeyFile = file("two", secret+" "+secret) }, wire.CodeInvalidArgument, "secret_key_file"},
		{"bucket", func(t *backup.Target) { t.Bucket = "no-such-bucket" }, wire.CodeNotFound, "bucket"},
		{"endpoint", func(t *backup.Target) { t.Endpoint = "127.0.0.1:1" }, wire.CodeUnavailable, "endpoint"},
		{"region", func(t *backup.Target) { t.Region = "eu-west-9" }, wire.CodeInvalidArgument, "region"},
		{"TLS", func(t *backup.Target) { t.Insecure = false }, wire.CodeUnavailable, "endpoint"},
	} {
		bad := target(s3)
		c.wrong(&bad)
		repo := open(t, bad)
		calls := map[string]func() error{
			"check": func() error { return repo.Check(t.Context()) },
			"backup": func() error {
				_, err := repo.Backup(t.Context(), source, store, backup.Options{Name: "one"})
				return err
			},
			"list":   func() error { _, err := repo.List(t.Context(), source); return err },
			"delete": func() error { return repo.Delete(t.Context(), source, "one") },
			"sweep":  func() error { _, err := repo.Sweep(t.Context(), source); return err },
			"ids":    func() error { _, err := repo.FrameDBs(t.Context()); return err },
			"restore": func() error {
				_, err := repo.Restore(t.Context(), source, "one", store, backup.RestoreOptions{})
				return err
			},
		}
		if c.what == "endpoint" || c.what == "TLS" { // tried again and again: one is enough
			calls = map[string]func() error{"check": calls["check"]}
		}
		for call, f := range calls {
			err := f()
			wantCode(t, c.what+", "+call, err, c.code, c.field)
			if err != nil && (strings.Contains(err.Error(), s3test.SecretKey) || strings.Contains(err.Error(), secret)) {
				t.Errorf("%s, %s: the secret is in %q", c.what, call, err)
			}
		}
	}
	if err := open(t, target(s3)).Check(t.Context()); err != nil {
		t.Errorf("check of a good target: %v", err)
	}
	if left := s3.Files(bucket, "/"); len(left) != 0 {
		t.Errorf("left in the bucket: %v", left)
	}
}

// TestTLS: the authority of CAFile is trusted, and no other unknown one.
func TestTLS(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	proxy, ca := s3.ProxyTLS()
	safe := target(s3)
	safe.Endpoint, safe.Insecure = proxy.Endpoint, false
	wantCode(t, "an unknown authority", open(t, safe).Check(t.Context()), wire.CodeUnavailable, "ca_file")
	safe.CAFile = ca
	if err := open(t, safe).Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestNoConditions: a server without If-None-Match is good enough.
func TestNoConditions(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	proxy := s3.Proxy()
	through := target(s3)
	through.Endpoint = proxy.Endpoint
	repo := open(t, through)
	store, _ := newRedis(t)
	put(t, store, "o", []byte("x"), objects.PutOptions{})
	var refused atomic.Int64
	proxy.Fail(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("If-None-Match") == "" {
			return false
		}
		refused.Add(1)
		s3test.Refuse(w, http.StatusNotImplemented, "NotImplemented", "a header you provided implies functionality that is not implemented")
		return true
	})
	make1(t, repo, store, "one")
	verify(t, repo, "one")
	if refused.Load() == 0 {
		t.Error("nothing was refused: the test tests nothing")
	}
}

// TestMetrics counts ends by code, and bytes.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	reg := prometheus.NewRegistry()
	metrics, err := backup.NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	repo, err := backup.New(target(s3), backup.Config{Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	defer repo.Close()
	store, _ := newRedis(t)
	put(t, store, "o", []byte("12345"), objects.PutOptions{})
	make1(t, repo, store, "one")
	if _, err := repo.Backup(t.Context(), source, store, backup.Options{Name: "one"}); err == nil {
		t.Error("the same name again")
	}
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range all {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"framedb_backup_moved_bytes_total backup": 5, "framedb_backup_operations_total ok backup": 1,
		"framedb_backup_operations_total already_exists backup": 1,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v: %v", name, got[name], want, got)
		}
	}
}

// TestRotation: keys are read for each request.
func TestRotation(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	repo := open(t, target(s3))
	if err := repo.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		if err := os.WriteFile(s3.SecretKeyFile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("another")
	wantCode(t, "another secret", repo.Check(t.Context()), wire.CodeForbidden, "secret_key_file")
	write(s3test.SecretKey)
	if err := repo.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestFaults: what S3 answers in the middle of a backup has its code, and the
// backup goes on where it was when S3 is well again.
func TestFaults(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	proxy := s3.Proxy()
	through := target(s3)
	through.Endpoint = proxy.Endpoint
	repo := open(t, through)
	for i, c := range []struct {
		status  int
		s3      string
		code    wire.Code
		field   string
		retried bool // by the S3 client: the fault passes
	}{
		{http.StatusInsufficientStorage, "InsufficientStorage", wire.CodeDiskFull, "endpoint", false},
		{http.StatusForbidden, "QuotaExceeded", wire.CodeDiskFull, "bucket", false},
		{http.StatusForbidden, "RequestTimeTooSkewed", wire.CodeUnavailable, "endpoint", false},
		{http.StatusForbidden, "AccessDenied", wire.CodeForbidden, "access_key_file", false},
		{http.StatusServiceUnavailable, "SlowDown", "", "", true},
		{http.StatusInternalServerError, "InternalError", "", "", true},
		{http.StatusBadRequest, "BadDigest", "", "", true},
		{0, "no answer", "", "", true},
	} {
		store, _ := newRedis(t)
		for k := range 20 {
			key := objects.Key([]string{"a", "b"}[k%2] + string(rune('a'+k)))
			put(t, store, key, content(c.s3+string(key), 1000), objects.PutOptions{})
		}
		name := backup.Name("fault-" + string(rune('a'+i)))
		var puts atomic.Int64
		proxy.Fail(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/data/") {
				return false
			}
			n := puts.Add(1)
			if n < 10 || c.retried && n > 12 {
				return false
			}
			if c.status == 0 {
				panic(http.ErrAbortHandler)
			}
			s3test.Refuse(w, c.status, c.s3, "injected")
			return true
		})
		report, err := repo.Backup(t.Context(), source, store, backup.Options{Name: name})
		if c.retried {
			if err != nil || report.Objects != 20 {
				t.Errorf("%s: %+v, %v", c.s3, report, err)
			}
			continue
		}
		wantCode(t, c.s3, err, c.code, c.field)
		proxy.Fail(nil)
		report, err = repo.Backup(t.Context(), source, store, backup.Options{Name: name})
		if err != nil || report.Objects != 20 || report.Sent > 11_000 {
			t.Errorf("%s, again: %+v, %v", c.s3, report, err)
		}
		verify(t, repo, name)
	}
}

// TestLostHead: the answer to the last step is lost, and the backup is ours.
func TestLostHead(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	proxy := s3.Proxy()
	through := target(s3)
	through.Endpoint = proxy.Endpoint
	repo, direct := open(t, through), open(t, target(s3))
	store, _ := newRedis(t)
	put(t, store, "o", []byte("x"), objects.PutOptions{})
	var lost atomic.Bool
	proxy.Fail(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/backups/") && !lost.Swap(true) {
			proxy.Pass(r)
			panic(http.ErrAbortHandler)
		}
		return false
	})
	report, err := repo.Backup(t.Context(), source, store, backup.Options{Name: "one"})
	if err != nil || !lost.Load() || report.Objects != 1 {
		t.Errorf("%+v, %v, lost %v", report, err, lost.Load())
	}
	verify(t, direct, "one")
	_, err = repo.Backup(t.Context(), source, store, backup.Options{Name: "one"})
	wantCode(t, "the same name", err, wire.CodeAlreadyExists, "name")
}

func TestBadArguments(t *testing.T) {
	t.Parallel()
	repo := open(t, backup.Target{Name: "t", Endpoint: "127.0.0.1:1", Bucket: "bbb", AccessKeyFile: "a", SecretKeyFile: "s"})
	for _, c := range []struct {
		id    wire.FrameDBID
		opts  backup.Options
		field string
	}{
		{"UPPER", backup.Options{Name: "n"}, "framedb_id"},
		{"", backup.Options{Name: "n"}, "framedb_id"},
		{"..", backup.Options{Name: "n"}, "framedb_id"},
		{"a", backup.Options{}, "name"},
		{"a", backup.Options{Name: "../x"}, "name"},
		{"a", backup.Options{Name: "n", Parallel: -1}, "parallel"},
		{"a", backup.Options{Name: "n", Parallel: 1000}, "parallel"},
		{"a", backup.Options{Name: "n", Selection: backup.Selection{Keys: []objects.Key{"a/../b"}}}, "keys"},
		{"a", backup.Options{Name: "n", Selection: backup.Selection{Prefixes: []string{"\x00"}}}, "prefixes"},
	} {
		_, err := repo.Backup(t.Context(), c.id, nil, c.opts)
		wantCode(t, c.field, err, wire.CodeInvalidArgument, c.field)
	}
}
