package cluster

import (
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/framedb/framedb/client/wire"
)

func TestOnlyTheLastThatWentAreRemembered(t *testing.T) {
	m := newMembers()
	node := func(i int) *memberlist.Node {
		return &memberlist.Node{Name: fmt.Sprintf("n%04d", i), Addr: net.IPv4(127, 0, 0, 1), Meta: []byte("{")}
	}
	m.NotifyJoin(&memberlist.Node{Name: "stays"})
	for i := range maxGone + 10 {
		m.NotifyJoin(node(i))
		m.NotifyLeave(node(i))
	}
	m.NotifyJoin(node(maxGone))
	all := m.list()
	if len(all) != maxGone+1 {
		t.Errorf("%d are remembered", len(all))
	}
	if _, ok := find(all, "n0009"); ok {
		t.Error("the one that went first is remembered")
	}
	if m, _ := find(all, wire.NodeName(node(maxGone).Name)); !m.Alive || m.Meta != (Meta{}) {
		t.Errorf("the one that came back is %+v", m)
	}
	if n := m.alive(); n != 2 {
		t.Errorf("%d are alive", n)
	}
}

// TestChangesWakeOnceTheyRest counts how often one who waits is woken by a storm
// of changes, and that each waking comes after the change it is for.
func TestChangesWakeOnceTheyRest(t *testing.T) {
	n := &memberlist.Node{Name: "n", Addr: net.IPv4(127, 0, 0, 1)}
	for _, c := range []struct {
		name    string
		changes int
		apart   time.Duration
		woken   []time.Duration
	}{
		{"one", 1, 0, []time.Duration{quiet}},
		{"at once", 300, 0, []time.Duration{quiet}},
		{"a storm", 50, 45 * time.Millisecond, []time.Duration{maxDelay, 23*45*time.Millisecond + maxDelay, 49*45*time.Millisecond + quiet}},
		{"apart", 3, time.Second, []time.Duration{quiet, time.Second + quiet, 2*time.Second + quiet}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMembers()
				start := time.Now()
				var woken []time.Duration
				var last bool // whether the one who waits saw n alive last
				stop := make(chan struct{})
				waits := make(chan struct{})
				go func() {
					defer close(waits)
					for {
						changed := m.changed()
						k, _ := m.get("n")
						last = k.Alive
						select {
						case <-changed:
							woken = append(woken, time.Since(start))
						case <-stop:
							return
						}
					}
				}()
				for i := range c.changes {
					if i > 0 {
						time.Sleep(c.apart)
					}
					alive := (c.changes-i)%2 == 1
					if m.set(n, alive); m.list()[0].Alive != alive {
						t.Fatalf("change %d is not seen at once", i)
					}
				}
				time.Sleep(2 * maxDelay)
				close(stop)
				<-waits
				if fmt.Sprint(woken) != fmt.Sprint(c.woken) || !last {
					t.Errorf("woken at %v, want %v; the last change seen: %v", woken, c.woken, last)
				}
			})
		})
	}
}

func TestEachEventCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMembers()
		n := &memberlist.Node{Name: "n", Addr: net.IPv4(127, 0, 0, 1)}
		for what, event := range map[string]func(*memberlist.Node){"join": m.NotifyJoin, "update": m.NotifyUpdate, "leave": m.NotifyLeave} {
			changed := m.changed()
			event(n)
			select {
			case <-changed:
			case <-time.After(2 * quiet):
				t.Errorf("%s: not woken", what)
			}
		}
	})
}
