package memnet

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const sent = 1000

// got sends many packets to each other and counts those that come within a
// second.
func got(t *testing.T, a, b *Transport) (atA, atB int) {
	t.Helper()
	for range sent {
		for from, to := range map[*Transport]*Transport{a: b, b: a} {
			if _, err := from.WriteTo([]byte("hello"), to.Addr()); err != nil {
				t.Fatal(err)
			}
		}
	}
	time.Sleep(time.Second)
	for {
		select {
		case p := <-a.PacketCh():
			atA++
			if string(p.Buf) != "hello" || p.From.String() != b.Addr() || p.Timestamp.IsZero() {
				t.Fatalf("got %q from %v at %v", p.Buf, p.From, p.Timestamp)
			}
		case <-b.PacketCh():
			atB++
		default:
			return atA, atB
		}
	}
}

func TestPacketFaultsAreOneWay(t *testing.T) {
	for name, c := range map[string]struct {
		spoil    func(*Network)
		min, max int // at b
	}{
		"none":           {func(*Network) {}, sent, sent},
		"cut":            {func(n *Network) { n.Cut("a", "b") }, 0, 0},
		"partition":      {func(n *Network) { n.Partition([]string{"x", "a"}, []string{"y"}, []string{"z"}) }, sent, sent},
		"half dropped":   {func(n *Network) { n.Drop("a", "b", 0.5) }, sent / 3, sent * 2 / 3},
		"all dropped":    {func(n *Network) { n.Drop("a", "b", 1) }, 0, 0},
		"few duplicated": {func(n *Network) { n.Duplicate("a", "b", 0.01) }, sent + 1, inbox},
		"inbox is full":  {func(n *Network) { n.Duplicate("a", "b", 1) }, inbox, inbox},
		"late":           {func(n *Network) { n.Delay("a", "b", 2*time.Second) }, 0, 0},
		"not late":       {func(n *Network) { n.Delay("a", "b", time.Second/2) }, sent, sent},
		"healed":         {func(n *Network) { n.Cut("a", "b"); n.Drop("b", "a", 1); n.Heal() }, sent, sent},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := New()
				a, b := n.Transport("a"), n.Transport("b")
				c.spoil(n)
				if atA, atB := got(t, a, b); atA != sent || atB < c.min || atB > c.max {
					t.Errorf("%d of %d came to a, %d to b, want %d to %d", atA, sent, atB, c.min, c.max)
				}
			})
		})
	}
}

func TestPartitionIsMutual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		a, b := n.Transport("a"), n.Transport("b")
		n.Partition([]string{"b"}, []string{"c", "a"})
		if atA, atB := got(t, a, b); atA != 0 || atB != 0 {
			t.Errorf("%d came to a, %d to b", atA, atB)
		}
	})
}

// dial opens a stream and returns both its ends.
func dial(t *testing.T, from, to *Transport) (near, far net.Conn) {
	t.Helper()
	opened := make(chan error, 1)
	go func() {
		var err error
		near, err = from.DialTimeout(to.Addr(), time.Second)
		opened <- err
	}()
	select {
	case far = <-to.StreamCh():
	case <-time.After(2 * time.Second):
	}
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	return near, far
}

func TestStreamsCarryBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		a, b := n.Transport("a"), n.Transport("b")
		n.Delay("a", "b", 300*time.Millisecond)
		start := time.Now()
		near, far := dial(t, a, b)
		if took := time.Since(start); took != 300*time.Millisecond {
			t.Errorf("opening took %v", took)
		}
		if near.RemoteAddr().String() != b.Addr() || far.RemoteAddr().String() != a.Addr() {
			t.Errorf("they are from %v and %v", near.RemoteAddr(), far.RemoteAddr())
		}
		go func() {
			_, _ = far.Write([]byte("there"))
			_ = far.Close()
		}()
		if b, err := io.ReadAll(near); string(b) != "there" || err != nil {
			t.Errorf("read %q, %v", b, err)
		}
		if took := time.Since(start); took != 300*time.Millisecond {
			t.Errorf("the way that has no delay took %v", took)
		}
	})
}

func TestACutStreamCarriesNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		near, far := dial(t, n.Transport("a"), n.Transport("b"))
		n.Cut("a", "b")
		for range 2 {
			if _, err := near.Write([]byte("lost")); err != nil {
				t.Error(err)
			}
			n.Heal()
		}
		_ = far.SetReadDeadline(time.Now().Add(time.Hour))
		if k, err := far.Read(make([]byte, 8)); k != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read %d bytes, %v", k, err)
		}
		_, _ = near.Close(), far.Close()
	})
}

func TestDialingFails(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*Network, *Transport)
		want  error
		after time.Duration
	}{
		"nobody there": {func(_ *Network, b *Transport) { _ = b.Shutdown() }, syscall.ECONNREFUSED, 0},
		"cut there":    {func(n *Network, _ *Transport) { n.Cut("a", "b") }, os.ErrDeadlineExceeded, time.Second},
		"cut back":     {func(n *Network, _ *Transport) { n.Cut("b", "a") }, os.ErrDeadlineExceeded, time.Second},
		"nobody takes": {func(*Network, *Transport) {}, os.ErrDeadlineExceeded, time.Second},
		"too far":      {func(n *Network, _ *Transport) { n.Delay("b", "a", time.Minute) }, os.ErrDeadlineExceeded, time.Second},
		"it goes away": {func(_ *Network, b *Transport) { time.AfterFunc(time.Second/2, func() { _ = b.Shutdown() }) }, syscall.ECONNREFUSED, time.Second / 2},
		"we go away": {func(n *Network, _ *Transport) {
			time.AfterFunc(time.Second/2, func() { _ = n.at("10.0.0.1:7946").Shutdown() })
		}, net.ErrClosed, time.Second / 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := New()
				a, b := n.Transport("a"), n.Transport("b")
				c.spoil(n, b)
				if name != "nobody takes" && !strings.Contains(name, "away") {
					go func() {
						select {
						case <-b.StreamCh():
							t.Error("a stream came")
						case <-t.Context().Done():
						}
					}()
				}
				start := time.Now()
				_, err := a.DialTimeout(b.Addr(), time.Second)
				if !errors.Is(err, c.want) || time.Since(start) != c.after {
					t.Errorf("got %v after %v, want %v after %v", err, time.Since(start), c.want, c.after)
				}
				if len(n.conns) != 0 {
					t.Errorf("%d ends of streams are left", len(n.conns))
				}
			})
		})
	}
}

func TestShutdownEndsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		a, b := n.Transport("a"), n.Transport("b")
		near, _ := dial(t, a, b)
		if err := errors.Join(b.Shutdown(), b.Shutdown()); err != nil {
			t.Fatal(err)
		}
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("read gave %v", err)
		}
		if _, err := b.WriteTo([]byte("x"), a.Addr()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("writing gave %v", err)
		}
		if again := n.Transport("b"); again.Addr() == b.Addr() || !strings.HasPrefix(again.Addr(), "10.") {
			t.Errorf("b came back at %s", again.Addr())
		}
	})
}
