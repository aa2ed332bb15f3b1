package memnet

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/peer"
)

// connected is a connection of host a to host b, a's end first.
func connected(t *testing.T, n *Network) (a, b net.Conn) {
	t.Helper()
	l, err := n.Host("b").Listen("b:0")
	if err != nil {
		t.Fatal(err)
	}
	if a, err = n.Host("a").Dial(t.Context(), l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _, _ = a.Close(), b.Close(), l.Close() })
	return a, b
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// got is what arrives within a second.
func got(c net.Conn) string {
	_ = c.SetReadDeadline(time.Now().Add(time.Second))
	b, err := io.ReadAll(c)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err.Error()
	}
	return string(b)
}

func TestFaultsAreOneWayAndLoseNothing(t *testing.T) {
	for name, c := range map[string]struct {
		spoil    func(*Network)
		atA, atB string // within a second
		later    string // at b, after Heal
	}{
		"none":            {func(*Network) {}, "pong", "ping", ""},
		"cut":             {func(n *Network) { n.Cut("a", "b") }, "pong", "", "ping"},
		"isolated":        {func(n *Network) { n.Isolate("b") }, "", "", "ping"},
		"others isolated": {func(n *Network) { n.Isolate("c") }, "pong", "ping", ""},
		"partition":       {func(n *Network) { n.Partition([]string{"a", "c"}, []string{"b"}) }, "", "", "ping"},
		"together":        {func(n *Network) { n.Partition([]string{"a", "b"}, []string{"c"}) }, "pong", "ping", ""},
		"late":            {func(n *Network) { n.Delay("a", "b", 1500*time.Millisecond) }, "pong", "", "ping"},
		"not late":        {func(n *Network) { n.Delay("a", "b", time.Second/2) }, "pong", "ping", ""},
		"healed host":     {func(n *Network) { n.Isolate("a"); n.Cut("b", "a"); n.HealHost("a") }, "pong", "ping", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := New()
				a, b := connected(t, n)
				c.spoil(n)
				send(t, a, "ping")
				send(t, b, "pong")
				if atB, atA := got(b), got(a); atA != c.atA || atB != c.atB {
					t.Errorf("%q came to a, %q to b; want %q and %q", atA, atB, c.atA, c.atB)
				}
				n.Heal()
				if later := got(b); later != c.later {
					t.Errorf("%q came to b after all was healed, want %q", later, c.later)
				}
			})
		})
	}
}

func TestNoConnectionOpensThroughACut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		l, err := n.Host("b").Listen("b:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		n.Cut("b", "a") // the answer would not come
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := n.Host("a").Dial(ctx, l.Addr().String()); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("dial through a cut: %v", err)
		}
		start := time.Now()
		time.AfterFunc(time.Minute, n.Heal)
		c, err := n.Host("a").Dial(t.Context(), l.Addr().String())
		if err != nil || time.Since(start) != time.Minute {
			t.Fatalf("dialled after %v: %v", time.Since(start), err)
		}
		_ = c.Close()
	})
}

func TestAKilledHostHasSentWhatItSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		a, b := connected(t, n)
		addr := b.LocalAddr().String()
		send(t, b, "last words")
		of, err := n.Host("b").Listen("b:0")
		if err != nil {
			t.Fatal(err)
		}
		dying := n.hosts["b"]
		n.Kill("b")
		if _, err := dying.Dial(t.Context(), of.Addr().String()); err == nil {
			t.Error("the killed host dials")
		}
		if _, err := dying.Listen("b:0"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the killed host listens: %v", err)
		}
		if _, err := n.Host("a").Dial(t.Context(), addr); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial a killed host: %v", err)
		}
		if _, err := b.Write(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the killed host writes: %v", err)
		}
		if words, err := io.ReadAll(a); string(words) != "last words" || err != nil {
			t.Errorf("read %q, %v", words, err)
		}
		if _, err := a.Write([]byte("hello?")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write to a killed host: %v", err)
		}
		l, err := n.Host("b").Listen(addr)
		if err != nil {
			t.Fatalf("the address is taken after the kill: %v", err)
		}
		_ = l.Close()
	})
}

func TestAFullStreamHoldsTheWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := connected(t, New())
		_ = a.SetWriteDeadline(time.Now().Add(time.Second))
		sent, err := a.Write(make([]byte, 2*window))
		if sent != window || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("wrote %d bytes, %v", sent, err)
		}
		_ = a.SetWriteDeadline(time.Time{})
		wrote := make(chan error)
		go func() {
			_, err := a.Write(make([]byte, window))
			wrote <- err
		}()
		if n, err := io.ReadFull(b, make([]byte, 2*window)); err != nil {
			t.Errorf("read %d bytes, %v", n, err)
		}
		if err := <-wrote; err != nil {
			t.Errorf("writing while it is read: %v", err)
		}
	})
}

func TestAMovedDeadlineEndsAReadUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := connected(t, New())
		_ = a.SetDeadline(time.Now().Add(time.Hour))
		time.AfterFunc(time.Second, func() { _ = a.SetDeadline(time.Now().Add(time.Second)) })
		start := time.Now()
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 2*time.Second {
			t.Errorf("read ended after %v: %v", time.Since(start), err)
		}
	})
}

// TestPortsMeet has two agents speak over it as they do over TCP.
func TestPortsMeet(t *testing.T) {
	n := New()
	ports := map[string]*peer.Port{}
	for _, name := range []string{"a", "b"} {
		p, err := peer.Listen(peer.Config{Node: wire.NodeName("n-" + name), Bind: name + ":0", Network: n.Host(name)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		ports[name] = p
	}
	s, err := ports["b"].Serve(&echo{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	var reply string
	if err := ports["a"].Ask(t.Context(), "n-b", ports["b"].Addr(), "Say", "hello", &reply); err != nil || reply != "hello" {
		t.Errorf("got %q, %v", reply, err)
	}
	if again, err := n.Host("x").Listen(ports["a"].Addr()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("an address that is taken: %v, %v", again, err)
	}
}

type echo struct{}

func (*echo) Say(text string, reply *string) error {
	*reply = text
	return nil
}
