package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// redisBenchmark is one redis-benchmark command as a contestant. Its rate is
// what it says itself.
type redisBenchmark struct {
	to       target
	requests int
	args     []string // options and command, without where, -a, -c, -n and --csv
}

// command is what runs; the password, the port and the socket are the words
// that the notes below the table explain.
func (r redisBenchmark) command() string {
	where := "-p $PORT"
	if r.to.socket != "" {
		where = "-s $SOCK"
	}
	return fmt.Sprintf("redis-benchmark %s -a $PASS -c 1 -n %d --csv %s", where, r.requests, strings.Join(r.args, " "))
}

func (r redisBenchmark) contestant() contestant {
	return contestant{by: r.command(), slot: func(ctx context.Context, _ time.Duration) (sample, error) { return r.run(ctx) }}
}

// paced returns the command with as many requests as take about d by its own
// clock, in whole pipelines.
func (r redisBenchmark) paced(ctx context.Context, d time.Duration, pipeline int) (redisBenchmark, error) {
	pipelines := minCalls
	for {
		r.requests = pipelines * pipeline
		s, err := r.run(ctx)
		if err != nil && !errors.Is(err, errTooShort) {
			return r, err
		}
		more := 10.0
		if err == nil {
			more = min(more, s.rate*d.Seconds()/s.calls)
		}
		pipelines = max(minCalls, int(float64(pipelines)*more))
		if more < 2 {
			r.requests = pipelines * pipeline
			return r, nil
		}
	}
}

// errTooShort is a run within one millisecond, the finest that
// redis-benchmark's clock tells.
var errTooShort = errors.New("redis-benchmark was done too soon to tell its rate")

// runLimit ends a redis-benchmark that hangs.
const runLimit = time.Minute

func (r redisBenchmark) run(ctx context.Context) (sample, error) {
	out, err := r.output(ctx)
	if err != nil {
		return sample{}, err
	}
	s, err := parseCSV(out)
	s.calls = float64(r.requests)
	return s, err
}

func (r redisBenchmark) output(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	where := []string{"-p", strconv.Itoa(r.to.port)}
	if r.to.socket != "" {
		where = []string{"-s", r.to.socket}
	}
	args := append(where, "-a", r.to.password, "-c", "1", "-n", strconv.Itoa(r.requests), "--csv")
	cmd := exec.CommandContext(ctx, "redis-benchmark", append(args, r.args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(out), nil
}

// parseCSV reads what redis-benchmark --csv prints for one command: a line of
// column names, which older versions do not have, and a line of values. p50 is
// 0 without names.
func parseCSV(out string) (sample, error) {
	r := csv.NewReader(strings.NewReader(out))
	r.FieldsPerRecord = -1
	lines, err := r.ReadAll()
	if err != nil {
		return sample{}, fmt.Errorf("its output is no CSV: %w", err)
	}
	if len(lines) == 0 || len(lines[len(lines)-1]) < 2 {
		return sample{}, errors.New("it printed no result")
	}
	values := lines[len(lines)-1]
	s := sample{alloc: -1}
	if s.rate, err = strconv.ParseFloat(values[1], 64); err != nil || !(s.rate > 0) {
		return sample{}, fmt.Errorf("its rate %q is no number above zero", values[1])
	}
	if math.IsInf(s.rate, 1) {
		return sample{}, errTooShort
	}
	for i, name := range lines[0] {
		if name != "p50_latency_ms" || i >= len(values) {
			continue
		}
		ms, err := strconv.ParseFloat(values[i], 64)
		if err != nil {
			return sample{}, fmt.Errorf("its p50 %q is no number", values[i])
		}
		s.p50 = time.Duration(ms * float64(time.Millisecond))
	}
	return s, nil
}
