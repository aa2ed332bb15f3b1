package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/wire"
)

const (
	// writesStop is asked of how long writes stop when the leader dies, at most
	// and in the median.
	writesStop       = 3 * time.Second
	writesStopMedian = 2 * time.Second
	// settle is how long writes go well before the next kill.
	settle = time.Second
)

// measureFailover kills the leader with kill -9 again and again while one Go
// client writes, and looks at how long no write was acknowledged.
func measureFailover(ctx context.Context, b *bench) (err error) {
	b.say("starting %d agents", consensusMembers)
	s, err := startAgents(ctx, b.agent, consensusMembers)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.remove()) }()
	if err := s.target(ctx); err != nil {
		return err
	}
	var stops []time.Duration
	for k := range b.kills {
		stop, err := s.killLeader(ctx, k)
		if err != nil {
			return fmt.Errorf("kill %d: %w", k+1, err)
		}
		b.say("kill %d: writes stopped for %v", k+1, stop.Round(time.Millisecond))
		stops = append(stops, stop)
	}
	longest := slices.Max(stops)
	middle := median(stops)
	by := fmt.Sprintf("client.CreateMapping, default settings, %d times kill -9 of the leader of %d", b.kills, consensusMembers)
	b.rows.add(
		row{Group: "failover", Measured: "writes stop, longest", By: by, Result: longest.Seconds(), Unit: "s", Alloc: -1,
			Asked: &figure{Text: "≤ 3 s", Verdict: judge(longest <= writesStop)}},
		row{Group: "failover", Measured: "writes stop, median", By: by, Result: middle.Seconds(), Unit: "s", Alloc: -1,
			Asked: &figure{Text: "≤ 2 s", Verdict: judge(middle <= writesStopMedian)}})
	return nil
}

// killLeader returns the longest time without an acknowledged write around one
// kill, and starts the killed agent again.
func (s *agents) killLeader(ctx context.Context, k int) (time.Duration, error) {
	at, err := s.leader(ctx)
	if err != nil {
		return 0, err
	}
	c, err := s.survivors(at)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	last, longest, killed := time.Now(), time.Duration(0), time.Time{}
	for n := 0; killed.IsZero() || time.Since(killed) < 2*settle+longest; n++ {
		if killed.IsZero() && n > 50 {
			s.all[at].cmd.Process.Kill()
			killed = time.Now()
		}
		source := wire.SourceID(fmt.Sprintf("k%d-%d", k, n))
		if _, err := c.CreateMapping(ctx, source, wire.CreateMapping{NodeTag: benchTag, Cluster: benchCluster}); err != nil {
			return 0, err
		}
		now := time.Now()
		if !killed.IsZero() {
			longest = max(longest, now.Sub(last))
		}
		last = now
	}
	if err := s.all[at].stop(); err != nil {
		return 0, err
	}
	_, err = s.all[at].start(ctx)
	return longest, err
}

// survivors is a client of the agents that will be left.
func (s *agents) survivors(but int) (*client.Client, error) {
	var addrs []string
	for i, a := range s.all {
		if i != but {
			addrs = append(addrs, "unix://"+a.socket())
		}
	}
	return client.New(client.Config{Addrs: addrs})
}
