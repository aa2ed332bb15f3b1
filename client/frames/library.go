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

// The library's name has its version in it, and so have its functions: agents
// and clients of two versions must not replace each other's. Raise it with
// every change of a .lua file.
const (
	version = "4"
	library = "framedb_" + version
)

//go:embed framedb.lua
var countScript string

//go:embed hold.lua
var holdScript string

//go:embed queue.lua
var queueScript string

//go:embed sweep.lua
var sweepScript string

// function is one of the library, by its name in Lua.
type function string

const (
	fnDecrement function = "decrement"
	fnRetain    function = "retain"
	fnTake      function = "take"
	fnRenew     function = "renew"
	fnPutBack   function = "put_back"
	fnRelease   function = "release"
	fnLapse     function = "lapse"
	fnLeases    function = "list"
	fnWaiting   function = "waiting"
	fnSettle    function = "settle"
	fnReject    function = "reject"
	fnDelete    function = "delete"
	fnBury      function = "bury"
)

func functions() []function {
	return []function{fnDecrement, fnRetain, fnTake, fnRenew, fnPutBack, fnRelease,
		fnLapse, fnLeases, fnWaiting, fnSettle, fnReject, fnDelete, fnBury}
}

// whenFull reports whether it may run when memory is full. What takes something
// away may: then most of all.
func (f function) whenFull() bool { return f != fnRetain && f != fnTake }

// registered is the name by which FCALL knows it.
func (f function) registered() string { return "framedb_" + string(f) + "_" + version }

// registration registers it, in Lua.
func (f function) registration() string {
	flags := ""
	switch {
	case f == fnLeases || f == fnWaiting:
		flags = "'no-writes'"
	case f.whenFull():
		flags = "'allow-oom'"
	}
	return "redis.register_function{function_name='" + f.registered() + "', callback=" + string(f) + ", flags={" + flags + "}}\n"
}

func script() string { return countScript + holdScript + queueScript + sweepScript }

// libraryCode is the script as a library of functions.
func libraryCode() string {
	var b strings.Builder
	b.WriteString("#!lua name=" + library + "\n" + script())
	for _, f := range functions() {
		b.WriteString(f.registration())
	}
	return b.String()
}

// evalCode is the function for EVAL, for a server that is too full to load it.
func (f function) evalCode() string {
	return "#!lua flags=allow-oom\n" + script() + "return " + string(f) + "(KEYS, ARGV)\n"
}

// invoke calls the function by do, which gets FCALL or EVAL and what to call,
// and loads the library where the server does not have it.
func invoke[T any](cn *conn, f function, do func(command, what string) (T, error)) (T, error) {
	answer, err := do("FCALL", f.registered())
	if resp.CodeOf(err) != "ERR" {
		return answer, refused(err)
	}
	// It is not there, or was not a moment ago: another client may load it now.
	switch err := load(cn); {
	case resp.CodeOf(err) == "OOM" && f.whenFull():
		answer, err := do("EVAL", f.evalCode())
		return answer, refused(err)
	case err != nil:
		return answer, err
	}
	answer, err = do("FCALL", f.registered())
	return answer, refused(err)
}

// load loads the library where the server does not have it.
func load(cn *conn) error {
	there, err := cn.Do("FUNCTION", "LIST", "LIBRARYNAME", library)
	if list, _ := there.([]any); err != nil || len(list) > 0 {
		return err
	}
	_, err = cn.Do("FUNCTION", "LOAD", "REPLACE", libraryCode())
	return err
}

// refused gives the functions' own refusals their codes.
func refused(err error) error {
	switch resp.CodeOf(err) {
	case "BADCOUNT":
		key := strings.TrimPrefix(err.Error(), "BADCOUNT ")
		return final{wire.InField(key, wire.Errorf(wire.CodeInvalidArgument, "the count is no integer; nothing was changed"))}
	case "LAPSED":
		return final{wire.InField("lease", wire.Errorf(wire.CodeConflict, "it has lapsed and still gives back what it holds: take another one, or try again"))}
	case "FULL":
		return final{wire.InField("lease", wire.Errorf(wire.CodeTooLarge, "it would hold more than %d frames: put some back, or take another one", maxLeased))}
	}
	return err
}

// maxReply bounds a string in an answer: an entry of a queue.
const maxReply = 64 << 20

// run calls a function whose answer is read as it comes. With repeatable
// it is called again when an answer is lost.
func (c *Cluster) run(ctx context.Context, f function, repeatable bool, keys, args []string) (any, error) {
	var reply any
	err := c.counted(ctx, repeatable, func(cn *conn) (err error) {
		reply, err = invoke(cn, f, func(command, what string) (any, error) {
			cn.Begin(3 + len(keys) + len(args))
			cn.Arg(command)
			cn.Arg(what)
			cn.Arg(strconv.Itoa(len(keys)))
			for _, k := range keys {
				cn.Arg(k)
			}
			for _, a := range args {
				cn.Arg(a)
			}
			if err := cn.Flush(); err != nil {
				return nil, err
			}
			return cn.Reply(maxReply)
		})
		return err
	})
	return reply, err
}

// counted is do for what must be known to have been done or not: when an
// attempt was sent and not answered, a failure says so.
func (c *Cluster) counted(ctx context.Context, repeatable bool, op func(*conn) error) error {
	maybe := false
	err := c.do(ctx, repeatable, func(cn *conn) error {
		end := cn.Within(ctx, stall)
		err := op(cn)
		if !end() {
			cn.spoiled = true
		}
		if err != nil && resp.CodeOf(err) == "" && cn.Sent() && !isFinal(err) {
			maybe = true
		}
		return err
	})
	if maybe && (errors.Is(err, wire.ErrUnavailable) || ctx.Err() != nil) {
		err = withCode(wire.CodeOutcomeUnknown, "it may or may not have been done", err)
	}
	return err
}
