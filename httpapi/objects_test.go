package httpapi_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/mysqltest"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

// withObjects is an API with the persistent FrameDB "corpus", which a MariaDB
// holds.
func withObjects(t *testing.T) *api {
	t.Helper()
	s := mysqltest.Start(t, "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0")
	a := newAPI(t)
	name, _ := database(t, s)
	a.persistent("corpus", s, name)
	return a
}

const corpus = "/v1/framedbs/corpus/objects"

func sumOf(body string) string { return objects.SumOf([]byte(body)).String() }

func (r answer) info(t testing.TB) objects.Info { t.Helper(); return decoded[objects.Info](t, r) }

// everything lists all objects with all that is known of them.
func (a *api) everything(path string) string {
	a.t.Helper()
	return a.get(path).want(a.t, 200).body
}

func TestObjectsOverHTTP(t *testing.T) {
	t.Parallel()
	a := withObjects(t)
	c := newContract(t, a)
	route := endpoint{method: "PUT", route: "/v1/framedbs/:framedb_id/objects/*key"}
	put := a.do("PUT", corpus+"/crops/7.txt", "0123456789", "Content-Type", "text/plain; charset=utf-8", "X-Framedb-Meta-Camera", "north ü",
		"X-Framedb-TTL", "1h", "X-Framedb-Checksum", sumOf("0123456789")).want(t, 201)
	c.check(t, route, corpus+"/crops/7.txt", "0123456789", put)
	info := put.info(t)
	if info.Key != "crops/7.txt" || info.Size != 10 || info.User["camera"] != "north ü" || info.Expires.Sub(info.Modified) != time.Hour || put.header.Get("ETag") != info.Sum.ETag() {
		t.Errorf("stored %+v", info)
	}
	a.do("PUT", corpus+"/crops/7.txt", "0123456789", "X-Framedb-TTL", "3600", "Content-Type", "text/plain", "X-Framedb-Meta-a.b_C", "").want(t, 200)
	etag := info.Sum.ETag()
	other := `"` + sumOf("other") + `"`
	for _, q := range []struct {
		header       string // "Name: value", separated by |
		status       int
		body, ranged string
	}{
		{"", 200, "0123456789", ""},
		{"Range: bytes=2-4", 206, "234", "bytes 2-4/10"},
		{"Range: bytes=7-", 206, "789", "bytes 7-9/10"},
		{"Range: bytes=-3", 206, "789", "bytes 7-9/10"},
		{"Range: bytes=-30", 206, "0123456789", "bytes 0-9/10"},
		{"Range: bytes=0-99999999999999999999", 206, "0123456789", "bytes 0-9/10"},
		{"Range: BYTES=9-9", 206, "9", "bytes 9-9/10"},
		{"Range: bytes=0-1,3-4", 200, "0123456789", ""},
		{"Range: bytes=0-5,3-8", 200, "0123456789", ""},
		{"Range: lines=0-1", 200, "0123456789", ""},
		{"Range: bytes=10-", 416, "", "bytes */10"},
		{"Range: bytes=99999999999999999999-", 416, "", "bytes */10"},
		{"Range: bytes=-0", 416, "", ""},
		{"Range: bytes=5-2", 416, "", ""},
		{"Range: bytes=--5", 416, "", ""},
		{"Range: bytes=-5--2", 416, "", ""},
		{"Range: bytes=+1-2", 416, "", ""},
		{"Range: bytes=a-b", 416, "", ""},
		{"Range: bytes=", 416, "", ""},
		{"If-None-Match: " + etag, 304, "", ""},
		{"If-None-Match: W/" + etag, 304, "", ""},
		{"If-None-Match: " + other + ", " + etag, 304, "", ""},
		{"If-None-Match: *", 304, "", ""},
		{"If-None-Match: " + other, 200, "0123456789", ""},
		{`If-None-Match: "a, b"`, 200, "0123456789", ""},
		{"If-None-Match: nonsense", 400, "", ""},
		{"If-Match: " + etag, 200, "0123456789", ""},
		{"If-Match: *", 200, "0123456789", ""},
		{"If-Match: " + other, 412, "", ""},
		{"If-Match: W/" + etag, 412, "", ""},
		{`If-Match: "not-ours"`, 412, "", ""},
		{"If-Match: " + other + "|If-None-Match: " + etag, 412, "", ""},
		{"If-Unmodified-Since: Mon, 30 Nov 2026 00:00:00 GMT", 400, "", ""},
		{"Range: bytes=2-4|If-Range: " + etag, 206, "234", "bytes 2-4/10"},
		{"Range: bytes=2-4|If-Range: " + other, 200, "0123456789", ""},
		{"Range: bytes=2-4|If-Range: Mon, 30 Nov 2026 00:00:00 GMT", 200, "0123456789", ""},
	} {
		var header []string
		for line := range strings.SplitSeq(q.header, "|") {
			name, value, _ := strings.Cut(line, ": ")
			header = append(header, name, value)
		}
		r := a.do("GET", corpus+"/crops/7.txt", "", header...)
		if r.status != q.status || r.status < 300 && r.body != q.body || r.header.Get("Content-Range") != q.ranged {
			t.Errorf("%s: status %d, %q, Content-Range %q", q.header, r.status, r.body, r.header.Get("Content-Range"))
		}
		if r.status < 400 && (r.header.Get("ETag") != etag || r.header.Get("Content-Security-Policy") == "" || r.header.Get("X-Framedb-Checksum") != info.Sum.String()) {
			t.Errorf("%s: header %v", q.header, r.header)
		}
		if strings.Contains(q.header, "Range") {
			continue
		}
		head := a.do("HEAD", corpus+"/crops/7.txt", "", header...)
		if head.status != q.status || head.status == 200 && head.header.Get("Content-Length") != "10" {
			t.Errorf("HEAD %s: status %d, header %v", q.header, head.status, head.header)
		}
	}
	got := a.get(corpus + "/crops/7.txt")
	if h := got.header; h.Get("Content-Type") != "text/plain" || h["X-Framedb-Meta-A.b_c"] == nil || h.Get("X-Framedb-Expires") == "" || h.Get("Last-Modified") == "" || h.Get("Accept-Ranges") != "bytes" {
		t.Errorf("header %v", h)
	}
	list := a.get(corpus+"?prefix=crops/&limit=10").want(t, 200)
	c.check(t, endpoint{method: "GET", route: "/v1/framedbs/:framedb_id/objects"}, corpus+"?prefix=crops/&limit=10", "", list)
	if page := decoded[objects.Page](t, list); len(page.Objects) != 1 || page.Objects[0].Key != "crops/7.txt" {
		t.Errorf("list %+v", page)
	}
}

// Whoever names a FrameDB that is not there is told so, and not that the object
// is not there.
func TestObjectsThatAreNotThere(t *testing.T) {
	t.Parallel()
	a := withObjects(t)
	for path, field := range map[string]string{corpus + "/nothing": "key", "/v1/framedbs/nobody/objects/nothing": "framedb_id", "/v1/framedbs/a-redis-node-7/objects/x": "framedb_id"} {
		for _, method := range []string{"GET", "DELETE"} {
			a.do(method, path, "").want(t, 404).refused(t, wire.CodeNotFound, field)
		}
		head := a.do("HEAD", path, "").want(t, 404)
		if head.header.Get("X-Framedb-Code") != "not_found" || head.header.Get("X-Framedb-Field") != field {
			t.Errorf("HEAD %s: %v", path, head.header)
		}
		if field == "framedb_id" {
			a.do("PUT", path, "x").want(t, 404).refused(t, wire.CodeNotFound, field)
			a.do("PUT", corpus+"/to", "", "X-Framedb-Copy-Source", strings.TrimPrefix(strings.Replace(path, "/objects", "", 1), "/v1/framedbs/")).want(t, 404).refused(t, wire.CodeNotFound, field)
		}
	}
	a.get("/v1/framedbs/nobody/objects").want(t, 404).refused(t, wire.CodeNotFound, "framedb_id")
}

func TestBadObjectRequests(t *testing.T) {
	t.Parallel()
	a := withObjects(t)
	a.do("PUT", corpus+"/there", "there").want(t, 201)
	before := a.everything(corpus)
	long := strings.Repeat("k", 4096)
	for _, path := range []string{"/", "/" + long, "/" + long[:256], "/a%00b", "/%00", "/a%0Ab", "/%FF%FE", "/..", "/a/../b", "/%2E%2E/b", "/a%2F..%2Fb", "/./a", "/a/.", "/a%20"} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			a.do(method, corpus+path, "x").want(t, 400).refused(t, wire.CodeInvalidArgument, "key")
		}
		a.do("HEAD", corpus+path, "").want(t, 400)
		a.do("PUT", corpus+"/copy", "", "X-Framedb-Copy-Source", "corpus"+path).want(t, 400).refused(t, wire.CodeInvalidArgument, "X-Framedb-Copy-Source")
	}
	for _, id := range []string{"Corpus", "a_b", "%2e%2e", "a%2Fb", "-a", strings.Repeat("a", 64)} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			a.do(method, "/v1/framedbs/"+id+"/objects/x", "x").want(t, 400).refused(t, wire.CodeInvalidArgument, "framedb_id")
		}
	}
	tag := objects.SumOf([]byte("there")).ETag()
	for _, q := range []struct {
		header []string
		status int
		code   wire.Code
		field  string
	}{
		{[]string{"X-Framedb-Checksum", sumOf("other")}, 400, wire.CodeChecksum, ""},
		{[]string{"X-Framedb-Checksum", "xyz"}, 400, wire.CodeInvalidArgument, "X-Framedb-Checksum"},
		{[]string{"X-Framedb-Ttl", "soon"}, 400, wire.CodeInvalidArgument, "X-Framedb-Ttl"},
		{[]string{"X-Framedb-Ttl", "-5s"}, 400, wire.CodeInvalidArgument, "X-Framedb-Ttl"},
		{[]string{"X-Framedb-Ttl", "0"}, 400, wire.CodeInvalidArgument, "X-Framedb-Ttl"},
		{[]string{"X-Framedb-Ttl", "1us"}, 400, wire.CodeInvalidArgument, "X-Framedb-Ttl"},
		{[]string{"Content-Type", "a\x01b"}, 400, wire.CodeInvalidArgument, "Content-Type"},
		{[]string{"X-Framedb-Meta-a", strings.Repeat("v", 8200)}, 400, wire.CodeInvalidArgument, "X-Framedb-Meta-*"},
		{[]string{"X-Framedb-Meta-" + strings.Repeat("n", 65), "v"}, 400, wire.CodeInvalidArgument, "X-Framedb-Meta-*"},
		{[]string{"X-Framedb-Meta-a!", "v"}, 400, wire.CodeInvalidArgument, "X-Framedb-Meta-*"},
		{[]string{"Content-Range", "bytes 0-3/10"}, 400, wire.CodeInvalidArgument, "Content-Range"},
		{[]string{"If-None-Match", "*"}, 412, wire.CodePrecondition, ""},
		{[]string{"If-None-Match", tag}, 400, wire.CodeInvalidArgument, "If-None-Match"},
		{[]string{"If-Match", `"` + sumOf("other") + `"`}, 412, wire.CodePrecondition, ""},
		{[]string{"If-Match", `"other"`}, 412, wire.CodePrecondition, ""},
		{[]string{"If-Match", "W/" + tag}, 412, wire.CodePrecondition, ""},
		{[]string{"If-Match", "other"}, 400, wire.CodeInvalidArgument, "If-Match"},
		{[]string{"If-Match", tag, "If-None-Match", "*"}, 400, wire.CodeInvalidArgument, "If-Match"},
		{[]string{"If-Unmodified-Since", "Mon, 30 Nov 2026 00:00:00 GMT"}, 400, wire.CodeInvalidArgument, "If-Unmodified-Since"},
		{[]string{"X-Framedb-Copy-Source", "corpus/there"}, 400, wire.CodeMalformed, ""}, // with a body
		{[]string{"X-Framedb-Copy-Source", "corpus/there", "X-Framedb-Ttl", "1h"}, 400, wire.CodeInvalidArgument, "X-Framedb-Ttl"},
		{[]string{"X-Framedb-Copy-Source", "corpus/there", "X-Framedb-Meta-A", "1"}, 400, wire.CodeInvalidArgument, "X-Framedb-Meta-A"},
	} {
		a.do("PUT", corpus+"/there", "new", q.header...).want(t, q.status).refused(t, q.code, q.field)
	}
	a.do("DELETE", corpus+"/there", "", "If-Match", `"`+sumOf("other")+`"`).want(t, 412)
	a.do("DELETE", corpus+"/there", "", "If-None-Match", "*").want(t, 400)
	for query, field := range map[string]string{"limit=0": "limit", "limit=1001": "limit", "limit=x": "limit", "prefix=%00": "prefix", "prefix=" + long: "prefix", "a=%zz": ""} {
		a.get(corpus+"?"+query).want(t, 400).refused(t, wire.CodeInvalidArgument, field)
	}
	if after := a.everything(corpus); after != before {
		t.Errorf("a refused request changed %s\nto %s", before, after)
	}
}

// Keys are decoded once, and a '+' is a '+'.
func TestObjectKeysInPaths(t *testing.T) {
	t.Parallel()
	a := withObjects(t)
	for path, key := range map[string]string{
		"a+b": "a+b", "a+b%2Fc": "a+b/c", "a%2Bb": "a+b", "%252e%252e": "%2e%2e", "a//b": "a//b", "/a": "/a", "a/": "a/", "%C3%BC/%E6%97%A5": "ü/日", "a%3Fb": "a?b",
		strings.Repeat("k", 255): strings.Repeat("k", 255), "objects/x": "objects/x", "...": "...",
	} {
		if info := a.do("PUT", corpus+"/"+path, path); info.status >= 300 || string(info.info(t).Key) != key {
			t.Errorf("%s: %d %s", path, info.status, info.body)
		}
		if got := a.get(corpus + "/" + url.PathEscape(key)); got.status != 200 || got.body != path {
			t.Errorf("%q: %d %q", key, got.status, got.body)
		}
	}
}

func TestCopiesOverHTTP(t *testing.T) {
	t.Parallel()
	a := withObjects(t)
	a.do("PUT", corpus+"/from%20here", "bytes", "Content-Type", "x/y", "X-Framedb-Meta-A", "b", "X-Framedb-Ttl", "1h").want(t, 201)
	info := a.do("PUT", corpus+"/to", "", "X-Framedb-Copy-Source", "corpus/from%20here").want(t, 201).info(t)
	if info.Key != "to" || info.Size != 5 || info.ContentType != "x/y" || info.User["a"] != "b" || info.Expires.IsZero() {
		t.Errorf("%+v", info)
	}
	a.do("PUT", corpus+"/to", "", "X-Framedb-Copy-Source", "corpus/from%20here", "If-None-Match", "*").want(t, 412)
	a.do("PUT", corpus+"/to", "", "X-Framedb-Copy-Source", "corpus/nothing").want(t, 404).refused(t, wire.CodeNotFound, "key")
	if n := a.server.TransferMemory(); n != 0 {
		t.Errorf("%d bytes are held when nothing is transferred", n)
	}
}

// raw sends bytes on a connection of their own and reads the first answer.
func raw(t *testing.T, base, method, text string) (*http.Response, *bufio.Reader, net.Conn) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	send(t, c, text)
	if method == "" {
		return nil, nil, c
	}
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	return res, r, c
}

func TestBodiesThatAreNotAsAnnounced(t *testing.T) {
	t.Parallel()
	a := withObjects(t)
	base := a.tcp()
	a.do("PUT", corpus+"/there", "there").want(t, 201)
	before := a.everything(corpus)
	large := strings.Repeat("x", 9<<20)
	chunk := func(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }
	for _, q := range []struct {
		what, text string
		status     int
		code       wire.Code
	}{
		{"too large", "Content-Length: 10737418241\r\n\r\nx", 413, wire.CodeTooLarge},
		{"wrong trailer", "Transfer-Encoding: chunked\r\nTrailer: X-Framedb-Checksum\r\n\r\n" + chunk("new") + "0\r\nX-Framedb-Checksum: " + sumOf("other") + "\r\n\r\n", 400, wire.CodeChecksum},
		{"bad trailer", "Transfer-Encoding: chunked\r\nTrailer: X-Framedb-Checksum\r\n\r\n" + chunk("new") + "0\r\nX-Framedb-Checksum: xyz\r\n\r\n", 400, wire.CodeInvalidArgument},
		{"wrong trailer, large", "Transfer-Encoding: chunked\r\nTrailer: X-Framedb-Checksum\r\n\r\n" + chunk(large) + "0\r\nX-Framedb-Checksum: " + sumOf("other") + "\r\n\r\n", 400, wire.CodeChecksum},
		{"broken chunk", "Transfer-Encoding: chunked\r\n\r\n" + chunk("new") + "zz\r\n", 400, wire.CodeMalformed},
		{"longer than announced, with a checksum", "Content-Length: 3\r\nX-Framedb-Checksum: " + sumOf("newer") + "\r\n\r\nnewer", 400, wire.CodeChecksum},
	} {
		for _, key := range []string{"there", "new"} {
			res, _, _ := raw(t, base, "PUT", "PUT "+corpus+"/"+key+" HTTP/1.1\r\nHost: a\r\n"+q.text)
			var f wire.Failure
			if err := json.NewDecoder(res.Body).Decode(&f); err != nil || res.StatusCode != q.status || f.Code != q.code {
				t.Errorf("%s: %d %+v, %v", q.what, res.StatusCode, f, err)
			}
		}
	}
	for what, text := range map[string]string{
		"short":             "Content-Length: 10\r\n\r\nnew",
		"short, large":      "Content-Length: 10000000\r\n\r\n" + large,
		"chunks without 0":  "Transfer-Encoding: chunked\r\n\r\n" + chunk("new"),
		"chunks, large":     "Transfer-Encoding: chunked\r\n\r\n" + chunk(large),
		"chunks, cut short": "Transfer-Encoding: chunked\r\n\r\nff\r\nnew",
	} {
		for _, key := range []string{"there", "new"} {
			_, _, c := raw(t, base, "", "PUT "+corpus+"/"+key+" HTTP/1.1\r\nHost: a\r\n"+text)
			if err := c.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			answer, _ := io.ReadAll(c)
			if !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") || !strings.Contains(string(answer), `"code":"malformed"`) {
				t.Errorf("%s: %q", what, answer)
			}
		}
	}
	if after := a.everything(corpus); after != before {
		t.Errorf("a refused body changed %s\nto %s", before, after)
	}
	if n := a.server.TransferMemory(); n != 0 {
		t.Errorf("%d bytes are held when nothing is transferred", n)
	}
}

// What is right passes, and what stands behind Content-Length is no part of it.
func TestBodiesThatAreAsAnnounced(t *testing.T) {
	t.Parallel()
	a := withObjects(t)
	base := a.tcp()
	for what, text := range map[string]string{
		"trailer": "Transfer-Encoding: chunked\r\nTrailer: X-Framedb-Checksum\r\n\r\n3\r\nnew\r\n0\r\nX-Framedb-Checksum: " + sumOf("new") + "\r\n\r\n",
		"lost":    "Transfer-Encoding: chunked\r\nTrailer: X-Framedb-Checksum\r\n\r\n3\r\nnew\r\n0\r\n\r\n", // the trailer, by a proxy
		"length":  "Content-Length: 3\r\n\r\nnew",
		"more":    "Content-Length: 3\r\n\r\nnewer\r\n\r\n",
	} {
		res, r, _ := raw(t, base, "PUT", "PUT "+corpus+"/"+what+" HTTP/1.1\r\nHost: a\r\n"+text)
		if res.StatusCode != 201 || a.get(corpus+"/"+what).body != "new" {
			t.Errorf("%s: %s", what, res.Status)
		}
		if what == "more" {
			io.Copy(io.Discard, res.Body)
			if rest, _ := io.ReadAll(r); !strings.HasPrefix(string(rest), "HTTP/1.1 400 ") {
				t.Errorf("behind the body: %q", rest)
			}
		}
	}
}

// A refusal that can be told before the body costs no upload: no 100 is sent.
func TestRefusalsCostNoUpload(t *testing.T) {
	t.Parallel()
	a := withObjects(t)
	base := a.tcp()
	a.do("PUT", corpus+"/there", "there").want(t, 201)
	const expect = " HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n"
	for text, status := range map[string]int{
		"PUT " + corpus + "/there" + expect + "If-None-Match: *\r\n\r\n":                                  412,
		"PUT " + corpus + "/there" + expect + "If-Match: \"" + sumOf("other") + "\"\r\n\r\n":              412,
		"PUT " + corpus + "/new" + expect + "If-Match: *\r\n\r\n":                                         412,
		"PUT /v1/framedbs/nobody/objects/x" + expect + "\r\n":                                             404,
		"PUT /v1/framedbs/nobody/objects/x" + expect + "If-None-Match: *\r\n\r\n":                         404,
		"PUT " + corpus + "/a%00" + expect + "\r\n":                                                       400,
		"PUT " + corpus + "/new" + expect + "X-Framedb-Ttl: soon\r\n\r\n":                                 400,
		"PUT " + corpus + "/new" + strings.Replace(expect, ": 9\r", ": 99999999999\r", 1) + "\r\n":        413,
		"PUT " + corpus + "/new" + expect + "X-Framedb-Meta-A: " + strings.Repeat("v", 8200) + "\r\n\r\n": 400,
	} {
		if res, _, _ := raw(t, base, "PUT", text); res.StatusCode != status || !res.Close {
			t.Errorf("%.120q: %s, close %v", text, res.Status, res.Close)
		}
	}
	res, r, c := raw(t, base, "PUT", "PUT "+corpus+"/new"+expect+"If-None-Match: *\r\n\r\n")
	if res.StatusCode != 100 {
		t.Fatalf("status %s", res.Status)
	}
	send(t, c, "new bytes")
	if res, err := http.ReadResponse(r, &http.Request{Method: "PUT"}); err != nil || res.StatusCode != 201 {
		t.Errorf("%v, %v", res, err)
	}
}

// A wrong byte is never sent as part of an answer that looks whole.
func TestDamagedObjectsAreCutShort(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t, "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0")
	a := newAPI(t)
	name, db := database(t, s)
	a.persistent("corpus", s, name)
	base := a.tcp()
	data := make([]byte, 20<<20)
	rand.NewChaCha8(sha256.Sum256(nil)).Read(data)
	a.do("PUT", corpus+"/large", string(data)).want(t, 201)
	damage := func(n int) {
		if _, err := db.Exec("UPDATE framedb_chunks SET data = CONCAT(CHAR((ASCII(LEFT(data, 1)) + 1) % 256), SUBSTRING(data, 2)) WHERE n = ?", n); err != nil {
			t.Fatal(err)
		}
	}
	get := func(header string) (*http.Response, []byte, error) {
		res, _, _ := raw(t, base, "GET", "GET "+corpus+"/large HTTP/1.1\r\nHost: a\r\n"+header+"\r\n")
		got, err := io.ReadAll(res.Body)
		return res, got, err
	}
	damage(10)
	res, got, err := get("")
	if res.StatusCode != 200 || res.ContentLength != int64(len(data)) || err != io.ErrUnexpectedEOF || len(got) > 10<<20 || string(got) != string(data[:len(got)]) {
		t.Errorf("%s, %d bytes, %v", res.Status, len(got), err)
	}
	res, got, err = get("Range: bytes=10485760-10485770\r\n")
	if res.StatusCode != 500 || err != nil || !strings.Contains(string(got), `"code":"corrupt"`) || res.Header.Get("ETag") != "" {
		t.Errorf("%s, %s, %v", res.Status, got, err)
	}
	res, got, err = get("Range: bytes=0-99\r\n")
	if res.StatusCode != 206 || err != nil || string(got) != string(data[:100]) {
		t.Errorf("%s, %d bytes, %v", res.Status, len(got), err)
	}
}

// replicated waits until a replica has what was written so far: what none has
// is lost with a failover. WAIT counts from its own connection's last write.
func replicated(t *testing.T, c *redistest.Cluster) {
	t.Helper()
	conn := c.Master().Client().Conn()
	defer conn.Close()
	conn.Set(t.Context(), "framedb:marker", "", time.Minute)
	if n, err := conn.Wait(t.Context(), 1, 30*time.Second).Result(); n != 1 {
		t.Fatalf("%d replicas have the objects: %v", n, err)
	}
}

// Whichever member of a cluster is named, or the cluster, its master is meant,
// also when that is another one now.
func TestObjectsOfAClusterGoToItsMaster(t *testing.T) {
	t.Parallel()
	a, c := withRedis(t, 2)
	paths := []string{"/v1/framedbs/real-redis-node-0/objects/", "/v1/framedbs/real-redis-node-1/objects/", "/v1/framedbs/real/objects/"}
	for round := range 2 {
		if round == 1 {
			replicated(t, c)
			c.Failover()
		}
		for i, path := range paths {
			key := fmt.Sprintf("k%d%d", round, i)
			a.do("PUT", path+key, key).want(t, 201)
			for _, other := range paths {
				if got := a.get(other+key).want(t, 200).body; got != key {
					t.Errorf("%s%s: %q", other, key, got)
				}
			}
			if got := c.Master().Client().Get(t.Context(), key).Val(); got != key {
				t.Errorf("the master has %q", got)
			}
		}
	}
	page := decoded[objects.Page](t, a.get(strings.TrimSuffix(paths[0], "/")).want(t, 200))
	if len(page.Objects) != 6 {
		t.Errorf("listed %d of 6: %v", len(page.Objects), page.Objects)
	}
	a.do("PUT", paths[0]+"framedb:x", "x").want(t, 400).refused(t, wire.CodeInvalidArgument, "key")
	for _, s := range c.Sentry {
		s.Kill()
	}
	for _, s := range c.Servers {
		s.Kill()
	}
	redistest.Eventually(t, 30*time.Second, "the cluster is unavailable", func() error {
		if r := a.get(paths[0] + "k00"); r.status != 503 {
			return fmt.Errorf("%d %s", r.status, r.body)
		}
		return nil
	})
}
