package frames

import (
	"context"
	"strconv"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// LeaseID names a lease: one consumer's, for as long as it lives. It is unique
// among the consumers of a cluster. 1 to 128 printable ASCII characters.
type LeaseID string

// Bounds of leases.
const (
	MinLease = time.Second
	MaxLease = 24 * time.Hour
	// maxLeased bounds the frames that one lease holds: it is given back in
	// pieces, and costs the master some 100 bytes a frame.
	maxLeased = 100_000
	// lapseAtOnce bounds what one step gives back: about a millisecond.
	lapseAtOnce = 500
)

// Validate returns an ErrInvalidArgument when the ID is empty, too long or not
// printable ASCII.
func (id LeaseID) Validate() error {
	if id == "" || wire.RequestID(id).Validate() != nil {
		return wire.Errorf(wire.CodeInvalidArgument, "lease ID is not allowed: give 1 to %d printable ASCII characters", wire.MaxRequestID)
	}
	return nil
}

// Take is what a lease takes.
type Take struct {
	Lease LeaseID
	// For is how long the lease lasts from now on (MinLease to MaxLease).
	For  time.Duration
	Uses []Use
	// Add adds the uses to the counts, as Retain does. Without it they are
	// claimed: the writer counted them for this consumer when it wrote the
	// frame. Claim no others: they would be given back, too.
	Add bool
}

// TakeLease has a lease hold uses, in one atomic step; the lease is made at its
// first one, and lasts For from now on. What it holds is counted down by
// PutBack, or by itself when it lapses or is released: each use once. A use
// that is counted down by Decrement as well counts twice.
//
// A lease is state of the master's Redis beside the counts, replicated as they
// are: what a failover takes back of one, it takes back of the other.
//
// Errors: those of Retain; ErrConflict (it has lapsed and gives back what it
// holds, which takes a moment), ErrTooLarge (it would hold more than 100,000
// frames); Field is "lease".
func (c *Cluster) TakeLease(ctx context.Context, token wire.RequestID, t Take) ([]Used, error) {
	if err := checkLease(t.Lease, t.For); err != nil {
		return nil, err
	}
	add := "0"
	if t.Add {
		add = "1"
	}
	args := []string{string(t.Lease), inMilliseconds(t.For), add, strconv.Itoa(maxLeased)}
	return c.use(ctx, fnTake, token, t.Uses, args)
}

// RenewLease has a lease last d from now on. It may be repeated.
//
// Errors: ErrNotFound (there is none that holds something: it was never taken,
// all was put back, or it has lapsed), ErrInvalidArgument, ErrUnavailable, ctx's.
func (c *Cluster) RenewLease(ctx context.Context, id LeaseID, d time.Duration) error {
	if err := checkLease(id, d); err != nil {
		return err
	}
	reply, err := c.run(ctx, fnRenew, true, nil, []string{string(id), inMilliseconds(d)})
	if err == nil && reply != int64(1) {
		err = wire.InField("lease", wire.Errorf(wire.CodeNotFound, "%q holds nothing: it lapsed, or all was put back", id))
	}
	return err
}

// PutBack counts frames down that a lease holds, in one atomic step, by no more
// than it holds of each. Results, token, sizes and bounds are as in Decrement;
// a frame of which it holds nothing is missing, also when there is one: its
// uses were given back when the lease lapsed, and nothing is counted twice.
//
// Errors: those of Decrement.
func (c *Cluster) PutBack(ctx context.Context, token wire.RequestID, id LeaseID, batch []wire.Decrement) ([]wire.Decremented, error) {
	if err := id.Validate(); err != nil {
		return nil, wire.InField("lease", err)
	}
	return c.batch(ctx, fnPutBack, "decrements", token, batch, []string{string(id)})
}

// GivenBack is what leases gave back.
type GivenBack struct {
	Lease   LeaseID // "" when none has lapsed
	Frames  int64   // whose uses were counted down, or that were gone
	Deleted int64   // data keys that were unlinked with counts that came to zero
	Held    int64   // frames that it still holds
}

// ReleaseLease gives back all that a lease holds and ends it; it may be
// repeated. When it fails in the middle, the rest is given back as that of a
// lease that lapsed. One that there is not holds nothing.
//
// Errors: as for any call, and ErrInvalidArgument, ErrOutcomeUnknown.
func (c *Cluster) ReleaseLease(ctx context.Context, id LeaseID) (GivenBack, error) {
	all := GivenBack{Lease: id}
	if err := id.Validate(); err != nil {
		return all, wire.InField("lease", err)
	}
	for {
		reply, err := c.run(ctx, fnRelease, true, nil, []string{string(id), strconv.Itoa(lapseAtOnce)})
		if err != nil {
			return all, err
		}
		some := numbers(reply, 3)
		all.Frames += some[0]
		all.Deleted += some[1]
		if some[2] == 0 {
			return all, nil
		}
	}
}

// LapseLease gives back a part, up to 500 frames, of what one lease holds that
// has lapsed. Call it until Lease is empty. Any number of callers may: each use
// is given back once.
//
// Errors: as for any call, and ErrOutcomeUnknown.
func (c *Cluster) LapseLease(ctx context.Context) (GivenBack, error) {
	reply, err := c.run(ctx, fnLapse, true, nil, []string{strconv.Itoa(lapseAtOnce)})
	if err != nil {
		return GivenBack{}, err
	}
	parts, _ := reply.([]any)
	if len(parts) != 4 {
		return GivenBack{}, badAnswer("%d parts of a lease", len(parts))
	}
	id, _ := parts[0].(string)
	some := numbers(parts[1:], 3)
	return GivenBack{Lease: LeaseID(id), Frames: some[0], Deleted: some[1], Held: some[2]}, nil
}

// Lease is one that holds something.
type Lease struct {
	ID LeaseID `json:"id"`
	// Left is how long it lasts; 0 has lapsed.
	Left   time.Duration `json:"left"`
	Frames int64         `json:"frames"` // of which it holds uses
}

// Leases returns up to limit leases (1 to wire.MaxPage), the first to lapse
// first.
//
// Errors: as for any call, and ErrInvalidArgument.
func (c *Cluster) Leases(ctx context.Context, limit int) ([]Lease, error) {
	if limit < 1 || limit > wire.MaxPage {
		return nil, wire.InField("limit", wire.Errorf(wire.CodeInvalidArgument, "%d is out of range: give 1 to %d", limit, wire.MaxPage))
	}
	reply, err := c.run(ctx, fnLeases, true, nil, []string{strconv.Itoa(limit)})
	if err != nil {
		return nil, err
	}
	list, _ := reply.([]any)
	leases := make([]Lease, len(list)/3)
	for i := range leases {
		id, _ := list[3*i].(string)
		n := numbers(list[3*i+1:], 2)
		leases[i] = Lease{ID: LeaseID(id), Left: time.Duration(n[0]) * time.Millisecond, Frames: n[1]}
	}
	return leases, nil
}

func checkLease(id LeaseID, d time.Duration) error {
	if err := id.Validate(); err != nil {
		return wire.InField("lease", err)
	}
	if d < MinLease || d > MaxLease {
		return wire.InField("for", wire.Errorf(wire.CodeInvalidArgument, "%v is out of range: give %v to %v", d, MinLease, MaxLease))
	}
	return nil
}

func inMilliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// numbers are the first n integers of a reply; what is none is 0.
func numbers(reply any, n int) []int64 {
	list, _ := reply.([]any)
	all := make([]int64, n)
	for i := range min(n, len(list)) {
		all[i], _ = list[i].(int64)
	}
	return all
}
