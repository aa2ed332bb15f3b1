package routing

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/framedb/framedb/client/wire"
)

func change(source string, command wire.RoutingCommand) Change {
	return Change{wire.SourceID(source), "tag", command}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	const add, update, remove, meta = wire.CommandAdd, wire.CommandUpdate, wire.CommandRemove, wire.CommandMetaUpdate
	for _, c := range []struct{ first, second, want wire.RoutingCommand }{
		{add, update, add}, {add, meta, add}, {add, remove, remove},
		{update, update, update}, {update, meta, update}, {update, remove, remove},
		{meta, meta, meta}, {meta, update, update}, {meta, remove, remove},
		{remove, add, update},
	} {
		if got := merge(change("s", c.first), change("s", c.second)).Command; got != c.want {
			t.Errorf("%s, then %s: %s, want %s", c.first, c.second, got, c.want)
		}
	}
}

func TestOutboxKeepsTheOrder(t *testing.T) {
	t.Parallel()
	o := NewOutbox()
	all := []Change{change("a", wire.CommandAdd), change("b", wire.CommandAdd), change("a", wire.CommandUpdate)}
	o.Add(all...)
	b := o.next(2)
	if !slices.Equal(b.changes, all[:2]) || b.refresh {
		t.Fatalf("next gave %v", b)
	}
	o.sent(b)
	if b = o.next(2); !slices.Equal(b.changes, all[2:]) {
		t.Fatalf("then next gave %v", b)
	}
}

func TestOutboxSendsAgainWhatWasMergedMeanwhile(t *testing.T) {
	t.Parallel()
	o := NewOutbox()
	o.Add(change("a", wire.CommandAdd))
	b := o.next(10)
	o.Add(change("a", wire.CommandRemove))
	o.failed()
	o.sent(b) // of the first try, which was heard after all
	if got := o.next(10).changes; !slices.Equal(got, []Change{change("a", wire.CommandRemove)}) {
		t.Errorf("left are %v, want the removal", got)
	}
}

func TestOutboxIsBounded(t *testing.T) {
	t.Parallel()
	o := NewOutbox()
	for i := range maxPending + 1 {
		o.Add(change(fmt.Sprint(i%3), wire.CommandUpdate))
	}
	if n := len(o.next(maxPending).changes); n != 3 {
		t.Errorf("%d changes of 3 mappings wait", n)
	}
	for i := range maxPending + 1 {
		o.Add(change(fmt.Sprint("s", i), wire.CommandUpdate))
	}
	b := o.next(maxPending)
	if len(b.changes) > 100 {
		t.Errorf("%d changes wait after too many mappings changed", len(b.changes))
	}
	o.sent(b)
	if !o.next(1).refresh {
		t.Error("nothing is sent anew after changes were forgotten")
	}
}

func TestRefreshComesBehindChanges(t *testing.T) {
	t.Parallel()
	o := NewOutbox()
	o.Refresh()
	o.Add(change("a", wire.CommandRemove))
	b := o.next(10)
	if b.refresh || len(b.changes) != 1 {
		t.Fatalf("first comes %+v", b)
	}
	o.sent(b)
	if b = o.next(10); !b.refresh {
		t.Error("no refresh afterwards")
	}
}

func TestFlush(t *testing.T) {
	t.Parallel()
	o := NewOutbox()
	o.Add(change("a", wire.CommandUpdate))
	flushed := make(chan bool, 1)
	go func() { flushed <- o.Flush(t.Context()) }()
	b := o.next(10)
	o.sent(b)
	select {
	case <-flushed:
		t.Fatal("flushed before the last change was in")
	case <-time.After(20 * time.Millisecond):
	}
	o.Close()
	if !<-flushed {
		t.Error("not flushed")
	}
	o.Refresh()
	if !o.idle() {
		t.Error("a refresh of a cluster that ends")
	}
	silent := NewOutbox()
	silent.Close()
	silent.Add(change("a", wire.CommandRemove))
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if silent.Flush(ctx) {
		t.Error("flushed what nobody sent")
	}
}

// TestMergingLosesNoState checks that whoever hears the merged changes ends up
// where one is who hears them all.
func TestMergingLosesNoState(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		mapped := map[string]bool{}
		var all []Change
		for range rapid.IntRange(0, 40).Draw(t, "changes") {
			s := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "source")
			command := wire.CommandAdd
			if mapped[s] {
				command = rapid.SampledFrom([]wire.RoutingCommand{wire.CommandUpdate, wire.CommandMetaUpdate, wire.CommandRemove}).Draw(t, "command")
			}
			mapped[s] = command != wire.CommandRemove
			all = append(all, change(s, command))
		}
		heard := map[wire.SourceID]bool{}
		for _, c := range compact(all) {
			if _, twice := heard[c.Source]; twice {
				t.Fatalf("%s is told twice", c.Source)
			}
			heard[c.Source] = c.Command != wire.CommandRemove
		}
		for _, c := range all {
			if heard[c.Source] != mapped[string(c.Source)] {
				t.Fatalf("%s: heard %v, mapped %v", c.Source, heard[c.Source], mapped[string(c.Source)])
			}
		}
	})
}
