package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/pool"
	"github.com/framedb/framedb/client/wire"
)

// objectSize is the bytes of one object, and the least ratio to the same
// chunking by hand that is asked of a put and of a get; 0 asks nothing.
type objectSize struct {
	bytes    int64
	put, get float64
	// most bounds the rounds: large objects take long.
	most int
}

func objectSizes() []objectSize {
	return []objectSize{{1 << 10, 0, 0.8, 100}, {1 << 20, 0.9, 0.9, 100}, {256 << 20, 0.9, 0.9, 7}}
}

const (
	parallelTransfers = 8
	scalesAsked       = 2.0
	transferAsked     = 64.0 // MiB
)

// objectsBench is one database server, reached by FrameDB and by hand over its
// unix socket.
type objectsBench struct {
	*bench
	server *database
	pool   *pool.Pool
	store  *objects.Store
	hand   *byHand
}

// benchFrameDB is the persistent FrameDB of this group.
const benchFrameDB wire.FrameDBID = "bench"

// Locate tells where the server is, in place of an agent: what is measured is
// what client.Objects gives behind the first call.
func (d *database) Locate(context.Context, wire.FrameDBID) (pool.Place, error) {
	return pool.Place{
		ID: benchFrameDB, Kind: wire.KindStorage, Address: d.address(), Socket: d.socket,
		User: wire.DefaultStorageUser, Database: wire.DefaultDatabase, Passwords: []string{""},
	}, nil
}

func measureObjects(ctx context.Context, b *bench) (err error) {
	server, err := startDatabase(ctx)
	if errors.Is(err, errNoDatabase) {
		b.say("mariadbd is not installed: objects are left out")
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.remove()) }()
	o := &objectsBench{bench: b, server: server, pool: pool.New(pool.Config{Locator: server})}
	defer o.pool.Close()
	o.store = o.pool.Store(benchFrameDB)
	if _, err := o.store.Exists(ctx, "o"); err != nil { // makes the tables
		return err
	}
	if o.hand, err = newByHand(ctx, server); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.hand.close()) }()
	b.rows.notes = append(b.rows.notes, "Objects are in "+server.version+" on this machine's disk, which syncs its log at each commit. It is not TiDB.")
	for _, size := range objectSizes() {
		if err := o.versusHand(ctx, size); err != nil {
			return fmt.Errorf("%v: %w", frameSize(size.bytes), err)
		}
	}
	if err := o.scale(ctx); err != nil {
		return err
	}
	return o.resident(ctx)
}

// versusHand compares in rounds, as the package comment says.
func (o *objectsBench) versusHand(ctx context.Context, size objectSize) error {
	data := randomBytes(int(size.bytes))
	rounds := min(o.rounds, size.most)
	putByHand := func(ctx context.Context) error { return o.hand.put(ctx, "h", bytes.NewReader(data), size.bytes) }
	for _, c := range []struct {
		verb       string
		asked      float64
		before     func(context.Context) error
		ours, hand func(context.Context) error
	}{
		{"put", size.put, o.tidy, func(ctx context.Context) error {
			_, err := o.store.Put(ctx, "o", bytes.NewReader(data), objects.PutOptions{Size: &size.bytes})
			return err
		}, putByHand},
		{"get", size.get, putOnce(putByHand), o.get, func(ctx context.Context) error { return o.hand.get(ctx, "h", io.Discard, size.bytes) }},
	} {
		what := fmt.Sprintf("%s an object of %v", c.verb, frameSize(size.bytes))
		o.say("%s", what)
		all := []contestant{{by: "FrameDB objects.Store", slot: transfers(c.ours)}, {by: "the same chunking by hand, go-sql-driver/mysql", slot: transfers(c.hand)}}
		if err := c.before(ctx); err != nil {
			return err
		}
		for _, warm := range all {
			if _, err := warm.slot(ctx, o.slot); err != nil {
				return err
			}
		}
		got, err := compare(ctx, rounds, o.slot, c.before, all)
		if err != nil {
			return err
		}
		ratio := ratios(got[0], got[1])
		rows := []row{o.row(what, all[0].by, size.bytes, got[0]), o.row(what, all[1].by, size.bytes, got[1])}
		if rows[1].Ratio = &ratio; c.asked > 0 {
			rows[1].Asked = atLeast(ratio, c.asked)
		}
		o.rows.add(rows...)
	}
	return nil
}

// transfers is a slot of one call at least.
func transfers(op func(context.Context) error) func(context.Context, time.Duration) (sample, error) {
	return func(ctx context.Context, d time.Duration) (sample, error) {
		return timed(ctx, 1, func(n int, spent time.Duration) bool { return n < 1 || spent < d }, op)
	}
}

func (o *objectsBench) row(what, by string, size int64, samples []sample) row {
	s := typical(samples)
	return row{
		Group: "objects", Measured: what, By: by, Result: s.rate, Unit: "objects/s",
		MB: s.rate * float64(size) / 1e6, P50: s.p50, CPU: s.cpu, Alloc: s.alloc,
	}
}

func (o *objectsBench) get(ctx context.Context) error {
	r, err := o.store.Get(ctx, "o", objects.GetOptions{})
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}

// tidy frees what was replaced. An object is written beside the one that it
// replaces; so it is by hand, where that one goes first.
func (o *objectsBench) tidy(ctx context.Context) error {
	if _, err := o.hand.db.ExecContext(ctx, "DELETE FROM chunks"); err != nil {
		return err
	}
	_, err := o.store.Sweep(ctx, objects.SweepAges{})
	return err
}

// putOnce puts at the first call: tidy took away what is to be read.
func putOnce(put func(context.Context) error) func(context.Context) error {
	done := false
	return func(ctx context.Context) error {
		if done {
			return nil
		}
		done = true
		return put(ctx)
	}
}

// scale compares eight transfers at a time with one. Where one alone keeps the
// machine's cores busy already, there is nothing to gain: the row says how busy
// all processes were.
func (o *objectsBench) scale(ctx context.Context) error {
	const size = 1 << 20
	data := randomBytes(size)
	for _, c := range []struct {
		verb string
		op   func(ctx context.Context, key objects.Key) error
	}{
		{"put", func(ctx context.Context, key objects.Key) error {
			_, err := o.store.Put(ctx, key, bytes.NewReader(data), objects.PutOptions{})
			return err
		}},
		{"get", func(ctx context.Context, key objects.Key) error {
			_, _, err := o.store.ReadAll(ctx, key, size)
			return err
		}},
	} {
		what := fmt.Sprintf("%s objects of 1 MiB, %d at a time", c.verb, parallelTransfers)
		o.say("%s", what)
		slots := func(workers int) func(context.Context, time.Duration) (sample, error) {
			return func(ctx context.Context, d time.Duration) (sample, error) {
				return o.together(ctx, workers, 4*d, func(ctx context.Context, w int) error { return c.op(ctx, objects.Key(fmt.Sprint("p", w))) })
			}
		}
		all := []contestant{{by: "FrameDB objects.Store", slot: slots(parallelTransfers)}, {by: "one at a time", slot: slots(1)}}
		for _, warm := range all {
			if _, err := warm.slot(ctx, o.slot); err != nil {
				return err
			}
		}
		before := busyCores()
		got, err := compare(ctx, o.rounds, o.slot, o.tidy, all)
		if err != nil {
			return err
		}
		busy := busyCores().since(before)
		ratio := ratios(got[0], got[1])
		rows := []row{o.row(what, all[0].by, size, got[0]), o.row(what, all[1].by, size, got[1])}
		rows[1].Ratio = &ratio
		rows[1].Asked = atLeast(ratio, scalesAsked)
		rows[1].Asked.Text = fmt.Sprintf("≥ 2.0 or saturated (all cores %.0f %% busy)", 100*busy)
		if rows[1].Asked.Verdict != met && busy > 0.9 {
			rows[1].Asked.Verdict = met
		}
		o.rows.add(rows...)
	}
	return nil
}

// together runs so many workers for about d.
func (o *objectsBench) together(ctx context.Context, workers int, d time.Duration, op func(context.Context, int) error) (sample, error) {
	runtime.GC()
	start := time.Now()
	counts, errs := make([]int, workers), make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for errs[w] == nil && (counts[w] < 1 || time.Since(start) < d) {
				errs[w] = op(ctx, w)
				counts[w]++
			}
		})
	}
	wg.Wait()
	n := 0
	for _, c := range counts {
		n += c
	}
	return sample{calls: float64(n), rate: float64(n) / time.Since(start).Seconds(), alloc: -1}, errors.Join(errs...)
}
