package redisstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/redisstore"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

func storeAt(t *testing.T, rdb *redis.Client, cfg redisstore.Config) *objects.Store {
	cfg.Master = fixed{rdb}
	return objects.New(redisstore.New(cfg))
}

func random(n int64) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)}).Read(data)
	return data
}

// TestWholeParts stores objects around the size of a part in earnest.
func TestWholeParts(t *testing.T) {
	s := redistest.Start(t)
	store := storeAt(t, s.Client(), redisstore.Config{})
	const part = 64 << 20
	data := random(part + 1)
	for _, n := range []int64{part, part + 1} {
		info, err := store.Put(t.Context(), "o", bytes.NewReader(data[:n]), objects.PutOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := store.Get(t.Context(), "o", objects.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if m, err := io.Copy(io.Discard, r); m != n || err != nil || r.Info().Sum != info.Sum {
			t.Errorf("%d of %d bytes, %v", m, n, err)
		}
		r.Close()
		for _, key := range s.Client().Keys(t.Context(), "*").Val() {
			if ttl := s.Client().TTL(t.Context(), key).Val(); ttl != -1 && !strings.HasPrefix(key, "framedb:done:") {
				t.Errorf("%s of a visible object expires in %v", key, ttl)
			}
		}
		length, err := s.Client().StrLen(t.Context(), "o").Result()
		if one := length == n; err != nil || one != (n == part) {
			t.Errorf("an object of %d bytes is %d bytes of one key, %v", n, length, err)
		}
	}
}

// through gives a store whose Redis is behind a proxy, with its scripts loaded.
func through(t *testing.T, s *redistest.Server) (*objects.Store, *redistest.Proxy) {
	t.Helper()
	proxy := redistest.NewProxy(t, s.Endpoint)
	opts := *s.Client().Options()
	opts.Addr = net.JoinHostPort(proxy.Host, strconv.Itoa(proxy.Port))
	rdb := redis.NewClient(&opts)
	t.Cleanup(func() { rdb.Close() })
	store := storeAt(t, rdb, redisstore.Config{})
	if _, err := store.Put(t.Context(), "warm", strings.NewReader("x"), objects.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Stat(t.Context(), "warm"); err != nil {
		t.Fatal(err)
	}
	if err := store.Delete(t.Context(), "warm", objects.Condition{}); err != nil {
		t.Fatal(err)
	}
	return store, proxy
}

// TestLostReplies: the answer to a block or to the last step is lost, and what
// was asked happens once.
func TestLostReplies(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	store, proxy := through(t, s)
	direct := s.Client()
	for _, n := range []int64{10, 9 << 20} {
		data := random(n)
		for _, word := range []string{"evalsha", "multi"} {
			proxy.LoseReplies(word, 1)
			info, err := store.Put(t.Context(), "o", bytes.NewReader(data), objects.PutOptions{Condition: objects.Condition{IfAbsent: true}})
			if err != nil {
				t.Fatalf("put %d bytes: %v", n, err)
			}
			proxy.LoseReplies(word, 1)
			if got, _, err := store.ReadAll(t.Context(), "o", 1<<30); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			proxy.LoseReplies(word, 1)
			if err := store.Delete(t.Context(), "o", objects.Condition{IfMatch: []objects.Sum{info.Sum}}); err != nil {
				t.Errorf("delete %d bytes: %v", n, err)
			}
			if left, err := direct.Exists(t.Context(), "o", "framedb:object:o").Result(); left != 0 || err != nil {
				t.Errorf("%d keys are left, %v", left, err)
			}
		}
	}
	if proxy.Lost() < 6 {
		t.Errorf("%d replies were lost: the test tests too little", proxy.Lost())
	}
}

// TestDeadRedis: an outcome that nobody can know is called so.
func TestDeadRedis(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	store, proxy := through(t, s)
	proxy.LoseReplies("evalsha", 1000)
	if _, err := store.Stat(t.Context(), "o"); !errors.Is(err, wire.ErrUnavailable) {
		t.Errorf("stat: %v", err)
	}
	if _, err := store.Put(t.Context(), "o", strings.NewReader("x"), objects.PutOptions{}); !errors.Is(err, wire.ErrOutcomeUnknown) {
		t.Errorf("put: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	<-ctx.Done()
	if _, err := store.Stat(ctx, "o"); !errors.Is(err, wire.ErrTimeout) {
		t.Errorf("stat after the deadline: %v", err)
	}
}

// TestFullRedis: a Redis without room refuses, and keeps what it has.
func TestFullRedis(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--maxmemory", "24mb")
	store := storeAt(t, s.Client(), redisstore.Config{PartSize: redisstore.BlockSize})
	data := random(9 << 20)
	if _, err := store.Put(t.Context(), "o", bytes.NewReader(data), objects.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []objects.Key{"o", "p"} {
		if _, err := store.Put(t.Context(), key, bytes.NewReader(random(20<<20)), objects.PutOptions{}); !errors.Is(err, wire.ErrOverloaded) {
			t.Errorf("put: %v", err)
		}
	}
	for _, n := range []int64{8 << 10, 1} { // the last word is a small one's
		refused := 0
		for i := 0; i < 1e5 && refused < 20; i++ {
			_, err := store.Put(t.Context(), objects.Key(fmt.Sprint(n, "/", i)), bytes.NewReader(random(n)), objects.PutOptions{})
			if errors.Is(err, wire.ErrOverloaded) {
				refused++
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := store.Put(t.Context(), "o", strings.NewReader("x"), objects.PutOptions{}); !errors.Is(err, wire.ErrOverloaded) {
		t.Errorf("a small put: %v", err)
	}
	if got, _, err := store.ReadAll(t.Context(), "o", 1<<30); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if ttl := s.Client().TTL(t.Context(), firstPart(t, s)).Val(); ttl != -1 {
		t.Errorf("a part of a visible object expires in %v", ttl)
	}
	if err := store.Delete(t.Context(), "o", objects.Condition{}); err != nil {
		t.Errorf("a full Redis does not delete: %v", err)
	}
}

func firstPart(t *testing.T, s *redistest.Server) string {
	return "framedb:part:" + s.Client().HGet(t.Context(), "framedb:object:o", "version").Val() + ":0"
}

// TestDroppedUpload: an upload that stands still is dropped, and its writer
// hears of it, not its readers.
func TestDroppedUpload(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	rdb := s.Client()
	store := storeAt(t, rdb, redisstore.Config{PartSize: redisstore.BlockSize})
	drop := readerFunc(func() {
		keys := rdb.Keys(t.Context(), "framedb:part:*").Val()
		if len(keys) != 2 || rdb.TTL(t.Context(), keys[0]).Val() <= 0 {
			t.Errorf("parts in the middle: %v", keys)
		}
		rdb.Del(t.Context(), keys[0])
	})
	body := io.MultiReader(bytes.NewReader(random(9<<20)), drop, strings.NewReader("x"))
	if _, err := store.Put(t.Context(), "o", body, objects.PutOptions{}); !errors.Is(err, wire.ErrConflict) {
		t.Errorf("put: %v", err)
	}
	if found, err := store.Exists(t.Context(), "o"); found || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
}

type readerFunc func()

func (f readerFunc) Read([]byte) (int, error) { f(); return 0, io.EOF }

// TestDamagedValues: a value that is not what was stored, small or large, is
// damage where no other program writes, and theirs where one does.
func TestDamagedValues(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	rdb := s.Client()
	for _, exclusive := range []bool{true, false} {
		store := storeAt(t, rdb, redisstore.Config{Exclusive: exclusive})
		for _, n := range []int64{10, 9 << 20} {
			data := random(n)
			if _, err := store.Put(t.Context(), "o", bytes.NewReader(data), objects.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			data[3]++
			if err := rdb.SetRange(t.Context(), "o", 0, string(data[:5])).Err(); err != nil {
				t.Fatal(err)
			}
			got, info, err := store.ReadAll(t.Context(), "o", 1<<30)
			if exclusive && (!errors.Is(err, wire.ErrCorrupt) || got != nil) {
				t.Errorf("damaged: %d bytes, %v", len(got), err)
			}
			if !exclusive && (err != nil || !info.Foreign || !bytes.Equal(got, data)) {
				t.Errorf("overwritten: %d bytes, %+v, %v", len(got), info, err)
			}
		}
	}
}

// TestOtherTypes: a key that holds no string is no object, and is left alone.
func TestOtherTypes(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	rdb := s.Client()
	store := storeAt(t, rdb, redisstore.Config{})
	rdb.LPush(t.Context(), "l", "x")
	_, err := store.Put(t.Context(), "l", strings.NewReader("x"), objects.PutOptions{})
	if !errors.Is(err, wire.ErrConflict) {
		t.Errorf("put: %v", err)
	}
	if _, err = store.Get(t.Context(), "l", objects.GetOptions{}); !errors.Is(err, wire.ErrConflict) {
		t.Errorf("get: %v", err)
	}
	if err = store.Delete(t.Context(), "l", objects.Condition{}); !errors.Is(err, wire.ErrConflict) {
		t.Errorf("delete: %v", err)
	}
	if rdb.LLen(t.Context(), "l").Val() != 1 {
		t.Error("the list is gone")
	}
	if _, err = store.Put(t.Context(), "framedb:object:x", strings.NewReader("x"), objects.PutOptions{}); !errors.Is(err, wire.ErrInvalidArgument) {
		t.Errorf("put under a reserved key: %v", err)
	}
}

// TestReadWhileOverwritten: another program overwrites what is being read. The
// reader never ends well with a mixture.
func TestReadWhileOverwritten(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	rdb := s.Client()
	store := storeAt(t, rdb, redisstore.Config{})
	for _, foreign := range []bool{false, true} {
		one, two := random(13<<20), random(13<<20 + 1)[:13<<20]
		if foreign {
			rdb.Set(t.Context(), "o", one, 0)
		} else if _, err := store.Put(t.Context(), "o", bytes.NewReader(one), objects.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		r, err := store.Get(t.Context(), "o", objects.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		head := make([]byte, 5<<20)
		if _, err := io.ReadFull(r, head); err != nil {
			t.Fatal(err)
		}
		rdb.Set(t.Context(), "o", two, 0)
		if _, err := io.Copy(io.Discard, r); !errors.Is(err, wire.ErrConflict) && !errors.Is(err, wire.ErrCorrupt) {
			t.Errorf("foreign %v: %v", foreign, err)
		}
		r.Close()
		rdb.Del(t.Context(), "o")
	}
}
