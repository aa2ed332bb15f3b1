package raftstore

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/peer"
)

// hosts is a network of names: an agent listens at whatever address, under the
// name that it tells others.
type hosts struct {
	peer.TCP
	mu    sync.Mutex
	where map[string]string
}

func (h *hosts) set(name, addr string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.where[name] = addr
}

func (h *hosts) Dial(ctx context.Context, name string) (net.Conn, error) {
	h.mu.Lock()
	addr, ok := h.where[name]
	h.mu.Unlock()
	if !ok {
		return nil, errors.New("no such host")
	}
	return h.TCP.Dial(ctx, addr)
}

// host is one agent's end of hosts.
type host struct {
	*hosts
	name string
}

func (h host) Listen(addr string) (net.Listener, error) {
	l, err := h.TCP.Listen(addr)
	if err == nil {
		h.set(h.name, l.Addr().String())
	}
	return l, err
}

// unheard are agents that no gossip tells of, each at name<suffix>:1.
func unheard(f *fleet, network *hosts, suffix string) {
	f.change = func(c *Config) {
		c.Peers = nil
		c.Advertise = string(c.Node) + suffix + ":1"
		c.Network = host{network, c.Advertise}
	}
}

// TestRecoverTellsAllNewAddresses: nobody finds anybody at the old ones.
func TestRecoverTellsAllNewAddresses(t *testing.T) {
	t.Parallel()
	f := founded(t, 3)
	for _, name := range names(3) {
		f.kill(name)
	}
	unheard(f, &hosts{where: map[string]string{}}, ".new")
	f.startAll(names(3)...)
	f.waitFor("n1 stands for election", func() bool { return f.store("n1").raft.State() == raft.Candidate })
	f.never("a leader at addresses that nobody knows", time.Second, func() bool { return f.store("n1").hasLeader() })
	for _, name := range names(3) {
		f.kill(name)
	}
	var list []wire.RaftServer
	for _, name := range names(3) {
		list = append(list, wire.RaftServer{Name: name, Address: string(name) + ".new:1", Voter: true})
	}
	clusters := map[string]bool{}
	for _, name := range names(3) {
		done, err := Recover(RecoverConfig{Dir: f.config(name).Dir, Servers: list})
		if err != nil {
			t.Fatal(err)
		}
		if done.Node != name || len(done.Before) != 3 || !slices.Equal(done.After, list) || done.Index == 0 || done.Term == 0 {
			t.Errorf("%s was recovered: %+v", name, done)
		}
		clusters[done.Cluster] = true
	}
	if len(clusters) != 1 {
		t.Errorf("they became %v", clusters)
	}
	f.startAll(names(3)...)
	f.ready(names(3)...)
	f.check("a")
	f.write("n2", "b")
	f.check("a", "b")
}

// TestRecoverWithoutTheLost: two of five are left. When the three come back
// they are a majority of the configuration of before, and must be no cluster.
func TestRecoverWithoutTheLost(t *testing.T) {
	t.Parallel()
	f := founded(t, 5)
	f.check("a")
	for _, name := range names(5) {
		f.kill(name)
	}
	list := []wire.RaftServer{{Name: "n1", Address: "127.0.0.1:1", Voter: true}, {Name: "n2", Address: "127.0.0.1:2"}}
	if _, err := Recover(RecoverConfig{Dir: f.config("n1").Dir, Servers: list}); !errors.Is(err, wire.ErrConflict) {
		t.Errorf("voters left out: %v", err)
	}
	clusters := map[string]bool{}
	for _, name := range []wire.NodeName{"n1", "n2", "n1"} {
		done, err := Recover(RecoverConfig{Dir: f.config(name).Dir, Servers: list, Lost: true})
		if err != nil {
			t.Fatal(err)
		}
		clusters[done.Cluster] = true
	}
	if len(clusters) != 1 {
		t.Errorf("they became %v", clusters)
	}
	f.startAll("n1", "n2")
	f.ready("n1", "n2")
	f.write("n2", "b")
	f.check("a", "b")

	rest := []wire.NodeName{"n3", "n4", "n5"}
	f.startAll(rest...)
	f.never("n1 and those that were lost are one cluster", 2*time.Second, func() bool {
		_, found := f.store("n3").View().Cluster("b")
		in, _ := f.store("n1").server("n3")
		return found || in.ID != ""
	})
	for _, name := range rest {
		f.kill(name)
		f.wipe(name)
	}
	f.startAll(rest...)
	f.ready(rest...)
	f.waitForVoters(names(5)...)
	f.check("a", "b")
}

func TestRecoverRefusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	f := founded(t, 1)
	me := wire.RaftServer{Name: "n1", Address: "127.0.0.1:1", Voter: true}
	dir := f.config("n1").Dir
	if _, err := Recover(RecoverConfig{Dir: dir, Servers: []wire.RaftServer{me}}); !errors.Is(err, wire.ErrConflict) {
		t.Errorf("while the agent runs: %v", err)
	}
	f.kill("n1")
	for _, c := range []struct {
		name    string
		dir     string
		servers []wire.RaftServer
		want    error
		field   string
	}{
		{"nothing there", t.TempDir(), []wire.RaftServer{me}, wire.ErrNotFound, "dir"},
		{"no directory", filepath.Join(dir, "x"), []wire.RaftServer{me}, wire.ErrNotFound, "dir"},
		{"nobody", dir, nil, wire.ErrInvalidArgument, "servers"},
		{"no voter", dir, []wire.RaftServer{{Name: "n1", Address: "127.0.0.1:1"}}, wire.ErrInvalidArgument, "servers"},
		{"twice", dir, []wire.RaftServer{me, me}, wire.ErrInvalidArgument, "servers"},
		{"no port", dir, []wire.RaftServer{{Name: "n1", Address: "host", Voter: true}}, wire.ErrInvalidArgument, "servers"},
		{"no name", dir, []wire.RaftServer{{Address: "127.0.0.1:1", Voter: true}}, wire.ErrInvalidArgument, "servers"},
		{"not itself", dir, []wire.RaftServer{{Name: "n2", Address: "127.0.0.1:1", Voter: true}}, wire.ErrInvalidArgument, "servers"},
		{"its vote taken", dir, []wire.RaftServer{{Name: "n1", Address: "127.0.0.1:1"}, {Name: "n2", Address: "127.0.0.1:2", Voter: true}}, wire.ErrConflict, "servers"},
	} {
		if _, err := Recover(RecoverConfig{Dir: c.dir, Servers: c.servers}); !errors.Is(err, c.want) || field(err) != c.field {
			t.Errorf("%s: %v (field %q)", c.name, err, field(err))
		}
	}
	f.start("n1")
	f.ready("n1")
	f.check("a")
}
