package agent

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/cluster"
	gossipnet "github.com/framedb/framedb/cluster/memnet"
	"github.com/framedb/framedb/raftstore"
	"github.com/framedb/framedb/raftstore/peer"
	raftnet "github.com/framedb/framedb/raftstore/peer/memnet"
	"github.com/framedb/framedb/raftstore/state"
)

// fleet is many agents in one process: real stores on disk, real gossip and
// membership with their default times, and networks in memory.
type fleet struct {
	gossip *gossipnet.Network
	raft   *raftnet.Network
	agents []*simulated
}

type simulated struct {
	name   wire.NodeName
	store  *raftstore.Store
	gossip *cluster.Cluster
	sent   atomic.Int64 // bytes of Raft and calls
}

// fleetSeeds are the agents that the others join; as many found the cluster.
const fleetSeeds = 5

func startFleet(t testing.TB, size int) *fleet {
	f := &fleet{gossip: gossipnet.New(), raft: raftnet.New()}
	t.Cleanup(f.stop)
	var join []string
	for i := range size {
		a := &simulated{name: wire.NodeName(fmt.Sprintf("node-%04d", i+1))}
		transport := f.gossip.Transport(string(a.name))
		if i < fleetSeeds {
			join = append(join, transport.Addr())
		}
		known := newPeers()
		store, err := raftstore.Open(raftstore.Config{
			Node: a.name, Dir: t.TempDir(), Label: "fleet", Bind: "127.0.0.1:0", Expect: fleetSeeds, Peers: known,
			Network: counted{f.raft.Host(string(a.name)), &a.sent},
		})
		if err != nil {
			t.Fatal(err)
		}
		a.store = store
		f.agents = append(f.agents, a)
		a.gossip, err = cluster.Open(cluster.Config{
			Node: a.name, Label: "fleet", Join: join, Transport: transport,
			Meta: cluster.Meta{API: "127.0.0.1:5000", Raft: store.Addr(), Version: "v1"},
		})
		if err != nil {
			t.Fatal(err)
		}
		known.follow(a.gossip)
	}
	return f
}

func (f *fleet) stop() {
	for _, a := range f.agents {
		if a.gossip != nil {
			a.gossip.Close()
		}
	}
	done := make(chan struct{})
	for _, a := range f.agents {
		go func() { a.store.Close(); done <- struct{}{} }()
	}
	for range f.agents {
		<-done
	}
}

// converged returns nil when every agent is ready, five vote, and all others
// follow.
func (f *fleet) converged(ctx context.Context) error {
	for _, a := range f.agents {
		if err := a.store.WaitReady(ctx); err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
	}
	st := f.agents[0].store.RaftStatus()
	voters := 0
	for _, s := range st.Servers {
		if s.Voter {
			voters++
		}
	}
	if voters != raftstore.DefaultMaxVoters || len(st.Servers) != len(f.agents) || st.Leader == "" {
		return fmt.Errorf("%d of %d agents are in, %d vote, %q leads", len(st.Servers), len(f.agents), voters, st.Leader)
	}
	if n := len(f.agents[len(f.agents)-1].gossip.Members()); n != len(f.agents) {
		return fmt.Errorf("the last agent knows %d of %d", n, len(f.agents))
	}
	return nil
}

func (f *fleet) leader() *simulated {
	leader := f.agents[0].store.Status().Leader
	for _, a := range f.agents {
		if a.name == leader {
			return a
		}
	}
	return f.agents[0]
}

// counted counts what is written to the connections of one agent.
type counted struct {
	peer.Network
	sent *atomic.Int64
}

func (c counted) Listen(addr string) (net.Listener, error) {
	l, err := c.Network.Listen(addr)
	return countedListener{l, c.sent}, err
}

func (c counted) Dial(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := c.Network.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	return countedConn{conn, c.sent}, nil
}

type countedListener struct {
	net.Listener
	sent *atomic.Int64
}

func (l countedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return countedConn{conn, l.sent}, nil
}

type countedConn struct {
	net.Conn
	sent *atomic.Int64
}

func (c countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.sent.Add(int64(n))
	return n, err
}

// TestManyAgentsConverge: an agent that joins last is in and ready, and what
// one acknowledged is everywhere.
func TestManyAgentsConverge(t *testing.T) {
	f := startFleet(t, 20)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	eventually(t, time.Minute, func() error { return f.converged(ctx) })
	last := f.agents[len(f.agents)-1].store
	if _, err := last.Propose(ctx, "", state.RegisterNode{Node: wire.Node{Name: "x"}}); err != nil {
		t.Fatal(err)
	}
	for _, a := range f.agents {
		if err := a.store.CatchUp(ctx); err != nil {
			t.Fatal(err)
		}
		if _, known := a.store.View().Node("x"); !known {
			t.Errorf("%s lacks what was acknowledged", a.name)
		}
	}
}

// BenchmarkFleet starts 300 agents at once and looks at what it costs to keep
// them. The processor time is of the whole process, so that of the leader and
// of all followers.
//
//	go test -run '^$' -bench Fleet -benchtime 1x ./agent
func BenchmarkFleet(b *testing.B) {
	for _, size := range []int{75, 150, 300} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			for range b.N {
				begin := time.Now()
				f := startFleet(b, size)
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
				defer cancel()
				for err := f.converged(ctx); err != nil; err = f.converged(ctx) {
					if ctx.Err() != nil {
						b.Fatal(err)
					}
					time.Sleep(50 * time.Millisecond)
				}
				b.ReportMetric(time.Since(begin).Seconds(), "s-to-converge")
				f.keep(b)
			}
		})
	}
}

// keep measures ten quiet seconds.
func (f *fleet) keep(b *testing.B) {
	const quiet = 10 * time.Second
	time.Sleep(5 * time.Second) // what joining left to do
	leader, cpu := f.leader(), cpuTime(b)
	sent := leader.sent.Load()
	time.Sleep(quiet)
	followers := float64(len(f.agents) - 1)
	b.ReportMetric(float64(leader.sent.Load()-sent)/quiet.Seconds()/followers, "leader-B/s/follower")
	b.ReportMetric(100*(cpuTime(b)-cpu).Seconds()/quiet.Seconds(), "%cpu-all")
	b.ReportMetric(0, "ns/op")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
