package cluster

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/cluster/memnet"
)

func TestMetaComesBack(t *testing.T) {
	longest := strings.Repeat("h", 253)
	for _, m := range []Meta{
		{},
		{API: "10.0.0.1:5000", Raft: "10.0.0.1:7000", Version: "v1.2.3-4-g0123456"},
		{API: "10.0.0.1:5000", Raft: "10.0.0.2:7000"},
		{API: "[fd00::1]:5000", Raft: "[fd00::1]:7000"},
		{Raft: "10.0.0.1:7000"},
		{API: longest + ":65535", Raft: longest + ":65534", Version: "v1.2.3-4-g0123456"},
	} {
		b, err := m.encode()
		if err != nil {
			t.Errorf("%+v: %v", m, err)
			continue
		}
		if back := decodeMeta(b); back != m {
			t.Errorf("%+v came back as %+v", m, back)
		}
	}
}

func TestMetaIsReplacedWhileAgentsRun(t *testing.T) {
	bubble(t, func(t *testing.T, network *memnet.Network) {
		a := open(t, memConfig(network, "a"))
		b := open(t, memConfig(network, "b", a.Addr()))
		converge(t, []*Cluster{a, b}, 10*time.Second)
		want := Meta{API: "10.9.9.9:5000", Version: "v2"}
		if err := b.SetMeta(want); err != nil {
			t.Fatal(err)
		}
		if err := b.SetMeta(Meta{API: strings.Repeat("h", 600)}); !errors.Is(err, wire.ErrTooLarge) {
			t.Errorf("too much gave %v", err)
		}
		var sets sync.WaitGroup
		for range 4 {
			sets.Go(func() {
				for range 50 {
					if err := b.SetMeta(want); err != nil {
						t.Error(err)
					}
				}
			})
		}
		sets.Wait()
		for _, c := range []*Cluster{a, b} {
			eventually(t, c, 2*time.Second, "b tells something new", func(all []Member) bool {
				m, _ := find(all, "b")
				return m.Meta == want
			})
		}
		if err := errors.Join(b.Close(), b.SetMeta(want)); err != nil {
			t.Errorf("after Close: %v", err)
		}
	})
}
