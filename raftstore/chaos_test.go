package raftstore

import (
	"testing"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// randomRun is how long random faults go on, without soakEnv.
const randomRun = 12 * time.Second

// TestRandomFaults has one fault after the other beside messages that get lost,
// doubled and late all the time, with snapshots in place of most of the log.
func TestRandomFaults(t *testing.T) {
	t.Parallel()
	c := newChaos(t, 5, true)
	w, roving := c.work(linearizableClients), c.wander()
	w.loaded()
	trouble := messageFaults{dropCall: 0.01, dropAnswer: 0.02, duplicate: 0.05, delay: 0.05}
	for end := time.Now().Add(max(randomRun, soak())); time.Now().Before(end) && !t.Failed(); {
		c.messages.set(trouble)
		c.mischief()
	}
	w.finish(roving)
}

// mischief is one random fault, and its end.
func (c *chaos) mischief() {
	nodes := c.all()
	victim := nodes[c.rand.IntN(len(nodes))]
	if c.rand.IntN(2) == 0 {
		victim = c.leader()
	}
	while := 200*time.Millisecond + time.Duration(c.rand.Int64N(int64(2500*time.Millisecond)))
	switch kind := c.rand.IntN(8); kind {
	case 0:
		c.t.Logf("kill %s for %v", victim.name, while)
		victim.kill()
		c.pass(while)
		victim.start()
	case 1:
		c.t.Logf("hold %s for %v", victim.name, while)
		victim.hold()
		c.pass(while)
		victim.release()
	case 2, 3, 4:
		c.cut(kind, victim, while)
	case 5:
		c.t.Logf("replace %s", victim.name)
		c.replace(victim)
	case 6:
		c.t.Logf("transfer the lead")
		_ = c.leader().store().raft.LeadershipTransfer().Error()
	case 7:
		skew := time.Duration(c.rand.Int64N(int64(48*time.Hour))) - 24*time.Hour
		c.t.Logf("the clock of %s jumps by %v", victim.name, skew)
		victim.skew.Store(int64(skew))
	}
}

// cut has a node not heard, or hear nothing, or both.
func (c *chaos) cut(kind int, victim *node, while time.Duration) {
	c.t.Logf("cut %s off (%d) for %v", victim.name, kind, while)
	for _, n := range c.all() {
		if n != victim && kind != 2 {
			c.net.Cut(string(n.name), string(victim.name))
		}
		if n != victim && kind != 3 {
			c.net.Cut(string(victim.name), string(n.name))
		}
	}
	c.pass(while)
	c.net.Heal()
}

// TestALostAnswerIsUnknownAndDoneOnce scripts what random runs have by chance.
func TestALostAnswerIsUnknownAndDoneOnce(t *testing.T) {
	t.Parallel()
	c := newChaos(t, 3, false)
	follower := c.followers()[0].store()
	propose(t, c.ctx, follower, "", create("a"))
	c.messages.set(messageFaults{only: "Apply", dropAnswer: 1})
	told := request{id: "r1"}
	_, err := follower.Propose(c.ctx, told.id, mapping("s1"))
	if !isUncertain(err) {
		t.Errorf("the answer was lost: %v", err)
	}
	c.messages.set(messageFaults{only: "Apply", duplicate: 1})
	told.answered, told.result = true, propose(t, c.ctx, c.followers()[1].store(), told.id, mapping("s1"))
	c.check([]request{told})
}

// TestARefusalIsForGood: what arrives a second time is refused as the first
// time, even if it could be done by then.
func TestARefusalIsForGood(t *testing.T) {
	t.Parallel()
	c := newChaos(t, 3, false)
	follower := c.followers()[0].store()
	propose(t, c.ctx, follower, "", create("a"))
	told := request{id: "r1", answered: true}
	res, err := follower.Propose(c.ctx, told.id, removal("s1"))
	if wire.CodeOf(err) != wire.CodeNotFound {
		t.Fatalf("removed what is not there: %v", err)
	}
	told.result = res
	propose(t, c.ctx, follower, "", mapping("s1"))
	if _, err := follower.Propose(c.ctx, told.id, removal("s1")); wire.CodeOf(err) != wire.CodeNotFound {
		t.Errorf("the second time: %v", err)
	}
	c.check([]request{told})
}

// TestAClockThatIsAheadForgetsNoRequest: age alone is no reason to forget.
func TestAClockThatIsAheadForgetsNoRequest(t *testing.T) {
	t.Parallel()
	c := newChaos(t, 3, false)
	nodes := c.all()
	nodes[1].skew.Store(int64(24 * time.Hour))
	propose(t, c.ctx, nodes[0].store(), "", create("a"))
	told := request{id: "r1", answered: true, result: propose(t, c.ctx, nodes[0].store(), "r1", mapping("s1"))}
	propose(t, c.ctx, nodes[1].store(), "r2", mapping("s2"))
	propose(t, c.ctx, nodes[0].store(), "r3", removal("s1"))
	if again := propose(t, c.ctx, nodes[2].store(), told.id, mapping("s1")); again.Index != told.result.Index {
		t.Errorf("done at %d, and again at %d", told.result.Index, again.Index)
	}
	c.check([]request{told})
}
