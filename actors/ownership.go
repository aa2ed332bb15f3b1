package actors

import (
	"time"

	"github.com/framedb/framedb/client/wire"
)

// Ownership says how long who may act on a cluster, and when another takes
// over. DESIGN.md has the reasoning with these numbers.
type Ownership struct {
	// Lease is how long an owner acts on what the leader last confirmed.
	// Shorter lets another take over earlier; longer lets owners go on through
	// a longer time without a leader. Default 5 s.
	Lease time.Duration
	// Step is how long a step that was begun may go on after the lease has
	// lapsed and its context ended. Default 10 s; the drivers need less.
	Step time.Duration
	// Grace is how long an owner may be gone, or without the cluster's tag,
	// before the leader names another: longer than its agent takes to restart,
	// since what is bound to the node is lost then. At least Lease and Step
	// together. Default 30 s.
	Grace time.Duration
}

// DefaultOwnership is what an agent uses.
func DefaultOwnership() Ownership {
	return Ownership{Lease: 5 * time.Second, Step: 10 * time.Second, Grace: 30 * time.Second}
}

// handover is how long a new owner waits for the former one to have stopped.
func (o *Ownership) handover() time.Duration { return o.Lease + o.Step }

func (o *Ownership) validate() error {
	if o.Lease <= 0 || o.Step <= 0 || o.Grace < o.handover() {
		return wire.InField("owner_grace", wire.Errorf(wire.CodeInvalidArgument,
			"%v is too short: give at least %v, the lease of an owner (%v) and its longest step (%v)", o.Grace, o.handover(), o.Lease, o.Step))
	}
	return nil
}
