package redistest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/wire"
)

// DownAfter is after how long a cluster's Sentinels hold a member for down.
const DownAfter = 500 * time.Millisecond

// Cluster is one master with its replicas and a Sentinel for each.
type Cluster struct {
	Servers []*Server // Servers[0] is the first master
	Sentry  []*Server // the Sentinel beside each
	t       testing.TB
}

// StartCluster starts a cluster of so many members, with args for each of its
// redis-servers, and returns when the replicas are in sync and the Sentinels
// know them and each other. The quorum is a majority.
func StartCluster(t testing.TB, members int, args ...string) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	for i := range members {
		a := args
		if i > 0 {
			m := c.Servers[0]
			a = append(slices.Clone(args), "--replicaof", fmt.Sprintf("%s %d", m.Host, m.Port))
		}
		c.Servers = append(c.Servers, Start(t, a...))
	}
	c.WaitSynced()
	for range members {
		c.Sentry = append(c.Sentry, StartSentinel(t, c.Servers[0].Endpoint, members/2+1, Password))
	}
	for _, s := range c.Sentry {
		c.waitIntroduced(s)
	}
	return c
}

// StartSentinel starts one Sentinel that takes the endpoint for the master of
// "mymaster". With a wrong password for the members it believes that for ever.
func StartSentinel(t testing.TB, master wire.Endpoint, quorum int, memberPassword string, lines ...string) *Server {
	t.Helper()
	s := &Server{t: t, dir: tempDir(t), exe: "redis-sentinel"}
	s.Host = "127.0.0.1"
	conf := append([]string{
		"bind 127.0.0.1",
		"dir " + s.dir,
		"requirepass " + Password,
		"sentinel sentinel-pass " + Password,
		fmt.Sprintf("sentinel monitor mymaster %s %d %d", master.Host, master.Port, quorum),
		"sentinel auth-pass mymaster " + memberPassword,
		fmt.Sprintf("sentinel down-after-milliseconds mymaster %d", DownAfter.Milliseconds()),
		"sentinel failover-timeout mymaster 3000",
	}, lines...)
	if err := os.WriteFile(filepath.Join(s.dir, "sentinel.conf"), []byte(strings.Join(conf, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.startOnFreePort()
	t.Cleanup(s.end)
	// Sentinel asks every 10 s and says hello every 2 s; tests have less time.
	// The ping period stays: replicas that are silent for five of it are unfit.
	s.must("SENTINEL", "DEBUG", "INFO-PERIOD", "300", "PUBLISH-PERIOD", "200")
	return s
}

func (s *Server) must(args ...any) {
	s.t.Helper()
	if err := s.Client().Do(context.Background(), args...).Err(); err != nil {
		s.t.Fatalf("%v at %s: %v", args, s.Addr(), err)
	}
}

func (c *Cluster) waitIntroduced(s *Server) {
	c.t.Helper()
	rdb := s.Client()
	others := fmt.Sprint(len(c.Servers) - 1)
	Eventually(c.t, upWithin, "the Sentinels know everyone", func() error {
		cmd := redis.NewMapStringStringCmd(context.Background(), "SENTINEL", "MASTER", "mymaster")
		if err := rdb.Process(context.Background(), cmd); err != nil {
			return err
		}
		m := cmd.Val()
		if m["num-slaves"] != others || m["num-other-sentinels"] != others || m["flags"] != "master" {
			return fmt.Errorf("it knows %s replicas and %s Sentinels, flags %s", m["num-slaves"], m["num-other-sentinels"], m["flags"])
		}
		return nil
	})
}

// WaitSynced returns when every running replica follows a master and is in sync.
func (c *Cluster) WaitSynced() {
	c.t.Helper()
	for _, s := range c.Servers {
		if !s.running() {
			continue
		}
		rdb := s.Client()
		Eventually(c.t, upWithin, "replicas in sync", func() error {
			role, err := rdb.Do(context.Background(), "ROLE").Slice()
			if err != nil {
				return err
			}
			if role[0] != "master" && role[3] != "connected" {
				return fmt.Errorf("%s is %v", s.Addr(), role)
			}
			return nil
		})
	}
}

// Sentinels are the endpoints of the Sentinels.
func (c *Cluster) Sentinels() []wire.Endpoint {
	var eps []wire.Endpoint
	for _, s := range c.Sentry {
		eps = append(eps, s.Endpoint)
	}
	return eps
}

// Members are the servers as FrameDB's store knows them.
func (c *Cluster) Members(name wire.ClusterName) []wire.Instance {
	var members []wire.Instance
	for i, s := range c.Servers {
		members = append(members, wire.Instance{
			ID: name.Member(i), Kind: wire.KindMemory, Cluster: name, NodeTag: "node-1",
			Host: s.Host, Port: s.Port, SentinelPort: c.Sentry[i].Port, Socket: s.Socket,
			Role: wire.RoleUnknown, Health: wire.HealthHealthy,
		})
	}
	return members
}

// Master is the server that says that it is the master, once exactly one does.
func (c *Cluster) Master() *Server {
	c.t.Helper()
	var master *Server
	Eventually(c.t, upWithin, "one master", func() error {
		master = nil
		n := 0
		for _, s := range c.Servers {
			rdb := redis.NewClient(s.options())
			role, err := rdb.Do(context.Background(), "ROLE").Slice()
			rdb.Close()
			if err == nil && role[0] == "master" {
				master = s
				n++
			}
		}
		if n != 1 {
			return fmt.Errorf("%d masters", n)
		}
		return nil
	})
	return master
}

// Failover makes the first Sentinel fail over and returns when another member
// is the only master.
func (c *Cluster) Failover() {
	c.t.Helper()
	was := c.Master()
	sentry := c.Sentry[0].Client()
	Eventually(c.t, 2*upWithin, "the failover", func() error {
		if c.Master() != was {
			return nil
		}
		// Refused while one is under way; one that was given up is begun again.
		err := sentry.Do(context.Background(), "SENTINEL", "FAILOVER", "mymaster").Err()
		return fmt.Errorf("%s is still the master (%v)", was.Addr(), err)
	})
}
