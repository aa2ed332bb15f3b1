package frames

import (
	"context"
	"strconv"

	"github.com/framedb/framedb/client/internal/resp"
	"github.com/framedb/framedb/client/wire"
)

// maxAnswer bounds the answer of one batch: 20 bytes a count at most.
const maxAnswer = 20*wire.MaxDecrements + 16

// Decrement applies the batch in one atomic step; the token makes a retry
// change nothing for ten minutes, here and by the caller. A retry is the same
// batch in the same order: another one under the same token is applied too.
// With an empty token nothing is repeated. Results are in the order of the
// batch. At most wire.MaxDecrements keys: to split a longer list, or not to, is
// up to the caller, who knows what belongs together.
//
// Errors: ErrInvalidArgument (the field is named; a count that is no integer
// among them: Field is its key), ErrTooLarge, ErrUnavailable (not applied),
// ErrOutcomeUnknown (repeat with the same token), ctx's. None of them changed
// anything, but ErrOutcomeUnknown.
func (c *Cluster) Decrement(ctx context.Context, token wire.RequestID, batch []wire.Decrement) ([]wire.Decremented, error) {
	return c.DecrementIn(ctx, token, batch, nil)
}

// DecrementIn is Decrement where a decrement that names no sizes is also for
// these, besides all that are known of its source (see Learn). They are no part
// of the batch: a retry is one also when they have changed.
func (c *Cluster) DecrementIn(ctx context.Context, token wire.RequestID, batch []wire.Decrement, sizes []string) ([]wire.Decremented, error) {
	if err := checkDecrements("decrements", token, batch); err != nil {
		return nil, err
	}
	if err := CheckSizes(sizes...); err != nil {
		return nil, wire.InField("sizes", err)
	}
	if len(batch) == 0 {
		return []wire.Decremented{}, nil
	}
	plan := planOf(batch, sizes)
	var counts []int64
	err := c.counted(ctx, token != "", func(cn *conn) error {
		answer, err := invoke(cn, fnDecrement, func(command, what string) ([]byte, error) {
			return call(cn, command, what, token, batch, plan)
		})
		if err == nil {
			counts, err = decodeCounts(answer, len(batch))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return results(batch, plan, counts), nil
}

func call(cn *conn, command, what string, token wire.RequestID, batch []wire.Decrement, p plan) ([]byte, error) {
	n := 4 + len(batch)
	for i := range p.groups {
		n += 3 + p.sizes(i).args()
	}
	cn.Begin(n)
	cn.Arg(command)
	cn.Arg(what)
	cn.Arg(strconv.Itoa(len(batch) + 1))
	start := len(cn.Unsent())
	for i := range batch {
		cn.Arg(batch[p.at(i)].Key)
	}
	cn.Arg(tokenKey(token, p.groups, cn.Unsent()[start:]))
	for i, g := range p.groups {
		cn.Arg(strconv.Itoa(g.n))
		cn.Arg(strconv.FormatInt(g.by, 10))
		sizes := p.sizes(i)
		cn.Arg(strconv.Itoa(sizes.args()))
		for _, s := range sizes.named {
			cn.Arg(s)
		}
		if sizes.all {
			cn.Arg(allSizes)
		}
	}
	if err := cn.Flush(); err != nil {
		return nil, err
	}
	size, err := cn.Bulk()
	if err != nil {
		return nil, err
	}
	if size < 0 || size > maxAnswer {
		return nil, resp.ErrProtocol
	}
	answer := make([]byte, size)
	return answer, cn.Read(answer)
}

func results(batch []wire.Decrement, p plan, counts []int64) []wire.Decremented {
	out := make([]wire.Decremented, len(batch))
	for i, n := range counts {
		m := p.at(i)
		d := &out[m]
		d.Key = batch[m].Key
		switch {
		case n >= 0:
			d.Remaining = n
		case n == -1:
			d.Missing = true
		default:
			d.Deleted = -2 - n
		}
	}
	return out
}
