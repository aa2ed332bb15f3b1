package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/framedb/framedb/client/wire"
)

const (
	// consensusMembers are the agents, and etcd's members.
	consensusMembers = 3
	// consensusClients write at the same time, each with one change under way.
	consensusClients = 64
	// consensusRate is asked of acknowledged mapping writes.
	consensusRate = 5000
	// consensusSlot is how long each side writes in a round.
	consensusSlot = 3 * time.Second
	// consensusRounds are few: each side writes tens of thousands in a slot.
	consensusRounds = 5
)

// measureConsensus compares acknowledged writes with etcd's, both with three
// members on this machine and fsync on.
func measureConsensus(ctx context.Context, b *bench) (err error) {
	b.say("starting %d agents", consensusMembers)
	ours, err := startAgents(ctx, b.agent, consensusMembers)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ours.remove()) }()
	if err := ours.target(ctx); err != nil {
		return err
	}
	framedb, err := mappers(ctx, ours.pids())
	if err != nil {
		return err
	}
	all := []contestant{{by: fmt.Sprintf("POST /v1/sources/{source}/mappings, %d connections over all agents", consensusClients), slot: framedb}}
	theirs, err := startEtcd(ctx, consensusMembers)
	switch {
	case errors.Is(err, errNoEtcd):
		b.say("%v", err)
	case err != nil:
		return err
	default:
		defer func() { err = errors.Join(err, theirs.remove()) }()
		put, err := putters(ctx, theirs)
		if err != nil {
			return err
		}
		all = append(all, contestant{by: fmt.Sprintf("etcd: KV/Put over gRPC, %d connections over all members", consensusClients), slot: put})
	}
	b.say("writing")
	got, err := compare(ctx, consensusRounds, consensusSlot, func(context.Context) error { return nil }, all)
	if err != nil {
		return err
	}
	return b.addConsensus(all, got)
}

func (b *bench) addConsensus(all []contestant, got [][]sample) error {
	what := fmt.Sprintf("acknowledged writes of %d bytes, %d members, fsync on", valueSize, consensusMembers)
	ours := typical(got[0])
	b.rows.add(row{
		Group: "consensus", Measured: what, By: all[0].by, Result: ours.rate, Unit: "writes/s", P50: ours.p50, CPU: ours.cpu, Alloc: -1,
		Asked: &figure{Text: fmt.Sprintf("≥ %s/s", thousands(consensusRate)), Verdict: judge(ours.rate >= consensusRate)},
	})
	if len(all) < 2 {
		return nil
	}
	theirs, ratio := typical(got[1]), ratios(got[0], got[1])
	b.rows.add(row{
		Group: "consensus", Measured: what, By: all[1].by, Result: theirs.rate, Unit: "writes/s", P50: theirs.p50, CPU: theirs.cpu, Alloc: -1,
		Ratio: &ratio, Asked: atLeast(ratio, 1),
	})
	return nil
}

// writer is one connection with its own way to make the n-th write.
type writer func(n int) error

// together runs all writers for d, each with a first number that no earlier
// slot used. The processor time is that of the processes that are written to.
func together(writers []writer, pids ...int) func(context.Context, time.Duration) (sample, error) {
	next := make([]int, len(writers))
	return func(ctx context.Context, d time.Duration) (sample, error) {
		took := make([][]time.Duration, len(writers))
		errs := make([]error, len(writers))
		var all sync.WaitGroup
		used, err := cpuOfAll(pids)
		if err != nil {
			return sample{}, err
		}
		begin := time.Now()
		for i, write := range writers {
			all.Go(func() {
				for time.Since(begin) < d && ctx.Err() == nil && errs[i] == nil {
					start := time.Now()
					errs[i] = write(next[i])
					took[i] = append(took[i], time.Since(start))
					next[i]++
				}
			})
		}
		all.Wait()
		spent := time.Since(begin)
		total, err := cpuOfAll(pids)
		if err != nil {
			return sample{}, err
		}
		times := slices.Concat(took...)
		n := float64(len(times))
		return sample{calls: n, rate: n / spent.Seconds(), p50: median(times), cpu: time.Duration(float64(total-used) / n), alloc: -1}, errors.Join(errs...)
	}
}

func cpuOfAll(pids []int) (all time.Duration, err error) {
	for _, pid := range pids {
		used, err := cpuTime(pid)
		if err != nil {
			return 0, err
		}
		all += used
	}
	return all, nil
}

// mappers write mappings through the agents in turn. As the Go client does,
// they say that they carry the index of their changes themselves.
func mappers(ctx context.Context, pids []int) (func(context.Context, time.Duration) (sample, error), error) {
	body := fmt.Appendf(nil, `{"node_tag":%q,"cluster":%q,"metadata":%s}`, benchTag, benchCluster, metadata())
	var writers []writer
	for i := range consensusClients {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", apiAddr(1+i%consensusMembers))
		if err != nil {
			return nil, err
		}
		in := bufio.NewReaderSize(conn, 16<<10)
		writers = append(writers, func(n int) error {
			if err := conn.SetDeadline(time.Now().Add(answerLimit)); err != nil {
				return err
			}
			source := wire.SourceID(fmt.Sprintf("w%d-%d", i, n))
			if _, err := fmt.Fprintf(conn, "POST /v1/sources/%s/mappings HTTP/1.1\r\nHost: agent\r\n%s: 0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
				source, wire.HeaderMinIndex, len(body), body); err != nil {
				return err
			}
			return readAnswer(in)
		})
	}
	return together(writers, pids...), nil
}

// putters write keys through etcd's members in turn.
func putters(ctx context.Context, e *etcd) (func(context.Context, time.Duration) (sample, error), error) {
	value := metadata()
	var writers []writer
	for i := range consensusClients {
		c, err := dialEtcd(ctx, e.clients[i%len(e.clients)])
		if err != nil {
			return nil, err
		}
		writers = append(writers, func(n int) error { return c.put(fmt.Appendf(nil, "w%d-%d", i, n), value) })
	}
	return together(writers, e.pids()...), nil
}
