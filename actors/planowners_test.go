package actors

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// ownersOf is a plan's input in one line: items as "name@owner", which may end
// in "!" when it is being removed, and begins with "/" when it is a persistent
// FrameDB, with "//" on an external server; nodes as "name:tag", "-" before one that
// is dead, and "~" before one that drains.
func ownersOf(items, nodes string) owners {
	in := owners{now: time.Unix(1000, 0), alive: map[wire.NodeName]bool{}, unfit: map[tenure]time.Time{}, grace: 30 * time.Second}
	for _, word := range strings.Fields(items) {
		word, removing := strings.CutSuffix(word, "!")
		name, owner, _ := strings.Cut(word, "@")
		disk, persistent := strings.CutPrefix(name, "/")
		c := cluster(wire.ClusterName(name), wire.PhaseReady, wire.NodeName(owner))
		i := bindings{clusters: true}.cluster(c)
		if persistent {
			row := &wire.PersistentInstance{ID: wire.FrameDBID(strings.Trim(disk, "/")), Status: wire.StorageStatus{Phase: wire.PhaseReady, Owner: c.Status.Owner}}
			row.NodeTag = "a"
			if strings.HasPrefix(disk, "/") {
				row.External = &wire.ExternalStorage{}
			}
			i = bindings{storage: true}.persistent(row)
		}
		if owner != "" {
			i.epoch = 4
		}
		if removing {
			i.phase = wire.PhaseRemoving
		}
		in.items = append(in.items, i)
	}
	for _, word := range strings.Fields(nodes) {
		word, dead := strings.CutPrefix(word, "-")
		word, drains := strings.CutPrefix(word, "~")
		name, tag, _ := strings.Cut(word, ":")
		in.nodes = append(in.nodes, &wire.Node{Name: wire.NodeName(name), Label: wire.NodeTag(tag), Draining: drains})
		in.alive[wire.NodeName(name)] = !dead
	}
	return in
}

// goneFor has every owner that is unfit be so for a time already.
func (in owners) goneFor(d time.Duration) owners {
	for _, i := range in.items {
		in.unfit[tenure{i.Item, i.created, i.epoch}] = in.now.Add(-d)
	}
	return in
}

// text is what a plan does, in one line.
func (p ownersPlan) text() string {
	var words []string
	for _, a := range p.assign {
		words = append(words, fmt.Sprintf("%s%s>%s@%d", a.Cluster, a.Storage, a.Owner, a.Epoch))
	}
	for _, u := range p.unattended {
		words = append(words, fmt.Sprintf("%s%s: %s", u.Cluster, u.Storage, u.Reason))
	}
	return strings.Join(words, " ")
}

func TestPlanOwners(t *testing.T) {
	t.Parallel()
	const past = time.Minute
	unbound := func(in owners) owners {
		for n := range in.items {
			in.items[n].binding = free
		}
		return in
	}
	told := func(in owners, reason string) owners {
		in.items[0].phase, in.items[0].reason = wire.PhaseDegraded, reason
		return in
	}
	for _, c := range []struct {
		name string
		in   owners
		want string
	}{
		{"a new one gets an owner", ownersOf("x", "n1:a"), "x>n1@0"},
		{"the one that owns the fewest", ownersOf("w@n1 x", "n1:a n2:a"), "x>n2@0"},
		{"what was just planned counts", ownersOf("x y z", "n1:a n2:a"), "x>n1@0 y>n2@0 z>n1@0"},
		{"only one with the tag", ownersOf("x", "n1:b n2:a"), "x>n2@0"},
		{"only one that lives", ownersOf("x", "-n1:a n2:a"), "x>n2@0"},
		{"only one that does not drain", ownersOf("x", "~n1:a n2:a"), "x>n2@0"},
		{"nobody carries the tag", ownersOf("x", "n1:b"), "x: it has no owner, and no other live node carries a"},
		{"everyone drains", ownersOf("x", "~n1:a"), "x: it has no owner, and every other live node that carries a is draining"},
		{"an owner that lives keeps it", ownersOf("x@n1 y@n1", "n1:a n2:a").goneFor(past), ""},
		{"also when it drains", ownersOf("x@n1", "~n1:a n2:a").goneFor(past), ""},
		{"unless another node can go on with it", unbound(ownersOf("x@n1", "~n1:a n2:a")), "x>n2@4"},
		{"and there is one", unbound(ownersOf("x@n1", "~n1:a ~n2:a")), ""},
		{"a gone owner has its time", ownersOf("x@n1", "-n1:a n2:a").goneFor(29 * time.Second), ""},
		{"then another takes over", ownersOf("x@n1", "-n1:a n2:a").goneFor(past), "x>n2@4"},
		{"a forgotten node is gone", ownersOf("x@n1", "n2:a").goneFor(past), "x>n2@4"},
		{"so is one without the tag", ownersOf("x@n1", "n1:b n2:a").goneFor(past), "x>n2@4"},
		{"nobody can take over", ownersOf("x@n1", "-n1:a n2:b").goneFor(past), "x: its owner n1 is gone, and no other live node carries a"},
		{"the tag went and nobody has it", ownersOf("x@n1", "n1:b").goneFor(past), "x: its owner n1 does not carry a any more, and no other live node carries a"},
		{"that is told once", told(ownersOf("x@n1", "-n1:a").goneFor(past), "its owner n1 is gone, and no other live node carries a"), ""},
		{"to end one needs no tag", ownersOf("x@n1!", "-n1:a n2:b").goneFor(past), "x>n2@4"},
		{"one with the tag is preferred", ownersOf("x@n1!", "-n1:a n2:b n3:a").goneFor(past), "x>n3@4"},
		{"its owner ends it without the tag", ownersOf("x@n1!", "n1:b n2:a").goneFor(past), ""},

		{"a new disk gets an owner", ownersOf("/d", "n1:a"), "d>n1@0"},
		{"both kinds count", ownersOf("w@n1 /d", "n1:a n2:a"), "d>n2@0"},
		{"nobody carries a disk's tag", ownersOf("/d", "n1:b"), "d: it has no owner, and no other live node carries a"},
		{"a disk stays on a node that drains", ownersOf("/d@n1", "~n1:a n2:a").goneFor(past), ""},
		{"a gone owner of a disk has its time", ownersOf("/d@n1", "-n1:a n2:a").goneFor(29 * time.Second), ""},
		{"nobody takes a disk over", ownersOf("/d@n1", "-n1:a n2:a").goneFor(past), "d: its data is on node n1, which is gone"},
		{"nor from a forgotten node", ownersOf("/d@n1", "n2:a").goneFor(past), "d: its data is on node n1, which is gone"},
		{"nor when the tag goes", ownersOf("/d@n1", "n1:b n2:a").goneFor(past), "d: its data is on node n1, which does not carry a any more"},
		{"that of a disk is told once", told(ownersOf("/d@n1", "-n1:a").goneFor(past), "its data is on node n1, which is gone"), ""},
		{"to remove one, any node will do", ownersOf("/d@n1!", "-n1:a n2:b").goneFor(past), "d>n2@4"},
		{"but a living owner does it", ownersOf("/d@n1!", "n1:b n2:a").goneFor(past), ""},
		{"an external server is anybody's", ownersOf("//e@n1", "-n1:a n2:a").goneFor(past), "e>n2@4"},
		{"also when its owner drains", ownersOf("//e@n1", "~n1:a n2:a"), "e>n2@4"},
		{"a volume of a cluster's, too", unbound(ownersOf("/d@n1", "-n1:a n2:a").goneFor(past)), "d>n2@4"},
	} {
		if got := planOwners(c.in).text(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestGraceIsMeasuredForEachTenure(t *testing.T) {
	t.Parallel()
	in := ownersOf("x@n1 y@n2", "-n1:a n2:a")
	step := func(passed time.Duration) string {
		in.now = in.now.Add(passed)
		plan := planOwners(in)
		in.unfit = plan.unfit
		return plan.text()
	}
	for _, c := range []struct {
		name   string
		passed time.Duration
		change func()
		want   string
	}{
		{"it is seen to be gone", 0, nil, ""},
		{"it is still gone", 20 * time.Second, nil, ""},
		{"it is back", 5 * time.Second, func() { in.alive["n1"] = true }, ""},
		{"it goes again", 20 * time.Second, func() { in.alive["n1"] = false }, ""},
		{"it owns a cluster anew", 29 * time.Second, func() { in.items[0].epoch++ }, ""},
		{"it is gone for too long", 30 * time.Second, nil, "x>n2@5"},
	} {
		if c.change != nil {
			c.change()
		}
		if got := step(c.passed); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// world is a state with nodes that come and go, and the leader's memory.
type world struct {
	*state.State
	index uint64
	now   time.Time
	alive map[wire.NodeName]bool
	unfit map[tenure]time.Time
	bound bool
	// owner is who had a cluster in an epoch.
	owner map[tenure]wire.NodeName
}

func (w *world) do(t *rapid.T, cmd state.Command) error {
	entry, err := state.Encode(cmd, "", w.now)
	if err != nil {
		t.Fatal(err)
	}
	w.index++
	if res := w.Apply(w.index, entry); res.Err != nil {
		return res.Err
	}
	return nil
}

func (w *world) bindings() bindings { return bindings{clusters: w.bound, storage: w.bound} }

// item is what there is now of one.
func (w *world) item(of state.Item) *item {
	for _, i := range w.bindings().all(w.View()) {
		if i.Item == of {
			return &i
		}
	}
	return nil
}

func (w *world) plan() ownersPlan {
	v := w.View()
	plan := planOwners(owners{now: w.now, items: w.bindings().all(v), nodes: v.Nodes(), alive: w.alive, unfit: w.unfit, grace: 30 * time.Second})
	w.unfit = plan.unfit
	return plan
}

// lead lets the leader look until it has nothing to do.
func (w *world) lead(t *rapid.T) {
	for range 2 {
		plan := w.plan()
		for _, cmd := range plan.assign {
			i := w.item(cmd.Item)
			n, ok := w.View().Node(cmd.Owner)
			if !ok || !w.alive[n.Name] || n.Draining {
				t.Fatalf("%v goes to %q, which is dead or drains", cmd.Item, cmd.Owner)
			}
			if w.alive[i.owner] && i.binding != free {
				if old, _ := w.View().Node(i.owner); old != nil && mayWork(old, i) {
					t.Fatalf("%v is taken from %q, which works on it", cmd.Item, old.Name)
				}
			}
			if i.binding == pinned && i.owner != "" && !i.removing() {
				t.Fatalf("%v is taken from %q, where its data is", cmd.Item, i.owner)
			}
			if err := w.do(t, cmd); err != nil {
				t.Fatalf("%+v: %v", cmd, err)
			}
		}
		for _, cmd := range plan.unattended {
			if err := w.do(t, cmd); err != nil {
				t.Fatalf("%+v: %v", cmd, err)
			}
		}
	}
	if plan := w.plan(); plan.text() != "" {
		t.Fatalf("nothing has changed, and the plan is %s", plan.text())
	}
}

// remember checks that an epoch has one owner.
func (w *world) remember(t *rapid.T) {
	for _, i := range w.bindings().all(w.View()) {
		at := tenure{i.Item, i.created, i.epoch}
		if had, known := w.owner[at]; known && had != i.owner {
			t.Fatalf("epoch %d of %v has owners %q and %q", at.epoch, i.Item, had, i.owner)
		}
		w.owner[at] = i.owner
	}
}

// TestOwnersWhateverHappens has nodes come, go, drain and change tags, leaders
// change, and time pass.
func TestOwnersWhateverHappens(t *testing.T) {
	t.Parallel()
	names, tags := []wire.NodeName{"n1", "n2", "n3"}, []wire.NodeTag{"a", "b"}
	rapid.Check(t, func(t *rapid.T) {
		w := &world{
			State: state.New(), now: time.Unix(1000, 0), alive: map[wire.NodeName]bool{},
			bound: rapid.Bool().Draw(t, "bound"), owner: map[tenure]wire.NodeName{},
		}
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			node := rapid.SampledFrom(names).Draw(t, "node")
			name := rapid.SampledFrom([]wire.ClusterName{"x", "y"}).Draw(t, "cluster")
			tag := rapid.SampledFrom(tags).Draw(t, "tag")
			// What the state refuses does not happen.
			disk := rapid.SampledFrom([]wire.FrameDBID{"d", "e"}).Draw(t, "disk")
			switch rapid.IntRange(0, 11).Draw(t, "event") {
			case 0:
				_ = w.do(t, state.RegisterNode{Node: wire.Node{Name: node, Tags: []wire.NodeTag{tag}}})
			case 1:
				w.alive[node] = true
			case 2:
				w.alive[node] = false
			case 3:
				_ = w.do(t, state.DrainNode{Name: node, Draining: rapid.Bool().Draw(t, "draining")})
			case 4:
				_ = w.do(t, state.LabelNode{Name: node, Label: tag})
			case 5:
				_ = w.do(t, state.RemoveNode{Name: node})
			case 6:
				_ = w.do(t, state.CreateClusters{Names: []wire.ClusterName{name}, Spec: wire.ClusterSpec{NodeTag: tag, Replicas: 1, Quorum: 1}})
			case 7:
				_ = w.do(t, state.RemoveCluster{Name: name})
				_ = w.do(t, state.PurgeCluster{Name: name})
			case 8:
				w.now = w.now.Add(20 * time.Second)
			case 9:
				w.unfit = nil // another leader
			case 10:
				spec := wire.StorageSpec{NodeTag: tag}
				if disk == "e" {
					spec.External = &wire.ExternalStorage{Address: "e:1"}
				}
				_ = w.do(t, state.CreateStorage{ID: disk, Spec: spec})
			case 11:
				_ = w.do(t, state.RemoveStorage{ID: disk})
				_ = w.do(t, state.PurgeStorage{ID: disk})
			}
			w.lead(t)
			w.remember(t)
		}
	})
}

func TestOwnershipIsChecked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		given Ownership
		ok    bool
	}{
		{DefaultOwnership(), true},
		{Ownership{Lease: time.Second, Step: time.Second, Grace: 2 * time.Second}, true},
		{Ownership{Lease: 5 * time.Second, Step: 10 * time.Second, Grace: 14 * time.Second}, false},
		{Ownership{Grace: time.Minute}, false},
	} {
		if err := c.given.validate(); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.given, err)
		}
	}
}
