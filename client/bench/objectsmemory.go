package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/pool"
)

// transferOf makes this program a client of its own, whose memory is looked at:
// "<database's socket> <put or get> <bytes>".
const transferOf = "FRAMEDB_BENCH_TRANSFER"

// largeTransfer is the size of the object, in bytes.
const largeTransfer = 2 << 30

// resident runs a large transfer in a process of its own and reads how large it
// became.
func (o *objectsBench) resident(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, verb := range []string{"put", "get"} {
		o.say("%s an object of 2 GiB in a process of its own", verb)
		cmd := exec.CommandContext(ctx, self)
		cmd.Env = append(foreignEnv(), fmt.Sprintf("%s=%s %s %d", transferOf, o.server.socket, verb, int64(largeTransfer)))
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("%s in a process of its own: %w", verb, err)
		}
		mib, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
		if err != nil {
			return err
		}
		o.rows.add(row{
			Group: "objects", Measured: fmt.Sprintf("client's memory, %s of 2 GiB", verb), By: "VmHWM of a process that does nothing else",
			Result: mib, Unit: "MiB", Alloc: -1,
			Asked: &figure{Text: "≤ 64 MiB", Verdict: judge(mib <= transferAsked)},
		})
	}
	return nil
}

// transferAlone is that process.
func transferAlone(ctx context.Context, task string, stdout io.Writer) error {
	var socket, verb string
	var size int64
	if _, err := fmt.Sscanf(task, "%s %s %d", &socket, &verb, &size); err != nil {
		return err
	}
	p := pool.New(pool.Config{Locator: &database{socket: socket}})
	defer p.Close()
	store := p.Store(benchFrameDB)
	var err error
	if verb == "put" {
		_, err = store.Put(ctx, "large", io.LimitReader(same{}, size), objects.PutOptions{})
	} else {
		err = readOnce(ctx, store, size)
	}
	if err != nil {
		return err
	}
	mib, err := largestMiB()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, mib)
	return err
}

func readOnce(ctx context.Context, store *objects.Store, size int64) error {
	r, err := store.Get(ctx, "large", objects.GetOptions{})
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := io.Copy(io.Discard, r)
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes came, not %d", n, size)
	}
	return err
}

// same reads without end.
type same struct{}

func (same) Read(p []byte) (int, error) { return len(p), nil }

// largestMiB is VmHWM of this process: the most that it ever had in memory.
func largestMiB() (float64, error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, found := strings.CutPrefix(line, "VmHWM:"); found {
			var kb float64
			_, err := fmt.Sscanf(rest, "%g kB", &kb)
			return kb / 1024, err
		}
	}
	return 0, errors.New("/proc/self/status has no VmHWM")
}

// cores is the time that all cores were busy and idle, in jiffies.
type cores struct{ busy, idle float64 }

// busyCores reads /proc/stat; zero where there is none.
func busyCores() (c cores) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return c
	}
	line, _, _ := strings.Cut(string(b), "\n")
	for i, field := range strings.Fields(line) {
		n, err := strconv.ParseFloat(field, 64)
		switch {
		case err != nil, i > 8: // "cpu"; guests are counted in user
		case i == 4, i == 5: // idle, waiting for a disk
			c.idle += n
		default:
			c.busy += n
		}
	}
	return c
}

// since is the part of the cores' time that was busy.
func (c cores) since(before cores) float64 {
	busy, idle := c.busy-before.busy, c.idle-before.idle
	if busy+idle <= 0 {
		return 0
	}
	return busy / (busy + idle)
}
