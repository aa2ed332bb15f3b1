package instance

import (
	"fmt"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// Action is one step of a plan.
type Action interface {
	// String says in a few words what is done, for the log and for reasons.
	String() string
}

// Apply has the driver bring about a spec.
type Apply struct {
	Spec wire.ClusterSpec
	// Generation is the one that the spec fulfils; 0 when it is held back,
	// because members that are to leave have to stay a while.
	Generation uint64
}

// Failover asks Sentinel to make another member master.
type Failover struct {
	// Sentinels are those that would choose well; one of them is asked.
	Sentinels []wire.Endpoint
	// Pause is a living master that hands over, else zero. Its writes are held
	// until it has ended, so that none is acknowledged that nobody keeps.
	Pause wire.Endpoint
}

// Restart has the driver start a member's Redis anew, as a replica.
type Restart struct{ Member wire.FrameDBID }

// SentinelSet changes settings at one Sentinel.
type SentinelSet struct {
	Member   wire.FrameDBID
	Sentinel wire.Endpoint
	Options  map[string]string
	// InfoPeriod is set too, unless it is 0.
	InfoPeriod time.Duration
}

// SentinelReset makes one Sentinel forget members that are gone.
type SentinelReset struct {
	Member   wire.FrameDBID
	Sentinel wire.Endpoint
}

// ConfigSet changes settings of one Redis.
type ConfigSet struct {
	Member  wire.FrameDBID
	Redis   wire.Endpoint
	Options map[string]string
}

// ServeTag points the tag's socket at a member.
type ServeTag struct {
	Tag    wire.NodeTag
	Member wire.FrameDBID
}

// Purge removes everything of the cluster, then its row.
type Purge struct{}

func (a Apply) String() string         { return fmt.Sprintf("deploy %d members", a.Spec.Replicas) }
func (a Failover) String() string      { return "start a failover" }
func (a Restart) String() string       { return fmt.Sprintf("restart %s", a.Member) }
func (a SentinelSet) String() string   { return fmt.Sprintf("set up the Sentinel of %s", a.Member) }
func (a SentinelReset) String() string { return fmt.Sprintf("reset the Sentinel of %s", a.Member) }
func (a ConfigSet) String() string     { return fmt.Sprintf("set up %s", a.Member) }
func (a ServeTag) String() string {
	return fmt.Sprintf("lead the socket of %s to %s", a.Tag, a.Member)
}
func (a Purge) String() string { return "remove the cluster" }
