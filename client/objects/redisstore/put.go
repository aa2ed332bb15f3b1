package redisstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// Put sends an object of one block with the step that makes it visible. A
// longer one goes in blocks into keys of its own, which expire, and the last
// step gives them their place.
func (b *Backend) Put(ctx context.Context, key objects.Key, src *objects.Source, opts objects.PutOptions) (objects.Info, error) {
	if err := checkKey(key); err != nil {
		return objects.Info{}, err
	}
	u := &upload{b: b, key: key, src: src, opts: opts, version: newVersion()}
	u.buf = b.buffer(src.Announced())
	defer b.giveBack(u.buf)
	info, err := u.run(ctx)
	if err != nil && !errors.Is(err, wire.ErrOutcomeUnknown) { // else the parts may be in use
		u.abandon(ctx)
	}
	return info, err
}

// upload is one Put on its way.
type upload struct {
	b       *Backend
	key     objects.Key
	src     *objects.Source
	opts    objects.PutOptions
	version string

	buf    []byte
	sums   []byte // of the blocks that were read, one behind the other
	stored int64  // bytes in parts
	parts  []string
}

func (u *upload) run(ctx context.Context) (objects.Info, error) {
	for {
		block, ended, err := u.block()
		if err != nil {
			return objects.Info{}, fmt.Errorf("read the object: %w", err)
		}
		if ended && len(u.parts) == 0 {
			return u.commit(ctx, block)
		}
		if err := u.store(ctx, block); err != nil {
			return objects.Info{}, err
		}
		if ended {
			return u.commit(ctx, nil)
		}
	}
}

// block reads the next block and looks whether it is the last: an empty one
// behind it would not be seen.
func (u *upload) block() (block []byte, ended bool, err error) {
	n := 0
	for n < BlockSize && !ended {
		if n == len(u.buf) {
			u.buf = append(u.buf, make([]byte, min(3*n, BlockSize-n))...)
		}
		var m int
		m, err = u.src.Read(u.buf[n:min(len(u.buf), BlockSize)])
		if n += m; err == io.EOF {
			ended, err = true, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
	block = u.buf[:n]
	if n > 0 {
		sum := objects.SumOf(block)
		u.sums = append(u.sums, sum[:]...)
	}
	return block, ended, nil
}

func (b *Backend) buffer(announced int64) []byte {
	if announced >= 0 && announced < BlockSize {
		return make([]byte, announced+1)
	}
	if announced < 0 {
		return make([]byte, 64<<10)
	}
	if buf, ok := b.bufs.Get().(*[]byte); ok {
		return *buf
	}
	return make([]byte, BlockSize)
}

func (b *Backend) giveBack(buf []byte) {
	if len(buf) == BlockSize {
		b.bufs.Put(&buf)
	}
}

// store appends a block to the last part, or begins one. A part that is
// shorter than it was left has been dropped; one that is longer by this block
// already has it.
func (u *upload) store(ctx context.Context, block []byte) error {
	if len(block) == 0 {
		return nil
	}
	off := u.stored % u.b.cfg.PartSize
	if off == 0 {
		u.parts = append(u.parts, partKey(u.version, len(u.parts)))
	}
	last := u.parts[len(u.parts)-1]
	var length *redis.IntCmd
	err := u.b.read(ctx, func(ctx context.Context, rdb *redis.Client) error {
		return transaction(ctx, rdb, func(p redis.Pipeliner) {
			length = p.StrLen(ctx, last)
			p.Do(ctx, "SETRANGE", last, off, block)
			for _, part := range u.parts {
				p.PExpire(ctx, part, u.b.cfg.UploadTTL)
			}
		})
	})
	if err != nil {
		return err
	}
	if was := length.Val(); was != off && was != off+int64(len(block)) {
		return u.lost()
	}
	u.stored += int64(len(block))
	return nil
}

func (u *upload) lost() error {
	return wire.Errorf(wire.CodeConflict, "Redis dropped the upload of %q: it stood still for too long, or there was a failover", u.key)
}

// commit makes the object visible: block, or the parts.
func (u *upload) commit(ctx context.Context, block []byte) (objects.Info, error) {
	info := objects.Info{
		Key: u.key, Size: u.src.Size(), Sum: u.src.Sum(), ContentType: u.opts.ContentType, User: u.opts.User,
	}
	keys := append([]string{string(u.key), metaKey(u.key), donePrefix + u.version}, u.parts...)
	var answer []string
	err := u.b.conditional(ctx, u.key, u.opts.Condition, func(cond, known string) ([]string, error) {
		args := []any{u.version, info.Size, info.Sum.String(), u.sums, info.ContentType, encodeUser(info.User),
			int64((u.opts.TTL + time.Millisecond - 1) / time.Millisecond), cond, known,
			u.b.cfg.ReadGrace.Milliseconds(), u.b.cfg.PartSize, doneFor.Milliseconds()}
		if len(u.parts) == 0 {
			args = append(args, block)
		}
		err := u.b.once(ctx, "put", func(ctx context.Context, rdb *redis.Client) (err error) {
			answer, err = putScript.Run(ctx, rdb, keys, args...).StringSlice()
			return err
		})
		return answer, err
	})
	if err != nil {
		return objects.Info{}, err
	}
	if answer[0] == "lost" {
		return objects.Info{}, u.lost()
	}
	info.Created, info.Modified, info.Expires = timeOf(answer[1]), timeOf(answer[2]), timeOf(answer[3])
	return info, nil
}

// foreignTries is how often a foreign value may change between the look at its
// bytes and the step that depends on them.
const foreignTries = 5

// conditional runs a step under a condition. Redis knows the sums of what was
// stored by this package; for a value of another program they are computed
// here, and the step checks that it is still that value.
func (b *Backend) conditional(ctx context.Context, key objects.Key, c objects.Condition,
	step func(cond, known string) ([]string, error)) error {
	cond, known := encodeCondition(c), ""
	for range foreignTries {
		answer, err := step(cond, known)
		if err != nil {
			return err
		}
		switch {
		case answer[0] == "other":
			return notBytes(key)
		case answer[0] == "absent":
			return notFound(key)
		case answer[0] != "refused":
			return nil
		case answer[1] != "foreign" || len(c.IfMatch) == 0:
			return refused(c, answer[1])
		}
		obj, err := b.Open(ctx, key)
		if errors.Is(err, wire.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if err := c.Check(true, obj.Info().Sum); err != nil {
			return err
		}
		known = answer[2] + ":" + answer[3]
	}
	return wire.Errorf(wire.CodeConflict, "the object %q changes all the time", key)
}

// refused says in words what the script found.
func refused(c objects.Condition, state string) error {
	if err := c.Check(state != "absent", objects.Sum{}); err != nil {
		return err
	}
	return wire.Errorf(wire.CodePrecondition, "the condition does not hold")
}

func encodeCondition(c objects.Condition) string {
	switch {
	case c.IfAbsent:
		return "absent"
	case len(c.IfMatch) > 0:
		var s strings.Builder
		for _, sum := range c.IfMatch {
			s.WriteString("," + sum.String())
		}
		return s.String() + ","
	case c.IfPresent:
		return "present"
	}
	return ""
}

func encodeUser(user map[string]string) string {
	if len(user) == 0 {
		return ""
	}
	text, _ := json.Marshal(user) // of a map of strings: cannot fail
	return string(text)
}

// abandonWithin bounds the attempt to leave nothing behind.
const abandonWithin = 2 * time.Second

// abandon drops the parts; if it fails, they expire.
func (u *upload) abandon(ctx context.Context) {
	if len(u.parts) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonWithin)
	defer cancel()
	if rdb, err := u.b.cfg.Master.Redis(ctx); err == nil {
		rdb.Unlink(ctx, u.parts...)
	}
}

// Delete takes value, metadata and parts away in one step.
func (b *Backend) Delete(ctx context.Context, key objects.Key, c objects.Condition) error {
	if err := checkKey(key); err != nil {
		return err
	}
	keys := []string{string(key), metaKey(key), donePrefix + newVersion()}
	return b.conditional(ctx, key, c, func(cond, known string) (answer []string, err error) {
		err = b.once(ctx, "delete", func(ctx context.Context, rdb *redis.Client) (err error) {
			answer, err = deleteScript.Run(ctx, rdb, keys, cond, known, b.cfg.ReadGrace.Milliseconds(), doneFor.Milliseconds()).StringSlice()
			return err
		})
		return answer, err
	})
}
