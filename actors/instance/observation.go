package instance

import (
	"slices"
	"strings"
	"time"

	"github.com/framedb/framedb/client/sentinel"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

// Observation is one look at a cluster. What could not be seen stands beside
// what was seen as an error, so that no one takes the one for the other.
type Observation struct {
	At time.Time
	// Err says that the driver could not see the deployment; nothing else was
	// looked at then.
	Err       error
	Exists    bool
	FilesLost bool     // the next Apply puts them back
	Members   []Member // by ordinal
}

// Member is one member as the driver, its Redis and its Sentinel show it.
type Member struct {
	deploy.Member
	// Info is what Redis says of itself; valid when InfoErr is nil.
	Info    Info
	InfoErr error
	// Says is what the Sentinel beside it reports; valid when Says.Err is nil.
	Says sentinel.Report
}

// Info is what one Redis says of itself.
type Info struct {
	Role wire.Role
	// Follows is a replica's master.
	Follows wire.Endpoint
	// LinkUp is true when the link to that master stands.
	LinkUp bool
	// Syncing is true while a replica copies everything anew, or loads it.
	Syncing bool
	// Offset is how much of the replication stream it has, or neverSynced.
	Offset int64

	Settings Settings
	// Unsaved names the field of INFO that says that the backup could not be
	// written to disk, for which Redis refuses writes; empty when it could.
	Unsaved string

	UsedMemory   int64 // bytes
	Clients      int64
	Keys         int64
	OpsPerSecond int64
}

// neverSynced is the offset that Redis gives for a replica that has no data of
// any master: replicationInfo starts from it. A true offset is 0 or the length
// of at least one command.
const neverSynced = 1

// Settings are a member's settings that are changed while it runs.
type Settings struct {
	MaxMemory  int64 // bytes, 0 for no bound
	Policy     string
	AppendOnly bool
	// Priority is replica-priority; 0 keeps it from becoming master.
	Priority int
	// Others are those that the spec's Settings name, as Redis knows them.
	Others wire.RedisSettings
}

func (m *Member) redis() wire.Endpoint {
	return wire.Endpoint{Host: m.Redis.Host, Port: m.Redis.Port}
}

func (m *Member) sentinel() wire.Endpoint {
	return wire.Endpoint{Host: m.Sentinel.Host, Port: m.Sentinel.Port}
}

// Answers reports whether its Redis could be asked.
func (m *Member) Answers() bool { return m.Redis.Running && m.InfoErr == nil }

// follows reports whether it answers as a replica of the master.
func (m *Member) follows(master wire.Endpoint) bool {
	return m.Answers() && m.Info.Role == wire.RoleReplica && m.Info.Follows == master
}

// inSync reports whether it has what the master has, but for the last moment.
func (m *Member) inSync(master wire.Endpoint) bool {
	return m.follows(master) && m.Info.LinkUp && !m.Info.Syncing
}

// wasInSync reports whether it followed the master, which is gone now, and
// still has the data of it: it is not in the middle of a copy.
func (m *Member) wasInSync(master wire.Endpoint) bool {
	return m.follows(master) && !m.Info.Syncing && m.Info.Offset != neverSynced
}

// at returns the member whose Redis is at the endpoint.
func (o *Observation) at(e wire.Endpoint) *Member {
	i := slices.IndexFunc(o.Members, func(m Member) bool { return m.redis() == e && e.Port != 0 })
	if i < 0 {
		return nil
	}
	return &o.Members[i]
}

func (o *Observation) ordinal(n int) *Member {
	i := slices.IndexFunc(o.Members, func(m Member) bool { return m.Ordinal == n })
	if i < 0 {
		return nil
	}
	return &o.Members[i]
}

// reports are those of the Sentinels that answered.
func (o *Observation) reports() []sentinel.Report {
	var all []sentinel.Report
	for _, m := range o.Members {
		if m.Sentinel.Running && m.Says.Err == nil {
			all = append(all, m.Says)
		}
	}
	return all
}

// named returns the master that the newest config-epoch names.
func (o *Observation) named() (wire.Endpoint, bool) {
	var newest *sentinel.Report
	reports := o.reports()
	for i := range reports {
		if newest == nil || reports[i].Epoch > newest.Epoch {
			newest = &reports[i]
		}
	}
	if newest == nil {
		return wire.Endpoint{}, false
	}
	return newest.Master, true
}

// agreed returns the master that every Sentinel names. It needs at least
// quorum of them, or all when fewer run: a Sentinel that runs and does not
// answer may know better, one that was seen not to run does not.
func (o *Observation) agreed(quorum int) (wire.Endpoint, bool) {
	master, ok := o.named()
	reports := o.reports()
	if !ok || slices.ContainsFunc(reports, func(r sentinel.Report) bool { return r.Master != master }) {
		return wire.Endpoint{}, false
	}
	running := 0
	for _, m := range o.Members {
		if m.Sentinel.Running {
			running++
		}
	}
	return master, len(reports) >= quorum || len(reports) == running
}

// failingOver reports whether a Sentinel is in the middle of a failover.
func (o *Observation) failingOver() bool {
	return slices.ContainsFunc(o.reports(), func(r sentinel.Report) bool {
		return strings.Contains(r.Flags, "failover_in_progress")
	})
}

// sentinels are the endpoints of the Sentinels that run.
func (o *Observation) sentinels() []wire.Endpoint {
	var all []wire.Endpoint
	for i := range o.Members {
		if m := &o.Members[i]; m.Sentinel.Running {
			all = append(all, m.sentinel())
		}
	}
	return all
}
