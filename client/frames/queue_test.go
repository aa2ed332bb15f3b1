package frames_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

func TestBatchesAreReadAsClientsWriteThem(t *testing.T) {
	t.Parallel()
	one := key(1).Count()
	for text, want := range map[string]string{
		`{"token":"t","decrements":[{"key":"` + one + `","by":2,"sizes":["8x8"]}]}`: "t[{" + one + " 2 [8x8]}]",
		`{"decrements":[{"key":"` + one + `","by":2}]}`:                             "[{" + one + " 2 []}]",
		`{"` + one + `":[3,["8x8","4x4"]],"` + key(0).Count() + `":[1]}`:            "[{" + key(0).Count() + " 1 []} {" + one + " 3 [8x8 4x4]}]",
		`{"keys":{"` + one + `":[3,[]]}}`:                                           "[{" + one + " 3 []}]",
	} {
		token, batch, err := frames.ParseBatch(text)
		if got := fmt.Sprint(token, batch); err != nil || got != want {
			t.Errorf("%s\ngot  %s, %v\nwant %s", text, got, err, want)
		}
	}
	for text, code := range map[string]wire.Code{
		"":                        wire.CodeMalformed,
		"nonsense":                wire.CodeMalformed,
		`[]`:                      wire.CodeMalformed,
		`{}`:                      wire.CodeInvalidArgument,
		`{"decrements":[]}`:       wire.CodeInvalidArgument,
		`{"decrements":7}`:        wire.CodeMalformed,
		`{"decrements":[]} extra`: wire.CodeMalformed,
		`{"decrements":[{"key":"` + one + `","by":0}]}`:                              wire.CodeInvalidArgument,
		`{"token":"a b","decrements":[{"key":"` + one + `","by":1}]}`:                wire.CodeInvalidArgument,
		`{"decrements":[{"key":"` + one + `","by":1},{"key":"` + one + `","by":1}]}`: wire.CodeInvalidArgument,
		`{"` + one + `":3}`:            wire.CodeInvalidArgument,
		`{"` + one + `":[]}`:           wire.CodeInvalidArgument,
		`{"` + one + `":[1.5]}`:        wire.CodeMalformed,
		`{"` + one + `":[1,["../x"]]}`: wire.CodeInvalidArgument,
		`{"x":[1,["8x8"]]}`:            wire.CodeInvalidArgument,
		`{"decrements":[` + strings.Repeat(`{"key":"`+one+`","by":1},`, 10_000) + `{}]}`: wire.CodeTooLarge,
	} {
		if _, _, err := frames.ParseBatch(text); err == nil || !errors.Is(err, &wire.Error{Code: code}) {
			t.Errorf("%.100s: got %v, want %s", text, err, code)
		}
	}
}

func TestWhatIsOfNoUseInAQueueIsSetAside(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	rdb := cluster.Servers[0].Client()
	c := open(t, frames.Config{}, cluster.Members("c1"))
	putFrame(t, c, 1, "5", "8x8")
	putFrame(t, c, 2, "many", "8x8")
	rdb.LPush(t.Context(), listQueue.Key, "nonsense\xff")
	rdb.LPush(t.Context(), listQueue.Key, `{"`+key(1).Count()+`":[1],"`+key(2).Count()+`":[1]}`)
	rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: streamQueue.Key, Values: []any{"bitch", "x"}})
	for _, q := range []frames.Queue{listQueue, streamQueue} {
		for range 2 { // the first look at a stream makes its group
			entries, err := c.Waiting(t.Context(), q, 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if e.Err == nil {
					_, err = c.Settle(t.Context(), q, e, nil)
				} else {
					_, err = c.SetAside(t.Context(), q, e, e.Err)
				}
				if again, err2 := c.SetAside(t.Context(), q, e, errors.New("again")); err != nil || err2 != nil || again {
					t.Errorf("an entry was there again: %v, %v, %v", again, err, err2)
				}
			}
		}
	}
	wantCount(t, rdb, 1, "4")
	wantCount(t, rdb, 2, "many")
	poison := strings.Join(rdb.LRange(t.Context(), frames.PoisonKey, 0, -1).Val(), "\n")
	for _, want := range []string{"nonsense\xff", "not the JSON", "no integer; the others were counted down", "bitch x", `"from":"stream"`} {
		if !strings.Contains(poison, want) {
			t.Errorf("%q is not in\n%s", want, poison)
		}
	}
	if n := rdb.LLen(t.Context(), frames.PoisonKey).Val(); n != 3 {
		t.Errorf("%d entries were set aside, want 3:\n%s", n, poison)
	}
	wantKeys(t, rdb, 0, listQueue.Key)
}

// TestAnEntryOfADeadAgentIsSettledByAnother: it was read, and settled or not.
func TestAnEntryOfADeadAgentIsSettledByAnother(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	rdb := cluster.Servers[0].Client()
	c := open(t, frames.Config{}, cluster.Members("c1"))
	putFrame(t, c, 1, "5", "8x8")
	id := rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: streamQueue.Key, Values: []any{"batch", `{"` + key(1).Count() + `":[1]}`, "token", "t"}}).Val()
	if _, err := c.Waiting(t.Context(), streamQueue, 1); err != nil {
		t.Fatal(err)
	}
	first, err := c.Waiting(t.Context(), streamQueue, 1)
	if err != nil || len(first) != 1 {
		t.Fatalf("got %+v, %v", first, err)
	}
	if again, err := c.Waiting(t.Context(), streamQueue, 1); err != nil || len(again) != 0 {
		t.Errorf("it was given to another at once: %+v, %v", again, err)
	}
	if err := rdb.Do(t.Context(), "XCLAIM", streamQueue.Key, streamQueue.Group, "framedb", 0, id, "IDLE", 20_000).Err(); err != nil {
		t.Fatal(err)
	}
	second, err := c.Waiting(t.Context(), streamQueue, 1)
	if err != nil || len(second) != 1 {
		t.Fatalf("got %+v, %v", second, err)
	}
	for i, e := range append(first, second...) {
		got, err := c.Settle(t.Context(), streamQueue, e, nil)
		if err != nil || got.Done != (i == 0) {
			t.Errorf("settling it for the %d. time: %+v, %v", i+1, got, err)
		}
	}
	wantCount(t, rdb, 1, "4")
}

func TestNamesInTheOldDeleteQueueAreUnlinked(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	rdb := cluster.Servers[0].Client()
	old := redis.NewClient(&redis.Options{Addr: cluster.Servers[0].Addr(), Password: redistest.Password, DB: 5, Protocol: 2})
	defer old.Close()
	c := open(t, frames.Config{}, cluster.Members("c1"))
	putFrame(t, c, 1, "0", "8x8", "4x4")  // counted down
	putFrame(t, c, 2, "-2", "8x8", "4x4") // below
	putFrame(t, c, 3, "1", "8x8")         // it has uses left
	put(t, c, key(4).Data("8x8"), "data") // its count is gone
	put(t, c, "framedb:leases", "x", "mine", "x", "ref__a__b?1?1__1__8x8", "x", "ref__cam?1?1", "x")
	names := []string{
		key(1).Count(), key(1).Data("8x8"), key(1).Data("4x4"), key(2).Data("8x8"), key(2).Count(), key(3).Count(), key(3).Data("8x8"),
		key(4).Data("8x8"), key(5).Count(), "framedb:leases", "mine", "", "ref__a__b?1?1__1__8x8", "ref__cam?1?1",
	}
	for _, n := range names {
		if err := old.LPush(t.Context(), "del_queue", n).Err(); err != nil {
			t.Fatal(err)
		}
	}
	all := frames.Deletes{}
	for range 5 {
		d, err := c.DeleteWaiting(t.Context(), 4)
		if err != nil {
			t.Fatal(err)
		}
		all.Taken += d.Taken
		all.Unlinked += d.Unlinked
		all.SetAside += d.SetAside
	}
	if all != (frames.Deletes{Taken: int64(len(names)), Unlinked: 6, SetAside: 7}) {
		t.Errorf("got %+v", all)
	}
	wantKeys(t, rdb, 0, key(1).Count(), key(1).Data("8x8"), key(1).Data("4x4"), key(2).Count(), key(2).Data("8x8"), key(4).Data("8x8"))
	wantKeys(t, rdb, 7, key(3).Count(), key(3).Data("8x8"), key(2).Data("4x4"), "framedb:leases", "mine", "ref__a__b?1?1__1__8x8", "ref__cam?1?1")
	poison := strings.Join(rdb.LRange(t.Context(), frames.PoisonKey, 0, -1).Val(), "\n")
	if !strings.Contains(poison, "uses left") || !strings.Contains(poison, "no key of a frame") {
		t.Errorf("the reasons are\n%s", poison)
	}
}

func TestUnnamedSizesAreThoseThatAreKnown(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	rdb := cluster.Servers[0].Client()
	c := open(t, frames.Config{}, cluster.Members("c1"))
	other := wire.NewFrameKey("cam-2", 1, 2, 7)
	put(t, c, other.Count(), "1", other.Data("9x9"), "x", other.Data("8x8"), "x")
	putFrame(t, c, 1, "1", "8x8", "4x4", "2x2")
	putFrame(t, c, 2, "1", "8x8", "4x4")
	putFrame(t, c, 3, "1", "8x8", "4x4")
	for range 2 {
		if err := c.Learn(t.Context(), source, "8x8", "4x4"); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Learn(t.Context(), "cam-2", "9x9"); err != nil {
		t.Fatal(err)
	}
	got, err := c.DecrementIn(t.Context(), "t", []wire.Decrement{
		drop(1, 1), drop(2, 1), {Key: other.Count(), By: 1}, drop(3, 1, "8x8"), drop(4, 1),
	}, []string{"2x2", "8x8"})
	if err != nil {
		t.Fatal(err)
	}
	wantResults(t, got, wire.Decremented{Key: key(1).Count(), Deleted: 3}, wire.Decremented{Key: key(2).Count(), Deleted: 2},
		wire.Decremented{Key: other.Count(), Deleted: 2}, wire.Decremented{Key: key(3).Count(), Deleted: 1}, wire.Decremented{Key: key(4).Count(), Missing: true})
	wantKeys(t, rdb, 1, key(3).Data("4x4"), key(3).Data("8x8"))
	if ttl := rdb.TTL(t.Context(), "framedb:sizes:cam-1").Val(); ttl < 6*24*time.Hour {
		t.Errorf("what is known lasts %v", ttl)
	}
}
