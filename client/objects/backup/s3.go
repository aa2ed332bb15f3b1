package backup

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"path"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/framedb/framedb/client/wire"
)

// requestTries is how often a request is tried that got no answer, or that the
// server could not serve, with pauses of up to a second: long enough for a
// server that starts again.
const requestTries = 12

// bucket is what this package needs of S3: whole small objects, written once.
// What is put is at most PieceSize and is sent with its MD5, so that S3
// refuses what the network damaged; multipart uploads are not needed, and none
// can be left over.
type bucket struct {
	core      *minio.Core
	transport *http.Transport
	name      string
}

// stored is one object of a listing.
type stored struct {
	key      string
	size     int64
	etag     entityTag
	modified time.Time // by the server's clock
}

// put stores data under the key. With ifAbsent it fails with ErrPrecondition
// when there is something already, on servers that know If-None-Match.
func (b *bucket) put(ctx context.Context, key string, data []byte, ifAbsent bool) (entityTag, error) {
	opts := minio.PutObjectOptions{SendContentMd5: true, DisableMultipart: true, ContentType: "application/octet-stream"}
	if ifAbsent {
		opts.SetMatchETagExcept("*")
	}
	info, err := b.core.Client.PutObject(ctx, b.name, key, bytes.NewReader(data), int64(len(data)), opts)
	if ifAbsent && minio.ToErrorResponse(err).Code == "NotImplemented" {
		return b.put(ctx, key, data, false)
	}
	if err != nil {
		return entityTag{}, b.fail(ctx, key, err)
	}
	return parseETag(info.ETag), nil
}

// parseETag gives zero for a tag of another form.
func parseETag(tag string) (m entityTag) {
	if m.UnmarshalText([]byte(tag)) != nil {
		return entityTag{}
	}
	return m
}

// bodyTries is how often an object is read whose bytes stop coming.
const bodyTries = 4

// get reads an object into buf, which is made longer where it must be, up to
// limit bytes.
//
// Errors: ErrNotFound; ErrCorrupt when it is larger than limit.
func (b *bucket) get(ctx context.Context, key string, buf []byte, limit int64) (data []byte, modified time.Time, err error) {
	for range bodyTries {
		var whole bool
		if data, modified, whole, err = b.getOnce(ctx, key, buf, limit); whole || ctx.Err() != nil {
			break
		}
	}
	return data, modified, b.fail(ctx, key, err)
}

// getOnce reports with whole whether another try would end in the same way.
func (b *bucket) getOnce(ctx context.Context, key string, buf []byte, limit int64) (_ []byte, _ time.Time, whole bool, _ error) {
	body, info, _, err := b.core.GetObject(ctx, b.name, key, minio.GetObjectOptions{})
	if err != nil {
		return nil, time.Time{}, true, err
	}
	defer body.Close()
	if info.Size > limit {
		return nil, time.Time{}, true, wire.Errorf(wire.CodeCorrupt, "%s has %d bytes, more than %d", key, info.Size, limit)
	}
	if int64(cap(buf)) < info.Size {
		buf = make([]byte, info.Size)
	}
	buf = buf[:info.Size]
	if _, err := io.ReadFull(body, buf); err != nil {
		return nil, time.Time{}, false, err
	}
	return buf, info.LastModified, true, nil
}

// list gives all objects whose keys begin with the prefix, in order. The keys
// come without it.
func (b *bucket) list(ctx context.Context, prefix string) iter.Seq2[stored, error] {
	return func(yield func(stored, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		for o := range b.core.Client.ListObjectsIter(ctx, b.name, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
			if o.Err != nil {
				yield(stored{}, b.fail(ctx, prefix, o.Err))
				return
			}
			s := stored{key: o.Key[min(len(prefix), len(o.Key)):], size: o.Size, etag: parseETag(o.ETag), modified: o.LastModified}
			if s.key != "" && !yield(s, nil) {
				return
			}
		}
	}
}

// folders gives the names directly below the prefix that have something below
// them.
func (b *bucket) folders(ctx context.Context, prefix string) ([]string, error) {
	var names []string
	for o := range b.core.Client.ListObjectsIter(ctx, b.name, minio.ListObjectsOptions{Prefix: prefix}) {
		if o.Err != nil {
			return nil, b.fail(ctx, prefix, o.Err)
		}
		if o.Key != prefix && o.Key[len(o.Key)-1] == '/' {
			names = append(names, path.Base(o.Key))
		}
	}
	return names, nil
}

// remove takes an object away; one that is not there is no error.
func (b *bucket) remove(ctx context.Context, key string) error {
	err := b.fail(ctx, key, b.core.RemoveObject(ctx, b.name, key, minio.RemoveObjectOptions{}))
	if wire.CodeOf(err) == wire.CodeNotFound && wire.AsError(err).Field == "" {
		return nil
	}
	return err
}

func (b *bucket) close() { b.transport.CloseIdleConnections() }

// fail is the one place that knows S3's errors. Each becomes a *wire.Error;
// Field is the field of Target that is to be looked at, where there is one.
func (b *bucket) fail(ctx context.Context, key string, err error) error {
	var known *wire.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return wire.Errorf(wire.CodeTimeout, "%s: the time is over", key)
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &known):
		return err
	}
	return b.translate(key, err)
}
