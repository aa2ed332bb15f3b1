package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/mysqltest"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/apitest"
	"github.com/framedb/framedb/internal/redistest"
)

// objectStage runs object commands against real databases.
type objectStage struct {
	*testing.T
	addr  string
	store *objects.Store // of corpus
	in    io.Reader
}

func (s objectStage) run(args ...string) outcome {
	s.Helper()
	return s.runIn(s.Context(), args...)
}

func (s objectStage) runIn(ctx context.Context, args ...string) outcome {
	s.Helper()
	var out, errOut bytes.Buffer
	root := newRoot(&app{program: "framedb", terminal: func(any) bool { return false }}, "v1")
	root.SetArgs(append([]string{"--addr", s.addr, "object"}, args...))
	root.SetOut(&out)
	root.SetErr(&errOut)
	root.SetIn(s.in)
	return outcome{code: Execute(ctx, root), stdout: out.String(), stderr: errOut.String()}
}

// ok runs a command that has to succeed.
func (s objectStage) ok(args ...string) outcome {
	s.Helper()
	o := s.run(args...)
	if o.code != 0 {
		s.Fatalf("%v: exit %d: %s%s", args, o.code, o.stdout, o.stderr)
	}
	return o
}

func (s objectStage) list(prefix string) (keys []objects.Key) {
	s.Helper()
	list, _, err := listObjects(s.Context(), s.store, prefix, -1)
	if err != nil {
		s.Fatal(err)
	}
	for _, o := range list {
		keys = append(keys, o.Key)
	}
	return keys
}

// onObjects runs a test twice: with a direct way to the database, and with an
// agent in between, which does not tell the password.
func onObjects(t *testing.T, f func(t *testing.T, s objectStage)) {
	for _, direct := range []bool{true, false} {
		t.Run(map[bool]string{true: "direct", false: "rest"}[direct], func(t *testing.T) {
			t.Parallel()
			start := apitest.StartFar
			if direct {
				start = apitest.Start
			}
			a := start(t)
			a.Persistent("corpus", mysqltest.Start(t, "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0"))
			a.Cluster("mem", redistest.StartCluster(t, 1))
			store, err := a.Client().Objects(t.Context(), "corpus")
			if err != nil {
				t.Fatal(err)
			}
			f(t, objectStage{T: t, addr: a.URL, store: store})
		})
	}
}

func write(t *testing.T, file string, data []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func noise(seed byte, n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

func TestOneObject(t *testing.T) {
	t.Parallel()
	onObjects(t, func(t *testing.T, s objectStage) {
		dir := t.TempDir()
		data := noise(1, 9<<20)
		file := write(t, filepath.Join(dir, "shot.png"), data)
		s.ok("put", "corpus/crops/7.png", file, "--meta", "camera=north,lens=50mm", "--ttl", "1h")
		info, err := s.store.Stat(t.Context(), "crops/7.png")
		if err != nil || info.ContentType != "image/png" || info.User["lens"] != "50mm" || info.Expires.IsZero() || info.Sum != objects.SumOf(data) {
			t.Errorf("stored %+v, %v", info, err)
		}
		var stat objects.Info
		if err := json.Unmarshal([]byte(s.ok("stat", "corpus/crops/7.png", "-o", "json").stdout), &stat); err != nil || stat.Sum != info.Sum || !stat.Modified.Equal(info.Modified) || stat.User["camera"] != "north" {
			t.Errorf("stat %+v, %v", stat, err)
		}
		if o := s.ok("stat", "corpus/crops/7.png"); !strings.Contains(o.stdout, "9 MiB (9437184 bytes)") || !strings.Contains(o.stdout, "meta camera") {
			t.Errorf("stat: %s", o.stdout)
		}
		if o := s.ok("get", "corpus/crops/7.png"); o.stdout != string(data) {
			t.Errorf("get to stdout: %d bytes", len(o.stdout))
		}
		back := filepath.Join(dir, "back")
		s.ok("get", "corpus/crops/7.png", back)
		if !bytes.Equal(read(t, back), data) {
			t.Error("get to a file: other bytes")
		}
		if o := s.ok("get", "corpus/crops/7.png", back); !strings.Contains(o.stdout, "there already") {
			t.Errorf("get again: %s", o.stdout)
		}
		s.ok("put", "corpus/crops/", file)
		s.ok("get", "corpus/crops/shot.png", dir)
		s.in = strings.NewReader("from stdin")
		s.ok("put", "corpus/stdin.txt")
		s.in = strings.NewReader("from stdin again")
		s.ok("put", "mem/stdin.txt", "-", "--content-type", "x/y")
		if got, info, err := s.store.ReadAll(t.Context(), "stdin.txt", 100); string(got) != "from stdin" || !strings.HasPrefix(info.ContentType, "text/plain") {
			t.Errorf("%q, %+v, %v", got, info, err)
		}
		if o := s.run("put", "corpus/stdin.txt", file, "--if-absent"); o.code != exitConflict {
			t.Errorf("put --if-absent: exit %d: %s", o.code, o.stderr)
		}
		s.ok("cp", "mem/stdin.txt", "corpus/copied/")
		if got, info, err := s.store.ReadAll(t.Context(), "copied/stdin.txt", 100); string(got) != "from stdin again" || info.ContentType != "x/y" {
			t.Errorf("%q, %+v, %v", got, info, err)
		}
		if o := s.ok("ls", "corpus/c"); !strings.Contains(o.stdout, "crops/7.png") || strings.Contains(o.stdout, "\nstdin.txt") {
			t.Errorf("ls: %s", o.stdout)
		}
		if o := s.ok("ls", "corpus", "--limit", "2"); !strings.Contains(o.stderr, "there are more") || strings.Count(o.stdout, "\n") != 3 {
			t.Errorf("ls --limit 2: %s%s", o.stdout, o.stderr)
		}
		s.ok("rm", "corpus/stdin.txt", "corpus/copied/stdin.txt")
		if o := s.run("rm", "corpus/stdin.txt"); o.code != exitNotFound {
			t.Errorf("rm again: exit %d: %s", o.code, o.stderr)
		}
		if o := s.run("rm", "corpus/crops/7.png", "corpus/none"); o.code != exitNotFound || !strings.Contains(o.stderr, "corpus/none") {
			t.Errorf("rm of one that is not there: exit %d: %s", o.code, o.stderr)
		}
		if got := fmt.Sprint(s.list("")); got != "[crops/shot.png]" {
			t.Errorf("left: %s", got)
		}
	})
}

func TestDirectoriesOfObjects(t *testing.T) {
	t.Parallel()
	onObjects(t, func(t *testing.T, s objectStage) {
		dir, back := filepath.Join(t.TempDir(), "in"), filepath.Join(t.TempDir(), "out")
		files := map[string][]byte{"a.txt": []byte("a"), "sub/b.bin": noise(2, 3<<20), "sub/deep/ü": {}, "large": noise(3, 20<<20), "sub/ .x": []byte("x")}
		for name, data := range files {
			write(t, filepath.Join(dir, name), data)
		}
		if err := os.Symlink("a.txt", filepath.Join(dir, "link")); err != nil {
			t.Fatal(err)
		}
		o := s.ok("put", "corpus/tree", dir, "--parallel", "3")
		if !strings.Contains(o.stdout, "5 objects written, 23 MiB") || !strings.Contains(o.stderr, "left out") {
			t.Errorf("put: %s%s", o.stdout, o.stderr)
		}
		write(t, filepath.Join(dir, "a.txt"), []byte("b"))
		if o := s.ok("put", "corpus/tree/", dir); !strings.Contains(o.stdout, "1 object written, 1 B; 4 there already") {
			t.Errorf("put again: %s", o.stdout)
		}
		files["a.txt"] = []byte("b")
		var ended []moved
		if err := json.Unmarshal([]byte(s.ok("get", "corpus/tree/", back, "-o", "json").stdout), &ended); err != nil || len(ended) != 5 {
			t.Errorf("get: %+v, %v", ended, err)
		}
		for name, data := range files {
			if !bytes.Equal(read(t, filepath.Join(back, name)), data) {
				t.Errorf("%s has other bytes", name)
			}
		}
		if o := s.ok("get", "corpus/tree/", back); !strings.Contains(o.stdout, "0 objects read, 0 B; 5 there already") {
			t.Errorf("get again: %s", o.stdout)
		}
		if o := s.ok("cp", "corpus/tree/", "mem/tree/"); !strings.Contains(o.stdout, "5 objects copied") {
			t.Errorf("cp: %s", o.stdout)
		}
		if o := s.ok("cp", "corpus/tree/", "mem/tree/"); !strings.Contains(o.stdout, "5 there already") {
			t.Errorf("cp again: %s", o.stdout)
		}
		if o := s.ok("rm", "-r", "corpus/tree/sub/"); !strings.Contains(o.stdout, "3 objects deleted") {
			t.Errorf("rm -r: %s", o.stdout)
		}
		if got := fmt.Sprint(s.list("")); got != "[tree/a.txt tree/large]" {
			t.Errorf("left: %s", got)
		}
		// One that fails does not keep the others from going on.
		write(t, filepath.Join(dir, "bad "), nil)
		o = s.run("put", "corpus/tree", dir)
		if o.code != exitUsage || !strings.Contains(o.stderr, "1 of 6 objects failed") || !strings.Contains(o.stderr, "tree/bad ") || len(s.list("")) != 5 {
			t.Errorf("put with a bad name: exit %d: %s%s", o.code, o.stdout, o.stderr)
		}
		// A file where a directory has to be.
		if _, err := s.store.Put(t.Context(), "odd/a", strings.NewReader("1"), objects.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, key := range []objects.Key{"odd/a/b", "odd/c/"} {
			if _, err := s.store.Put(t.Context(), key, strings.NewReader("2"), objects.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if o := s.run("get", "corpus/odd/", filepath.Join(back, "odd"), "--parallel", "1"); o.code == 0 || !strings.Contains(o.stderr, "2 of 3 objects failed") {
			t.Errorf("get of odd names: exit %d: %s%s", o.code, o.stdout, o.stderr)
		}
	})
}

// An interrupted get goes on where it was, with the bytes of the same object
// only.
func TestGetGoesOn(t *testing.T) {
	t.Parallel()
	a := apitest.StartFar(t)
	a.Persistent("corpus", mysqltest.Start(t, "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0"))
	store, err := a.Client().Objects(t.Context(), "corpus")
	if err != nil {
		t.Fatal(err)
	}
	data, other := noise(1, 24<<20), noise(2, 24<<20)
	put := func(data []byte) objects.Info {
		info, err := store.Put(t.Context(), "o", bytes.NewReader(data), objects.PutOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	info := put(data)
	target, err := url.Parse(a.URL)
	if err != nil {
		t.Fatal(err)
	}
	var sent, most atomic.Int64
	most.Store(10 << 20)
	proxy := &http.Server{Handler: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ModifyResponse: func(res *http.Response) error {
			if res.Request.Method == http.MethodGet && strings.Contains(res.Request.URL.Path, "/objects/") {
				res.Body = &cut{ReadCloser: res.Body, sent: &sent, most: &most}
			}
			return nil
		},
	}}
	base := serveOn(t, proxy)
	dir := t.TempDir()
	file := filepath.Join(dir, "o")
	s := objectStage{T: t, addr: base}
	if o := s.run("get", "corpus/o", file); o.code != exitUnavailable {
		t.Fatalf("exit %d: %s%s", o.code, o.stdout, o.stderr)
	}
	if st, err := os.Stat(partOf(file, info.Sum)); err != nil || st.Size() < 9<<20 {
		t.Fatalf("the part: %v", err)
	}
	before := sent.Load()
	most.Store(1 << 40)
	s.ok("get", "corpus/o", file)
	if again := sent.Load() - before; again > int64(len(data))-9<<20 || !bytes.Equal(read(t, file), data) {
		t.Errorf("%d bytes were read when it went on", again)
	}
	// Another object does not go on with these bytes.
	os.Remove(file)
	write(t, partOf(file, info.Sum), data[:5<<20])
	put(other)
	s.ok("get", "corpus/o", file)
	if !bytes.Equal(read(t, file), other) {
		t.Error("bytes of two objects")
	}
	// A damaged part is found, and gone.
	os.Remove(file)
	part := write(t, partOf(file, objects.SumOf(other)), noise(3, 5<<20))
	if o := s.run("get", "corpus/o", file); o.code != exitFailed {
		t.Errorf("a damaged part: exit %d: %s%s", o.code, o.stdout, o.stderr)
	}
	if _, err := os.Stat(part); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the damaged part: %v", err)
	}
	s.ok("get", "corpus/o", file)
	// Parts are no files of a directory.
	write(t, partOf(filepath.Join(dir, "x"), info.Sum), nil)
	s.store = store
	os.Remove(partOf(file, info.Sum))
	s.ok("put", "corpus/d", dir)
	if got := fmt.Sprint(s.list("d/")); got != "[d/o]" {
		t.Errorf("stored %s", got)
	}
}

// cut breaks a body off when so many bytes were sent in all.
type cut struct {
	io.ReadCloser
	sent, most *atomic.Int64
}

func (c *cut) Read(p []byte) (int, error) {
	if c.sent.Load() >= c.most.Load() {
		return 0, errors.New("cut")
	}
	n, err := c.ReadCloser.Read(p)
	c.sent.Add(int64(n))
	return n, err
}

func TestWrongObjectCommands(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.refuse("GET /v1/storage/corpus", wire.CodeNotFound)
	f.answer("GET /v1/instances", []wire.Resolved{})
	file := write(t, filepath.Join(t.TempDir(), "f"), nil)
	for line, code := range map[string]int{
		"put": exitUsage, "put corpus": exitUsage, "put corpus/": exitUsage, "put corpus/ -": exitUsage, "put Corpus/x " + file: exitUsage, "put /x " + file: exitUsage,
		"put corpus/x /no/such/file": exitUsage, "put corpus/a/../b " + file: exitUsage, "put corpus/x " + file + " --parallel 0": exitUsage,
		"put corpus/x " + file + " --ttl soon": exitUsage, "put corpus/x " + file: exitNotFound,
		"get corpus/../x": exitUsage, "get corpus/ -": exitUsage, "get corpus/x -o json": exitUsage, "get corpus/x": exitNotFound,
		"stat corpus": exitUsage, "stat corpus/x": exitNotFound, "ls Corpus": exitUsage, "ls corpus": exitNotFound,
		"rm corpus/": exitUsage, "rm corpus/a/": exitUsage, "rm corpus/x": exitNotFound, "rm -r corpus/ --parallel 65": exitUsage,
		"cp corpus/a/ corpus/b": exitUsage, "cp corpus/a/ corpus/a/b/": exitUsage, "cp corpus/ corpus/b/": exitUsage, "cp corpus/x": exitUsage, "cp corpus/x corpus/..": exitUsage,
	} {
		if o := (stage{api: f}).run(t, append([]string{"object"}, strings.Fields(line)...)...); o.code != code || o.stdout != "" {
			t.Errorf("object %s: exit %d, want %d: %s%s", line, o.code, code, o.stdout, o.stderr)
		}
	}
	if o := (stage{api: f, terminal: true}).run(t, "object", "get", "corpus/x"); o.code != exitUsage {
		t.Errorf("get to a terminal: exit %d: %s", o.code, o.stderr)
	}
}

func TestObjectCompletion(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.on("GET /v1/framedbs/corpus/objects", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("prefix") != "cr" {
			t.Errorf("asked for %s", r.URL)
		}
		json.NewEncoder(w).Encode(objects.Page{Objects: []objects.Info{{Key: "crops/1"}, {Key: "crops/2"}, {Key: "crown"}}})
	})
	for args, want := range map[string]string{
		"get cam":       "cameras-redis-node-0/\ncameras-redis-node-1/\ncameras-redis-node-2/\n:6\n",
		"get corpus/cr": "corpus/crops/\ncorpus/crown\n:6\n",
		"get corpus/x ": ":0\n",
	} {
		o := stage{api: f}.run(t, append([]string{"__complete", "object"}, strings.Split(args, " ")...)...)
		if o.stdout != want {
			t.Errorf("%q: %q, want %q", args, o.stdout, want)
		}
	}
}

// serveOn serves on a free port until the test ends.
func serveOn(t *testing.T, s *http.Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		s.Serve(l)
		close(done)
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return "http://" + l.Addr().String()
}
