package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/framedb/framedb/client/wire"
)

const (
	// joinFirst is the pause after the first round of joining; each later one is
	// twice as long, up to joinAlone while no other agent is alive and joinSlow
	// while one is. Lower: agents that start at once, or halves of a cluster that
	// were apart, meet sooner; higher: less is asked of addresses that are dead.
	joinFirst = 500 * time.Millisecond
	joinAlone = 2 * time.Second
	joinSlow  = 15 * time.Second
	// joinStep is the pause between the addresses of one name or file, so that
	// of hundreds only few are asked until they tell of the others. All of a
	// hundred dead ones are behind us after a second.
	joinStep = 10 * time.Millisecond
	// maxAsked bounds how many are asked at the same time.
	maxAsked = 64
	// maxSeeds bounds the addresses of one name or file.
	maxSeeds = 1024
	// goneAsked is how many of those that are gone are asked in each round.
	goneAsked = 3
	// settling is in how many rounds, the first 16 s, one is asked who is alive.
	// When hundreds start at once, gossip misses some of them here and there, and
	// memberlist by itself exchanges states every 30 s, of 300 agents every 150.
	settling      = 6
	lookupTimeout = 10 * time.Second
	filePrefix    = "file:"
)

// Resolver looks up the addresses of a name; net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// joiner asks those at Config.Join who else there is. It goes on where nothing
// is missing, for two halves of a cluster that were apart until memberlist
// forgot the other one know only living agents; so it asks some that are gone as
// well. Those that are known to be alive are not asked, but for one in the first
// rounds.
type joiner struct {
	log      *slog.Logger
	self     wire.NodeName
	join     []string
	resolver Resolver
	members  *members
	exchange func(addr string) error

	slots chan struct{}  // holds one for each that is being asked
	work  sync.WaitGroup // lookups and asks

	mu      sync.Mutex
	busy    map[string]bool   // guarded by mu: seeds being looked up, addresses being asked
	reasons map[string]string // guarded by mu: by entry of join, why it led to nobody last
}

func newJoiner(log *slog.Logger, cfg Config, members *members, exchange func(addr string) error) *joiner {
	j := &joiner{
		log: log, self: cfg.Node, join: cfg.Join, resolver: cfg.Resolver, members: members, exchange: exchange,
		slots: make(chan struct{}, maxAsked), busy: map[string]bool{}, reasons: map[string]string{},
	}
	if j.resolver == nil {
		j.resolver = net.DefaultResolver
	}
	return j
}

// run joins until ctx ends. No round waits for what the one before it began, so
// that the dead hold nobody up.
func (j *joiner) run(ctx context.Context) {
	defer j.work.Wait()
	warned := false
	for round := 0; ; round++ {
		j.round(ctx, round)
		if !sleep(ctx, joinPause(round, j.members.alive() == 1)) {
			return
		}
		err := j.err()
		if err != nil && !warned {
			j.log.Warn("no other agent answered; going on alone, and asking again", "error", err)
		}
		if err == nil && warned {
			j.log.Info("met other agents", "alive", j.members.alive())
		}
		warned = err != nil
	}
}

// joinPause is a quarter longer or shorter at random.
func joinPause(round int, alone bool) time.Duration {
	longest := joinSlow
	if alone {
		longest = joinAlone
	}
	pause := min(joinFirst<<min(round, 8), longest)
	return pause*3/4 + rand.N(pause/2)
}

func (j *joiner) round(ctx context.Context, round int) {
	for _, entry := range j.join {
		path, isFile := strings.CutPrefix(entry, filePrefix)
		if !isFile {
			j.seed(ctx, entry, entry)
			continue
		}
		j.once(entry, entry, func() error {
			seeds, err := readSeeds(path)
			each(ctx, seeds, func(seed string) { j.seed(ctx, entry, seed) })
			return err
		})
	}
	for _, addr := range j.members.some(goneAsked, j.self, false) {
		j.ask(ctx, "", addr)
	}
	if round < settling {
		for _, addr := range j.members.some(1, j.self, true) {
			j.once("", addr, func() error { return j.exchange(addr) })
		}
	}
}

// seed asks whom host:port stands for.
func (j *joiner) seed(ctx context.Context, entry, seed string) {
	if _, err := netip.ParseAddrPort(seed); err == nil {
		j.ask(ctx, entry, seed)
		return
	}
	j.once(entry, seed, func() error {
		addrs, err := lookup(ctx, j.resolver, seed)
		each(ctx, addrs, func(addr string) { j.ask(ctx, entry, addr) })
		return err
	})
}

// ask exchanges states with who gossips at addr, unless that one is known.
func (j *joiner) ask(ctx context.Context, entry, addr string) {
	if j.members.livesAt(addr) {
		return
	}
	j.once(entry, addr, func() error {
		select {
		case j.slots <- struct{}{}:
			defer func() { <-j.slots }()
		case <-ctx.Done():
			return ctx.Err()
		}
		return j.exchange(addr)
	})
}

// once does something in the background, unless it is being done already, and
// notes for the entry of join why it failed.
func (j *joiner) once(entry, key string, do func() error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.busy[key] {
		return
	}
	j.busy[key] = true
	j.work.Go(func() {
		err := do()
		j.mu.Lock()
		defer j.mu.Unlock()
		delete(j.busy, key)
		if err != nil && entry != "" {
			j.reasons[entry] = err.Error()
		}
	})
}

// err tells why nobody else is alive, nil if somebody is or is not known to be
// missing.
func (j *joiner) err() error {
	if j.members.alive() > 1 {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.reasons) == 0 {
		return nil
	}
	var reasons []string
	for _, entry := range slices.Sorted(maps.Keys(j.reasons)) {
		reasons = append(reasons, fmt.Sprintf("%s: %s", entry, j.reasons[entry]))
	}
	return wire.Errorf(wire.CodeUnavailable, "no agent answered: %s", strings.Join(reasons, "; "))
}

// each calls do in random order, one each joinStep, until ctx ends.
func each(ctx context.Context, seeds []string, do func(string)) {
	rand.Shuffle(len(seeds), func(i, k int) { seeds[i], seeds[k] = seeds[k], seeds[i] })
	for _, seed := range seeds {
		do(seed)
		if !sleep(ctx, joinStep) {
			return
		}
	}
}

// checkSeed refuses what cannot stand in Config.Join.
func checkSeed(seed string) error {
	if path, ok := strings.CutPrefix(seed, filePrefix); ok {
		if path == "" {
			return wire.Errorf(wire.CodeInvalidArgument, "%q names no file: give file:path", seed)
		}
		return nil
	}
	host, port, err := net.SplitHostPort(seed)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || host == "" || bad != nil || n == 0 {
		return wire.Errorf(wire.CodeInvalidArgument, "%q: give host:port, or file:path of a file with one on each line", seed)
	}
	return nil
}

// readSeeds returns what can be used even when it returns an error.
func readSeeds(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var seeds []string
	for n, line := range entries(b) {
		if strings.HasPrefix(line, filePrefix) || checkSeed(line) != nil {
			err = fmt.Errorf("%s: line %d: %q: give host:port", path, n, line)
		} else if len(seeds) < maxSeeds {
			seeds = append(seeds, line)
		}
	}
	return seeds, err
}

// lookup returns each IP address that the host of a seed has now, with its port.
func lookup(ctx context.Context, resolver Resolver, seed string) ([]string, error) {
	host, port, err := net.SplitHostPort(seed)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	ips, err := resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var addrs []string
	for _, ip := range ips[:min(len(ips), maxSeeds)] {
		addrs = append(addrs, net.JoinHostPort(ip.Unmap().String(), port))
	}
	return addrs, nil
}

// sleep returns false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
