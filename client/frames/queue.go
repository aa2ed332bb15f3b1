package frames

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/framedb/framedb/client/internal/resp"
	"github.com/framedb/framedb/client/wire"
)

// PoisonKey is the list of what was set aside, the newest 10,000: JSON objects
// with from, entry, reason and at (milliseconds since 1970).
const PoisonKey = "framedb:poison"

// A queue of decrement batches lies in the Redis whose counts it lowers.
type Queue struct {
	// DB is the database; that of a stream is 0.
	DB  int
	Key string
	// Group is the consumer group of a stream; empty says that it is a list.
	Group string
}

// Entry is one of a queue.
type Entry struct {
	id  string // of a stream's entry, or all of a list's
	raw string // as it is set aside

	// Token makes a batch that was written twice count once, within ten
	// minutes. One entry counts once without.
	Token wire.RequestID
	Batch []wire.Decrement
	// Err says why it is of no use; nil when it is.
	Err error
}

const (
	// stolenAfter is how long an entry of a stream may be with another agent.
	stolenAfter = 10 * time.Second
	// consumer is that of every agent: none is left behind when agents go.
	consumer = "framedb"
)

// Waiting returns up to limit entries of the queue and leaves them in it. Each
// goes to Settle or SetAside. Of a stream these are new ones and those that
// were read and not settled for 10 s.
//
// Errors: as for any call, and ErrInvalidArgument (the key is of another kind,
// the database is not there), ErrOutcomeUnknown.
func (c *Cluster) Waiting(ctx context.Context, q Queue, limit int) ([]Entry, error) {
	if q.Group != "" {
		return c.waitingInStream(ctx, q, limit)
	}
	reply, err := c.run(ctx, fnWaiting, true, nil, []string{strconv.Itoa(q.DB), q.Key, strconv.Itoa(limit)})
	if err != nil {
		return nil, err
	}
	list, _ := reply.([]any)
	entries := make([]Entry, 0, len(list))
	for i := len(list) - 1; i >= 0; i-- {
		raw, _ := list[i].(string)
		e := Entry{id: raw, raw: raw}
		e.Token, e.Batch, e.Err = ParseBatch(raw)
		entries = append(entries, e)
	}
	return entries, nil
}

func (c *Cluster) waitingInStream(ctx context.Context, q Queue, limit int) ([]Entry, error) {
	var entries []Entry
	err := c.counted(ctx, true, func(cn *conn) error {
		entries = nil
		there, err := cn.Do("EXISTS", q.Key)
		if err != nil || there == int64(0) {
			return err
		}
		n := strconv.Itoa(limit)
		cn.Command("XAUTOCLAIM", q.Key, q.Group, consumer, inMilliseconds(stolenAfter), "0", "COUNT", n)
		cn.Command("XREADGROUP", "GROUP", q.Group, consumer, "COUNT", n, "STREAMS", q.Key, ">")
		replies, err := cn.replies(2)
		if resp.CodeOf(err) == "NOGROUP" {
			_, err = cn.Do("XGROUP", "CREATE", q.Key, q.Group, "0")
			if resp.CodeOf(err) == "BUSYGROUP" { // another agent was faster
				err = nil
			}
			return err // the next call reads
		}
		if err != nil {
			return err
		}
		if claimed, _ := replies[0].([]any); len(claimed) > 1 {
			entries = streamEntries(entries, claimed[1])
		}
		if streams, _ := replies[1].([]any); len(streams) > 0 {
			if one, _ := streams[0].([]any); len(one) == 2 {
				entries = streamEntries(entries, one[1])
			}
		}
		return nil
	})
	return entries, err
}

// streamEntries appends entries as XREADGROUP gives them: the batch is in the
// field "batch", its token, if any, in "token".
func streamEntries(entries []Entry, reply any) []Entry {
	list, _ := reply.([]any)
	for _, one := range list {
		pair, _ := one.([]any)
		if len(pair) != 2 {
			continue
		}
		e := Entry{}
		e.id, _ = pair[0].(string)
		fields, _ := pair[1].([]any)
		var batch, token string
		for i := 0; i+1 < len(fields); i += 2 {
			name, _ := fields[i].(string)
			value, _ := fields[i+1].(string)
			e.raw += name + " " + value + "\n"
			switch name {
			case "batch":
				batch = value
			case "token":
				token = value
			}
		}
		e.raw = strings.TrimSuffix(e.raw, "\n")
		e.Token, e.Batch, e.Err = ParseBatch(batch)
		if token != "" && e.Err == nil {
			e.Token = wire.RequestID(token)
			e.Err = checkDecrements("decrements", e.Token, nil)
		}
		entries = append(entries, e)
	}
	return entries
}

// Settled is what became of an entry.
type Settled struct {
	// Done is false when another agent did it, or an attempt of this call whose
	// answer was lost.
	Done bool
	// Results are as those of Decrement, in no order. A count that was no
	// integer is missing; the entry was set aside for it, and the other counts
	// are lowered.
	Results []wire.Decremented
}

// Settle counts an entry's batch down and takes it out of the queue, in one
// step: it is applied once, whoever else reads it, and whenever. Sizes are as
// for DecrementIn.
//
// Errors: as for any call, and ErrOutcomeUnknown, ErrInvalidArgument (e.Err).
func (c *Cluster) Settle(ctx context.Context, q Queue, e Entry, sizes []string) (Settled, error) {
	if e.Err != nil {
		return Settled{}, e.Err
	}
	if err := CheckSizes(sizes...); err != nil {
		return Settled{}, wire.InField("sizes", err)
	}
	p := planOf(e.Batch, sizes)
	keys, groups := p.arguments(e.Batch, nil)
	token := tokenKeyOf(e.Token, fnSettle, keys, groups)
	args := append(q.entry(e), groups...)
	reply, err := c.run(ctx, fnSettle, true, append(keys, token), args)
	if err != nil || reply == nil {
		return Settled{}, err
	}
	results, err := p.decode(e.Batch, reply)
	return Settled{Done: true, Results: results}, err
}

// entry is how queue.lua knows an entry.
func (q Queue) entry(e Entry) []string {
	kind := "list"
	if q.Group != "" {
		kind = "stream"
	}
	return []string{kind, strconv.Itoa(q.DB), q.Key, q.Group, e.id, e.raw}
}

// SetAside moves an entry that is of no use to PoisonKey, with the reason;
// false says that it was not there.
//
// Errors: as for any call, and ErrOutcomeUnknown.
func (c *Cluster) SetAside(ctx context.Context, q Queue, e Entry, reason error) (bool, error) {
	reply, err := c.run(ctx, fnReject, true, nil, append(q.entry(e), reason.Error()))
	return reply == int64(1), err
}

// The queue of the first FrameDB's clients: names of keys that they have
// counted down to zero and leave to be unlinked (LPUSH).
const (
	DeleteQueue   = "del_queue"
	DeleteQueueDB = 5
)

// Deletes is what became of some names in DeleteQueue.
type Deletes struct {
	Taken    int64 // names that were in it
	Unlinked int64 // keys that were there
	SetAside int64 // names that are none of a frame's, or whose frame has uses left
}

// DeleteWaiting unlinks the keys that up to limit names in DeleteQueue stand
// for, in one step: those of frames whose count is gone, or at zero or below.
// Any number of callers may.
//
// Errors: as for any call, and ErrOutcomeUnknown.
func (c *Cluster) DeleteWaiting(ctx context.Context, limit int) (Deletes, error) {
	reply, err := c.run(ctx, fnDelete, true, nil, []string{strconv.Itoa(DeleteQueueDB), DeleteQueue, strconv.Itoa(limit)})
	n := numbers(reply, 3)
	return Deletes{Taken: n[0], Unlinked: n[1], SetAside: n[2]}, err
}

// isReply reports whether err is the server's answer: the connection is good.
func isReply(err error) bool {
	var e resp.Error
	return errors.As(err, &e)
}
