package objecttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

func testBadKeys(t *testing.T, e *env) {
	long := objects.Key(strings.Repeat("k", 256))
	for _, key := range []objects.Key{"", long, objects.Key(strings.Repeat("k", 4096)), "a\x00b", "a\nb", "\xff\xfe", "..", "a/../b", "./a", "a/.", "a "} {
		_, err := e.Put(e.ctx, key, strings.NewReader("x"), objects.PutOptions{})
		wantCode(t, fmt.Sprintf("put %.20q", key), err, wire.CodeInvalidArgument)
		_, err = e.Get(e.ctx, key, objects.GetOptions{})
		wantCode(t, fmt.Sprintf("get %.20q", key), err, wire.CodeInvalidArgument)
		_, err = e.Stat(e.ctx, key)
		wantCode(t, fmt.Sprintf("stat %.20q", key), err, wire.CodeInvalidArgument)
		wantCode(t, fmt.Sprintf("delete %.20q", key), e.Store.Delete(e.ctx, key, objects.Condition{}), wire.CodeInvalidArgument)
	}
	good := []objects.Key{long[:255], "a//b", "/a", "a/", "%2e%2e/%00", "ünïcödé ∂ 日本", "a b", "...", "A", "a", "a'\"`;--", "ß", "ss"}
	for i, key := range good {
		e.put(t, key, fmt.Append(nil, i), objects.PutOptions{})
	}
	for i, key := range good {
		e.expect(t, key, fmt.Append(nil, i))
	}
}

func testBadBodies(t *testing.T, e *env) {
	failure := errors.New("the body broke")
	for _, n := range []int64{100, e.Largest} {
		before := randomBytes("before", n)
		e.put(t, "o", before, objects.PutOptions{})
		after := randomBytes("after", n)
		for _, c := range []struct {
			what string
			size int64
			sum  objects.Sum
			body io.Reader
			code wire.Code
		}{
			{"a short body", n + 1, objects.SumOf(after), bytes.NewReader(after), wire.CodeInvalidArgument},
			{"a long body", n - 1, objects.SumOf(after), bytes.NewReader(after), wire.CodeInvalidArgument},
			{"an empty body", n, objects.SumOf(after), bytes.NewReader(nil), wire.CodeInvalidArgument},
			{"another checksum", n, objects.SumOf(before), bytes.NewReader(after), wire.CodeChecksum},
			{"a broken body", n, objects.SumOf(after), io.MultiReader(bytes.NewReader(after[:n-1]), broken{failure}), wire.CodeInternal},
		} {
			for _, key := range []objects.Key{"o", "new"} {
				_, err := e.Put(e.ctx, key, c.body, objects.PutOptions{Size: &c.size, Checksum: &c.sum})
				wantCode(t, c.what, err, c.code)
				if c.code == wire.CodeInternal && !errors.Is(err, failure) {
					t.Errorf("%s: %v does not wrap the reader's error", c.what, err)
				}
				if s, ok := c.body.(io.Seeker); ok {
					s.Seek(0, io.SeekStart)
				} else {
					break
				}
			}
		}
		e.expect(t, "o", before)
		e.absent(t, "new")
	}
	e.clean(t)
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

// testInterrupted cancels in the middle of an upload.
func testInterrupted(t *testing.T, e *env) {
	for _, at := range []int64{0, 1, e.Largest / 2, e.Largest - 1} {
		ctx, cancel := context.WithCancel(e.ctx)
		body := io.MultiReader(random("i", at), hook(cancel), random("j", e.Largest-at))
		if _, err := e.Put(ctx, "o", body, objects.PutOptions{}); !errors.Is(err, context.Canceled) {
			t.Errorf("put that is canceled at %d: %v", at, err)
		}
		e.absent(t, "o")
	}
	e.clean(t)
	if page, err := e.List(e.ctx, objects.ListOptions{}); err != nil || len(page.Objects) > 0 {
		t.Errorf("list %+v, %v", page, err)
	}
}

type hook func()

func (h hook) Read([]byte) (int, error) { h(); return 0, io.EOF }

// testForeign is what old clients do beside, and to, our objects.
func testForeign(t *testing.T, e *env) {
	old := randomBytes("old", 5000)
	e.Write(t, "f", old)
	e.expect(t, "f", old)
	stat, err := e.Stat(e.ctx, "f")
	if err != nil || !stat.Foreign || !stat.Created.IsZero() {
		t.Errorf("stat of a foreign object: %+v, %v", stat, err)
	}
	small, large := randomBytes("s", 5000), randomBytes("l", e.Largest)
	e.put(t, "f", small, objects.PutOptions{ContentType: "x", TTL: time.Hour, Condition: objects.Condition{IfMatch: []objects.Sum{objects.SumOf(old)}}})
	if got := e.Read(t, "f"); !bytes.Equal(got, small) {
		t.Errorf("an old client reads %d bytes, want what was put", len(got))
	}
	for _, mine := range [][]byte{small, large} {
		for _, theirs := range [][]byte{randomBytes("t", 5000), nil, randomBytes("u", 300)} {
			e.put(t, "f", mine, objects.PutOptions{ContentType: "x", TTL: time.Hour})
			e.Write(t, "f", theirs)
			e.expect(t, "f", theirs)
			if stat, err := e.Stat(e.ctx, "f"); err != nil || !stat.Foreign || stat.ContentType != "" || !stat.Expires.IsZero() {
				t.Errorf("stat of an overwritten object: %+v, %v", stat, err)
			}
			_, err := e.Put(e.ctx, "f", bytes.NewReader(mine), objects.PutOptions{Condition: objects.Condition{IfMatch: []objects.Sum{objects.SumOf(mine)}}})
			wantCode(t, "if-match of what was overwritten", err, wire.CodePrecondition)
			e.clean(t)
			e.expect(t, "f", theirs)
			e.Remove(t, "f")
			e.absent(t, "f")
		}
	}
	e.put(t, "f", small, objects.PutOptions{})
	e.Remove(t, "f")
	e.absent(t, "f")
	_, err = e.Put(e.ctx, "f", bytes.NewReader(large), objects.PutOptions{Condition: objects.Condition{IfAbsent: true}})
	wantCode(t, "if-absent of what an old client removed", err, "")
	if err := e.Store.Delete(e.ctx, "f", objects.Condition{}); err != nil {
		t.Error(err)
	}
	e.Write(t, "f", old)
	err = e.Store.Delete(e.ctx, "f", objects.Condition{IfMatch: []objects.Sum{objects.SumOf(old)}})
	// A foreign object has no version: after a lost answer nobody can tell
	// whether it is the old one or was written again.
	for tries := 0; tries < 20 && e.LosesAnswers && errors.Is(err, wire.ErrOutcomeUnknown); tries++ {
		if err = e.Store.Delete(e.ctx, "f", objects.Condition{}); errors.Is(err, wire.ErrNotFound) {
			err = nil
		}
	}
	if err != nil {
		t.Error(err)
	}
	e.absent(t, "f")
	e.clean(t)
}

func testDamage(t *testing.T, e *env) {
	data := randomBytes("d", e.Largest)
	e.put(t, "o", data, objects.PutOptions{})
	e.Damage(t, "o")
	_, _, err := e.ReadAll(e.ctx, "o", 1<<40)
	wantCode(t, "read all of a damaged object", err, wire.CodeCorrupt)
	r, err := e.Get(e.ctx, "o", objects.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	wantCode(t, "stream a damaged object", err, wire.CodeCorrupt)
	if !bytes.HasPrefix(data, got) {
		t.Error("a wrong byte was given out")
	}
	e.put(t, "o", data, objects.PutOptions{})
	e.expect(t, "o", data)
}

// testTwoWriters: of many writers of one key, one whole object stays.
func testTwoWriters(t *testing.T, e *env) {
	var wg sync.WaitGroup
	sizes := []int64{100, e.Largest, 200, e.Largest - 5, 3000, 0}
	for w, n := range sizes {
		wg.Go(func() {
			for range 3 {
				_, err := e.Put(e.ctx, "o", random(fmt.Sprint(w), n), objects.PutOptions{})
				if err != nil && !(e.LosesAnswers && errors.Is(err, wire.ErrOutcomeUnknown)) {
					t.Errorf("writer %d: %v", w, err)
				}
			}
		})
	}
	wg.Wait()
	data, _, err := e.ReadAll(e.ctx, "o", 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	whole := false
	for w, n := range sizes {
		whole = whole || int64(len(data)) == n && bytes.Equal(data, randomBytes(fmt.Sprint(w), n))
	}
	if !whole {
		t.Errorf("%d bytes stay, which are nobody's", len(data))
	}
	e.clean(t)
}

// testIfAbsentRace: of many if-absent writers exactly one succeeds. One that
// lost its answer cannot tell, once another has tried as well.
func testIfAbsentRace(t *testing.T, e *env) {
	for round := range 5 {
		key := objects.Key(fmt.Sprint("o", round))
		var wg sync.WaitGroup
		var won, unsure atomic.Int32
		for w := range 6 {
			wg.Go(func() {
				_, err := e.Put(e.ctx, key, strings.NewReader(fmt.Sprint(w)), objects.PutOptions{Condition: objects.Condition{IfAbsent: true}})
				switch {
				case err == nil:
					won.Add(1)
				case e.LosesAnswers && errors.Is(err, wire.ErrOutcomeUnknown):
					unsure.Add(1)
				default:
					wantCode(t, "if-absent", err, wire.CodePrecondition)
				}
			})
		}
		wg.Wait()
		if n := won.Load(); n > 1 || n == 0 && unsure.Load() == 0 {
			t.Errorf("%d writers were first", n)
		}
		if found, err := e.Exists(e.ctx, key); !found || err != nil {
			t.Errorf("found %v, %v after all of them wrote", found, err)
		}
	}
}

// testReadWhileReplaced: a reader gets one whole object or an error.
func testReadWhileReplaced(t *testing.T, e *env) {
	one, two := randomBytes("1", e.Largest), randomBytes("2", e.Largest)
	e.put(t, "o", one, objects.PutOptions{})
	for _, at := range []int{1, len(one) / 2, len(one) - 1} {
		r, err := e.Get(e.ctx, "o", objects.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		head := make([]byte, at)
		if _, err := io.ReadFull(r, head); err != nil {
			t.Fatal(err)
		}
		e.put(t, "o", two, objects.PutOptions{})
		e.clean(t) // takes the old one's parts away
		rest, err := io.ReadAll(r)
		if err == nil && !bytes.Equal(append(head, rest...), one) {
			t.Errorf("a reader of the replaced object got %d bytes of no object", at+len(rest))
		}
		if err != nil {
			wantCode(t, "a reader of the replaced object", err, wire.CodeConflict)
		}
		r.Close()
		one, two = two, one
	}
}

func testCopy(t *testing.T, e *env) {
	other, _ := e.Open(t)
	for _, n := range []int64{0, 100, e.Largest} {
		data := randomBytes("c", n)
		from := e.put(t, "from", data, objects.PutOptions{ContentType: "x/y", User: map[string]string{"a": "b"}, TTL: time.Hour})
		for _, dst := range []*objects.Store{e.Store, other} {
			to, err := objects.Copy(e.ctx, dst, "to", e.Store, "from", objects.Condition{})
			if err != nil {
				t.Fatal(err)
			}
			if to.Sum != from.Sum || to.ContentType != "x/y" || to.User["a"] != "b" || to.Expires.Sub(from.Expires).Abs() > time.Minute {
				t.Errorf("copied %+v to %+v", from, to)
			}
			(&env{Store: dst, ctx: e.ctx}).expect(t, "to", data)
		}
		_, err := objects.Copy(e.ctx, other, "to", e.Store, "from", objects.Condition{IfAbsent: true})
		wantCode(t, "copy if-absent", err, wire.CodePrecondition)
	}
	_, err := objects.Copy(e.ctx, other, "x", e.Store, "nothing", objects.Condition{})
	wantCode(t, "copy nothing", err, wire.CodeNotFound)
}

// maxLive is the promise of objects.Store.Put, for one transfer.
const maxLive = 32 << 20

// testMemory looks at what lives in the middle of transfers.
func testMemory(t *testing.T, e *env) {
	const size = 64 << 20
	before := live()
	check := func(what string) {
		if grown := live() - before; grown > maxLive {
			t.Errorf("%s: %d MiB live, at most %d are promised", what, grown>>20, maxLive>>20)
		} else {
			t.Logf("%s: %d MiB live", what, grown>>20)
		}
	}
	body := io.MultiReader(random("a", size/2+1000), hook(func() { check("put") }), random("b", size/2))
	if _, err := e.Put(e.ctx, "o", body, objects.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	r, err := e.Get(e.ctx, "o", objects.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.CopyN(io.Discard, r, size/2); err != nil {
		t.Fatal(err)
	}
	check("get")
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
}

func live() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
