package frames_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

// modelSteps are those of one run; rapid makes a hundred.
const modelSteps = 110

// TestCountsLeasesQueuesAndSweepsAreAsTheModelSays does what clients, old ones
// and agents do, in any order, with answers that are lost and calls that are
// repeated, and compares all that Redis then holds.
func TestCountsLeasesQueuesAndSweepsAreAsTheModelSays(t *testing.T) {
	t.Parallel()
	server, proxy, members := proxied(t)
	m := &machine{t: t, c: open(t, frames.Config{}, members), proxy: proxy, rdb: server.Client()}
	m.old = redis.NewClient(&redis.Options{Addr: server.Addr(), Password: redistest.Password, DB: frames.DeleteQueueDB, Protocol: 2})
	defer m.old.Close()
	steps := 0
	rapid.Check(t, func(rt *rapid.T) {
		m.begin(rt)
		for range modelSteps {
			m.step()
			steps++
		}
		m.end()
	})
	if steps < 10_000 {
		t.Errorf("%d steps: that is no proof", steps)
	}
	t.Logf("%d steps, %d answers lost", steps, proxy.Lost())
}

// machine runs the same on Redis and on the model.
type machine struct {
	t     *testing.T
	rt    *rapid.T
	c     *frames.Cluster
	proxy *redistest.Proxy
	rdb   *redis.Client
	old   *redis.Client // of an old client, in the database of del_queue

	w       *world
	sweeper *frames.Sweeper
	now     time.Time
	frames  int
	did     []call // with a token, for repetition
}

// call is one that has a token.
type call struct {
	again func() (any, error)
	want  any
}

func (m *machine) begin(rt *rapid.T) {
	m.rt, m.w, m.did, m.frames = rt, newWorld(), nil, 0
	if err := m.rdb.FlushAll(m.t.Context()).Err(); err != nil {
		rt.Fatal(err)
	}
	m.sweeper = frames.NewSweeper(m.c, frames.SweepConfig{Now: func() time.Time { return m.now }, Pause: time.Nanosecond})
	m.must(m.c.Learn(m.t.Context(), source, worldSizes...))
}

func (m *machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.rt.Fatal(err)
	}
}

func (m *machine) step() {
	ctx := m.t.Context()
	if m.pick(10) == 0 {
		m.proxy.LoseReplies("FCALL", 1+m.pick(2))
		defer m.proxy.LoseReplies("", 0)
	}
	switch m.pick(18) {
	case 0, 1, 2:
		m.put()
	case 3, 4:
		batch := m.batch()
		m.once("decrement", func(token wire.RequestID) (any, error) { return m.c.Decrement(ctx, token, batch) },
			func() any { return m.w.decrement(batch) })
	case 5:
		uses := m.uses()
		m.once("retain", func(token wire.RequestID) (any, error) { return m.c.Retain(ctx, token, uses) },
			func() any { return m.w.retain(uses) })
	case 6, 7:
		m.take()
	case 8:
		id, batch := m.lease(), m.batch()
		m.once("put back", func(token wire.RequestID) (any, error) { return m.c.PutBack(ctx, token, id, batch) },
			func() any { return m.w.putBack(id, batch) })
	case 9:
		m.renew()
	case 10:
		id := m.lease()
		_, err := m.c.ReleaseLease(ctx, id)
		m.must(err)
		m.w.giveBack(id)
	case 11:
		m.lapse()
	case 12:
		m.oldClient()
	case 13:
		m.enqueue()
	case 14:
		m.drain()
	case 15:
		m.sweep()
	case 16:
		m.evict()
	case 17:
		m.repeat()
	}
}

func (m *machine) pick(n int) int { return rapid.IntRange(0, n-1).Draw(m.rt, "pick") }

func (m *machine) put() {
	sizes := rapid.SliceOfNDistinct(rapid.SampledFrom(worldSizes), 1, 2, rapid.ID).Draw(m.rt, "sizes")
	count := int64(1 + m.pick(4))
	putFrame(m.t, m.c, m.frames, strconv.FormatInt(count, 10), sizes...)
	m.w.put(m.frames, count, sizes...)
	m.frames++
}

// some are numbers of frames, of which one may never have been.
func (m *machine) some() []int {
	lowest := max(0, m.frames-8)
	return rapid.SliceOfNDistinct(rapid.IntRange(lowest, m.frames), 1, 4, rapid.ID).Draw(m.rt, "frames")
}

func (m *machine) batch() []wire.Decrement {
	var batch []wire.Decrement
	for _, n := range m.some() {
		sizes := rapid.SliceOfNDistinct(rapid.SampledFrom(append([]string{"2x2"}, worldSizes...)), 0, 3, rapid.ID).Draw(m.rt, "sizes")
		batch = append(batch, drop(n, int64(1+m.pick(3)), sizes...))
	}
	return batch
}

func (m *machine) uses() []frames.Use {
	var uses []frames.Use
	for _, n := range m.some() {
		uses = append(uses, frames.Use{Key: key(n).Count(), By: int64(1 + m.pick(2))})
	}
	return uses
}

func (m *machine) lease() frames.LeaseID { return frames.LeaseID(fmt.Sprint("l", m.pick(3))) }

// once makes a call with a token of its own, and keeps it.
func (m *machine) once(what string, do func(wire.RequestID) (any, error), model func() any) {
	token := wire.RequestID(fmt.Sprint(what[:1], len(m.did)))
	c := call{again: func() (any, error) { return do(token) }, want: model()}
	m.check(what, c)
	m.did = append(m.did, c)
}

func (m *machine) check(what string, c call) {
	got, err := c.again()
	if err != nil || fmt.Sprint(got) != fmt.Sprint(c.want) {
		m.rt.Fatalf("%s\ngot  %+v (%v)\nwant %+v", what, got, err, c.want)
	}
}

// repeat makes an earlier call once more: it changes nothing.
func (m *machine) repeat() {
	if len(m.did) > 0 {
		m.check("again", m.did[m.pick(len(m.did))])
	}
}

func (m *machine) take() {
	t := frames.Take{Lease: m.lease(), For: time.Hour, Uses: m.uses(), Add: m.pick(2) == 0}
	if l := m.w.leases[t.Lease]; l != nil && l.lapsed {
		if _, err := m.c.TakeLease(m.t.Context(), wire.RequestID(fmt.Sprint("lapsed", len(m.did))), t); !errors.Is(err, wire.ErrConflict) {
			m.rt.Fatalf("take by a lease that has lapsed: %v", err)
		}
		return
	}
	m.once("take", func(token wire.RequestID) (any, error) { return m.c.TakeLease(m.t.Context(), token, t) },
		func() any { return m.w.take(t.Lease, t.Uses, t.Add) })
}

func (m *machine) renew() {
	id := m.lease()
	l := m.w.leases[id]
	err := m.c.RenewLease(m.t.Context(), id, time.Hour)
	if lives := l != nil && !l.lapsed; lives != (err == nil) || !lives && !errors.Is(err, wire.ErrNotFound) {
		m.rt.Fatalf("renew of %+v: %v", l, err)
	}
}

// lapse lets time pass for a lease, and has two agents see it, or none yet.
func (m *machine) lapse() {
	id := m.lease()
	if l := m.w.leases[id]; l != nil {
		m.must(m.rdb.ZAddXX(m.t.Context(), "framedb:leases", redis.Z{Score: 1, Member: string(id)}).Err())
		l.lapsed = true
	}
	if m.pick(3) == 0 {
		return
	}
	m.agents(func() error {
		for {
			if back, err := m.c.LapseLease(m.t.Context()); err != nil || back.Lease == "" {
				return err
			}
		}
	})
	m.w.lapse()
}

// agents has two agents do the same at once.
func (m *machine) agents(do func() error) {
	var work sync.WaitGroup
	errs := make([]error, 2)
	for i := range errs {
		work.Go(func() { errs[i] = do() })
	}
	work.Wait()
	m.must(errors.Join(errs...))
}

// oldClient counts down by itself, and unlinks, leaves that to others, or dies.
func (m *machine) oldClient() {
	ctx, n, by := m.t.Context(), m.some()[0], int64(1+m.pick(3))
	left := m.rdb.DecrBy(ctx, key(n).Count(), by).Val()
	if m.w.counts[n] -= by; left != m.w.counts[n] {
		m.rt.Fatalf("count %d is %d, want %d", n, left, m.w.counts[n])
	}
	if left > 0 {
		return
	}
	names := []string{key(n).Count()}
	for _, s := range worldSizes {
		names = append(names, key(n).Data(s))
	}
	switch m.pick(3) {
	case 0:
		m.must(m.rdb.Unlink(ctx, names...).Err())
		m.w.unlink(n, worldSizes)
	case 1:
		for _, name := range names {
			m.must(m.old.LPush(ctx, frames.DeleteQueue, name).Err())
			m.w.names = append([]string{name}, m.w.names...)
		}
	}
}

// enqueue writes a batch into the list or the stream. All of its sizes go, so
// that the order in which batches are settled does not matter.
func (m *machine) enqueue() {
	batch := m.batch()
	for i := range batch {
		batch[i].Sizes = nil
	}
	body := map[string]any{"decrements": batch}
	times := 1
	if m.pick(2) == 0 { // a producer that did not hear that it was written
		body["token"] = fmt.Sprint("q", m.rdb.DBSize(m.t.Context()).Val(), "-", len(m.w.queued), "-", m.frames)
		times = 2
	}
	text, _ := json.Marshal(body)
	for range times {
		if m.pick(2) == 0 {
			m.must(m.rdb.LPush(m.t.Context(), listQueue.Key, text).Err())
		} else {
			m.must(m.rdb.XAdd(m.t.Context(), &redis.XAddArgs{Stream: streamQueue.Key, Values: []any{"batch", text}}).Err())
		}
	}
	m.w.queued = append(m.w.queued, batch)
}

var (
	listQueue   = frames.Queue{Key: "batches"}
	streamQueue = frames.Queue{Key: "stream", Group: "g"}
)

func (m *machine) drain() {
	m.agents(func() error {
		for _, q := range []frames.Queue{listQueue, streamQueue} {
			if err := settleAll(m.t.Context(), m.c, q); err != nil {
				return err
			}
		}
		for {
			if d, err := m.c.DeleteWaiting(m.t.Context(), 3); err != nil || d.Taken == 0 {
				return err
			}
		}
	})
	m.w.drain()
	m.w.deleteNames()
}

// settleAll settles what is in a queue: twice, since a stream without its group
// looks empty once.
func settleAll(ctx context.Context, c *frames.Cluster, q frames.Queue) error {
	for empty := 0; empty < 2; {
		entries, err := c.Waiting(ctx, q, 2)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if _, err := c.Settle(ctx, q, e, nil); err != nil {
				return err
			}
		}
		if len(entries) == 0 {
			empty++
		}
	}
	return nil
}

func (m *machine) sweep() {
	for range 2 {
		_, err := m.sweeper.Round(m.t.Context(), nil)
		m.must(err)
		m.now = m.now.Add(frames.DefaultGrace)
	}
	m.w.sweep()
}

// evict takes one data key away, as a full Redis may.
func (m *machine) evict() {
	name := key(m.some()[0]).Data(worldSizes[m.pick(2)])
	m.must(m.rdb.Del(m.t.Context(), name).Err())
	delete(m.w.data, name)
}

// end compares at once and again when all work is done.
func (m *machine) end() {
	m.compare()
	for id, l := range m.w.leases {
		m.must(m.rdb.ZAddXX(m.t.Context(), "framedb:leases", redis.Z{Score: 1, Member: string(id)}).Err())
		l.lapsed = true
	}
	m.agents(func() error {
		for {
			if back, err := m.c.LapseLease(m.t.Context()); err != nil || back.Lease == "" {
				return err
			}
		}
	})
	m.w.lapse()
	m.drain()
	m.sweep()
	m.compare()
	for n, count := range m.w.counts {
		if count <= 0 || !m.w.has(n) {
			m.rt.Fatalf("the model itself keeps frame %d", n)
		}
	}
	left := m.rdb.Keys(m.t.Context(), "framedb:lease*").Val()
	if n := m.rdb.LLen(m.t.Context(), listQueue.Key).Val() + m.rdb.XLen(m.t.Context(), streamQueue.Key).Val(); n > 0 || len(left) > 0 {
		m.rt.Fatalf("%d entries and %q are left", n, left)
	}
}

func (m *machine) compare() {
	got := map[string]int64{}
	for _, name := range m.rdb.Keys(m.t.Context(), "*"+string(source)+"[?]*").Val() {
		got[name] = 0
		if strings.HasPrefix(name, "ref__") {
			got[name], _ = m.rdb.Get(m.t.Context(), name).Int64()
		}
	}
	if want := m.w.keys(); !maps.Equal(got, want) {
		m.rt.Fatalf("Redis holds %v\nwant %v", sorted(got), sorted(want))
	}
}

func sorted(m map[string]int64) []string {
	var all []string
	for k, v := range m {
		all = append(all, fmt.Sprint(k, "=", v))
	}
	slices.Sort(all)
	return all
}
