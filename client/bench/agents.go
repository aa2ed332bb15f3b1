package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/wire"
)

// agents are several agents on this machine that form one FrameDB, agent i on
// 127.0.0.i with node name and tag node-i.
type agents struct {
	all    []*agentProcess
	client *client.Client // to all of them
}

// Ports of each agent, away from those of a FrameDB of this machine's user.
const (
	agentsAPIPort    = 15000
	agentsRaftPort   = 15001
	agentsGossipPort = 15002
)

func apiAddr(i int) string { return fmt.Sprintf("127.0.0.%d:%d", i, agentsAPIPort) }

// startAgents returns when all are ready; the caller removes them.
func startAgents(ctx context.Context, binary string, n int) (*agents, error) {
	s := &agents{}
	var addrs []string
	for i := 1; i <= n; i++ {
		a, err := newAgentProcess(binary)
		if err != nil {
			return nil, errors.Join(err, s.remove())
		}
		host := fmt.Sprint("127.0.0.", i)
		a.args = []string{"--advertise", host, "--listen", apiAddr(i), "--node-name", fmt.Sprint("node-", i), "--node-tag", fmt.Sprint("node-", i),
			"--join", fmt.Sprint("127.0.0.1:", agentsGossipPort), "--expect", fmt.Sprint(n)}
		a.env = []string{fmt.Sprintf("FRAMEDB_RAFT_BIND=%s:%d", host, agentsRaftPort), fmt.Sprintf("FRAMEDB_GOSSIP_BIND=%s:%d", host, agentsGossipPort)}
		s.all = append(s.all, a)
		addrs = append(addrs, "unix://"+a.socket())
	}
	for _, a := range s.all {
		if err := a.spawn(); err != nil {
			return nil, errors.Join(err, s.remove())
		}
	}
	for _, a := range s.all {
		if err := a.waitReady(ctx); err != nil {
			return nil, errors.Join(err, s.remove())
		}
	}
	c, err := client.New(client.Config{Addrs: addrs})
	if err != nil {
		return nil, errors.Join(err, s.remove())
	}
	s.client = c
	return s, nil
}

func (s *agents) pids() (all []int) {
	for _, a := range s.all {
		all = append(all, a.cmd.Process.Pid)
	}
	return all
}

func (s *agents) remove() error {
	if s.client != nil {
		s.client.Close()
	}
	var err error
	for _, a := range s.all {
		err = errors.Join(err, a.remove())
	}
	return err
}

// target makes a cluster for mappings to lead to; it does not wait for Redis.
func (s *agents) target(ctx context.Context) error {
	_, err := s.client.CreateCluster(ctx, wire.CreateCluster{Name: benchCluster,
		ClusterSpec: wire.ClusterSpec{NodeTag: benchTag, Replicas: 1, Quorum: 1}}, createWithin)
	return err
}

// leader is the agent that leads, by its own word.
func (s *agents) leader(ctx context.Context) (int, error) {
	var last error
	for end := time.Now().Add(readyWithin); time.Now().Before(end); {
		for i, a := range s.all {
			if a.cmd == nil {
				continue
			}
			st, err := raftStatus(ctx, a)
			if last = err; err == nil && st.Leader != "" && st.Leader == st.Node {
				return i, nil
			}
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return 0, fmt.Errorf("no agent leads: %w", last)
}

func raftStatus(ctx context.Context, a *agentProcess) (st wire.RaftStatus, err error) {
	hc := socketHTTP(a.socket())
	defer hc.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent/v1/raft", nil)
	if err != nil {
		return st, err
	}
	res, err := hc.Do(req)
	if err != nil {
		return st, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return st, fmt.Errorf("/v1/raft says %s", res.Status)
	}
	return st, json.NewDecoder(res.Body).Decode(&st)
}

// valueSize is the metadata of a mapping, and the value of an etcd key.
const valueSize = 256

// metadata is what a writer's mapping holds, padded to valueSize.
func metadata() []byte {
	head := `{"sizes":["1920x1080","608x608","416x416"],"ref_count":2,"note":"`
	return []byte(head + strings.Repeat("x", valueSize-len(head)-2) + `"}`)
}
