package raftstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/framedb/framedb/client/wire"
)

// children are what this test binary does instead of testing when childEnv
// names one of them: processes of their own, to be limited and killed.
var children = map[string]func(dir string) error{
	"limited":          childLimited,
	"limited-open":     childLimitedOpen,
	"limited-snapshot": childLimitedSnapshot,
	"writer":           childWriter,
}

const (
	childEnv = "RAFTSTORE_TEST_CHILD"
	dirEnv   = "RAFTSTORE_TEST_DIR"
)

func childMain(child func(string) error) {
	if err := child(os.Getenv(dirEnv)); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

func command(ctx context.Context, t *testing.T, child, dir string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), childEnv+"="+child, dirEnv+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// runChild runs a child to its end and returns what it said.
func runChild(t *testing.T, child, dir string) string {
	t.Helper()
	out, err := command(within(t), t, child, dir).CombinedOutput()
	if err != nil {
		t.Fatalf("child %s: %v\n%s", child, err, out)
	}
	return string(out)
}

// childWriter writes from several goroutines and says each source once it was
// acknowledged, until it is killed.
func childWriter(dir string) error {
	ctx := context.Background()
	s, err := Open(testConfig(dir))
	if err != nil {
		return err
	}
	if err := s.WaitReady(ctx); err != nil {
		return err
	}
	if _, err := s.Propose(ctx, "cluster", create("a")); err != nil {
		return err
	}
	start := s.View().CountMappings()
	var n atomic.Int64
	failed := make(chan error)
	for range 4 {
		go func() {
			for {
				source := wire.SourceID(fmt.Sprint("s", start, "-", n.Add(1)))
				if _, err := s.Propose(ctx, "", mapping(source)); err != nil {
					failed <- err
					return
				}
				fmt.Println(source) // one write(2) a line: what was said counts
			}
		}()
	}
	return <-failed
}

// TestAKilledAgentLosesNothingAcknowledged kills a writer with SIGKILL in the
// middle of its writes, several times over.
func TestAKilledAgentLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	ctx, dir := within(t), t.TempDir()
	var acked []wire.SourceID
	for round := range 4 {
		acked = append(acked, killWriter(t, ctx, dir, 100+37*round)...)
		s := open(t, ctx, testConfig(dir))
		for _, source := range acked {
			if _, ok := s.View().Mapping(source, "node-1"); !ok {
				t.Errorf("round %d: %s was acknowledged and is gone", round, source)
			}
		}
		if round == 1 {
			snapshotNow(t, s)
		}
		closeStore(t, s)
	}
}

// killWriter runs a writer, kills it after so many acknowledgements and returns
// all that were given.
func killWriter(t *testing.T, ctx context.Context, dir string, after int) []wire.SourceID {
	t.Helper()
	cmd := command(ctx, t, "writer", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acked []wire.SourceID
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			break // a last line that was cut off does not count
		}
		if !strings.HasPrefix(line, "s") {
			t.Fatalf("writer said %q", line)
		}
		acked = append(acked, wire.SourceID(strings.TrimSpace(line)))
		if len(acked) == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	_ = cmd.Wait() // killed
	if len(acked) < after {
		t.Fatalf("the writer ended after %d acknowledgements", len(acked))
	}
	return acked
}
