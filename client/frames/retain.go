package frames

import (
	"context"
	"strconv"

	"github.com/framedb/framedb/client/wire"
)

// What Retain adds, or a lease takes, and what became of it.
type (
	Use  = wire.Use
	Used = wire.Used
)

// Retain adds uses to frames for a consumer that came late, in one atomic step:
// only to counts above zero, so a frame that is gone or going does not come
// back. Token, order and bounds are as in Decrement. It is refused when memory
// is full.
//
// Errors: those of Decrement, and ErrOverloaded.
func (c *Cluster) Retain(ctx context.Context, token wire.RequestID, uses []Use) ([]Used, error) {
	return c.use(ctx, fnRetain, token, uses, nil)
}

// use calls a function that takes uses, behind args, and answers with counts.
func (c *Cluster) use(ctx context.Context, f function, token wire.RequestID, uses []Use, args []string) ([]Used, error) {
	done, err := c.batch(ctx, f, "uses", token, asDecrements(uses), args)
	if err != nil {
		return nil, err
	}
	used := make([]Used, len(done))
	for i, d := range done {
		used[i] = Used{Key: d.Key, Missing: d.Missing, Count: d.Remaining}
	}
	return used, nil
}

func asDecrements(uses []Use) []wire.Decrement {
	batch := make([]wire.Decrement, len(uses))
	for i, u := range uses {
		batch[i] = wire.Decrement{Key: u.Key, By: u.By}
	}
	return batch
}

// batch calls another function than decrement, with args before its groups. The
// caller gave the batch in field.
func (c *Cluster) batch(ctx context.Context, f function, field string, token wire.RequestID, batch []wire.Decrement, args []string) ([]wire.Decremented, error) {
	if err := checkDecrements(field, token, batch); err != nil {
		return nil, err
	}
	if len(batch) == 0 {
		return []wire.Decremented{}, nil
	}
	p := planOf(batch, nil)
	keys, args := p.arguments(batch, args)
	reply, err := c.run(ctx, f, token != "", append(keys, tokenKeyOf(token, f, keys, args)), args)
	if err != nil {
		return nil, err
	}
	return p.decode(batch, reply)
}

// arguments are the count keys and, behind args, the groups.
func (p *plan) arguments(batch []wire.Decrement, args []string) (keys, all []string) {
	keys = make([]string, len(batch), len(batch)+1)
	for i := range batch {
		keys[i] = batch[p.at(i)].Key
	}
	for i, g := range p.groups {
		sizes := p.sizes(i)
		args = append(args, strconv.Itoa(g.n), strconv.FormatInt(g.by, 10), strconv.Itoa(sizes.args()))
		args = append(args, sizes.named...)
		if sizes.all {
			args = append(args, allSizes)
		}
	}
	return keys, args
}

// decode reads a function's packed answer.
func (p *plan) decode(batch []wire.Decrement, reply any) ([]wire.Decremented, error) {
	answer, _ := reply.(string)
	counts, err := decodeCounts([]byte(answer), len(batch))
	if err != nil {
		return nil, wire.AsError(err)
	}
	return results(batch, *p, counts), nil
}
