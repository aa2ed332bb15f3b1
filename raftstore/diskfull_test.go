package raftstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// fullDisk makes every write of the store fail as a full disk does while it is
// full.
func fullDisk(s *Store) *atomic.Bool {
	full := new(atomic.Bool)
	s.logs.write = func(write func() error) error {
		if full.Load() {
			return &fs.PathError{Op: "write", Path: "a file", Err: syscall.ENOSPC}
		}
		return write()
	}
	return full
}

func TestAFullDiskIsSaidAndGotOver(t *testing.T) {
	t.Parallel()
	ctx, dir := within(t), t.TempDir()
	s := open(t, ctx, testConfig(dir))
	propose(t, ctx, s, "", create("a"))
	full := fullDisk(s)
	full.Store(true)
	// The first loses leadership by it, the others meet a node that cannot
	// store the term in which it would stand for election.
	for i := range 3 {
		_, err := s.Propose(ctx, "", create("b"))
		if !errors.Is(err, wire.ErrDiskFull) || !strings.Contains(err.Error(), dir) {
			t.Errorf("proposal %d on a full disk: %v", i, err)
		}
	}
	if err := s.WaitReady(ctx); !errors.Is(err, wire.ErrDiskFull) {
		t.Errorf("waiting on a full disk: %v", err)
	}
	if err := s.DiskFull(); !errors.Is(err, wire.ErrDiskFull) {
		t.Errorf("the store says of its disk: %v", err)
	}
	if _, ok := s.View().Cluster("a"); !ok {
		t.Error("reads ended")
	}
	full.Store(false)
	waitFor(t, ctx, "a proposal is taken again", func() bool {
		_, err := s.Propose(ctx, "req", create("c"))
		return err == nil
	})
	if err := s.DiskFull(); err != nil {
		t.Errorf("with space again: %v", err)
	}
	closeStore(t, s)
	s = opened(t, ctx, testConfig(dir))
	if _, ok := s.View().Cluster("b"); ok {
		t.Error("what was refused came to be")
	}
	if n := len(s.View().Clusters()); n != 2 {
		t.Errorf("%d clusters came back", n)
	}
}

// waitFor polls.
func waitFor(t *testing.T, ctx context.Context, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

func TestAStoreOnAFullDiskCloses(t *testing.T) {
	t.Parallel()
	ctx, dir := within(t), t.TempDir()
	s := open(t, ctx, testConfig(dir))
	propose(t, ctx, s, "", create("a"))
	fullDisk(s).Store(true)
	term := s.Status().Term
	if _, err := s.Propose(ctx, "", create("b")); !errors.Is(err, wire.ErrDiskFull) {
		t.Fatal(err)
	}
	// Raft waits in SetUint64 once it tries to stand for election.
	waitFor(t, ctx, "an election is tried", func() bool { return s.raft.State().String() == "Candidate" })
	start := time.Now()
	if _, err := s.Propose(ctx, "", create("b")); !errors.Is(err, wire.ErrDiskFull) {
		t.Error(err)
	}
	closeStore(t, s)
	if took := time.Since(start); took >= enqueueTimeout {
		t.Errorf("refusal and close took %v", took)
	}
	s = opened(t, ctx, testConfig(dir))
	if st := s.Status(); !st.IsLeader || st.Term != term+1 {
		t.Errorf("a term that was never stored counts: %+v, was %d", st, term)
	}
}

func TestOpenOnAFullDisk(t *testing.T) {
	t.Parallel()
	ctx, dir := within(t), t.TempDir()
	out := runChild(t, "limited-open", dir)
	opened(t, ctx, testConfig(dir)) // what it left is no hindrance
	if !strings.Contains(out, "code="+string(wire.CodeDiskFull)) {
		t.Errorf("child said:\n%s", out)
	}
}

// TestTheKernelRefusesToWrite is TestAFullDiskIsSaidAndGotOver with a real
// limit, on the size of files, met in the log's own writes.
func TestTheKernelRefusesToWrite(t *testing.T) {
	t.Parallel()
	ctx, dir := within(t), t.TempDir()
	out := runChild(t, "limited", dir)
	var acked int
	if _, err := fmt.Sscanf(out[strings.LastIndex(out, "acked="):], "acked=%d", &acked); err != nil || acked < 10 {
		t.Fatalf("child said:\n%s", out)
	}
	s := opened(t, ctx, testConfig(dir))
	if n := s.View().CountMappings(); n != acked {
		t.Errorf("%d mappings were acknowledged, %d came back", acked, n)
	}
}

// limit is the soft limit on the size of files; a write behind it gives EFBIG.
func limit(bytes uint64) error {
	signal.Ignore(syscall.SIGXFSZ)
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &r); err != nil {
		return err
	}
	r.Cur = min(bytes, r.Max)
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &r)
}

func childLimitedOpen(dir string) error {
	if err := limit(8 << 10); err != nil {
		return err
	}
	s, err := Open(testConfig(dir))
	if err == nil {
		return errors.Join(errors.New("it opened"), s.Close())
	}
	fmt.Printf("code=%s\n", wire.CodeOf(err))
	return nil
}

// childLimited writes until nothing more goes in, raises the limit, writes on,
// and says how many writes were acknowledged.
func childLimited(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s, err := Open(testConfig(dir))
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.WaitReady(ctx); err != nil {
		return err
	}
	if _, err := s.Propose(ctx, "", create("a")); err != nil {
		return err
	}
	if err := limit(64 << 10); err != nil { // the first segment has its size already
		return err
	}
	acked := 0
	write := func() error {
		m := mapping(wire.SourceID(fmt.Sprint("s", acked)))
		m.Metadata = []byte(`{"x":"` + strings.Repeat("x", 4000) + `"}`)
		_, err := s.Propose(ctx, wire.RequestID(fmt.Sprint("r", acked)), m)
		if err == nil {
			acked++
		}
		return err
	}
	for err = write(); err == nil && acked < 1000; err = write() {
	}
	if !errors.Is(err, wire.ErrDiskFull) {
		return fmt.Errorf("after %d writes: %w", acked, err)
	}
	if err := limit(1 << 40); err != nil {
		return err
	}
	for had := acked; acked < had+20 && ctx.Err() == nil; {
		if err := write(); err != nil && !errors.Is(err, wire.ErrDiskFull) && !errors.Is(err, wire.ErrNoLeader) {
			return err
		}
	}
	fmt.Printf("acked=%d\n", acked)
	return nil
}
