package objects

import (
	"context"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// Copy copies an object, within a Store or from one to another, as a stream:
// bytes, content type, user metadata and what is left of its time. The bytes
// are checked against the checksum of the object on their way, and stored only
// if they are right. The condition is that of the destination.
//
// Errors: those of Get, Reader and Put.
func Copy(ctx context.Context, dst *Store, to Key, src *Store, from Key, cond Condition) (Info, error) {
	r, err := src.Get(ctx, from, GetOptions{})
	if err != nil {
		return Info{}, err
	}
	defer r.Close()
	info := r.Info()
	opts := PutOptions{
		Size: &info.Size, Checksum: &info.Sum,
		ContentType: info.ContentType, User: info.User, Condition: cond,
	}
	if !info.Expires.IsZero() {
		opts.TTL = time.Until(info.Expires)
		if opts.TTL < time.Millisecond {
			return Info{}, wire.Errorf(wire.CodeNotFound, "object %q has just expired", from)
		}
	}
	return dst.Put(ctx, to, r, opts)
}
