package frames

import (
	"context"
	_ "embed"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/framedb/framedb/client/internal/resp"
	"github.com/framedb/framedb/client/wire"
)

// TokenPrefix stands before a token in the Redis key that remembers its answer
// for ten minutes: "framedb:token:<token>". The value is the answer as
// framedb.lua describes it, about a byte for each count.
const TokenPrefix = "framedb:token:"

// The library's name has its version in it, and so has the function's: agents
// and clients of two versions must not replace each other's. Raise it with
// every change of framedb.lua.
const (
	library  = "framedb_1"
	function = "framedb_decrement_1"
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

const (
	maxSizes     = 64 // of one decrement
	maxSizeBytes = 64
	// maxAnswer bounds the answer of one batch: five bytes a count at most.
	maxAnswer = 9*wire.MaxDecrements + 16
)

// Decrement applies the batch in one atomic step; the token makes a retry
// change nothing for ten minutes, here and by the caller. With an empty token
// nothing is repeated. Results are in the order of the batch. At most
// wire.MaxDecrements keys: to split a longer list, or not to, is up to the
// caller, who knows what belongs together.
//
// Errors: ErrInvalidArgument (the field is named; a count that is no integer
// among them: Field is its key), ErrTooLarge, ErrUnavailable (not applied),
// ErrOutcomeUnknown (repeat with the same token), ctx's. None of them changed
// anything, but ErrOutcomeUnknown.
func (c *Cluster) Decrement(ctx context.Context, token wire.RequestID, batch []wire.Decrement) ([]wire.Decremented, error) {
	if err := checkDecrements(token, batch); err != nil {
		return nil, err
	}
	if len(batch) == 0 {
		return []wire.Decremented{}, nil
	}
	groups := group(batch)
	var counts []int64
	maybe := false // an attempt was sent and not answered
	err := c.do(ctx, token != "", func(cn *conn) error {
		end := cn.Within(ctx, stall)
		answer, err := decrement(cn, token, batch, groups)
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
	return results(batch, groups, counts), nil
}

func checkDecrements(token wire.RequestID, batch []wire.Decrement) error {
	if err := token.Validate(); err != nil {
		return wire.InField("token", err)
	}
	if len(batch) > wire.MaxDecrements {
		return wire.InField("decrements", wire.Errorf(wire.CodeTooLarge, "%d at once: at most %d", len(batch), wire.MaxDecrements))
	}
	seen := make(map[string]struct{}, len(batch))
	var keys keyChecker
	for i := range batch {
		d := &batch[i]
		err := keys.check(d)
		if seen[d.Key] = struct{}{}; err == nil && len(seen) <= i {
			err = wire.Errorf(wire.CodeInvalidArgument, "key: %q stands in the batch twice: add up what is dropped", d.Key)
		}
		if err != nil {
			return wire.InField("decrements["+strconv.Itoa(i)+"]", err)
		}
	}
	return nil
}

// CheckDecrement reports whether d may stand in a batch.
//
// Errors: ErrInvalidArgument.
func CheckDecrement(d wire.Decrement) error {
	var c keyChecker
	return c.check(&d)
}

// keyChecker checks count keys, and quickly those that differ from the last
// one in their number only, as most do.
type keyChecker struct{ prefix string }

func (c *keyChecker) ok(key string) bool {
	if number, same := strings.CutPrefix(key, c.prefix); same && c.prefix != "" {
		// No sign, no leading zero, within 64 bits.
		if n, err := strconv.ParseUint(number, 10, 64); err == nil && (n == 0 && number == "0" || n > 0 && number[0] > '0') {
			return true
		}
	}
	_, ok := wire.ParseCountKey(key)
	if ok {
		c.prefix = key[:strings.LastIndexByte(key, '_')+1]
	}
	return ok
}

func (c *keyChecker) check(d *wire.Decrement) error {
	if !c.ok(d.Key) {
		return wire.Errorf(wire.CodeInvalidArgument, "key: %.300q is no count key: give ref__<source>?<updates>?<restarts>__<number>", d.Key)
	}
	if d.By < 1 || d.By > wire.MaxDecrementBy {
		return wire.Errorf(wire.CodeInvalidArgument, "by: %d is out of range: give 1 to %d", d.By, int64(wire.MaxDecrementBy))
	}
	if len(d.Sizes) > maxSizes {
		return wire.Errorf(wire.CodeInvalidArgument, "sizes: %d are too many: at most %d", len(d.Sizes), maxSizes)
	}
	for _, s := range d.Sizes {
		if s == "" || len(s) > maxSizeBytes || strings.Contains(s, "__") {
			return wire.Errorf(wire.CodeInvalidArgument, "sizes: %.100q is not allowed: give <W>x<H>", s)
		}
	}
	return nil
}

// batchGroup is the members of a batch that drop alike; they share arguments.
type batchGroup struct {
	by      int64
	sizes   []string
	members []int // in the batch
}

func group(batch []wire.Decrement) []batchGroup {
	var groups []batchGroup
	byKind := map[string]int{}
	last := -1
	for i := range batch {
		d := &batch[i]
		if last < 0 || groups[last].by != d.By || !slices.Equal(groups[last].sizes, d.Sizes) {
			kind := strconv.FormatInt(d.By, 10) + "__" + strings.Join(d.Sizes, "__")
			at, known := byKind[kind]
			if !known {
				at = len(groups)
				byKind[kind] = at
				groups = append(groups, batchGroup{by: d.By, sizes: d.Sizes})
			}
			last = at
		}
		groups[last].members = append(groups[last].members, i)
	}
	return groups
}

// decrement calls the function, loading it where the server does not have it.
func decrement(cn *conn, token wire.RequestID, batch []wire.Decrement, groups []batchGroup) ([]byte, error) {
	answer, err := call(cn, "FCALL", function, token, batch, groups)
	if resp.CodeOf(err) != "ERR" {
		return answer, badCount(err)
	}
	// It is not there, or was not a moment ago: another client may load it now.
	switch err := load(cn); {
	case resp.CodeOf(err) == "OOM":
		answer, err := call(cn, "EVAL", evalCode(), token, batch, groups)
		return answer, badCount(err)
	case err != nil:
		return nil, err
	}
	answer, err = call(cn, "FCALL", function, token, batch, groups)
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

func call(cn *conn, command, what string, token wire.RequestID, batch []wire.Decrement, groups []batchGroup) ([]byte, error) {
	n := 4 + len(batch)
	for i := range groups {
		n += 3 + len(groups[i].sizes)
	}
	cn.Begin(n)
	cn.Arg(command)
	cn.Arg(what)
	cn.Arg(strconv.Itoa(1 + len(batch)))
	if token == "" {
		cn.Arg("")
	} else {
		cn.Arg(TokenPrefix + string(token))
	}
	for i := range groups {
		for _, m := range groups[i].members {
			cn.Arg(batch[m].Key)
		}
	}
	for i := range groups {
		g := &groups[i]
		cn.Arg(strconv.Itoa(len(g.members)))
		cn.Arg(strconv.FormatInt(g.by, 10))
		cn.Arg(strconv.Itoa(len(g.sizes)))
		for _, s := range g.sizes {
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

func results(batch []wire.Decrement, groups []batchGroup, counts []int64) []wire.Decremented {
	out := make([]wire.Decremented, len(batch))
	next := 0
	for i := range groups {
		for _, m := range groups[i].members {
			n := counts[next]
			next++
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
	}
	return out
}
