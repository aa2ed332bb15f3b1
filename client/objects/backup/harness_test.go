package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/backup"
	"github.com/framedb/framedb/client/objects/mysqltest"
	"github.com/framedb/framedb/client/objects/redisstore"
	"github.com/framedb/framedb/client/objects/s3test"
	"github.com/framedb/framedb/client/objects/sqlstore"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

const (
	bucket = "backups"
	source = wire.FrameDBID("alpha-redis-node-0")
)

// startS3 starts a server with an empty bucket.
func startS3(t testing.TB) *s3test.Server {
	t.Helper()
	s := s3test.Start(t)
	s.MakeBucket(bucket)
	return s
}

func target(s *s3test.Server) backup.Target {
	return backup.Target{
		Name: "test", Endpoint: s.Endpoint, Bucket: bucket, Prefix: "framedb/here", Insecure: true,
		AccessKeyFile: s.AccessKeyFile, SecretKeyFile: s.SecretKeyFile,
	}
}

func open(t testing.TB, target backup.Target) *backup.Repository {
	t.Helper()
	repo, err := backup.New(target, backup.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(repo.Close)
	return repo
}

// fixed is a master that never changes.
type fixed struct{ *redis.Client }

func (f fixed) Redis(context.Context) (*redis.Client, error) { return f.Client, nil }

func redisAt(rdb *redis.Client) *objects.Store {
	return objects.New(redisstore.New(redisstore.Config{Master: fixed{rdb}}))
}

// newRedis gives an empty in-memory FrameDB.
func newRedis(t testing.TB) (*objects.Store, *redis.Client) {
	t.Helper()
	rdb := redistest.Start(t).Client()
	return redisAt(rdb), rdb
}

// newSQL gives an empty persistent FrameDB, on MariaDB.
func newSQL(t testing.TB) *objects.Store {
	t.Helper()
	s := mysqltest.Start(t, "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0")
	return sqlAt(t, s.Database())
}

func sqlAt(t testing.TB, dsn string) *objects.Store {
	t.Helper()
	c, err := sqlstore.Connector(dsn)
	if err != nil {
		t.Fatal(err)
	}
	b, err := sqlstore.Open(t.Context(), sqlstore.Config{Connector: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return objects.New(b)
}

// content gives bytes that only this name and size have.
func content(name string, n int64) []byte {
	h := fnv.New64a()
	fmt.Fprint(h, name, n)
	var seed [32]byte
	copy(seed[:], h.Sum(nil))
	data := make([]byte, n)
	rand.NewChaCha8(seed).Read(data)
	return data
}

func put(t testing.TB, store *objects.Store, key objects.Key, data []byte, opts objects.PutOptions) {
	t.Helper()
	if _, err := store.Put(t.Context(), key, bytes.NewReader(data), opts); err != nil {
		t.Fatalf("put %q: %v", key, err)
	}
}

// expect finds this object, and nothing else, under the key.
func expect(t testing.TB, store *objects.Store, key objects.Key, want []byte) objects.Info {
	t.Helper()
	got, info, err := store.ReadAll(t.Context(), key, 1<<30)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%q has %d bytes, %v; want %d", key, len(got), err, len(want))
	}
	return info
}

func absent(t testing.TB, store *objects.Store, key objects.Key) {
	t.Helper()
	if found, err := store.Exists(t.Context(), key); found || err != nil {
		t.Errorf("%q: found %v, %v", key, found, err)
	}
}

func make1(t testing.TB, repo *backup.Repository, store *objects.Store, name backup.Name) backup.Report {
	t.Helper()
	report, err := repo.Backup(t.Context(), source, store, backup.Options{Name: name})
	if err != nil {
		t.Fatalf("backup %q: %v", name, err)
	}
	return report
}

func restore(t testing.TB, repo *backup.Repository, name backup.Name, to *objects.Store, opts backup.RestoreOptions) backup.Restored {
	t.Helper()
	restored, err := repo.Restore(t.Context(), source, name, to, opts)
	if err != nil {
		t.Fatalf("restore %q: %v", name, err)
	}
	return restored
}

func verify(t testing.TB, repo *backup.Repository, name backup.Name) {
	t.Helper()
	v, err := repo.Verify(t.Context(), source, name, backup.VerifyOptions{})
	if err != nil {
		t.Errorf("verify %q: %v", name, err)
	}
	if s, err := repo.Stat(t.Context(), source, name); err != nil || v.Objects != s.Objects || v.Bytes != s.Bytes {
		t.Errorf("verify %q: %+v of %+v, %v", name, v, s, err)
	}
}

func names(t testing.TB, repo *backup.Repository) []backup.Name {
	t.Helper()
	all, err := repo.List(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	var out []backup.Name
	for _, s := range all {
		out = append(out, s.Name)
	}
	return out
}

func wantCode(t testing.TB, what string, err error, code wire.Code, field string) {
	t.Helper()
	var e *wire.Error
	if !errors.As(err, &e) || wire.CodeOf(err) != code || wire.AsError(err).Field != field {
		t.Errorf("%s: %v (%s, field %q); want %s, field %q", what, err, wire.CodeOf(err), field0(err), code, field)
	}
}

func field0(err error) string {
	if err == nil {
		return ""
	}
	return wire.AsError(err).Field
}

// flip changes one byte of a file.
func flip(t testing.TB, path string, at int) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[at] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// progressed keeps what a progress callback is told, and checks that it comes
// from one goroutine at a time.
type progressed struct {
	mu   sync.Mutex
	last backup.Progress
	hook func(backup.Progress)
}

func (p *progressed) tell(now backup.Progress) {
	if !p.mu.TryLock() {
		panic("two calls at one time")
	}
	defer p.mu.Unlock()
	p.last = now
	if p.hook != nil {
		p.hook(now)
	}
}

var errEOF = io.EOF

// eventually polls until f succeeds.
func eventually(t testing.TB, what string, f func() error) {
	t.Helper()
	redistest.Eventually(t, 20*time.Second, what, f)
}
