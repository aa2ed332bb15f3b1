package kubernetes

import (
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

// standing is how one server was seen.
type standing int

const (
	absent standing = iota // its container was seen not to run
	silent                 // it runs, and could not be asked
	held                   // it waits to be told whom to follow, or which master to watch
	active                 // it is master or replica, or a Sentinel that knows the master
)

// seen is one member as its servers were just seen.
type seen struct {
	ordinal int
	redis   standing
	// follows is an active Redis' master; a master names itself.
	follows wire.Endpoint
	// data says that a held Redis has frames, of an append-only file.
	data     bool
	sentinel standing
	claim    deploy.Claim // an active Sentinel's
}

// order is what a held server is told.
type order struct {
	ordinal int
	// master is whom a Redis follows, or a Sentinel watches.
	master   wire.Endpoint
	sentinel bool
	promotes bool // this Redis is the master
}

// orders is what the held servers of a cluster are told, in this order, and why
// the others wait.
type orders struct {
	give                []order
	redisWhy, sentinels map[int]string // by ordinal
}

// decide says how held servers go on, by deploy.DecideBoot. It is pure. at is
// where a member is.
func decide(members []seen, at func(ordinal int) wire.Endpoint) orders {
	b := boot{members: slices.Clone(members), at: at}
	b.out.redisWhy, b.out.sentinels = map[int]string{}, map[int]string{}
	for _, m := range members {
		if m.sentinel == active {
			b.claims = append(b.claims, m.claim)
		}
	}
	if len(b.claims) == 0 {
		b.claims = b.followed()
	}
	b.fresh = len(b.claims) == 0 && b.blank()
	for b.release() {
	}
	b.watch()
	return b.out
}

type boot struct {
	members []seen
	at      func(int) wire.Endpoint
	claims  []deploy.Claim
	fresh   bool
	out     orders
}

// followed stands in for the claims where no Sentinel that runs knows the
// master: it is whom every active Redis names, the master itself and those that
// follow it, also one that has died. One that is silent may know better, and
// nobody is believed.
func (b *boot) followed() []deploy.Claim {
	var master wire.Endpoint
	for _, m := range b.members {
		switch {
		case m.sentinel == silent || m.redis == silent:
			return nil
		case m.redis != active:
		case master.Port != 0 && m.follows != master:
			return nil
		default:
			master = m.follows
		}
	}
	if !slices.ContainsFunc(b.members, func(m seen) bool { return b.at(m.ordinal) == master }) {
		return nil
	}
	return []deploy.Claim{{Master: master}}
}

// blank says that the cluster has nothing to lose: every server was seen, and
// has neither frames nor a master.
func (b *boot) blank() bool {
	return !slices.ContainsFunc(b.members, func(m seen) bool {
		return m.redis == silent || m.redis == active || m.data || m.sentinel == silent || m.sentinel == active
	})
}

// release lets those Redis go on that may, and reports whether there were any:
// others may follow them then.
func (b *boot) release() bool {
	any := false
	for i := range b.members {
		m := &b.members[i]
		if m.redis != held {
			continue
		}
		start := deploy.DecideBoot(b.peer(m), b.fresh, b.claims, b.peersOf(m))
		if to := start.ReplicaOf; to != nil && !b.runs(*to) {
			start = deploy.Boot{Hold: true, Reason: "waits for the master " + address(*to) + " to start first"}
		}
		if start.Hold {
			b.out.redisWhy[m.ordinal] = start.Reason
			continue
		}
		master := b.at(m.ordinal)
		if start.ReplicaOf != nil {
			master = *start.ReplicaOf
		}
		b.out.give = append(b.out.give, order{ordinal: m.ordinal, master: master, promotes: start.ReplicaOf == nil})
		delete(b.out.redisWhy, m.ordinal)
		m.redis, m.follows, any = active, master, true
	}
	return any
}

// watch has the held Sentinels watch the master.
func (b *boot) watch() {
	claim, known := deploy.NewestMaster(b.claims)
	if !known && b.fresh && len(b.members) > 0 && b.members[0].redis == active {
		claim.Master, known = b.members[0].follows, true
	}
	if !known && len(b.members) == 1 && b.members[0].redis == active {
		claim.Master, known = b.members[0].follows, true
	}
	for _, m := range b.members {
		switch {
		case m.sentinel != held:
		case known:
			b.out.give = append(b.out.give, order{ordinal: m.ordinal, master: claim.Master, sentinel: true})
		default:
			b.out.sentinels[m.ordinal] = "waits: no Sentinel of the cluster could be asked which member is the master"
		}
	}
}

// peer is a member as DecideBoot sees it. One that is silent runs: what cannot
// be asked may have the data.
func (b *boot) peer(m *seen) deploy.Peer {
	return deploy.Peer{Ordinal: m.ordinal, Endpoint: b.at(m.ordinal), Running: m.redis == active || m.redis == silent}
}

func (b *boot) peersOf(self *seen) []deploy.Peer {
	var peers []deploy.Peer
	for i := range b.members {
		if m := &b.members[i]; m != self {
			peers = append(peers, b.peer(m))
		}
	}
	return peers
}

func (b *boot) runs(e wire.Endpoint) bool {
	return slices.ContainsFunc(b.members, func(m seen) bool {
		return b.at(m.ordinal) == e && (m.redis == active || m.redis == silent)
	})
}

func (o order) String() string {
	if o.sentinel {
		return fmt.Sprintf("the Sentinel of member %d watches %s", o.ordinal, address(o.master))
	}
	return fmt.Sprintf("member %d follows %s", o.ordinal, address(o.master))
}

func address(e wire.Endpoint) string { return net.JoinHostPort(e.Host, strconv.Itoa(e.Port)) }
