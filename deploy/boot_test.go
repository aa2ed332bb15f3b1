package deploy_test

import (
	"strings"
	"testing"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

func at(port int) wire.Endpoint { return wire.Endpoint{Host: "127.0.0.1", Port: port} }

// member is an ordinal with the port 7000 + ordinal.
func member(ordinal int, running bool) deploy.Peer {
	return deploy.Peer{Ordinal: ordinal, Endpoint: at(7000 + ordinal), Running: running}
}

func claim(ordinal int, epoch uint64) deploy.Claim {
	return deploy.Claim{Master: at(7000 + ordinal), Epoch: epoch}
}

const (
	up   = true
	down = false
)

func TestDecideBoot(t *testing.T) {
	const follow = -1
	cases := []struct {
		name   string
		self   int
		fresh  bool
		claims []deploy.Claim
		peers  []deploy.Peer
		// what is wanted: hold for a reason that contains this, or follow this
		// member, or (neither) start as master
		hold   string
		follow int
	}{
		{name: "fresh: 0 is the master", self: 0, fresh: true, peers: []deploy.Peer{member(1, down), member(2, down)}, follow: follow},
		{name: "fresh: the others follow 0, also before it runs", self: 2, fresh: true, peers: []deploy.Peer{member(0, down), member(1, up)}, follow: 0},
		{name: "fresh: claims do not matter", self: 0, fresh: true, claims: []deploy.Claim{claim(1, 3)}, peers: []deploy.Peer{member(1, up)}, follow: follow},
		{name: "fresh: nobody is member 0", self: 1, fresh: true, peers: []deploy.Peer{member(2, up)}, hold: "member 0"},

		{name: "the master runs", self: 0, claims: []deploy.Claim{claim(1, 1)}, peers: []deploy.Peer{member(1, up), member(2, down)}, follow: 1},
		{name: "the newest epoch wins, first", self: 0, claims: []deploy.Claim{claim(2, 9), claim(1, 8)}, peers: []deploy.Peer{member(1, up), member(2, up)}, follow: 2},
		{name: "the newest epoch wins, last", self: 0, claims: []deploy.Claim{claim(0, 0), claim(1, 8), claim(2, 9)}, peers: []deploy.Peer{member(1, up), member(2, up)}, follow: 2},
		{name: "old disagreement does not matter", self: 0, claims: []deploy.Claim{claim(0, 1), claim(1, 1), claim(2, 2)}, peers: []deploy.Peer{member(1, up), member(2, up)}, follow: 2},
		{name: "disagreement in the newest epoch", self: 0, claims: []deploy.Claim{claim(1, 4), claim(2, 4), claim(1, 4)}, peers: []deploy.Peer{member(1, up), member(2, up)}, hold: "different masters"},
		{name: "disagreement in epoch 0", self: 0, claims: []deploy.Claim{claim(0, 0), claim(1, 0)}, peers: []deploy.Peer{member(1, down)}, hold: "different masters"},
		{name: "disagreement is settled by a newer epoch", self: 0, claims: []deploy.Claim{claim(0, 0), claim(1, 0), claim(1, 1)}, peers: []deploy.Peer{member(1, up)}, follow: 1},

		{name: "a master that came back empty waits", self: 0, claims: []deploy.Claim{claim(0, 5)}, peers: []deploy.Peer{member(1, up), member(2, down)}, hold: "promote"},
		{name: "a replica of a dead master waits while another runs", self: 1, claims: []deploy.Claim{claim(0, 5)}, peers: []deploy.Peer{member(0, down), member(2, up)}, hold: "promote"},
		{name: "the claim names no member and others run", self: 0, claims: []deploy.Claim{claim(9, 5)}, peers: []deploy.Peer{member(1, up)}, hold: "promote"},

		{name: "nobody runs: the claimed master starts", self: 1, claims: []deploy.Claim{claim(1, 2)}, peers: []deploy.Peer{member(0, down), member(2, down)}, follow: follow},
		{name: "nobody runs: the others wait for it", self: 0, claims: []deploy.Claim{claim(1, 2)}, peers: []deploy.Peer{member(1, down), member(2, down)}, hold: "127.0.0.1:7001 to start first"},
		{name: "nobody runs: the claim names no member", self: 0, claims: []deploy.Claim{claim(9, 2)}, peers: []deploy.Peer{member(1, down)}, hold: "127.0.0.1:7009"},

		{name: "no claim, nobody runs", self: 0, peers: []deploy.Peer{member(1, down)}, hold: "could be asked"},
		{name: "no claim, another runs", self: 0, peers: []deploy.Peer{member(1, up)}, hold: "could be asked"},
		{name: "no claim, one member", self: 0, follow: follow},
		{name: "one member with its claim", self: 0, claims: []deploy.Claim{claim(0, 0)}, follow: follow},
		{name: "one member, foreign claim", self: 0, claims: []deploy.Claim{claim(9, 0)}, hold: "127.0.0.1:7009"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := deploy.DecideBoot(member(c.self, down), c.fresh, c.claims, c.peers)
			switch {
			case c.hold != "":
				if !got.Hold || !strings.Contains(got.Reason, c.hold) || got.ReplicaOf != nil {
					t.Errorf("got %+v, want hold: …%s…", got, c.hold)
				}
			case c.follow == follow:
				if got != (deploy.Boot{}) {
					t.Errorf("got %+v, want a start as master", got)
				}
			default:
				if got.Hold || got.Reason != "" || got.ReplicaOf == nil || *got.ReplicaOf != at(7000+c.follow) {
					t.Errorf("got %+v, want a replica of member %d", got, c.follow)
				}
			}
		})
	}
}

func TestNewestMaster(t *testing.T) {
	if _, ok := deploy.NewestMaster(nil); ok {
		t.Error("no claim names a master")
	}
	got, ok := deploy.NewestMaster([]deploy.Claim{claim(0, 1), claim(2, 7), claim(2, 7), claim(1, 3)})
	if !ok || got != claim(2, 7) {
		t.Errorf("got %+v, %v", got, ok)
	}
}
