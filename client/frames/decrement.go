package frames

import (
	"context"
	_ "embed"
	"errors"
	"strconv"
	"strings"

	"github.com/framedb/framedb/client/internal/resp"
	"github.com/framedb/framedb/client/wire"
)

// The library's name has its version in it, and so has the function's: agents
// and clients of two versions must not replace each other's. Raise it with
// every change of framedb.lua.
const (
	library  = "framedb_3"
	function = "framedb_decrement_3"
)

//go:embed framedb.lua
var script string

// functionCode is the script as a function. It may run when memory is full:
// then most of all.
func functionCode() string {
	return "#!lua name=" + library + "\n" + script +
		"redis.register_function{function_name='" + function + "', callback=decrement, flags={'allow-oom'}}\n"
}

// evalCode is the same for EVAL, for a server that is too full to load it.
func evalCode() string {
	return "#!lua flags=allow-oom\n" + script + "return decrement(KEYS, ARGV)\n"
}

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

// DecrementIn is Decrement where a decrement that names no sizes is for these.
// They are no part of the batch: a retry is one also when they have changed.
func (c *Cluster) DecrementIn(ctx context.Context, token wire.RequestID, batch []wire.Decrement, sizes []string) ([]wire.Decremented, error) {
	if err := checkDecrements(token, batch); err != nil {
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
	maybe := false // an attempt was sent and not answered
	err := c.do(ctx, token != "", func(cn *conn) error {
		end := cn.Within(ctx, stall)
		answer, err := decrement(cn, token, batch, plan)
		if !end() {
			cn.spoiled = true
		}
		if err != nil && resp.CodeOf(err) == "" && cn.Sent() {
			maybe = true
		}
		if err == nil {
			counts, err = decodeCounts(answer, len(batch))
		}
		return err
	})
	if maybe && (errors.Is(err, wire.ErrUnavailable) || ctx.Err() != nil) {
		err = withCode(wire.CodeOutcomeUnknown, "it may or may not have been done", err)
	}
	if err != nil {
		return nil, err
	}
	return results(batch, plan, counts), nil
}

// decrement calls the function, loading it where the server does not have it.
func decrement(cn *conn, token wire.RequestID, batch []wire.Decrement, p plan) ([]byte, error) {
	answer, err := call(cn, "FCALL", function, token, batch, p)
	if resp.CodeOf(err) != "ERR" {
		return answer, badCount(err)
	}
	// It is not there, or was not a moment ago: another client may load it now.
	switch err := load(cn); {
	case resp.CodeOf(err) == "OOM":
		answer, err := call(cn, "EVAL", evalCode(), token, batch, p)
		return answer, badCount(err)
	case err != nil:
		return nil, err
	}
	answer, err = call(cn, "FCALL", function, token, batch, p)
	return answer, badCount(err)
}

// load loads the library where the server does not have it.
func load(cn *conn) error {
	there, err := cn.Do("FUNCTION", "LIST", "LIBRARYNAME", library)
	if list, _ := there.([]any); err != nil || len(list) > 0 {
		return err
	}
	_, err = cn.Do("FUNCTION", "LOAD", "REPLACE", functionCode())
	return err
}

func call(cn *conn, command, what string, token wire.RequestID, batch []wire.Decrement, p plan) ([]byte, error) {
	n := 4 + len(batch)
	for i := range p.groups {
		n += 3 + len(p.sizes(i))
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
		cn.Arg(strconv.Itoa(len(p.sizes(i))))
		for _, s := range p.sizes(i) {
			cn.Arg(s)
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

// badCount gives the function's own refusal its code and names the key.
func badCount(err error) error {
	if resp.CodeOf(err) != "BADCOUNT" {
		return err
	}
	key := strings.TrimPrefix(err.Error(), "BADCOUNT ")
	return final{wire.InField(key, wire.Errorf(wire.CodeInvalidArgument, "the count is no integer; nothing was changed"))}
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
