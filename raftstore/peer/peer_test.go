package peer

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/framedb/framedb/client/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T, node wire.NodeName, label, cluster string) *Port {
	t.Helper()
	p, err := Listen(Config{Node: node, Label: label, Bind: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := p.SetCluster(t.Context(), cluster); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRaftIsOfOneCluster(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mine, theirs string
		kind         Kind
		want         error
	}{
		{"x", "x", KindRaft, nil},
		{"x", "y", KindRaft, wire.ErrForbidden},
		{"", "y", KindRaft, wire.ErrForbidden},
		{"x", "", KindRaft, wire.ErrForbidden},
		{"", "", KindRaft, wire.ErrForbidden}, // who has no data is asked nothing
		{"", "y", KindCall, nil},
		{"x", "", KindCall, nil},
	} {
		a, b := listen(t, "a", "l", c.mine), listen(t, "b", "l", c.theirs)
		conn, err := a.Dial(t.Context(), c.kind, "b", b.Addr())
		if !errors.Is(err, c.want) {
			t.Errorf("%q to %q by %c: %v", c.mine, c.theirs, c.kind, err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
}

// TestChangingTheClusterEndsConnections, and waits for those who use them.
func TestChangingTheClusterEndsConnections(t *testing.T) {
	t.Parallel()
	a, b := listen(t, "a", "l", "x"), listen(t, "b", "l", "x")
	out, err := a.Dial(t.Context(), KindRaft, "b", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := b.Raft().Accept()
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := b.SetCluster(short, "y"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while one is in use: %v", err)
	}
	if _, err := in.Read(make([]byte, 1)); err == nil {
		t.Error("it can still be read from")
	}
	_ = in.Close()
	if err := b.SetCluster(t.Context(), "z"); err != nil {
		t.Error(err)
	}
}
