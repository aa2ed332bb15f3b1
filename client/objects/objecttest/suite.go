// Package objecttest is the suite that every backend of objects passes.
//
//	objecttest.Run(t, objecttest.Backend{Open: …, RowLimit: …, Foreign: …})
//
// Set FRAMEDB_TEST_LARGE to also store an object of 1 GiB.
package objecttest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"testing/iotest"
	"time"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// Backend is what the suite needs to know of one.
type Backend struct {
	// Open gives an empty one of its own for each test, and what is under it.
	Open func(t testing.TB) (*objects.Store, Under)
	// Limits are sizes at which the layout changes; each is tried, with one
	// byte less and one more.
	Limits []int64
	// Largest is the size that tests of large objects use: more than the
	// largest limit.
	Largest int64
	// LosesAnswers is true where answers get lost on purpose: a put that another
	// writer overtook, and a delete of a foreign object, may then be unable to
	// tell whether they happened.
	LosesAnswers bool
}

// Under is what is under a Store, as another program sees it.
type Under interface {
	// Write and Remove are what an old client does.
	Write(t testing.TB, key string, data []byte)
	Remove(t testing.TB, key string)
	// Read gives the bytes that an old client gets; nil when there are none.
	Read(t testing.TB, key string) []byte
	// Damage changes a stored byte of a large object that no old client sees.
	Damage(t testing.TB, key string)
	// Hidden counts parts that belong to no visible object.
	Hidden(t testing.TB) int
}

// Run runs all tests of the suite, the one that looks at memory alone.
func Run(t *testing.T, b Backend) {
	t.Run("Memory", func(t *testing.T) {
		store, under := b.Open(t)
		testMemory(t, &env{Backend: b, Store: store, Under: under, ctx: t.Context()})
	})
	for _, test := range []struct {
		name string
		run  func(*testing.T, *env)
	}{
		{"RoundTrip", testRoundTrip}, {"Ranges", testRanges}, {"Replace", testReplace}, {"Metadata", testMetadata},
		{"Conditions", testConditions}, {"Delete", testDelete}, {"TTL", testTTL}, {"List", testList},
		{"BadKeys", testBadKeys}, {"BadBodies", testBadBodies}, {"Interrupted", testInterrupted},
		{"Foreign", testForeign}, {"Damage", testDamage}, {"TwoWriters", testTwoWriters}, {"IfAbsentRace", testIfAbsentRace},
		{"ReadWhileReplaced", testReadWhileReplaced}, {"Copy", testCopy},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			store, under := b.Open(t)
			test.run(t, &env{Backend: b, Store: store, Under: under, ctx: t.Context()})
		})
	}
}

type env struct {
	Backend
	*objects.Store
	Under
	ctx context.Context
}

// random gives n bytes that depend on the seed alone.
func random(seed string, n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8(sha256.Sum256([]byte(seed))), n)
}

func randomBytes(seed string, n int64) []byte {
	data := make([]byte, n)
	io.ReadFull(random(seed, n), data)
	return data
}

func (e *env) put(t testing.TB, key objects.Key, data []byte, opts objects.PutOptions) objects.Info {
	t.Helper()
	info, err := e.Put(e.ctx, key, bytes.NewReader(data), opts)
	if err != nil {
		t.Fatalf("put %q, %d bytes: %v", key, len(data), err)
	}
	return info
}

// expect reads an object whole and compares it, and what Stat says of it.
func (e *env) expect(t testing.TB, key objects.Key, want []byte) {
	t.Helper()
	got, info, err := e.ReadAll(e.ctx, key, 1<<40)
	if err != nil {
		t.Fatalf("get %q: %v", key, err)
	}
	if !bytes.Equal(got, want) || info.Sum != objects.SumOf(want) || info.Size != int64(len(want)) {
		t.Fatalf("get %q: %d bytes with checksum %v, want %d with %v", key, len(got), info.Sum, len(want), objects.SumOf(want))
	}
	stat, err := e.Stat(e.ctx, key)
	if err != nil || stat.Sum != info.Sum || stat.Size != info.Size {
		t.Fatalf("stat %q: %+v, %v; want that of get, %+v", key, stat, err, info)
	}
}

func (e *env) absent(t testing.TB, key objects.Key) {
	t.Helper()
	if found, err := e.Exists(e.ctx, key); found || err != nil {
		t.Errorf("%q exists: %v, %v; want that it does not", key, found, err)
	}
	if _, _, err := e.ReadAll(e.ctx, key, 1<<40); !errors.Is(err, wire.ErrNotFound) {
		t.Errorf("get %q: %v, want not_found", key, err)
	}
}

// clean sweeps until nothing hidden is left.
func (e *env) clean(t testing.TB) {
	t.Helper()
	Eventually(t, 10*time.Second, "no hidden parts are left", func() error {
		if _, err := e.Sweep(e.ctx, objects.SweepAges{}); err != nil {
			return err
		}
		if n := e.Hidden(t); n > 0 {
			return fmt.Errorf("%d parts", n)
		}
		return nil
	})
}

// Eventually calls f until it returns nil; after the given time it fails the
// test with f's last error.
func Eventually(t testing.TB, within time.Duration, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, within, err)
		}
		<-tick.C
	}
}

func wantCode(t testing.TB, what string, err error, want wire.Code) {
	t.Helper()
	if wire.CodeOf(err) != want {
		t.Errorf("%s: %v (code %q), want code %q", what, err, wire.CodeOf(err), want)
	}
}

func (e *env) sizes() []int64 {
	sizes := []int64{0, 1, 1000, 1 << 20}
	for _, l := range e.Limits {
		sizes = append(sizes, l-1, l, l+1)
	}
	sizes = append(sizes, e.Largest)
	if os.Getenv("FRAMEDB_TEST_LARGE") != "" {
		sizes = append(sizes, 1<<30)
	}
	return sizes
}

// testRoundTrip streams: what comes out is summed, not kept.
func testRoundTrip(t *testing.T, e *env) {
	for i, n := range e.sizes() {
		opts := objects.PutOptions{}
		if i%2 == 0 {
			opts.Size = &n
		}
		seed := fmt.Sprint(n)
		var body io.Reader = random(seed, n)
		if i%3 == 0 {
			body = iotest.DataErrReader(body)
		}
		put, err := e.Put(e.ctx, "o", body, opts)
		if err != nil || put.Size != n {
			t.Fatalf("put %d bytes: %+v, %v", n, put, err)
		}
		r, err := e.Get(e.ctx, "o", objects.GetOptions{})
		if err != nil {
			t.Fatalf("get %d bytes: %v", n, err)
		}
		got, want := sha256.New(), sha256.New()
		io.Copy(want, random(seed, n))
		if m, err := io.Copy(got, r); m != n || err != nil || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
			t.Errorf("got %d of %d bytes, same: %v, error %v", m, n, bytes.Equal(got.Sum(nil), want.Sum(nil)), err)
		}
		if info := r.Info(); info.Sum != put.Sum || info.Size != n || info.Foreign {
			t.Errorf("get says %+v, put said %+v", info, put)
		}
		if _, err := r.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("behind the end: %v", err)
		}
		r.Close()
	}
	e.clean(t)
}

func testRanges(t *testing.T, e *env) {
	for _, size := range []int64{0, 1000, e.Largest} {
		data := randomBytes("r", size)
		e.put(t, "o", data, objects.PutOptions{})
		for _, c := range []struct{ off, n, from, to int64 }{
			{0, -1, 0, size}, {0, size + 5, 0, size}, {1, 3, 1, 4}, {-5, -1, size - 5, size}, {-5, 2, size - 5, size - 3},
			{-size - 9, 7, 0, 7}, {size - 1, 1, size - 1, size}, {1<<20 - 1, 2, 1<<20 - 1, 1<<20 + 1},
			{size / 3, size / 2, size / 3, size/3 + size/2}, {size, 0, size, size},
		} {
			r, err := e.Get(e.ctx, "o", objects.GetOptions{Range: &objects.Range{Offset: c.off, Length: c.n}})
			if c.from < 0 || c.to > size || c.from >= size && c.n != 0 {
				if err == nil {
					_, n := r.Section()
					r.Close()
					if n > size || size > 5 {
						t.Errorf("range %d+%d of %d bytes is taken", c.off, c.n, size)
					}
				} else {
					wantCode(t, "range", err, wire.CodeRange)
				}
				continue
			}
			if err != nil {
				t.Errorf("range %d+%d of %d bytes: %v", c.off, c.n, size, err)
				continue
			}
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, data[c.from:c.to]) {
				t.Errorf("range %d+%d of %d bytes: %d bytes, %v", c.off, c.n, size, len(got), err)
			}
			r.Close()
		}
	}
}

func testReplace(t *testing.T, e *env) {
	sizes := []int64{10, e.Largest, 20, 0, e.Largest - 1, e.Largest, 5}
	var created time.Time
	for i, n := range sizes {
		data := randomBytes(fmt.Sprint(i), n)
		info := e.put(t, "o", data, objects.PutOptions{})
		e.expect(t, "o", data)
		if i == 0 {
			created = info.Created
		}
		if !info.Created.Equal(created) || info.Modified.Before(created) {
			t.Errorf("created %v, modified %v; want created %v", info.Created, info.Modified, created)
		}
	}
	e.clean(t)
	e.expect(t, "o", randomBytes("6", 5))
}

func testMetadata(t *testing.T, e *env) {
	user := map[string]string{"camera": "north 7", "x.y-z_1": "ü∂ 100%", "empty": ""}
	for _, n := range []int64{100, e.Largest} {
		e.put(t, "o", randomBytes("m", n), objects.PutOptions{ContentType: "image/png; q=\"ü\"", User: user})
		page, err := e.List(e.ctx, objects.ListOptions{})
		if err != nil || len(page.Objects) != 1 {
			t.Fatalf("list: %+v, %v", page, err)
		}
		stat, err := e.Stat(e.ctx, "o")
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range []objects.Info{stat, page.Objects[0]} {
			if info.ContentType != "image/png; q=\"ü\"" || fmt.Sprint(info.User) != fmt.Sprint(user) || info.Size != n {
				t.Errorf("metadata %+v", info)
			}
		}
	}
	for _, opts := range []objects.PutOptions{
		{ContentType: "a\nb"}, {User: map[string]string{"Upper": ""}}, {User: map[string]string{"": "x"}},
		{User: map[string]string{"a": "b\x00"}}, {User: map[string]string{"a": string(make([]byte, 9000))}}, {TTL: -1},
	} {
		_, err := e.Put(e.ctx, "o", bytes.NewReader(nil), opts)
		wantCode(t, fmt.Sprintf("%.50v", opts), err, wire.CodeInvalidArgument)
	}
	e.expect(t, "o", randomBytes("m", e.Largest))
}

func testConditions(t *testing.T, e *env) {
	for _, n := range []int64{100, e.Largest} {
		key := objects.Key(fmt.Sprint("o", n))
		one, two := randomBytes("1", n), randomBytes("2", n)
		try := func(data []byte, c objects.Condition) error {
			_, err := e.Put(e.ctx, key, bytes.NewReader(data), objects.PutOptions{Condition: c})
			return err
		}
		match := func(data []byte) objects.Condition {
			return objects.Condition{IfMatch: []objects.Sum{{1}, objects.SumOf(data)}}
		}
		wantCode(t, "if-match of nothing", try(one, match(one)), wire.CodePrecondition)
		wantCode(t, "if-present of nothing", try(one, objects.Condition{IfPresent: true}), wire.CodePrecondition)
		e.absent(t, key)
		wantCode(t, "if-absent of nothing", try(one, objects.Condition{IfAbsent: true}), "")
		wantCode(t, "if-absent of something", try(two, objects.Condition{IfAbsent: true}), wire.CodePrecondition)
		wantCode(t, "if-match of another", try(two, match(two)), wire.CodePrecondition)
		e.expect(t, key, one)
		wantCode(t, "if-match", try(two, match(one)), "")
		wantCode(t, "if-present", try(two, objects.Condition{IfPresent: true}), "")
		e.expect(t, key, two)
		wantCode(t, "delete if-match of another", e.Store.Delete(e.ctx, key, match(one)), wire.CodePrecondition)
		_, err := e.Get(e.ctx, key, objects.GetOptions{IfMatch: []objects.Sum{objects.SumOf(one)}})
		wantCode(t, "get if-match of another", err, wire.CodePrecondition)
		wantCode(t, "delete if-match", e.Store.Delete(e.ctx, key, match(two)), "")
		e.absent(t, key)
	}
	e.clean(t)
}

func testDelete(t *testing.T, e *env) {
	wantCode(t, "delete nothing", e.Store.Delete(e.ctx, "o", objects.Condition{}), wire.CodeNotFound)
	for _, n := range []int64{0, 100, e.Largest} {
		e.put(t, "o", randomBytes("d", n), objects.PutOptions{})
		if err := e.Store.Delete(e.ctx, "o", objects.Condition{}); err != nil {
			t.Fatal(err)
		}
		e.absent(t, "o")
		wantCode(t, "delete twice", e.Store.Delete(e.ctx, "o", objects.Condition{}), wire.CodeNotFound)
	}
	e.clean(t)
	if page, err := e.List(e.ctx, objects.ListOptions{}); err != nil || len(page.Objects) > 0 || page.Next != "" {
		t.Errorf("list %+v, %v", page, err)
	}
}

func testTTL(t *testing.T, e *env) {
	for _, n := range []int64{100, e.Largest} {
		data := randomBytes("t", n)
		info := e.put(t, "long", data, objects.PutOptions{TTL: time.Hour})
		if left := info.Expires.Sub(info.Modified); left != time.Hour {
			t.Errorf("it expires after %v, want 1h", left)
		}
		e.expect(t, "long", data)
		e.put(t, "short", data, objects.PutOptions{TTL: 10 * time.Millisecond})
		Eventually(t, 5*time.Second, "the object expires", func() error {
			if found, err := e.Exists(e.ctx, "short"); found || err != nil {
				return fmt.Errorf("found %v, %v", found, err)
			}
			return nil
		})
		e.absent(t, "short")
		wantCode(t, "delete an expired one", e.Store.Delete(e.ctx, "short", objects.Condition{}), wire.CodeNotFound)
		_, err := e.Put(e.ctx, "short", bytes.NewReader(data), objects.PutOptions{TTL: time.Millisecond, Condition: objects.Condition{IfAbsent: true}})
		wantCode(t, "if-absent of an expired one", err, "")
		e.put(t, "long", data[:50], objects.PutOptions{}) // no TTL: it stays
		if stat, err := e.Stat(e.ctx, "long"); err != nil || !stat.Expires.IsZero() {
			t.Errorf("stat %+v, %v", stat, err)
		}
	}
	e.clean(t)
	Eventually(t, 5*time.Second, "an old client sees no expired object after the sweep", func() error {
		e.Sweep(e.ctx, objects.SweepAges{})
		if got := e.Read(t, "short"); got != nil {
			return fmt.Errorf("%d bytes", len(got))
		}
		return nil
	})
	e.expect(t, "long", randomBytes("t", e.Largest)[:50])
}
