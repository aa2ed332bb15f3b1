package state_test

import (
	"slices"
	"testing"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// A reset that is read slowly is of the moment when it began, can be left in the
// middle, and loses no change that comes meanwhile.
func TestAResetMayBeReadSlowly(t *testing.T) {
	l := populated(t)
	sub := l.Subscribe(0, wire.TableClusters, wire.TableMappings)
	at := l.View().Index()
	reset, err := sub.NextSeq(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	must(t, l.do(t, state.RemoveMapping{Source: "s1", NodeTag: "node-1"}))
	for range reset {
		break
	}
	var keys []string
	for e := range reset {
		if e.Index != at {
			t.Errorf("%+v is not of index %d", e, at)
		}
		if e.Table == wire.TableMappings {
			keys = append(keys, e.Key)
		}
	}
	if len(keys) != 2 || !slices.Contains(keys, "s1/node-1") {
		t.Errorf("the reset has mappings %v", keys)
	}
	if events, err := sub.Next(t.Context()); err != nil || len(events) != 1 || events[0].Op != wire.OpDelete {
		t.Errorf("behind the reset came %+v %v", events, err)
	}
}
