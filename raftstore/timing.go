package raftstore

import (
	"time"

	"github.com/framedb/framedb/client/wire"
)

// DefaultMaxVoters survives the death of two at a time.
const DefaultMaxVoters = 5

// Membership times who belongs to Raft and who votes.
type Membership struct {
	// Interval is how often a node looks at what gossip says, changes aside.
	// Lower: it founds, joins and replaces sooner; higher: fewer calls.
	Interval time.Duration
	// FounderLost is how long a founder is not heard of before those who
	// promised to it give it up. Lower: founding goes on sooner without it;
	// higher: a founder that only pauses is waited for. Either is safe.
	FounderLost time.Duration
	// Stable is how long an agent must have been alive before it is made a
	// voter. Lower: a dead voter is replaced sooner; higher: agents that come
	// and go stay out of quorum.
	Stable time.Duration
	// StableFew is Stable while there are fewer than three voters: while the
	// cluster grows, and nothing protects it yet.
	StableFew time.Duration
	// DeadAfter is how long a voter must have been dead before another one takes
	// its place. Lower: the next death is survived sooner; higher: a node that
	// restarts keeps its vote.
	DeadAfter time.Duration
	// ForgetAfter is how long an agent that does not vote must have been dead
	// before it is taken out of Raft's configuration; it joins again when it
	// comes back. Lower: less is carried along; higher: less moves when a rack
	// is off for the weekend.
	ForgetAfter time.Duration
	// HandOver bounds how long Close waits for another voter to take the lead.
	// Lower: Close is quicker; higher: a slow follower still spares everybody
	// the election timeout.
	HandOver time.Duration
}

// DefaultMembership suits agents on nodes of one site.
func DefaultMembership() Membership {
	return Membership{
		Interval:    time.Second,
		FounderLost: 10 * time.Second,
		Stable:      10 * time.Second,
		StableFew:   time.Second,
		DeadAfter:   30 * time.Second,
		ForgetAfter: 72 * time.Hour,
		HandOver:    time.Second,
	}
}

func (m Membership) validate() error {
	for name, d := range map[string]time.Duration{
		"interval": m.Interval, "founder_lost": m.FounderLost, "stable": m.Stable, "stable_few": m.StableFew,
		"dead_after": m.DeadAfter, "forget_after": m.ForgetAfter, "hand_over": m.HandOver,
	} {
		if d <= 0 {
			return wire.InField("membership."+name, wire.Errorf(wire.CodeInvalidArgument, "it is %v: give a time above 0, or nothing at all for the defaults", d))
		}
	}
	return nil
}
