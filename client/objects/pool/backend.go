package pool

import (
	"context"
	"errors"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// backend is one FrameDB by its ID, wherever it is at the time of a call.
type backend struct {
	pool *Pool
	id   wire.FrameDBID
}

var _ objects.Backend = (*backend)(nil)

// enter opens what a call needs; leave gives it back.
func (b *backend) enter(ctx context.Context) (*opened, error) {
	place, err := b.pool.cfg.Locator.Locate(ctx, b.id)
	if err != nil {
		return nil, err
	}
	o, err := b.pool.acquire(ctx, place)
	b.judge(err)
	return o, err
}

func (b *backend) leave(o *opened, err error) {
	b.judge(err)
	b.pool.release(o)
}

// judge has the Locator look again after an error that another place or
// password may be the remedy of.
func (b *backend) judge(err error) {
	doubter, remembers := b.pool.cfg.Locator.(Doubter)
	if remembers && (errors.Is(err, wire.ErrUnavailable) || errors.Is(err, wire.ErrForbidden)) {
		doubter.Doubt(b.id)
	}
}

func (b *backend) Put(ctx context.Context, key objects.Key, src *objects.Source, opts objects.PutOptions) (info objects.Info, err error) {
	o, err := b.enter(ctx)
	if err != nil {
		return info, err
	}
	defer func() { b.leave(o, err) }()
	return o.backend.Put(ctx, key, src, opts)
}

// Open keeps the FrameDB open until the object is closed.
func (b *backend) Open(ctx context.Context, key objects.Key) (objects.Object, error) {
	o, err := b.enter(ctx)
	if err != nil {
		return nil, err
	}
	obj, err := o.backend.Open(ctx, key)
	if err != nil {
		b.leave(o, err)
		return nil, err
	}
	return &object{Object: obj, backend: b, from: o}, nil
}

func (b *backend) Stat(ctx context.Context, key objects.Key) (info objects.Info, err error) {
	o, err := b.enter(ctx)
	if err != nil {
		return info, err
	}
	defer func() { b.leave(o, err) }()
	return o.backend.Stat(ctx, key)
}

func (b *backend) List(ctx context.Context, opts objects.ListOptions) (page objects.Page, err error) {
	o, err := b.enter(ctx)
	if err != nil {
		return page, err
	}
	defer func() { b.leave(o, err) }()
	return o.backend.List(ctx, opts)
}

func (b *backend) Delete(ctx context.Context, key objects.Key, cond objects.Condition) (err error) {
	o, err := b.enter(ctx)
	if err != nil {
		return err
	}
	defer func() { b.leave(o, err) }()
	return o.backend.Delete(ctx, key, cond)
}

func (b *backend) Sweep(ctx context.Context, ages objects.SweepAges) (swept objects.Swept, err error) {
	o, err := b.enter(ctx)
	if err != nil {
		return swept, err
	}
	defer func() { b.leave(o, err) }()
	return o.backend.Sweep(ctx, ages)
}

// Close does nothing: the connections are the pool's.
func (b *backend) Close() error { return nil }

// object is one that is being read.
type object struct {
	objects.Object
	backend *backend
	from    *opened // nil once it was closed
	err     error
}

func (o *object) Next(ctx context.Context) ([]byte, error) {
	b, err := o.Object.Next(ctx)
	o.err = err
	return b, err
}

func (o *object) Close() error {
	if o.from == nil {
		return nil
	}
	err := o.Object.Close()
	o.backend.leave(o.from, o.err)
	o.from = nil
	return err
}
