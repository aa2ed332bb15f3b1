package frames

import (
	"context"
	"strconv"
	"time"

	"github.com/framedb/framedb/client/internal/resp"
	"github.com/framedb/framedb/client/wire"
)

// Bounds of one Put.
const (
	maxPutBytes = 512 << 20
	maxPutPairs = 10_000
	maxKey      = 1 << 10
)

// slowest is the rate below which a write is given up, in bytes a second.
const slowest = 10 << 20

const defaultReplicaTimeout = time.Second

// PutOptions says how values are stored.
type PutOptions struct {
	// Replicas is how many replicas must have the write before Put returns
	// (WAIT); 0 asks the master alone.
	Replicas int
	// ReplicaTimeout bounds the wait for them. Default 1 s.
	ReplicaTimeout time.Duration
}

// Pair is a key and its value.
type Pair struct {
	Key   string
	Value []byte
}

// Put stores the pairs in one MSET: all or none. At most 10,000 pairs and
// 512 MiB in all. The values are not copied: leave them alone until Put
// returns.
//
// Errors: ErrUnavailable (not stored), ErrOutcomeUnknown (sent, no answer; it
// is not repeated, because the readers may have counted the frame down
// meanwhile), ErrOverloaded (maxmemory is reached), ErrTooLarge,
// ErrInvalidArgument (a key); ErrUnavailable with "replicas" in Field when it
// is stored on the master and too few replicas confirmed in time; ctx's.
func (c *Cluster) Put(ctx context.Context, pairs []Pair, opts PutOptions) error {
	if len(pairs) == 0 {
		return nil
	}
	total, err := checkPairs(pairs)
	if err != nil {
		return err
	}
	if opts.ReplicaTimeout <= 0 {
		opts.ReplicaTimeout = defaultReplicaTimeout
	}
	timeout := stall + time.Duration(total/slowest)*time.Second
	if opts.Replicas > 0 {
		timeout += opts.ReplicaTimeout
	}
	return c.do(ctx, false, func(cn *conn) error {
		end := cn.Within(ctx, timeout)
		err := put(cn, pairs, opts)
		if !end() {
			cn.spoiled = true
		}
		return err
	})
}

func checkPairs(pairs []Pair) (total int, err error) {
	if len(pairs) > maxPutPairs {
		return 0, wire.Errorf(wire.CodeTooLarge, "%d values at once: at most %d", len(pairs), maxPutPairs)
	}
	for _, p := range pairs {
		switch {
		case p.Key == "" || len(p.Key) > maxKey:
			return 0, wire.InField("key", wire.Errorf(wire.CodeInvalidArgument, "it has %d bytes: give 1 to %d", len(p.Key), maxKey))
		case len(p.Value) > wire.MaxFrame:
			return 0, wire.InField(p.Key, wire.Errorf(wire.CodeTooLarge, "it has %d bytes, a frame has at most %d", len(p.Value), wire.MaxFrame))
		}
		total += len(p.Value)
	}
	if total > maxPutBytes {
		return 0, wire.Errorf(wire.CodeTooLarge, "%d bytes at once: at most %d", total, maxPutBytes)
	}
	return total, nil
}

func put(cn *conn, pairs []Pair, opts PutOptions) error {
	cn.Begin(1 + 2*len(pairs))
	cn.Arg("MSET")
	for _, p := range pairs {
		cn.Arg(p.Key)
		cn.Value(p.Value)
	}
	if err := cn.Flush(); err != nil {
		return err
	}
	if opts.Replicas > 0 {
		// Flushed by itself: Sent tells of whole commands only then.
		cn.Command("WAIT", strconv.Itoa(opts.Replicas), strconv.FormatInt(opts.ReplicaTimeout.Milliseconds(), 10))
		if err := cn.Flush(); err != nil {
			return err
		}
	}
	if err := cn.Status(); err != nil {
		cn.spoiled = opts.Replicas > 0 // the answer to WAIT is still to come
		return err
	}
	if opts.Replicas == 0 {
		return nil
	}
	reply, err := cn.Reply(0)
	if err != nil && resp.CodeOf(err) == "" {
		return err
	}
	if n, _ := reply.(int64); n < int64(opts.Replicas) {
		return final{wire.InField("replicas", wire.Errorf(wire.CodeUnavailable,
			"the master has the write, but %d of %d replicas confirmed it within %v", n, opts.Replicas, opts.ReplicaTimeout))}
	}
	return nil
}
