package kubernetes

import (
	"slices"
	"strings"
	"testing"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

func at(ordinal int) wire.Endpoint {
	return (&Layout{Namespace: "ns", ClusterDomain: "cluster.local"}).redis("alpha", ordinal)
}

// knows is a Sentinel that names a master.
func knows(master int, epoch uint64) func(*seen) {
	return func(m *seen) {
		m.sentinel, m.claim = active, deploy.Claim{Master: at(master), Epoch: epoch}
	}
}

// follows is a Redis that has a master, perhaps itself.
func follows(master int) func(*seen) {
	return func(m *seen) { m.redis, m.follows = active, at(master) }
}

func is(redis, sentinel standing) func(*seen) {
	return func(m *seen) { m.redis, m.sentinel = redis, sentinel }
}

func withData(m *seen) { m.data = true }

func TestWhoMayGoOn(t *testing.T) {
	type member = []func(*seen)
	waiting := member{is(held, held)}
	for _, c := range []struct {
		name    string
		members []member
		want    []string // orders
		why     string   // of the first that is held back
	}{
		{"a new cluster", []member{waiting, waiting, waiting}, []string{"0>0", "1>0", "2>0", "S0>0", "S1>0", "S2>0"}, ""},
		{"a new cluster whose others are not there yet", []member{waiting, {is(absent, absent)}, {is(absent, absent)}}, []string{"0>0", "S0>0"}, ""},
		{"a new cluster without member 0", []member{{is(absent, absent)}, waiting}, nil, "waits for the master"},
		{"nobody knows, and one cannot be asked", []member{waiting, {is(silent, held)}, waiting}, nil, "no Sentinel of the cluster"},
		{"nobody knows, and a Sentinel cannot be asked", []member{waiting, {is(held, silent)}, waiting}, nil, "no Sentinel of the cluster"},
		{"nobody knows, and there are frames on disk", []member{waiting, {is(held, held), withData}}, nil, "no Sentinel of the cluster"},
		{"one member, new", []member{waiting}, []string{"0>0", "S0>0"}, ""},
		{"one member, its Redis came back", []member{{is(held, held), knows(0, 3)}}, []string{"0>0"}, ""},
		{"one member with frames on disk", []member{{is(held, held), withData}}, []string{"0>0", "S0>0"}, ""},
		{"a replica came back", []member{{follows(0), knows(0, 1)}, waiting, {follows(0), knows(0, 1)}}, []string{"1>0", "S1>0"}, ""},
		{"the master came back empty while others have the data",
			[]member{{is(held, held)}, {follows(0), knows(0, 1)}, {follows(0), knows(0, 1)}}, []string{"S0>0"}, "promote a member that has the data"},
		{"the master came back empty and the others cannot be asked",
			[]member{{is(held, held), knows(0, 1)}, {is(silent, silent)}, {is(silent, silent)}}, nil, "promote a member that has the data"},
		{"the former master came back after the failover",
			[]member{waiting, {follows(1), knows(1, 2)}, {follows(1), knows(1, 2)}}, []string{"0>1", "S0>1"}, ""},
		{"the newest claim counts",
			[]member{{is(held, held), knows(0, 1)}, {follows(1), knows(1, 2)}}, []string{"0>1"}, ""},
		{"two masters in one epoch", []member{{is(held, held), knows(0, 1)}, {is(held, held), knows(1, 1)}}, nil, "different masters in one epoch"},
		{"all Redis came back, their Sentinels did not end",
			[]member{{is(held, held), knows(1, 4)}, {is(held, held), knows(1, 4)}}, []string{"1>1", "0>1"}, ""},
		{"all Sentinels came back, Redis did not end",
			[]member{{follows(1), is(active, held)}, {follows(1), is(active, held)}}, []string{"S0>1", "S1>1"}, ""},
		{"all Sentinels came back, and the Redis disagree",
			[]member{{follows(0), is(active, held)}, {follows(1), is(active, held)}}, nil, ""},
		{"all Sentinels came back, and a Redis cannot be asked",
			[]member{{follows(0), is(active, held)}, {is(silent, held)}}, nil, ""},
		{"the agent died after it made member 0 master",
			[]member{{follows(0), is(active, held)}, waiting}, []string{"1>0", "S0>0", "S1>0"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			members := make([]seen, len(c.members))
			for i, set := range c.members {
				members[i].ordinal = i
				for _, f := range set {
					f(&members[i])
				}
			}
			got := decide(members, at)
			if given := spell(got.give); !slices.Equal(given, c.want) {
				t.Errorf("orders %v, want %v", given, c.want)
			}
			why := ""
			for i := range members {
				if why == "" {
					why = got.redisWhy[i]
				}
			}
			if c.why == "" && why != "" || !strings.Contains(why, c.why) {
				t.Errorf("a member is held back because %q, want %q", why, c.why)
			}
		})
	}
}

// spell writes an order as "1>0", a Sentinel's as "S1>0".
func spell(give []order) []string {
	var all []string
	for _, o := range give {
		s := ""
		if o.sentinel {
			s = "S"
		}
		for i := range 10 {
			if at(i) == o.master {
				s += string(rune('0'+o.ordinal)) + ">" + string(rune('0'+i))
			}
		}
		all = append(all, s)
	}
	return all
}
