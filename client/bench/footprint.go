package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/wire"
)

const (
	residentAsked = 60.0 // MiB
	startAsked    = 2 * time.Second
	// idleMembers is the size of the cluster beside which the agent idles.
	idleMembers = 3
)

// measureAgent takes how long an agent needs to be ready, on an empty data
// directory and on the one that it left, and what memory it keeps.
func measureAgent(ctx context.Context, b *bench) error {
	var fresh, again []time.Duration
	for i := range b.starts {
		b.say("start %d of %d", i+1, b.starts)
		if err := startTwice(ctx, b, &fresh, &again); err != nil {
			return err
		}
	}
	b.rows.add(startRow("agent, start to ready, no data", fresh), startRow("agent, start to ready, its data again", again))
	return measureIdle(ctx, b)
}

func startTwice(ctx context.Context, b *bench, fresh, again *[]time.Duration) (err error) {
	a, err := newAgentProcess(b.agent)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.remove()) }()
	for _, times := range []*[]time.Duration{fresh, again} {
		took, err := a.start(ctx)
		if err != nil {
			return err
		}
		*times = append(*times, took)
		if err := a.stop(); err != nil {
			return err
		}
	}
	return nil
}

func startRow(measured string, times []time.Duration) row {
	n, m := len(times), median(times)
	return row{
		Group: "agent", Measured: measured, By: fmt.Sprintf("median of %d, spawn to /readyz 200", n),
		Result: float64(m) / 1e6, Unit: "ms", Alloc: -1,
		Asked: &figure{Text: "≤ 2 s", Verdict: judge(m <= startAsked)},
	}
}

func measureIdle(ctx context.Context, b *bench) (err error) {
	a, err := newAgentProcess(b.agent)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.remove()) }()
	if _, err := a.start(ctx); err != nil {
		return err
	}
	if err := residentRow(ctx, b, a, "no cluster"); err != nil {
		return err
	}
	c, err := client.New(client.Config{Addrs: []string{"unix://" + a.socket()}})
	if err != nil {
		return err
	}
	defer c.Close()
	spec := wire.CreateCluster{Name: benchCluster, ClusterSpec: wire.ClusterSpec{NodeTag: benchTag, Replicas: idleMembers, Quorum: idleMembers/2 + 1}}
	made, err := c.CreateCluster(ctx, spec, createWithin)
	if err != nil {
		return err
	}
	if made.Status.Phase != wire.PhaseReady {
		return fmt.Errorf("the cluster is %s: %s", made.Status.Phase, made.Status.Reason)
	}
	return residentRow(ctx, b, a, fmt.Sprintf("one cluster of %d", idleMembers))
}

// residentRow leaves the agent alone and then reads its memory.
func residentRow(ctx context.Context, b *bench, a *agentProcess, with string) error {
	b.say("idle for %v with %s", b.idle, with)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(b.idle):
	}
	mib, err := residentMiB(a.cmd.Process.Pid)
	if err != nil {
		return err
	}
	b.rows.add(row{
		Group: "agent", Measured: "agent, memory when idle, " + with, By: fmt.Sprintf("VmRSS after %v", b.idle),
		Result: mib, Unit: "MiB", Alloc: -1,
		Asked: &figure{Text: "≤ 60 MiB", Verdict: judge(mib <= residentAsked)},
	})
	return nil
}
