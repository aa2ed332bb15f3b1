package instance

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/framedb/framedb/client/sentinel"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

var (
	now      = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	errCould = errors.New("could not see")
)

// well is a cluster of n members that is as it should be; member 0 is master.
func well(n int) *Input {
	spec := wire.ClusterSpec{NodeTag: "tag", Replicas: n, Quorum: n/2 + 1}
	spec.ApplyDefaults()
	in := &Input{
		Now: now, Past: Past{Applied: 1},
		Cluster: wire.Cluster{Name: "x", ClusterSpec: spec, Generation: 1, Status: wire.ClusterStatus{
			Phase: wire.PhaseReady, ObservedGeneration: 1, ReadyMembers: n, Master: "x-redis-node-0", Owner: "node-1", OwnerEpoch: 1,
		}},
		Seen: Observation{At: now, Exists: true},
	}
	for i := range n {
		in.Seen.Members = append(in.Seen.Members, member(in, i))
	}
	in.Seen.introduce()
	return in
}

func redisAt(ordinal int) wire.Endpoint    { return wire.Endpoint{Host: "h", Port: 6000 + ordinal} }
func sentinelAt(ordinal int) wire.Endpoint { return wire.Endpoint{Host: "h", Port: 7000 + ordinal} }

func member(in *Input, ordinal int) Member {
	spec := &in.Cluster.ClusterSpec
	m := Member{
		Member: deploy.Member{
			ID: in.Cluster.Name.Member(ordinal), Ordinal: ordinal, Node: "node-1",
			Redis:    deploy.Process{Running: true, Host: "h", Port: 6000 + ordinal, Socket: "/s"},
			Sentinel: deploy.Process{Running: true, Host: "h", Port: 7000 + ordinal},
		},
		Info: Info{
			Role: wire.RoleReplica, Follows: redisAt(0), LinkUp: true, Offset: 1000,
			Settings: Settings{MaxMemory: spec.MaxMemory, Policy: spec.MaxMemoryPolicy, AppendOnly: spec.Backup, Priority: 100},
		},
		Says: sentinel.Report{
			Sentinel: sentinelAt(ordinal), Master: redisAt(0), Epoch: 3, Flags: "master", Quorum: spec.Quorum,
			DownAfter: spec.DownAfter, FailoverTimeout: spec.FailoverTimeout, ParallelSyncs: spec.ParallelSyncs, InfoPeriod: 1000,
		},
	}
	if ordinal == 0 {
		m.Info.Role, m.Info.Follows = wire.RoleMaster, wire.Endpoint{}
	}
	return m
}

// introduce makes every Sentinel know every member.
func (o *Observation) introduce() {
	for i := range o.Members {
		says := &o.Members[i].Says
		says.Others, says.Replicas = len(o.Members)-1, nil
		for j := range o.Members {
			if o.Members[j].redis() != says.Master {
				says.Replicas = append(says.Replicas, sentinel.Replica{
					Endpoint: o.Members[j].redis(), Flags: "slave",
					Priority: o.Members[j].Info.Settings.Priority, Offset: o.Members[j].Info.Offset,
				})
			}
		}
	}
}

// stop is a process that was seen not to run.
func (m *Member) stop() { m.Redis.Running, m.Redis.Reason, m.InfoErr = false, "killed", errNotRunning }

// kill is a dead master as its replicas see it.
func killMaster(in *Input) {
	in.Seen.Members[0].stop()
	for i := range in.Seen.Members[1:] {
		in.Seen.Members[i+1].Info.LinkUp = false
	}
}

// follow makes another member master everywhere.
func promote(in *Input, ordinal int) {
	for i := range in.Seen.Members {
		m := &in.Seen.Members[i]
		m.Says.Master = redisAt(ordinal)
		m.Info.Role, m.Info.Follows = wire.RoleReplica, redisAt(ordinal)
	}
	in.Seen.Members[ordinal].Info.Role, in.Seen.Members[ordinal].Info.Follows = wire.RoleMaster, wire.Endpoint{}
	in.Seen.introduce()
}

// shrink asks for fewer members.
func shrink(in *Input, n int) {
	in.Cluster.Replicas, in.Cluster.Quorum, in.Cluster.Generation = n, n/2+1, 2
	for i := range in.Seen.Members {
		in.Seen.Members[i].Says.Quorum = n/2 + 1
	}
}

// demoted makes the leaving members unfit, as Redis and all Sentinels say.
func demoted(in *Input) {
	for i := range in.Seen.Members {
		if m := &in.Seen.Members[i]; m.Ordinal >= in.Cluster.Replicas {
			m.Info.Settings.Priority = 0
		}
	}
	in.Seen.introduce()
}

// brief writes actions in a few words, to compare them.
func brief(actions []Action) string {
	var words []string
	for _, a := range actions {
		switch a := a.(type) {
		case Apply:
			words = append(words, fmt.Sprintf("apply(%d,g%d)", a.Spec.Replicas, a.Generation))
		case Failover:
			pause := ""
			if a.Pause.Port != 0 {
				pause = " of " + address(a.Pause)
			}
			words = append(words, fmt.Sprintf("failover(%d%s)", len(a.Sentinels), pause))
		case Restart:
			words = append(words, fmt.Sprintf("restart(%s)", a.Member))
		case SentinelSet:
			if a.InfoPeriod != 0 {
				a.Options["info"] = a.InfoPeriod.String()
			}
			words = append(words, fmt.Sprintf("sentinel(%d,%s)", a.Sentinel.Port-7000, options(a.Options)))
		case SentinelReset:
			words = append(words, fmt.Sprintf("reset(%d)", a.Sentinel.Port-7000))
		case ConfigSet:
			words = append(words, fmt.Sprintf("config(%d,%s)", a.Redis.Port-6000, options(a.Options)))
		case ServeTag:
			words = append(words, fmt.Sprintf("serve(%s,%s)", a.Tag, a.Member))
		case Purge:
			words = append(words, "purge")
		}
	}
	return strings.Join(words, " ")
}

func options(o map[string]string) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(o)) {
		words = append(words, name+"="+o[name])
	}
	return strings.Join(words, ",")
}

type planCase struct {
	name   string
	n      int
	given  func(in *Input)
	want   string
	reason string // the beginning of it
}

func run(t *testing.T, cases []planCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			in := well(c.n)
			if c.given != nil {
				c.given(in)
			}
			p := MakePlan(*in)
			if got := brief(p.Actions); got != c.want {
				t.Errorf("actions %q, want %q", got, c.want)
			}
			got := p.Report.Status
			if !strings.HasPrefix(got.Reason, c.reason) || (c.reason == "") != (got.Reason == "") {
				t.Errorf("reason %q, want %q", got.Reason, c.reason)
			}
			if got.Reason != "" && got.Phase == wire.PhaseReady {
				t.Errorf("phase %s with reason %q", got.Phase, got.Reason)
			}
		})
	}
}

func TestPlanDeploys(t *testing.T) {
	t.Parallel()
	run(t, []planCase{
		{"all is well", 3, nil, "", ""},
		{"nothing is there yet", 3, func(in *Input) {
			in.Seen, in.Past, in.Cluster.Status = Observation{At: now}, Past{}, wire.ClusterStatus{Phase: wire.PhaseCreating}
		}, "apply(3,g1)", "member x-redis-node-0 was not started yet (and 3 more)"},
		{"an agent that starts applies once", 3, func(in *Input) { in.Past = Past{} }, "apply(3,g1)", ""},
		{"a new generation is applied", 3, func(in *Input) { in.Cluster.Generation = 2 }, "apply(3,g2)", ""},
		{"a dead replica is started", 3, func(in *Input) { in.Seen.Members[2].stop() }, "apply(3,g1)", "member x-redis-node-2 does not run: killed"},
		{"a dead Sentinel is started", 3, func(in *Input) {
			in.Seen.Members[2].Sentinel = deploy.Process{Reason: "killed"}
			in.Seen.Members[2].Says = sentinel.Report{Err: errNotRunning}
		}, "apply(3,g1)", "the Sentinel of x-redis-node-2 does not run: killed"},
		{"members are added", 3, func(in *Input) { in.Cluster.Replicas, in.Cluster.Generation = 4, 2 }, "apply(4,g2)", "member x-redis-node-3 was not started yet"},
		{"a cluster that is removed is only removed", 3, func(in *Input) {
			in.Cluster.Status.Phase = wire.PhaseRemoving
			in.Seen = Observation{}
		}, "purge", ""},
		{"a single dead member is the driver's", 1, func(in *Input) { in.Seen.Members[0].stop() }, "apply(1,g1)", "member x-redis-node-0 does not run: killed"},
		{"all dead members are the driver's", 3, func(in *Input) {
			for i := range in.Seen.Members {
				in.Seen.Members[i].stop()
			}
		}, "apply(3,g1)", "member x-redis-node-0 does not run: killed (and 2 more)"},
	})
}

func TestPlanHealsNothingUnseen(t *testing.T) {
	t.Parallel()
	run(t, []planCase{
		{"the driver cannot see", 3, func(in *Input) {
			in.Seen, in.Past, in.Serves = Observation{At: now, Err: errCould}, Past{}, true
		}, "", "the members could not be seen: could not see"},
		{"a master that does not answer", 3, func(in *Input) { in.Seen.Members[0].InfoErr = errCould }, "", "member x-redis-node-0 does not answer: could not see"},
		{"a replica that does not answer", 3, func(in *Input) { in.Seen.Members[1].InfoErr = errCould }, "", "member x-redis-node-1 does not answer"},
		{"settings of a member that does not answer", 3, func(in *Input) {
			in.Seen.Members[1].InfoErr, in.Seen.Members[1].Info = errCould, Info{}
		}, "", "member x-redis-node-1 does not answer"},
		{"a Sentinel that does not answer", 3, func(in *Input) { in.Seen.Members[1].Says = sentinel.Report{Err: errCould} }, "", "the Sentinel of x-redis-node-1 on h:7001 cannot be reached: could not see"},
		{"no Sentinel that answers", 3, func(in *Input) {
			for i := range in.Seen.Members {
				in.Seen.Members[i].Says = sentinel.Report{Err: errCould}
			}
			in.Serves = true
		}, "", "no Sentinel answers"},
		{"a replica that follows another", 3, func(in *Input) { in.Seen.Members[2].Info.Follows = wire.Endpoint{Host: "h", Port: 1} }, "", "1 of 3 members is syncing"},
		{"a second master", 3, func(in *Input) { in.Seen.Members[2].Info.Role = wire.RoleMaster }, "", "1 of 3 members is syncing"},
		{"a master that says it is a replica", 3, func(in *Input) {
			in.Seen.Members[0].Info.Role, in.Serves = wire.RoleReplica, true
		}, "", "Sentinel names x-redis-node-0 as master, which says that it is a replica"},
		{"a master from nowhere", 3, func(in *Input) {
			for i := range in.Seen.Members {
				in.Seen.Members[i].Says.Master = wire.Endpoint{Host: "elsewhere", Port: 1}
			}
			in.Serves = true
		}, "", "Sentinel names elsewhere:1 as master, which is no member"},
		{"Sentinels that disagree", 3, func(in *Input) {
			in.Seen.Members[1].Says.Master, in.Serves = redisAt(1), true
		}, "", "the Sentinels do not agree on who is master"},
	})
}

func TestPlanFailsOver(t *testing.T) {
	t.Parallel()
	run(t, []planCase{
		{"a dead master with a replica that has its data", 3, killMaster, "failover(3)", "member x-redis-node-0 does not run: killed"},
		{"a dead member, Redis and Sentinel", 3, func(in *Input) {
			killMaster(in)
			in.Seen.Members[0].Sentinel.Running, in.Seen.Members[0].Says = false, sentinel.Report{Err: errNotRunning}
		}, "failover(2)", "member x-redis-node-0 does not run: killed"},
		{"a dead member of two, though quorum is two", 2, func(in *Input) {
			killMaster(in)
			in.Seen.Members[0].Sentinel.Running, in.Seen.Members[0].Says = false, sentinel.Report{Err: errNotRunning}
		}, "failover(1)", "member x-redis-node-0 does not run: killed"},
		{"not before Sentinel knows who has most", 3, func(in *Input) {
			killMaster(in)
			in.Seen.Members[2].Info.Offset = 2000
		}, "apply(3,g1)", "member x-redis-node-0"},
		{"only by a Sentinel that knows who has most", 3, func(in *Input) {
			killMaster(in)
			in.Seen.Members[2].Info.Offset = 2000
			in.Seen.Members[1].Says.Replicas[1].Offset = 1500
		}, "failover(1)", "member x-redis-node-0"},
		{"not by a Sentinel that prefers one with less", 3, func(in *Input) {
			killMaster(in)
			in.Seen.Members[2].Info.Offset, in.Seen.Members[2].Info.Settings.Priority = 2000, 200
			in.Seen.introduce()
		}, "apply(3,g1)", "member x-redis-node-0"},
		{"not while a member that runs could have most", 3, func(in *Input) {
			killMaster(in)
			in.Seen.Members[2].InfoErr = errCould
			in.Seen.Members[1].Says.Replicas[1].Offset, in.Seen.Members[2].Says.Replicas[1].Offset = 500, 500
		}, "apply(3,g1)", "member x-redis-node-0"},
		{"not when too few Sentinels answer", 3, func(in *Input) {
			killMaster(in)
			in.Seen.Members[1].Says, in.Seen.Members[2].Says = sentinel.Report{Err: errCould}, sentinel.Report{Err: errCould}
		}, "apply(3,g1)", "member x-redis-node-0"},
		{"not when Sentinels disagree", 3, func(in *Input) {
			killMaster(in)
			in.Seen.Members[2].Says.Master, in.Seen.Members[2].Says.Epoch = redisAt(2), 4
		}, "apply(3,g1)", "member x-redis-node-0"},
		{"not when the master only is silent", 3, func(in *Input) {
			killMaster(in)
			in.Seen.Members[0].Redis.Running, in.Seen.Members[0].InfoErr = true, errCould
		}, "", "member x-redis-node-0 does not answer"},
		{"not when another is master already", 3, func(in *Input) {
			killMaster(in)
			in.Seen.Members[1].Info.Role = wire.RoleMaster
		}, "apply(3,g1)", "member x-redis-node-0"},
		{"not while Sentinel does it", 3, func(in *Input) {
			killMaster(in)
			in.Seen.Members[1].Says.Flags = "master,s_down,o_down,failover_in_progress"
		}, "apply(3,g1)", "member x-redis-node-0"},
		{"not twice in a row", 3, func(in *Input) {
			killMaster(in)
			in.Past.FailoverAt = now.Add(-time.Second)
		}, "apply(3,g1)", "member x-redis-node-0"},
		{"again when it came to nothing", 3, func(in *Input) {
			killMaster(in)
			in.Past.FailoverAt = now.Add(-6 * time.Second)
		}, "failover(3)", "member x-redis-node-0"},
		{"not to a replica in the middle of a copy", 2, func(in *Input) {
			killMaster(in)
			in.Seen.Members[1].Info.Syncing = true
		}, "apply(2,g1)", "member x-redis-node-0"},
		{"not to a replica that never was in sync", 2, func(in *Input) {
			killMaster(in)
			in.Seen.Members[1].Info.Offset = neverSynced
		}, "apply(2,g1)", "member x-redis-node-0"},
		{"to a replica that was in sync when there was nothing yet", 2, func(in *Input) {
			killMaster(in)
			in.Seen.Members[1].Info.Offset = 0
			in.Seen.introduce()
		}, "failover(2)", "member x-redis-node-0"},
		{"not to a replica that does not answer", 2, func(in *Input) {
			killMaster(in)
			in.Seen.Members[1].InfoErr = errCould
		}, "apply(2,g1)", "member x-redis-node-0"},
		{"not to a replica of another master", 2, func(in *Input) {
			killMaster(in)
			in.Seen.Members[1].Info.Follows = redisAt(9)
		}, "apply(2,g1)", "member x-redis-node-0"},
		{"not to a replica that Sentinel holds for down", 2, func(in *Input) {
			killMaster(in)
			in.Seen.Members[0].Says.Replicas[0].Down, in.Seen.Members[1].Says.Replicas[0].Down = true, true
		}, "apply(2,g1)", "member x-redis-node-0"},
		{"not to a replica that Sentinel does not know", 2, func(in *Input) {
			killMaster(in)
			in.Seen.Members[0].Says.Replicas, in.Seen.Members[1].Says.Replicas = nil, nil
		}, "apply(2,g1)", "member x-redis-node-0"},
	})
}

func TestPlanShrinks(t *testing.T) {
	t.Parallel()
	run(t, []planCase{
		{"replicas leave", 4, func(in *Input) { shrink(in, 2) },
			"config(2,replica-priority=0) config(3,replica-priority=0) apply(2,g2)", ""},
		{"a master that leaves stays until Sentinel has read who is unfit", 4, func(in *Input) {
			promote(in, 3)
			shrink(in, 2)
		}, "config(2,replica-priority=0) config(3,replica-priority=0)", "master x-redis-node-3 leaves as soon as another member is in sync"},
		{"a Sentinel that has not read it is not asked", 4, func(in *Input) {
			promote(in, 3)
			shrink(in, 2)
			demoted(in)
			in.Seen.Members[0].Says.Replicas[2].Priority = 100
		}, "failover(3 of h:6003)", "master x-redis-node-3 leaves"},
		{"a master that leaves hands over", 4, func(in *Input) {
			promote(in, 3)
			shrink(in, 2)
			demoted(in)
		}, "failover(4 of h:6003)", "master x-redis-node-3 leaves"},
		{"not while another that stays could be chosen and is not in sync", 4, func(in *Input) {
			promote(in, 3)
			shrink(in, 2)
			demoted(in)
			in.Seen.Members[1].Info.Syncing = true
			for i := range in.Seen.Members {
				in.Seen.Members[i].Says.Replicas[1].Offset = 500
			}
		}, "", "master x-redis-node-3 leaves"},
		{"not while it is silent", 3, func(in *Input) {
			promote(in, 2)
			shrink(in, 1)
			demoted(in)
			in.Seen.Members[2].InfoErr = errCould
		}, "", "master x-redis-node-2 leaves"},
		{"not to one that is not in sync", 3, func(in *Input) {
			promote(in, 2)
			shrink(in, 1)
			demoted(in)
			in.Seen.Members[0].Info.LinkUp = false
		}, "", "master x-redis-node-2 leaves"},
		{"nobody leaves while the master is unknown", 4, func(in *Input) {
			shrink(in, 2)
			demoted(in)
			for i := range in.Seen.Members {
				in.Seen.Members[i].Says = sentinel.Report{Err: errCould}
			}
		}, "", "no Sentinel answers"},
		{"nobody leaves while the master is silent", 4, func(in *Input) {
			shrink(in, 2)
			demoted(in)
			in.Seen.Members[0].InfoErr = errCould
		}, "", "member x-redis-node-0 does not answer"},
		{"all that are dead come back before some leave", 4, func(in *Input) {
			shrink(in, 2)
			demoted(in)
			for i := range in.Seen.Members {
				in.Seen.Members[i].stop()
			}
		}, "apply(4,g0)", "member x-redis-node-0 does not run"},
		{"one that stays after all may be master again", 3, func(in *Input) {
			in.Seen.Members[2].Info.Settings.Priority = 0
			in.Seen.introduce()
		}, "config(2,replica-priority=100)", ""},
		{"the driver is asked until all have left", 3, func(in *Input) {
			shrink(in, 2)
			demoted(in)
			in.Past.Applied = 2
		}, "apply(2,g2)", ""},
	})
}

// lostSocket is what the driver says of a Redis whose socket was deleted.
func lostSocket(in *Input, ordinals ...int) {
	for _, i := range ordinals {
		m := &in.Seen.Members[i]
		m.Redis.NeedsRestart, m.Redis.Reason, m.Redis.Socket = true, "its socket was deleted", ""
	}
}

func TestPlanMendsWhatRuns(t *testing.T) {
	t.Parallel()
	const why = "member x-redis-node-%d needs a restart: its socket was deleted"
	replica, master := fmt.Sprintf(why, 2), fmt.Sprintf(why, 0)
	run(t, []planCase{
		{"lost files are put back", 3, func(in *Input) { in.Seen.FilesLost = true }, "apply(3,g1)", ""},
		{"before anyone restarts", 3, func(in *Input) { lostSocket(in, 2); in.Seen.FilesLost = true }, "apply(3,g1)", replica},
		{"a replica restarts", 3, func(in *Input) { lostSocket(in, 2) }, "restart(x-redis-node-2)", replica},
		{"also one that cannot copy for it", 3, func(in *Input) {
			lostSocket(in, 2)
			in.Seen.Members[2].Info.Syncing = true
		}, "restart(x-redis-node-2)", replica},
		{"one at a time, the master last", 3, func(in *Input) { lostSocket(in, 0, 1, 2) }, "restart(x-redis-node-1)", master},
		{"not while another syncs", 3, func(in *Input) {
			lostSocket(in, 2)
			in.Seen.Members[1].Info.Syncing = true
		}, "", replica},
		{"not while another is dead", 3, func(in *Input) { lostSocket(in, 2); in.Seen.Members[1].stop() }, "apply(3,g1)", "member x-redis-node-1 does not run"},
		{"not while the master is silent", 3, func(in *Input) { lostSocket(in, 2); in.Seen.Members[0].InfoErr = errCould }, "", "member x-redis-node-0 does not answer"},
		{"not during a failover", 3, func(in *Input) {
			lostSocket(in, 2)
			in.Seen.Members[1].Says.Flags = "master,failover_in_progress"
		}, "", replica},
		{"not again at once", 3, func(in *Input) { lostSocket(in, 2); in.Past.RestartAt = now.Add(-time.Second) }, "", replica},
		{"again when it did not help", 3, func(in *Input) { lostSocket(in, 2); in.Past.RestartAt = now.Add(-time.Minute) }, "restart(x-redis-node-2)", replica},
		{"a master hands over", 3, func(in *Input) { lostSocket(in, 0) }, "failover(3 of h:6000)", master},
		{"and is ended before it knows", 3, func(in *Input) {
			promote(in, 1)
			lostSocket(in, 0)
			in.Seen.Members[0].Info.Role, in.Seen.Members[0].Info.Follows = wire.RoleMaster, wire.Endpoint{}
			in.Seen.Members[2].Info.LinkUp = false
			in.Seen.Members[1].Says.Flags = "master,failover_in_progress"
		}, "restart(x-redis-node-0)", master},
		{"not to one that is not in sync", 2, func(in *Input) { lostSocket(in, 0); in.Seen.Members[1].Info.LinkUp = false }, "", master},
		{"not while a Sentinel prefers one that is unknown", 2, func(in *Input) {
			lostSocket(in, 0)
			for i := range in.Seen.Members {
				in.Seen.Members[i].Says.Replicas[0].Endpoint = redisAt(9)
			}
		}, "", master},
		{"not when it alone has the data", 1, func(in *Input) { lostSocket(in, 0) }, "", master},
		{"not right after another restart", 3, func(in *Input) { lostSocket(in, 0); in.Past.RestartAt = now.Add(-time.Second) }, "", master},
	})
}

func TestAMemberThatCannotSaveIsDegraded(t *testing.T) {
	t.Parallel()
	run(t, []planCase{
		{"its file", 2, func(in *Input) { in.Seen.Members[0].Info.Unsaved = "aof_last_write_status" },
			"", "member x-redis-node-0 cannot write its backup to disk and may refuse writes (aof_last_write_status:err)"},
	})
}

func TestPlanSetsUp(t *testing.T) {
	t.Parallel()
	run(t, []planCase{
		{"Redis", 2, func(in *Input) {
			in.Cluster.MaxMemory, in.Cluster.MaxMemoryPolicy, in.Cluster.Backup = 1<<20, "allkeys-lru", true
			in.Seen.Members[1].Info.Settings = Settings{MaxMemory: 1 << 20, Policy: "allkeys-lru", Priority: 100}
		}, "config(0,appendonly=yes,maxmemory=1048576,maxmemory-policy=allkeys-lru) config(1,appendonly=yes)", ""},
		{"a setting", 3, func(in *Input) {
			in.Cluster.Settings = wire.RedisSettings{"hz": "20", "proto-max-bulk-len": "1gb"}
			for i, have := range []wire.RedisSettings{{"hz": "20", "proto-max-bulk-len": "1073741824"}, {"hz": "10", "proto-max-bulk-len": "1073741824"}, {}} {
				in.Seen.Members[i].Info.Settings.Others = have
			}
		}, "config(1,hz=20) config(2,hz=20,proto-max-bulk-len=1gb)", ""},
		{"a setting that was taken away", 1, func(in *Input) {
			in.Seen.Members[0].Info.Settings.Others = wire.RedisSettings{"hz": "20"}
		}, "", ""},
		{"a setting of a member that does not answer", 1, func(in *Input) {
			in.Cluster.Settings, in.Seen.Members[0].InfoErr = wire.RedisSettings{"hz": "20"}, errCould
		}, "", "member x-redis-node-0 does not answer"},
		{"Sentinel", 2, func(in *Input) {
			in.Cluster.Quorum, in.Cluster.DownAfter, in.Cluster.FailoverTimeout, in.Cluster.ParallelSyncs = 1, 5000, 6000, 2
			in.Seen.Members[0].Says.Quorum, in.Seen.Members[0].Says.DownAfter = 1, 5000
		}, "sentinel(0,failover-timeout=6000,parallel-syncs=2) sentinel(1,down-after-milliseconds=5000,failover-timeout=6000,parallel-syncs=2,quorum=1)", ""},
		{"how often Sentinel reads", 1, func(in *Input) { in.Seen.Members[0].Says.InfoPeriod = 10_000 }, "sentinel(0,info=1s)", ""},
		{"a Sentinel too old to say how often", 1, func(in *Input) { in.Seen.Members[0].Says.InfoPeriod = 0 }, "", ""},
		{"a Sentinel that forgets", 3, func(in *Input) { in.Seen.Members[1].Says.Others = 3 }, "reset(1)", ""},
		{"a Sentinel with a member that is gone", 3, func(in *Input) { gone(in, 2) }, "reset(2)", ""},
		{"one Sentinel at a time", 3, func(in *Input) { gone(in, 0); gone(in, 2) }, "reset(0)", ""},
		{"none while another does not know all yet", 3, func(in *Input) {
			gone(in, 0)
			in.Seen.Members[2].Says.Others = 0
		}, "", "the Sentinel of x-redis-node-2 does not know all members yet"},
		{"none while a member syncs", 3, func(in *Input) {
			gone(in, 0)
			in.Seen.Members[2].Info.Syncing = true
		}, "", "1 of 3 members is syncing"},
		{"none while a member is silent", 3, func(in *Input) {
			gone(in, 0)
			in.Seen.Members[2].InfoErr = errCould
		}, "", "member x-redis-node-2"},
		{"none while a Sentinel is silent", 3, func(in *Input) {
			gone(in, 0)
			in.Seen.Members[2].Says = sentinel.Report{Err: errCould}
		}, "", "the Sentinel of x-redis-node-2"},
		{"none during a failover", 3, func(in *Input) {
			gone(in, 0)
			in.Seen.Members[1].Says.Flags = "master,failover_in_progress"
		}, "", ""},
		{"the tag's socket", 3, func(in *Input) { in.Serves = true }, "serve(tag,x-redis-node-0)", ""},
		{"the tag's socket after a failover", 3, func(in *Input) {
			promote(in, 1)
			in.Serves = true
		}, "serve(tag,x-redis-node-1)", ""},
		{"no socket to a dead master", 3, func(in *Input) { killMaster(in); in.Serves = true }, "failover(3)", "member x-redis-node-0"},
	})
}

// gone makes a Sentinel know a member that is no more.
func gone(in *Input, ordinal int) {
	says := &in.Seen.Members[ordinal].Says
	says.Replicas = append(says.Replicas, sentinel.Replica{Endpoint: redisAt(9), Down: true})
}
