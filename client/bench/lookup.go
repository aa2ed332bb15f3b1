package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
)

const (
	// lookupP50 is asked of one lookup over the agent's unix socket.
	lookupP50 = 150 * time.Microsecond
	// lookupRate is asked of all lookups over TCP, in one second on 2 cores.
	lookupRate = 20_000
	// lookupConns are the connections over TCP, each with one request under way.
	lookupConns = 16
	// lookupSlots is how many slots long a lookup case is measured: its numbers
	// stand alone, so that they need no rounds.
	lookupSlots = 12
)

// lookup is one of the two requests that ask where a source writes to.
type lookup struct {
	name    string
	request []byte
}

func lookups() []lookup {
	return []lookup{
		{"GET /v1/sources/{source}", httpRequest("/v1/sources/"+string(benchSource), "")},
		{"POST /routing/getMapping", httpRequest("/routing/getMapping", fmt.Sprintf(`{"sourceId":%q}`, benchSource))},
	}
}

func measureLookup(ctx context.Context, b *bench) error {
	for _, l := range lookups() {
		b.say("lookup %s", l.name)
		if err := latency(ctx, b, l); err != nil {
			return fmt.Errorf("%s over the unix socket: %w", l.name, err)
		}
		if err := throughput(ctx, b, l); err != nil {
			return fmt.Errorf("%s over TCP: %w", l.name, err)
		}
	}
	return clientLookup(ctx, b)
}

// latency asks over the agent's unix socket, one request at a time.
func latency(ctx context.Context, b *bench, l lookup) error {
	h, err := dialHTTP(ctx, "unix", b.at.agent.socket(), l.request)
	if err != nil {
		return err
	}
	defer h.conn.Close()
	if err := h.conn.SetDeadline(time.Now().Add((lookupSlots+2)*b.slot + answerLimit)); err != nil {
		return err
	}
	if _, err := calls(1, h.do)(ctx, b.slot); err != nil {
		return err
	}
	s, err := calls(1, h.do)(ctx, lookupSlots*b.slot)
	if err != nil {
		return err
	}
	b.rows.add(latencyRow(l.name, "a bare HTTP/1.1 connection", s))
	return nil
}

func latencyRow(name, by string, s sample) row {
	return row{
		Group: "lookup", Measured: "lookup, agent's unix socket: " + name, By: by,
		Result: s.rate, Unit: "lookups/s", P50: s.p50, Alloc: -1,
		Asked: &figure{Text: "p50 ≤ 150 µs", Verdict: judge(s.p50 <= lookupP50)},
	}
}

// clientLookup is the same through the Go client.
func clientLookup(ctx context.Context, b *bench) error {
	c := b.at.db.Client()
	s, err := calls(1, func(ctx context.Context) error {
		_, err := c.Source(ctx, benchSource)
		return err
	})(ctx, lookupSlots*b.slot)
	if err != nil {
		return fmt.Errorf("client.Source: %w", err)
	}
	r := latencyRow("client.Source", "the Go client, decoding", s)
	r.Alloc, r.Asked = s.alloc, nil
	b.rows.add(r)
	return nil
}

// throughput asks over TCP on several connections and says who used how much
// of the machine.
func throughput(ctx context.Context, b *bench, l lookup) error {
	pid := b.at.agent.cmd.Process.Pid
	agentBefore, err1 := cpuTime(pid)
	ownBefore, err2 := ownCPU()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	start := time.Now()
	count, err := hammer(ctx, b.at.address, l.request, lookupSlots*b.slot)
	took := time.Since(start)
	if err != nil {
		return err
	}
	agentAfter, err1 := cpuTime(pid)
	ownAfter, err2 := ownCPU()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	cores := func(d time.Duration) float64 { return d.Seconds() / took.Seconds() }
	rate := float64(count) / took.Seconds()
	b.rows.add(row{
		Group: "lookup", Measured: "lookup, TCP: " + l.name,
		By: fmt.Sprintf("%d bare connections; cores used: agent %.2f, this generator %.2f",
			lookupConns, cores(agentAfter-agentBefore), cores(ownAfter-ownBefore)),
		Result: rate, Unit: "lookups/s", Alloc: -1,
		Asked: &figure{Text: "≥ 20,000/s", Verdict: judge(rate >= lookupRate)},
	})
	return nil
}

// hammer counts the answers on all connections within d.
func hammer(ctx context.Context, addr string, request []byte, d time.Duration) (int, error) {
	conns := make([]*rawHTTP, lookupConns)
	for i := range conns {
		h, err := dialHTTP(ctx, "tcp", addr, request)
		if err != nil {
			return 0, err
		}
		defer h.conn.Close()
		conns[i] = h
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	counts, errs := make([]int, lookupConns), make([]error, lookupConns)
	var all sync.WaitGroup
	for i, h := range conns {
		all.Go(func() { counts[i], errs[i] = h.repeat(ctx, d+answerLimit) })
	}
	all.Wait()
	total := 0
	for _, n := range counts {
		total += n
	}
	return total, errors.Join(errs...)
}

// repeat counts exchanges until ctx ends; limit bounds the last of them.
func (h *rawHTTP) repeat(ctx context.Context, limit time.Duration) (int, error) {
	if err := h.conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return 0, err
	}
	for n := 0; ; n++ {
		if ctx.Err() != nil {
			return n, nil
		}
		if err := h.do(ctx); err != nil {
			return n, err
		}
	}
}

// ownCPU is what this process has used.
func ownCPU() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
