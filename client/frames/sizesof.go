package frames

import (
	"context"
	"strconv"
	"time"

	"github.com/framedb/framedb/client/wire"
)

const (
	// sizesPrefix begins the key of the set of sizes that a source's frames may
	// have: "framedb:sizes:<source>". A count that comes to zero takes the data
	// of all of them along when its decrement names none.
	sizesPrefix = "framedb:sizes:"
	// sizesLast is how long the set outlives the last that was learned of it.
	sizesLast = 7 * 24 * time.Hour
)

// Learn has the master know that frames of the source may have these sizes, for
// a week: for decrements that name none. Who writes frames learns from
// the mapping's metadata, the sweep from the frames that there are; so frames
// of a writer that tells nobody are known after the first sweep that saw them.
//
// Errors: as for any call, and ErrInvalidArgument, ErrOverloaded.
func (c *Cluster) Learn(ctx context.Context, source wire.SourceID, sizes ...string) error {
	if err := source.Validate(); err != nil {
		return wire.InField("source", err)
	}
	if err := CheckSizes(sizes...); err != nil {
		return wire.InField("sizes", err)
	}
	if len(sizes) == 0 {
		return nil
	}
	key := sizesPrefix + string(source)
	return c.counted(ctx, true, func(cn *conn) error {
		cn.Command(append([]string{"SADD", key}, sizes...)...)
		cn.Command("EXPIRE", key, strconv.Itoa(int(sizesLast.Seconds())))
		_, err := cn.replies(2)
		return err
	})
}

// replies sends what was appended and reads n replies; the first error reply is
// the error.
func (cn *conn) replies(n int) ([]any, error) {
	if err := cn.Flush(); err != nil {
		return nil, err
	}
	all := make([]any, n)
	var failed error
	for i := range all {
		reply, err := cn.Reply(maxReply)
		if err != nil && !isReply(err) {
			return nil, err
		}
		if err != nil && failed == nil {
			failed = err
		}
		all[i] = reply
	}
	return all, failed
}
