package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/cluster/memnet"
)

// bubble runs a test in a time of its own, over a network in memory.
func bubble(t *testing.T, test func(*testing.T, *memnet.Network)) {
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Minute) }) // memberlist does not wait for its own goroutines
		test(t, memnet.New())
	})
}

// memConfig gives the agents their addresses in order: 10.0.0.1:7946 and on.
func memConfig(network *memnet.Network, name wire.NodeName, join ...string) Config {
	cfg := config(name, join...)
	cfg.Transport = network.Transport(string(name))
	return cfg
}

// converge waits until all agents see each other alive and nobody else.
func converge(t *testing.T, agents []*Cluster, limit time.Duration) {
	t.Helper()
	for _, a := range agents {
		eventually(t, a, limit, fmt.Sprintf("all see %d", len(agents)), func([]Member) bool {
			return a.members.alive() == len(agents)
		})
	}
}

func openMany(t *testing.T, network *memnet.Network, n int, join ...string) (agents []*Cluster, names []string) {
	t.Helper()
	for i := range n {
		names = append(names, fmt.Sprintf("n%03d", i))
		agents = append(agents, open(t, memConfig(network, wire.NodeName(names[i]), join...)))
	}
	return agents, names
}

func TestFiftyAgentsConverge(t *testing.T) {
	bubble(t, func(t *testing.T, network *memnet.Network) {
		agents, names := openMany(t, network, 50, "10.0.0.1:7946", "10.0.0.2:7946", "10.9.9.9:7946")
		converge(t, agents, 10*time.Second)
		for i, from := range names { // a bad network
			for _, to := range names[i+1:] {
				network.Drop(from, to, 0.05)
				network.Delay(to, from, 20*time.Millisecond)
				network.Duplicate(from, to, 0.05)
			}
		}
		if err := agents[7].Close(); err != nil {
			t.Fatal(err)
		}
		left := append(agents[:7:7], agents[8:]...)
		converge(t, left, 30*time.Second)
	})
}

// TestHalvesThatWereApartMeetAgain cuts a cluster for longer than memberlist
// remembers the dead. Everybody's join address is in the one half.
func TestHalvesThatWereApartMeetAgain(t *testing.T) {
	for name, join := range map[string][]string{
		"one half has the address to join": {"10.0.0.1:7946"},
		"each half has one":                {"10.0.0.1:7946", "10.0.0.4:7946"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, network *memnet.Network) {
				agents, names := openMany(t, network, 6, join...)
				converge(t, agents, 10*time.Second)
				network.Partition(names[:3], names[3:])
				converge(t, agents[:3], time.Minute)
				converge(t, agents[3:], time.Minute)
				time.Sleep(10 * time.Minute)
				network.Heal()
				converge(t, agents, 2*joinSlow)
			})
		})
	}
}

// TestThoseThatAreGoneAreAsked has nobody left to join on either side.
func TestThoseThatAreGoneAreAsked(t *testing.T) {
	bubble(t, func(t *testing.T, network *memnet.Network) {
		a := open(t, memConfig(network, "a"))
		cfg := memConfig(network, "b", "framedb.test:7946")
		resolver := &names{}
		resolver.set("10.0.0.1")
		cfg.Resolver = resolver
		b := open(t, cfg)
		converge(t, []*Cluster{a, b}, 10*time.Second)
		resolver.set("10.9.9.9")
		network.Partition([]string{"a"}, []string{"b"})
		eventually(t, a, time.Minute, "b is gone", isGone("b"))
		time.Sleep(10 * time.Minute)
		network.Heal()
		converge(t, []*Cluster{a, b}, 2*joinAlone)
	})
}

// TestDeadAddressesHoldNobodyUp has a hundred where packets vanish before the
// one that lives.
func TestDeadAddressesHoldNobodyUp(t *testing.T) {
	bubble(t, func(t *testing.T, network *memnet.Network) {
		live := open(t, memConfig(network, "live"))
		join := []string{}
		for i := range 60 {
			name := fmt.Sprint("dead-", i)
			join = append(join, network.Transport(name).Addr())
			network.Cut(name, "late")
		}
		late := open(t, memConfig(network, "late", append(join, live.Addr())...))
		eventually(t, late, time.Second, "late sees live", isAlive("live"))
	})
}

// names is a resolver whose answers change.
type names struct {
	mu    sync.Mutex
	addrs []netip.Addr
}

func (n *names) set(addrs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs = nil
	for _, a := range addrs {
		n.addrs = append(n.addrs, netip.MustParseAddr(a))
	}
}

func (n *names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if host != "framedb.test" || len(n.addrs) == 0 {
		return nil, errors.New("no such host " + host)
	}
	return n.addrs, nil
}

// TestJoinByName has a headless Service that knows nobody at first, then one who
// is dead, then also one who lives.
func TestJoinByName(t *testing.T) {
	bubble(t, func(t *testing.T, network *memnet.Network) {
		resolver := &names{}
		a := open(t, memConfig(network, "a"))
		cfg := memConfig(network, "b", "framedb.test:7946")
		cfg.Resolver = resolver
		b := open(t, cfg)
		for _, c := range []struct{ addr, reason string }{
			{"", "no such host framedb.test"}, {"10.9.9.9", "connection refused"},
		} {
			if c.addr != "" {
				resolver.set(c.addr)
			}
			time.Sleep(2 * joinAlone)
			if err := b.JoinError(); !errors.Is(err, wire.ErrUnavailable) || !strings.Contains(err.Error(), "framedb.test:7946: ") || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("joining gave %v, want %s", err, c.reason)
			}
		}
		resolver.set("10.9.9.9", "10.9.9.8", "::ffff:10.0.0.1")
		converge(t, []*Cluster{a, b}, 2*joinAlone)
		if err := b.JoinError(); err != nil {
			t.Errorf("they met, and joining gave %v", err)
		}
	})
}

// TestLookupGivesAddressesAsMembersHaveThem matters because those that are known
// are not asked.
func TestLookupGivesAddressesAsMembersHaveThem(t *testing.T) {
	resolver := &names{}
	resolver.set("::ffff:10.0.0.1", "fd00::0:1")
	got, err := lookup(t.Context(), resolver, "framedb.test:7946")
	if want := "[10.0.0.1:7946 [fd00::1]:7946]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("got %v, %v, want %s", got, err, want)
	}
}

func TestJoinByFile(t *testing.T) {
	bubble(t, func(t *testing.T, network *memnet.Network) {
		file := filepath.Join(t.TempDir(), "seeds")
		a := open(t, memConfig(network, "a"))
		b := open(t, memConfig(network, "b", "file:"+file))
		time.Sleep(joinAlone)
		if err := b.JoinError(); err == nil || !strings.Contains(err.Error(), "no such file") {
			t.Errorf("without the file joining gave %v", err)
		}
		writeFile(t, file, "nonsense\nfile:"+file+"\n")
		time.Sleep(2 * joinAlone)
		if err := b.JoinError(); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("with nonsense in the file joining gave %v", err)
		}
		writeFile(t, file, "# agents\n\nnonsense\n10.9.9.9:7946\n  "+a.Addr()+"\n")
		converge(t, []*Cluster{a, b}, 2*joinAlone)
	})
}

// TestStrangersDoNotMeet leaves agents of different clusters to themselves for
// longer than any of memberlist's intervals.
func TestStrangersDoNotMeet(t *testing.T) {
	for name, spoil := range map[string]func(*testing.T, *Config){
		"another label": func(_ *testing.T, c *Config) { c.Label = "other" },
		"another key":   func(t *testing.T, c *Config) { c.KeyFile = keyFile(t, key2) },
		"no key":        func(_ *testing.T, c *Config) { c.KeyFile = "" },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, network *memnet.Network) {
				var ours []*Cluster
				for _, name := range []wire.NodeName{"a", "b"} {
					cfg := memConfig(network, name, "10.0.0.1:7946", "10.0.0.3:7946")
					cfg.KeyFile = keyFile(t, key1)
					ours = append(ours, open(t, cfg))
				}
				cfg := memConfig(network, "stranger", "10.0.0.1:7946", "10.0.0.2:7946")
				cfg.KeyFile = keyFile(t, key1)
				spoil(t, &cfg)
				stranger := open(t, cfg)
				converge(t, ours, 10*time.Second)
				time.Sleep(2 * time.Minute)
				for c, want := range map[*Cluster]int{ours[0]: 2, ours[1]: 2, stranger: 1} {
					if n := len(c.Members()); n != want {
						t.Errorf("%s sees %+v", c.Addr(), c.Members())
					}
				}
				if err := stranger.JoinError(); !errors.Is(err, wire.ErrUnavailable) || !strings.Contains(err.Error(), "10.0.0.1:7946") {
					t.Errorf("joining gave %v", err)
				}
			})
		})
	}
}

// TestARestartAtAnotherAddressIsSeen is TestACrashIsSeenAndTheNameComesBack with
// all agents but one, whom nobody names to join.
func TestARestartAtAnotherAddressIsSeen(t *testing.T) {
	bubble(t, func(t *testing.T, network *memnet.Network) {
		agents, names := openMany(t, network, 3, "10.0.0.1:7946")
		converge(t, agents, 10*time.Second)
		if err := agents[2].Close(); err != nil {
			t.Fatal(err)
		}
		back := open(t, memConfig(network, wire.NodeName(names[2]), "10.0.0.1:7946"))
		for _, a := range agents[:2] {
			eventually(t, a, 10*time.Second, "it is back at its new address", func(all []Member) bool {
				m, _ := find(all, wire.NodeName(names[2]))
				return m.Alive && m.Addr == back.Addr()
			})
		}
	})
}

func TestJoinPause(t *testing.T) {
	for _, c := range []struct {
		round int
		alone bool
		about time.Duration
	}{
		{0, true, joinFirst}, {0, false, joinFirst}, {1, false, 2 * joinFirst},
		{4, true, joinAlone}, {4, false, 16 * joinFirst}, {9, false, joinSlow}, {1 << 40, false, joinSlow}, {1 << 40, true, joinAlone},
	} {
		for range 100 {
			if got := joinPause(c.round, c.alone); got < c.about*3/4 || got > c.about*5/4 {
				t.Fatalf("round %d, alone %v: got %v, want about %v", c.round, c.alone, got, c.about)
			}
		}
	}
}
