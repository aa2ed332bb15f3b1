package agent

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strings"
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
	join   []string // the first agents' addresses
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
	for i := range size {
		name := fmt.Sprintf("node-%04d", i+1)
		// What the agent's goroutines use is told apart by this label.
		pprof.Do(context.Background(), pprof.Labels(agentLabel, name), func(context.Context) { f.start(t, wire.NodeName(name)) })
	}
	return f
}

// agentLabel is the label of profiles that names the agent.
const agentLabel = "agent"

// start adds an agent.
func (f *fleet) start(t testing.TB, name wire.NodeName) {
	a := &simulated{name: name}
	transport := f.gossip.Transport(string(a.name))
	if len(f.agents) < fleetSeeds {
		f.join = append(f.join, transport.Addr())
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
		Node: a.name, Label: "fleet", Join: f.join, Transport: transport,
		Meta: cluster.Meta{API: "127.0.0.1:5000", Raft: store.Addr(), Version: "v1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	known.follow(a.gossip)
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
// them: the leader's bytes, and its processor time, Raft, calls and gossip, told
// apart from that of all by a CPU profile. What the profile cannot tell, such as
// garbage collection, is shared out by what it can.
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
	path := filepath.Join(b.TempDir(), "cpu")
	profile, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	leader, cpu := f.leader(), cpuTime(b)
	sent := leader.sent.Load()
	if err := pprof.StartCPUProfile(profile); err != nil {
		b.Fatal(err)
	}
	time.Sleep(quiet)
	pprof.StopCPUProfile()
	all := 100 * (cpuTime(b) - cpu).Seconds() / quiet.Seconds()
	bytes := float64(leader.sent.Load() - sent)
	if err := profile.Close(); err != nil {
		b.Fatal(err)
	}
	followers := float64(len(f.agents) - 1)
	share := shareOf(b, path, string(leader.name))
	b.ReportMetric(bytes/quiet.Seconds()/followers, "leader-B/s/follower")
	b.ReportMetric(all*share, "%cpu-leader")
	b.ReportMetric(all*share/followers, "%cpu-leader/follower")
	b.ReportMetric(all, "%cpu-all")
	b.ReportMetric(0, "ns/op")
}

// shareOf is the agent's part of the time in a profile that is any agent's.
func shareOf(b *testing.B, profile, agent string) float64 {
	out, err := exec.Command("go", "tool", "pprof", "-raw", profile).Output()
	if err != nil {
		b.Fatal(err)
	}
	var its, all float64
	// A sample is "count nanoseconds: stack" and, on the next line, its labels.
	var spent float64
	for line := range strings.Lines(string(out)) {
		var count int
		if n, _ := fmt.Sscanf(line, "%d %f:", &count, &spent); n == 2 {
			continue
		}
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), agentLabel+":["); ok {
			all += spent
			if name == agent+"]" {
				its += spent
			}
		}
	}
	if all == 0 {
		b.Fatal("the profile names no agent")
	}
	return its / all
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
