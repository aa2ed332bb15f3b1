package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/frames"
)

// frameSize is the bytes of one frame.
type frameSize int

func (s frameSize) String() string {
	if s >= 1<<20 {
		return fmt.Sprintf("%d MiB", s>>20)
	}
	return fmt.Sprintf("%d KiB", s>>10)
}

// dataCase is one comparison of the data path.
type dataCase struct {
	to    *target
	size  frameSize
	write bool
	batch int // frames a call
}

// dataCases are all comparisons, those of one transport together.
func dataCases(targets []*target) []dataCase {
	var all []dataCase
	for _, to := range targets {
		for _, size := range []frameSize{1 << 10, 100 << 10, 1 << 20, 6 << 20} {
			all = append(all, dataCase{to, size, false, 1}, dataCase{to, size, true, 1})
		}
		for _, size := range []frameSize{1 << 10, 100 << 10} {
			all = append(all, dataCase{to, size, false, 16})
		}
	}
	return all
}

func (c dataCase) String() string {
	verb, many := "read", ""
	if c.write {
		verb = "write"
	}
	if c.batch > 1 {
		many = fmt.Sprintf("%d × ", c.batch)
	}
	return fmt.Sprintf("%s %s%v, %s", verb, many, c.size, c.to.transport)
}

// asked is the least ratio to plain go-redis.
func (c dataCase) asked() float64 {
	switch {
	case c.write || c.batch > 1:
		return 1
	case c.size == 100<<10 && c.to.socket == "":
		return 1.3
	case c.size == 100<<10:
		return 1.8
	case c.size == 1<<20:
		return 2.5
	}
	return 1
}

func measureData(ctx context.Context, b *bench) error {
	for _, c := range dataCases(b.at.targets) {
		if !strings.Contains(c.String(), b.match) {
			continue
		}
		b.say("%v", c)
		rows, err := c.measure(ctx, b)
		if err != nil {
			return fmt.Errorf("%v: %w", c, err)
		}
		b.rows.add(rows...)
	}
	return nil
}

func (c dataCase) measure(ctx context.Context, b *bench) ([]row, error) {
	value := randomBytes(int(c.size))
	keys := c.keys()
	if err := c.fill(ctx, keys, value); err != nil {
		return nil, err
	}
	defer func() { c.to.redis.Unlink(context.WithoutCancel(ctx), keys...) }()
	ours, plain := c.framedb(keys, value), c.goRedis(keys, value)
	for _, warm := range []contestant{ours, plain} {
		if _, err := warm.slot(ctx, b.slot); err != nil {
			return nil, err
		}
	}
	named, err := c.redisBenchmark(keys[0]).paced(ctx, b.slot, c.batch)
	if err != nil {
		return nil, err
	}
	got, err := compare(ctx, b.rounds, b.slot, c.to.redial, []contestant{ours, plain, named.contestant()})
	if err != nil {
		return nil, err
	}
	return c.rows(ours.by, plain.by, named.command(), got), nil
}

func (c dataCase) rows(ours, plain, named string, got [][]sample) []row {
	toPlain, toNamed := ratios(got[0], got[1]), ratios(got[0], got[2])
	rows := []row{c.row(ours, got[0]), c.row(plain, got[1]), c.row(named, got[2])}
	rows[1].Ratio, rows[1].Asked = &toPlain, atLeast(toPlain, c.asked())
	rows[2].Ratio = &toNamed
	return rows
}

func (c dataCase) row(by string, samples []sample) row {
	s := typical(samples)
	return row{
		Group: "data", Measured: c.String(), By: by, Result: s.rate, Unit: "frames/s",
		MB: s.rate * float64(c.size) / 1e6, P50: s.p50, CPU: s.cpu, Alloc: s.alloc,
	}
}

// keys are data keys of the key protocol, one for each frame of a batch.
func (c dataCase) keys() []string {
	var keys []string
	for i := range c.batch {
		keys = append(keys, fmt.Sprintf("%s?0?0__%d__%dx1", benchSource, i, c.size))
	}
	return keys
}

// fill stores the values and checks once that FrameDB reads them as they are.
func (c dataCase) fill(ctx context.Context, keys []string, value []byte) error {
	for _, k := range keys {
		if err := c.to.redis.Set(ctx, k, value, 0).Err(); err != nil {
			return err
		}
	}
	batch, err := c.to.framedb.Get(ctx, keys...)
	if err != nil {
		return err
	}
	defer batch.Release()
	for _, f := range batch.Frames {
		if !bytes.Equal(f.Data, value) {
			return fmt.Errorf("FrameDB reads %d bytes of %s that are not those written", len(f.Data), f.Key)
		}
	}
	return nil
}

// turn is how long a contestant runs at a time within its slot. Where a call
// takes microseconds, the system's choice of cores decides between once and
// four times that, and stays with it for a while: both sides must meet the same
// choice. Large frames have the whole slot: their garbage collections are long.
func (c dataCase) turn() time.Duration {
	if c.size < 1<<20 {
		return 5 * time.Millisecond
	}
	return 0
}

func (c dataCase) contestant(by string, call func(context.Context) error) contestant {
	return contestant{by: by, slot: calls(c.batch, call), turn: c.turn()}
}

func (c dataCase) framedb(keys []string, value []byte) contestant {
	if c.write {
		pairs := []frames.Pair{{Key: keys[0], Value: value}}
		return c.contestant("FrameDB Put", func(ctx context.Context) error {
			return c.to.framedb.Put(ctx, pairs, frames.PutOptions{})
		})
	}
	return c.contestant("FrameDB Get", func(ctx context.Context) error {
		batch, err := c.to.framedb.Get(ctx, keys...)
		if err != nil {
			return err
		}
		defer batch.Release()
		for _, f := range batch.Frames {
			if len(f.Data) != int(c.size) {
				return fmt.Errorf("%d bytes of %s", len(f.Data), f.Key)
			}
		}
		return nil
	})
}

func (c dataCase) goRedis(keys []string, value []byte) contestant {
	switch {
	case c.write:
		return c.contestant("go-redis Set(ctx, k, v, 0).Err()", func(ctx context.Context) error {
			return c.to.redis.Set(ctx, keys[0], value, 0).Err()
		})
	case c.batch > 1:
		return c.contestant("go-redis Pipelined of Get, .Bytes() each", func(ctx context.Context) error {
			return pipelinedGet(ctx, c.to.redis, keys, int(c.size))
		})
	}
	return c.contestant("go-redis Get(ctx, k).Bytes()", func(ctx context.Context) error {
		v, err := c.to.redis.Get(ctx, keys[0]).Bytes()
		if err == nil && len(v) != int(c.size) {
			err = fmt.Errorf("%d bytes", len(v))
		}
		return err
	})
}

func pipelinedGet(ctx context.Context, rdb *redis.Client, keys []string, size int) error {
	got, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, k := range keys {
			p.Get(ctx, k)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, g := range got {
		if v, err := g.(*redis.StringCmd).Bytes(); err != nil || len(v) != size {
			return fmt.Errorf("%d bytes: %w", len(v), err)
		}
	}
	return nil
}

func (c dataCase) redisBenchmark(key string) redisBenchmark {
	r := redisBenchmark{to: *c.to}
	if c.write {
		r.args = []string{"-d", fmt.Sprint(int(c.size)), "-t", "set"}
		return r
	}
	if c.batch > 1 {
		r.args = []string{"-P", fmt.Sprint(c.batch)}
	}
	r.args = append(r.args, "GET", key)
	return r
}

// randomBytes does not compress, as JPEG does not.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(uint64(n), uint64(time.Second)))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}
