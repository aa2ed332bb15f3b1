package redisstore

import (
	"context"
	"encoding/json"
	"io"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/zeebo/xxh3"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// meta is what the hash of an object says.
type meta struct {
	version string
	info    objects.Info
	parts   int
	part    int64  // bytes of each
	sums    string // 16 bytes for each block
}

var metaFields = []string{"version", "size", "sum", "sums", "parts", "part", "type", "user", "created", "modified", "expires"}

// parseMeta gives nil for a hash that is not there.
func parseMeta(key objects.Key, values []any) (*meta, error) {
	f := make(map[string]string, len(metaFields))
	for i, v := range values {
		f[metaFields[i]], _ = v.(string)
	}
	if f["version"] == "" {
		return nil, nil
	}
	m := &meta{version: f["version"], sums: f["sums"], info: objects.Info{
		Key: key, ContentType: f["type"],
		Created: timeOf(f["created"]), Modified: timeOf(f["modified"]), Expires: timeOf(f["expires"]),
	}}
	var err error
	var ok bool
	if m.info.Sum, ok = hexSum(f["sum"]); ok {
		m.info.Size, err = strconv.ParseInt(f["size"], 10, 64)
	}
	m.parts, _ = strconv.Atoi(f["parts"])
	m.part, _ = strconv.ParseInt(f["part"], 10, 64)
	if f["user"] != "" && err == nil {
		err = json.Unmarshal([]byte(f["user"]), &m.info.User)
	}
	if blocks := (m.info.Size + BlockSize - 1) / BlockSize; !ok || err != nil || int64(len(m.sums)) != 16*blocks || m.part <= 0 {
		return nil, wire.Errorf(wire.CodeCorrupt, "the metadata of %q is damaged", key)
	}
	return m, nil
}

// timeOf reads milliseconds since 1970; 0 and nothing are the zero time.
func timeOf(ms string) time.Time {
	n, err := strconv.ParseInt(ms, 10, 64)
	if err != nil || n == 0 {
		return time.Time{}
	}
	return time.UnixMilli(n).UTC()
}

// found is what one transaction saw under a key.
type found struct {
	meta  *meta // nil when there is none
	kind  string
	size  int64  // of the string
	first string // its first block
}

// look reads in one pipeline, not in MULTI, which a full Redis refuses even for
// reads. The version, which is read before and behind, tells whether another
// writer came in between.
func (b *Backend) look(ctx context.Context, key objects.Key) (found, error) {
	var f found
	err := b.read(ctx, func(ctx context.Context, rdb *redis.Client) error {
		p := rdb.Pipeline()
		hash := p.HMGet(ctx, metaKey(key), metaFields...)
		kind := p.Type(ctx, string(key))
		size := p.StrLen(ctx, string(key))
		first := p.GetRange(ctx, string(key), 0, BlockSize-1)
		again := p.HGet(ctx, metaKey(key), "version")
		if _, err := p.Exec(ctx); err != nil && err != redis.Nil {
			if kind.Err() == nil && kind.Val() != "string" && kind.Val() != "none" {
				return notBytes(key)
			}
			return err
		}
		if before, _ := hash.Val()[0].(string); before != again.Val() {
			return errTorn
		}
		f = found{kind: kind.Val(), size: size.Val(), first: first.Val()}
		var err error
		f.meta, err = parseMeta(key, hash.Val())
		return err
	})
	return f, err
}

// rereads is how often a value that is not what was stored is read again
// before it is believed.
const rereads = 2

// Open reads the first block with the metadata, in one step. A value that is
// not what its metadata says is read again: if it comes the same, then it is
// what Redis holds.
func (b *Backend) Open(ctx context.Context, key objects.Key) (objects.Object, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	var last objects.Sum
	for try := 0; ; try++ {
		f, err := b.look(ctx, key)
		if err != nil {
			return nil, err
		}
		if f.kind == "none" {
			if f.meta == nil || f.meta.parts == 0 {
				return nil, notFound(key)
			}
			return b.object(f.meta), nil
		}
		claimed := f.meta != nil && f.meta.parts == 0
		good := claimed && f.meta.info.Size == f.size && f.meta.good(0, []byte(f.first))
		if good && f.size > BlockSize {
			if good, err = b.fresh(ctx, key); err != nil {
				return nil, err
			}
		}
		sum := objects.SumOf([]byte(f.first))
		switch {
		case good:
			o := b.object(f.meta)
			o.first = []byte(f.first)
			return o, nil
		case !claimed, try > 0 && sum == last && !b.cfg.Exclusive:
			return b.foreign(ctx, key, f)
		case try == rereads:
			return nil, damaged(key)
		}
		last = sum
	}
}

func damaged(key objects.Key) error {
	return wire.Errorf(wire.CodeCorrupt, "object %q is damaged: its bytes have another checksum than was stored", key)
}

// fresh asks Redis whether the value is the one that was stored.
func (b *Backend) fresh(ctx context.Context, key objects.Key) (bool, error) {
	answer, err := b.state(ctx, key)
	return err == nil && answer[0] == "whole", err
}

func (b *Backend) state(ctx context.Context, key objects.Key) (answer []string, err error) {
	err = b.read(ctx, func(ctx context.Context, rdb *redis.Client) (err error) {
		answer, err = statScript.Run(ctx, rdb, []string{string(key), metaKey(key)}).StringSlice()
		return err
	})
	return answer, err
}

// Stat reads the metadata and asks for the probe; only of a value of another
// program are the bytes read, for the checksum.
func (b *Backend) Stat(ctx context.Context, key objects.Key) (objects.Info, error) {
	if err := checkKey(key); err != nil {
		return objects.Info{}, err
	}
	var m *meta
	var answer []string
	err := b.read(ctx, func(ctx context.Context, rdb *redis.Client) error {
		hash, err := rdb.HMGet(ctx, metaKey(key), metaFields...).Result()
		if err != nil {
			return err
		}
		if m, err = parseMeta(key, hash); err != nil {
			return err
		}
		answer, err = b.state(ctx, key)
		return err
	})
	switch {
	case err != nil:
		return objects.Info{}, err
	case answer[0] == "other":
		return objects.Info{}, notBytes(key)
	case answer[0] == "absent":
		return objects.Info{}, notFound(key)
	case answer[0] != "foreign" && m != nil:
		return m.info, nil
	}
	obj, err := b.Open(ctx, key)
	if err != nil {
		return objects.Info{}, err
	}
	return obj.Info(), obj.Close()
}

// foreign computes the checksum of a value that another program wrote, block
// by block. Reading it later will end in ErrCorrupt if it changes meanwhile.
func (b *Backend) foreign(ctx context.Context, key objects.Key, f found) (objects.Object, error) {
	o := b.object(&meta{info: objects.Info{Key: key, Size: f.size, Foreign: true}})
	h := xxh3.New128()
	for {
		block, err := o.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		h.Write(block)
	}
	o.meta.info.Sum = h.Sum128().Bytes()
	o.off = 0
	return o, nil
}

func (b *Backend) object(m *meta) *object { return &object{b: b, meta: m, end: m.info.Size} }

// good reports whether a block is the n-th of the object.
func (m *meta) good(n int64, block []byte) bool {
	if m.info.Size == 0 {
		return n == 0 && len(block) == 0
	}
	sum := objects.SumOf(block)
	return m.sums[16*n:16*n+16] == string(sum[:]) && int64(len(block)) == min(BlockSize, m.info.Size-n*BlockSize)
}

// object reads blocks.
type object struct {
	b     *Backend
	meta  *meta
	off   int64
	end   int64
	first []byte // the first block, when Open has read it
}

func (o *object) Info() objects.Info { return o.meta.info }

func (o *object) Checked() bool { return false }

func (o *object) Section(off, n int64) { o.off, o.end = off, off+n }

func (o *object) Next(ctx context.Context) ([]byte, error) {
	if o.off >= o.end {
		return nil, io.EOF
	}
	n := o.off / BlockSize
	block, err := o.block(ctx, n)
	if err != nil {
		return nil, err
	}
	from := o.off - n*BlockSize
	to := min(o.end-n*BlockSize, BlockSize)
	o.off = n*BlockSize + to
	return block[from:to], nil
}

// block gives the n-th block, checked.
func (o *object) block(ctx context.Context, n int64) ([]byte, error) {
	if n == 0 && o.first != nil {
		block := o.first
		o.first = nil
		return block, nil
	}
	foreign := o.meta.info.Foreign
	for range rereads {
		version, block, err := o.fetch(ctx, n)
		switch {
		case err != nil:
			return nil, err
		case o.meta.parts == 0 && !foreign && version != o.meta.version,
			foreign && int64(len(block)) != min(BlockSize, o.meta.info.Size-n*BlockSize):
			return nil, o.changed()
		case foreign || o.meta.good(n, block):
			return block, nil
		}
	}
	return nil, o.bad(ctx)
}

// fetch reads the n-th block: a piece of the value, together with the version
// that the metadata has at that moment, or of a part.
func (o *object) fetch(ctx context.Context, n int64) (version string, block []byte, err error) {
	key, off := string(o.meta.info.Key), n*BlockSize
	if o.meta.parts > 0 {
		key, off = partKey(o.meta.version, int(off/o.meta.part)), off%o.meta.part
	}
	err = o.b.read(ctx, func(ctx context.Context, rdb *redis.Client) error {
		p := rdb.Pipeline()
		before := p.HGet(ctx, metaKey(o.meta.info.Key), "version")
		data := p.GetRange(ctx, key, off, off+BlockSize-1)
		behind := p.HGet(ctx, metaKey(o.meta.info.Key), "version")
		if _, err := p.Exec(ctx); err != nil && err != redis.Nil { // Nil: no metadata
			return err
		}
		if before.Val() != behind.Val() {
			return errTorn
		}
		version = before.Val()
		block, err = data.Bytes()
		return err
	})
	return version, block, err
}

func (o *object) changed() error {
	return wire.Errorf(wire.CodeConflict, "object %q was replaced or deleted while it was read", o.meta.info.Key)
}

// bad finds out why a block is not what was stored.
func (o *object) bad(ctx context.Context) error {
	f, err := o.b.look(ctx, o.meta.info.Key)
	if err != nil {
		return err
	}
	if f.meta == nil || f.meta.version != o.meta.version {
		return o.changed()
	}
	if o.meta.parts == 0 {
		fresh, err := o.b.fresh(ctx, o.meta.info.Key)
		if err != nil {
			return err
		}
		if !fresh && !o.b.cfg.Exclusive {
			return o.changed()
		}
	}
	return damaged(o.meta.info.Key)
}

func (o *object) Close() error {
	o.first = nil
	return nil
}
