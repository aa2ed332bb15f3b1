package frames

import (
	"context"
	"math/bits"

	"github.com/framedb/framedb/client/internal/resp"
)

// Footprint is the memory in bytes that Get would take for a key now: the
// length of its value, rounded up to that of a buffer, a power of two; 0 when
// there is no such key (or it holds no string). It costs the master next to
// nothing, so whoever has to bound memory asks before Get. The value may be
// replaced by a larger one meanwhile: look at the length that Get gives, too.
//
// Errors: as for any call.
func (c *Cluster) Footprint(ctx context.Context, key string) (int64, error) {
	var length int64
	err := c.do(ctx, true, func(cn *conn) error {
		end := cn.Within(ctx, stall)
		reply, err := cn.Do("STRLEN", key)
		if !end() {
			cn.spoiled = true
			if err == nil {
				err = ctx.Err()
			}
		}
		if resp.CodeOf(err) == "WRONGTYPE" {
			err = nil
		}
		length, _ = reply.(int64)
		return err
	})
	if err != nil || length == 0 {
		return 0, err
	}
	return 1 << max(bits.Len64(uint64(length-1)), minClass), nil
}
