package deploy

import (
	"fmt"
	"net"
	"strconv"

	"github.com/framedb/framedb/client/wire"
)

// Claim is what one running Sentinel says of the master.
type Claim struct {
	Master wire.Endpoint
	Epoch  uint64 // Sentinel's config-epoch: the newest wins
}

// Boot is how a member may start.
type Boot struct {
	// Hold keeps the member from starting, for Reason.
	Hold   bool
	Reason string
	// ReplicaOf is the master to follow; nil starts a master.
	ReplicaOf *wire.Endpoint
}

// Peer is a member as it was just seen.
type Peer struct {
	Ordinal int
	wire.Endpoint
	Running bool
}

// NewestMaster returns the master that the claims of the newest epoch name.
// It is ok when there is a claim and those of that epoch agree.
func NewestMaster(claims []Claim) (newest Claim, ok bool) {
	for i, c := range claims {
		switch {
		case i == 0, c.Epoch > newest.Epoch:
			newest, ok = c, true
		case c.Epoch == newest.Epoch && c.Master != newest.Master:
			ok = false
		}
	}
	return newest, ok
}

// DecideBoot says how the member self, which does not run, may start. fresh
// says that no member of the cluster ever started, claims are what the running
// Sentinels say, peers are the other members.
//
// A member starts as master only when it cannot wipe anybody: in a fresh
// cluster, as the only member, or when Sentinel names it and nobody else runs.
// A master that died while others live comes back empty, so it waits until
// Sentinel has promoted one that has the data, and then follows that one.
// What could not be seen never starts a master.
func DecideBoot(self Peer, fresh bool, claims []Claim, peers []Peer) Boot {
	if fresh {
		return bootFresh(self, peers)
	}
	if len(claims) == 0 {
		if len(peers) == 0 {
			return Boot{}
		}
		return hold("no Sentinel of the cluster could be asked which member is the master")
	}
	newest, agreed := NewestMaster(claims)
	if !agreed {
		return hold("the Sentinels name different masters in one epoch: waits until they agree")
	}
	return bootByClaim(self, newest.Master, peers)
}

// bootFresh: member 0 is the first master.
func bootFresh(self Peer, peers []Peer) Boot {
	if self.Ordinal == 0 {
		return Boot{}
	}
	for _, p := range peers {
		if p.Ordinal == 0 {
			return Boot{ReplicaOf: &p.Endpoint}
		}
	}
	return hold("waits for member 0, the first master of a new cluster")
}

func bootByClaim(self Peer, master wire.Endpoint, peers []Peer) Boot {
	othersRun := false
	for _, p := range peers {
		if p.Running && p.Endpoint == master {
			return Boot{ReplicaOf: &master}
		}
		othersRun = othersRun || p.Running
	}
	switch {
	case othersRun:
		return hold(fmt.Sprintf("waits for Sentinel to promote a member that has the data: the master %s does not run, others do", address(master)))
	case master == self.Endpoint:
		return Boot{}
	default:
		return hold(fmt.Sprintf("waits for the master %s to start first", address(master)))
	}
}

func hold(reason string) Boot { return Boot{Hold: true, Reason: reason} }

func address(e wire.Endpoint) string { return net.JoinHostPort(e.Host, strconv.Itoa(e.Port)) }
