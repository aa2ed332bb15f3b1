package httpapi

import (
	"errors"
	"math"
	"syscall"
	"testing"

	"github.com/framedb/framedb/client/wire"
)

func TestBudgetRefusesInsteadOfQueueing(t *testing.T) {
	b := newBudget(10)
	hold, err := b.take(7)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.take(4); !errors.Is(err, wire.ErrOverloaded) || wire.AsError(err).RetryAfter <= 0 {
		t.Errorf("took more than there is: %v", err)
	}
	if _, err := b.take(3); err != nil {
		t.Errorf("the rest is refused: %v", err)
	}
	if err := hold.resize(8); !errors.Is(err, wire.ErrOverloaded) {
		t.Errorf("grew beyond what there is: %v", err)
	}
	if err := hold.resize(6); err != nil {
		t.Error(err)
	}
	if err := hold.resize(7); err != nil {
		t.Errorf("what was given back is refused: %v", err)
	}
	hold.release()
	hold.release() // the second does nothing
	if _, err := b.take(7); err != nil {
		t.Errorf("what was given back is refused: %v", err)
	}
}

// Half of the descriptors are left to the agent: each of two listeners takes a
// quarter at most.
func TestListenersLeaveDescriptors(t *testing.T) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	for most, want := range map[int]uint64{0: maxConnections, 3: 3, math.MaxInt: files.Cur} {
		cfg := Config{MaxConnections: most}
		if got := cfg.connections(); uint64(got) != min(want, files.Cur/4) {
			t.Errorf("MaxConnections %d of %d descriptors: %d", most, files.Cur, got)
		}
	}
}
