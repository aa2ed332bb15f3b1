// Command bench measures FrameDB against named peers, all in one run on one
// machine, and prints one table.
//
// # How numbers are taken
//
// What is compared runs in rounds: in each round every contestant has one slot
// of the same length, one after the other, and the order turns round by round
// (A B C, C B A, …), so that a machine that becomes slower or faster favours
// none. FrameDB and go-redis with frames below 1 MiB divide their slots into
// turns of 5 ms (A B, B A, …): such a call is mostly the system's waking of one
// process by the other, whose cost depends on the cores that they happen to be
// on, and that changes in tenths of a second.
//
// A number is the median of its rounds. A ratio is FrameDB's rate over the
// peer's in the same round (the median of its turns' where both take turns), and
// of these the median; behind it stands between what it lies with 95 %
// confidence. A figure is met when the median reaches it, "within noise" when
// only the upper end does, and missed else. Before each slot or turn of this
// process its garbage is collected, so that nobody pays for another's; whom that
// spares is go-redis, which makes more of it. There is one warm-up slot that
// does not count.
//
// Both sides have one connection, one call under way at a time, the same
// server, the same keys and the same transport; over TCP the connections are
// new in each round. FrameDB's side is what an application gets from
// client.Open; for TCP, which an application on the same node never gets, it is
// the same code that is told of no socket.
//
// CPU/CALL and ALLOC/CALL are the processor time, in user and system mode, that
// this process used and the bytes that it allocated in a slot, divided by its
// calls. Both are the client's side alone, and steadier than the rate.
//
// # What it runs
//
// Its own agents (--agent) on short temporary directories with real Redis,
// each ended by its PID. It exits 0 whether figures are met or not, 1 when
// something failed to run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if task := os.Getenv(transferOf); task != "" {
		err = transferAlone(ctx, task, os.Stdout)
	} else {
		err = run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	}
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	groups []string
	agent  string
	match  string
	rounds int
	slot   time.Duration
	starts int
	kills  int
	idle   time.Duration
	json   bool
	prof   string
}

// group is one part of the table.
type group struct {
	name    string
	measure func(context.Context, *bench) error
	server  bool // it needs the agent with its cluster
}

// groups are all there are, in the order in which they run. The agent's own
// footprint comes first, before anything else uses the machine.
func groups() []group {
	return []group{
		{"agent", measureAgent, false},
		{"data", measureData, true},
		{"decr", measureDecrement, true},
		{"lookup", measureLookup, true},
		{"objects", measureObjects, false},
		{"consensus", measureConsensus, false},
		{"failover", measureFailover, false},
	}
}

func parseFlags(args []string, stderr io.Writer) (options, error) {
	var names []string
	for _, g := range groups() {
		names = append(names, g.name)
	}
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	list := f.String("run", strings.Join(names, ","), "groups to run")
	f.StringVar(&o.match, "match", "", "of the data group, only what has this in its name, such as \"6 MiB, TCP\"")
	f.StringVar(&o.agent, "agent", "bin/framedb", "the framedb binary")
	f.IntVar(&o.rounds, "rounds", 15, "rounds of each comparison, 1 to 100")
	f.DurationVar(&o.slot, "slot", 120*time.Millisecond, "how long each contestant runs in a round, 10ms to 10s")
	f.IntVar(&o.starts, "starts", 5, "starts of the agent, 1 to 20")
	f.IntVar(&o.kills, "kills", 20, "kills of the leader, 1 to 100")
	f.DurationVar(&o.idle, "idle", 10*time.Second, "how long the agent is left alone before its memory is read, at most 5m")
	f.BoolVar(&o.json, "json", false, "print JSON instead of the table")
	f.StringVar(&o.prof, "cpuprofile", "", "write a CPU profile of this process, the clients' side, to a file")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.groups = strings.Split(*list, ",")
	for _, g := range o.groups {
		if !slices.Contains(names, g) {
			return o, fmt.Errorf("-run: there is no group %q: give some of %s", g, strings.Join(names, ","))
		}
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("%q is no flag", f.Arg(0))
	case o.rounds < 1 || o.rounds > 100:
		return o, fmt.Errorf("-rounds: %d is out of range: give 1 to 100", o.rounds)
	case o.slot < 10*time.Millisecond || o.slot > 10*time.Second:
		return o, fmt.Errorf("-slot: %v is out of range: give 10ms to 10s", o.slot)
	case o.starts < 1 || o.starts > 20:
		return o, fmt.Errorf("-starts: %d is out of range: give 1 to 20", o.starts)
	case o.kills < 1 || o.kills > 100:
		return o, fmt.Errorf("-kills: %d is out of range: give 1 to 100", o.kills)
	case o.idle < 0 || o.idle > 5*time.Minute:
		return o, fmt.Errorf("-idle: %v is out of range: give 0s to 5m", o.idle)
	}
	return o, nil
}

// bench is what the groups share.
type bench struct {
	options
	rows   table
	stderr io.Writer
	at     *setup // nil for groups that need no server
}

// say tells the person who waits what is going on.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.stderr, "bench: "+format+"\n", args...)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	opts, err := parseFlags(args, stderr)
	if err != nil {
		return err
	}
	stopProfile, err := startProfile(opts.prof)
	if err != nil {
		return err
	}
	defer stopProfile()
	b := &bench{options: opts, stderr: stderr}
	b.rows.notes = []string{machine()}
	err = b.measure(ctx)
	switch {
	case len(b.rows.rows) == 0:
		return err
	case opts.json:
		return errors.Join(err, b.rows.writeJSON(stdout))
	}
	return errors.Join(err, b.rows.write(stdout))
}

// machine says what the numbers were taken on. What else ran on it shows in the
// load.
func machine() string {
	word := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			return "unknown"
		}
		return strings.Fields(string(b) + " -")[0]
	}
	load, congestion := word("/proc/loadavg"), word("/proc/sys/net/ipv4/tcp_congestion_control")
	return fmt.Sprintf("%d cores, %s/%s, %s, TCP congestion control %s, load %s at the start.",
		runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version(), congestion, load)
}

// measure runs the groups. What one could not measure does not keep the others
// from running; that the person wants to stop does.
func (b *bench) measure(ctx context.Context) (err error) {
	defer func() {
		if b.at != nil {
			err = errors.Join(err, b.at.close())
		}
	}()
	for _, g := range groups() {
		if !slices.Contains(b.groups, g.name) {
			continue
		}
		if g.server && b.at == nil {
			at, e := newSetup(ctx, b)
			if e != nil {
				return errors.Join(err, e)
			}
			b.at = at
			b.rows.notes = append(b.rows.notes, at.notes()...)
		}
		if e := g.measure(ctx, b); e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", g.name, e))
		}
		if ctx.Err() != nil {
			return err
		}
	}
	return err
}
