package client

import (
	"context"
	"net/http"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
)

// Leases go through an agent here; FrameDB's methods go to Redis directly.

const leasesPath = "/v1/leases"

// Leases returns the leases of a cluster that hold something, the first to lapse
// first, at most limit (1..MaxPage).
//
// Errors: ErrNotFound, ErrUnavailable (Redis does not answer), ErrInvalidArgument.
func (c *Client) Leases(ctx context.Context, cluster wire.ClusterName, limit int) ([]wire.Lease, error) {
	r := newRequest(http.MethodGet, leasesPath).with("cluster", string(cluster)).withInt("limit", int64(limit))
	list, err := ask[wire.Leases](ctx, c, r)
	return list.Leases, err
}

// TakeLease has a lease hold uses; see [frames.Cluster.TakeLease]. Repeat it
// WithRequestID to make sure of it after ErrOutcomeUnknown.
//
// Errors: ErrNotFound (no such mapping or cluster), ErrUnavailable (nothing was
// taken), ErrOutcomeUnknown, ErrConflict, ErrTooLarge, ErrOverloaded (maxmemory
// is reached), ErrInvalidArgument with the field named.
func (c *Client) TakeLease(ctx context.Context, id frames.LeaseID, in wire.TakeLease) ([]wire.Used, error) {
	res, err := ask[wire.UseResults](ctx, c, leaseRequest(id, "").json(in))
	return res.Results, err
}

// RenewLease has a lease last on; see [frames.Cluster.RenewLease].
//
// Errors: ErrNotFound (Field is "lease" when it holds nothing), ErrUnavailable,
// ErrInvalidArgument.
func (c *Client) RenewLease(ctx context.Context, id frames.LeaseID, in wire.RenewLease) error {
	_, err := c.send(ctx, leaseRequest(id, "renew").json(in))
	return err
}

// PutBack counts frames down that a lease holds; see [frames.Cluster.PutBack].
//
// Errors: those of DecrementFrames.
func (c *Client) PutBack(ctx context.Context, id frames.LeaseID, in wire.PutBack) ([]wire.Decremented, error) {
	return c.decrement(ctx, leaseRequest(id, "put-back").json(in))
}

// ReleaseLease gives back all that a lease holds. It may be repeated.
//
// Errors: ErrNotFound (no such mapping or cluster), ErrUnavailable,
// ErrOutcomeUnknown, ErrInvalidArgument.
func (c *Client) ReleaseLease(ctx context.Context, id frames.LeaseID, at wire.LeasePlace) (wire.LeaseReleased, error) {
	return ask[wire.LeaseReleased](ctx, c, leaseRequest(id, "release").json(at))
}

func leaseRequest(id frames.LeaseID, what string) request {
	r := newRequest(http.MethodPost, leasesPath)
	if err := id.Validate(); err != nil {
		return r.fail(wire.InField("lease", err))
	}
	if r = r.key(string(id)); what != "" {
		r = r.sub(what)
	}
	return r
}

// Retain adds uses to frames of a source where it writes now, for a consumer
// that came late; see [frames.Cluster.Retain]. A frame that the source left on a
// former cluster is missing. A lost answer is asked for again under the same
// token, which [WithRequestID] gives.
//
// Errors: ErrInvalidArgument (the field is named), ErrTooLarge, ErrOverloaded
// (memory is full), ErrOutcomeUnknown.
func (db *FrameDB) Retain(ctx context.Context, source wire.SourceID, uses []wire.Use) (used []wire.Used, err error) {
	if err := frames.CheckUses(source, uses); err != nil {
		return nil, err
	}
	token := tokenOf(ctx)
	err = db.onSource(ctx, source, func(c *frames.Cluster) error {
		used, err = c.Retain(ctx, token, uses)
		return err
	})
	return used, err
}

// TakeLease has a lease hold uses of the source's frames where it writes now; see
// [frames.Cluster.TakeLease]. A lease is on that cluster: when the source moves
// it stays there, and lapses.
//
// Errors: those of Retain, ErrConflict (it is just lapsing).
func (db *FrameDB) TakeLease(ctx context.Context, source wire.SourceID, take frames.Take) (used []wire.Used, err error) {
	if err := frames.CheckUses(source, take.Uses); err != nil {
		return nil, err
	}
	token := tokenOf(ctx)
	err = db.onSource(ctx, source, func(c *frames.Cluster) error {
		used, err = c.TakeLease(ctx, token, take)
		return err
	})
	return used, err
}

// PutBack counts frames of the source down that a lease holds; see
// [frames.Cluster.PutBack]. A consumer with a lease uses it in place of
// DecrBatchKeys.
//
// Errors: those of Retain.
func (db *FrameDB) PutBack(ctx context.Context, source wire.SourceID, id frames.LeaseID, batch []wire.Decrement) (done []wire.Decremented, err error) {
	if err := frames.CheckDecrements(source, batch); err != nil {
		return nil, err
	}
	token := tokenOf(ctx)
	err = db.onSource(ctx, source, func(c *frames.Cluster) error {
		done, err = c.PutBack(ctx, token, id, batch)
		return err
	})
	return done, err
}

// onSource calls f with the cluster that the source writes to, again with
// another one where it moved.
func (db *FrameDB) onSource(ctx context.Context, source wire.SourceID, f func(*frames.Cluster) error) error {
	if err := db.live(); err != nil {
		return err
	}
	return db.following(ctx, source, func(ts targets) error {
		t := ts.best(db.tags)
		if err := f(t.cluster); err != nil {
			return onTarget(t, err)
		}
		return nil
	})
}
