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

// ownersOf is a plan's input in one line: clusters as "name@owner", which may
// end in "!" when it is being removed; nodes as "name:tag", "-" before one that
// is dead, and "~" before one that drains.
func ownersOf(clusters, nodes string) owners {
	in := owners{now: time.Unix(1000, 0), alive: map[wire.NodeName]bool{}, unfit: map[tenure]time.Time{}, grace: 30 * time.Second, bound: true}
	for _, word := range strings.Fields(clusters) {
		word, removing := strings.CutSuffix(word, "!")
		name, owner, _ := strings.Cut(word, "@")
		c := cluster(wire.ClusterName(name), wire.PhaseReady, wire.NodeName(owner))
		if owner != "" {
			c.Status.OwnerEpoch = 4
		}
		if removing {
			c.Status.Phase = wire.PhaseRemoving
		}
		in.clusters = append(in.clusters, c)
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
	for _, c := range in.clusters {
		in.unfit[tenure{c.Name, c.CreateIndex, c.Status.OwnerEpoch}] = in.now.Add(-d)
	}
	return in
}

// text is what a plan does, in one line.
func (p ownersPlan) text() string {
	var words []string
	for _, a := range p.assign {
		words = append(words, fmt.Sprintf("%s>%s@%d", a.Cluster, a.Owner, a.Epoch))
	}
	for _, u := range p.unattended {
		words = append(words, fmt.Sprintf("%s: %s", u.Cluster, u.Reason))
	}
	return strings.Join(words, " ")
}

func TestPlanOwners(t *testing.T) {
	t.Parallel()
	const past = time.Minute
	unbound := func(in owners) owners { in.bound = false; return in }
	told := func(in owners, reason string) owners {
		in.clusters[0].Status.Phase, in.clusters[0].Status.Reason = wire.PhaseDegraded, reason
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
		{"it owns a cluster anew", 29 * time.Second, func() { in.clusters[0].Status.OwnerEpoch++ }, ""},
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

func (w *world) plan() ownersPlan {
	v := w.View()
	plan := planOwners(owners{now: w.now, clusters: v.Clusters(), nodes: v.Nodes(), alive: w.alive, unfit: w.unfit, grace: 30 * time.Second, bound: w.bound})
	w.unfit = plan.unfit
	return plan
}

// lead lets the leader look until it has nothing to do.
func (w *world) lead(t *rapid.T) {
	for range 2 {
		plan := w.plan()
		for _, cmd := range plan.assign {
			c, _ := w.View().Cluster(cmd.Cluster)
			n, ok := w.View().Node(cmd.Owner)
			if !ok || !w.alive[n.Name] || n.Draining {
				t.Fatalf("%s goes to %q, which is dead or drains", cmd.Cluster, cmd.Owner)
			}
			if w.alive[c.Status.Owner] && w.bound {
				if old, _ := w.View().Node(c.Status.Owner); old != nil && mayWork(old, c) {
					t.Fatalf("%s is taken from %q, which works on it", cmd.Cluster, old.Name)
				}
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
	for _, c := range w.View().Clusters() {
		at := tenure{c.Name, c.CreateIndex, c.Status.OwnerEpoch}
		if had, known := w.owner[at]; known && had != c.Status.Owner {
			t.Fatalf("epoch %d of %s has owners %q and %q", at.epoch, c.Name, had, c.Status.Owner)
		}
		w.owner[at] = c.Status.Owner
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
			switch rapid.IntRange(0, 9).Draw(t, "event") {
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
