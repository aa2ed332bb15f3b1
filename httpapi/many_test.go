package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/httpapi"
	"github.com/framedb/framedb/raftstore/state"
)

func TestReadsSayHowOldTheyAre(t *testing.T) {
	a := newAPI(t).populate()
	a.store.stale = 1234*time.Millisecond + 1
	for _, path := range []string{"/v1/clusters", "/v1/sources/cam-1", "/v1/status", "/nodes/getNodes"} {
		if got := a.get(path).want(t, 200).header.Get(wire.HeaderStaleness); got != "1234" {
			t.Errorf("%s: %s is %q", path, wire.HeaderStaleness, got)
		}
	}
}

// TestConsistentReads: they catch up first, and fail where that cannot be.
func TestConsistentReads(t *testing.T) {
	a := newAPI(t).populate()
	caughtUp := 0
	a.store.behind = func(s *store) error {
		caughtUp++
		s.must(t, state.CreateMapping{Source: wire.SourceID(fmt.Sprint("late-", caughtUp)), NodeTag: "node-1"})
		return nil
	}
	a.get("/v1/sources/late-1").want(t, 404)
	for i, q := range []string{"?consistent", "?consistent=true", "?wait=1s&consistent=1"} {
		a.get(fmt.Sprint("/v1/sources/late-", i+1, q)).want(t, 200)
	}
	for _, q := range []string{"", "?consistent=false", "?consistent=0", "?prefix=consistent"} {
		a.get("/v1/sources"+q).want(t, 200)
	}
	if caughtUp != 3 {
		t.Errorf("caught up %d times, want 3", caughtUp)
	}
	a.get("/v1/clusters?consistent=maybe").refused(t, wire.CodeInvalidArgument, "consistent")
	a.store.behind = func(*store) error { return &wire.Error{Code: wire.CodeNoLeader, RetryAfter: time.Second} }
	if r := a.get("/v1/clusters?consistent").want(t, 503); r.header.Get("Retry-After") != "1" {
		t.Error("no advice when to try again")
	}
	a.get("/v1/clusters").want(t, 200)
}

// TestWithoutALeader: whatever the store says of it, the caller hears that it
// is to ask again, and the agent is as ready as it was.
func TestWithoutALeader(t *testing.T) {
	a := newAPI(t).populate()
	for _, why := range []error{
		wire.Errorf(wire.CodeTimeout, "this node could not catch up"), context.DeadlineExceeded, errors.New("raft is shut down"),
		wire.Errorf(wire.CodeUnavailable, "the store is closed"), wire.Errorf(wire.CodeNoLeader, "no leader"),
	} {
		a.store.behind = func(*store) error { return why }
		ahead := fmt.Sprint(a.store.View().Index() + 1)
		for name, r := range map[string]answer{
			"consistent": a.get("/v1/clusters?consistent"), "index": a.get("/v1/clusters?index=" + ahead),
			"events": a.get("/v1/events?index=" + ahead), "min index": a.do("GET", "/v1/status", "", wire.HeaderMinIndex, ahead),
		} {
			r.want(t, 503).refused(t, wire.CodeNoLeader, "")
			if r.header.Get("Retry-After") != "1" {
				t.Errorf("%v, %s: no advice when to try again", why, name)
			}
		}
		a.get("/readyz?consistent").want(t, 200)
		a.do("GET", "/readyz", "", wire.HeaderMinIndex, ahead).want(t, 200)
	}
}

// TestAnswersAreNotOlderThanAsked: a caller brings the index of its own change
// at another agent.
func TestAnswersAreNotOlderThanAsked(t *testing.T) {
	a := newAPI(t).populate()
	index := a.get("/v1/clusters").index(t)
	a.store.behind = func(s *store) error { s.must(t, state.CreateMapping{Source: "mine", NodeTag: "node-1"}); return nil }
	a.do("GET", "/v1/sources/mine", "", wire.HeaderMinIndex, fmt.Sprint(index)).want(t, 404)
	a.do("GET", "/v1/sources/mine", "", wire.HeaderMinIndex, fmt.Sprint(index+1)).want(t, 200)
	a.do("GET", "/v1/sources/mine", "", wire.HeaderMinIndex, "x").refused(t, wire.CodeInvalidArgument, wire.HeaderMinIndex)
}

// TestABlockingQueryFollowsItsIndex: from an agent that is quicker.
func TestABlockingQueryFollowsItsIndex(t *testing.T) {
	a := newAPI(t).populate()
	index := a.get("/v1/sources").index(t)
	a.store.behind = func(s *store) error {
		s.must(t, state.UpdateMetadata{Source: "cam-1", NodeTag: "node-1", Metadata: []byte(`{"a":1}`)})
		return nil
	}
	start := time.Now()
	r := a.get(fmt.Sprintf("/v1/sources?index=%d&wait=30ms", index+1)).want(t, 200)
	if r.index(t) != index+1 || time.Since(start) < 30*time.Millisecond {
		t.Errorf("answered with index %d at once: nothing came after %d", r.index(t), index+1)
	}
}

// TestTheOwnerSynchronizes: another agent's processes are that agent's to look at.
func TestTheOwnerSynchronizes(t *testing.T) {
	owner := newAPI(t).populate()
	there := httptest.NewServer(owner.server.Handler())
	t.Cleanup(there.Close)
	owner.actors.found = []wire.ClusterName{"theirs"}
	a := newAPI(t, func(c *httpapi.Config) {
		c.Node = "n9"
		c.Members = func() []wire.Member {
			return []wire.Member{{Name: "n1", Alive: true}, {Name: "n2"}, {Name: "n9", Alive: true}}
		}
	}).populate()
	a.actors.found = []wire.ClusterName{"ours"}
	a.store.must(t, state.RegisterNode{Node: wire.Node{Name: "n1", Address: strings.TrimPrefix(there.URL, "http://"), Tags: []wire.NodeTag{"node-1"}}})

	a.post("/v1/clusters/alpha/sync", "").want(t, 200)
	a.post("/cluster/synchronizeCluster", `{"clusterName":"beta"}`).want(t, 200)
	if got := owner.actors.synced; !slices.Equal(got, []wire.ClusterName{"alpha", "beta"}) {
		t.Errorf("the owner synchronized %v", got)
	}
	if len(a.actors.synced) > 0 {
		t.Errorf("this agent did too: %v", a.actors.synced)
	}
	if r := a.post("/v1/sync", `{"adopt":true}`).want(t, 200); r.body != `{"clusters":["ours","theirs"]}` {
		t.Errorf("found %s", r.body)
	}
	a.post("/v1/clusters/alpha/sync?local", "").want(t, 200)
	if len(a.actors.synced) != 1 {
		t.Error("?local was passed on")
	}
	owner.actors.err = wire.Errorf(wire.CodeUnavailable, "no Redis there")
	if r := a.post("/v1/clusters/alpha/sync", "").want(t, 503); !strings.Contains(r.body, "no Redis there") {
		t.Errorf("the owner's reason is lost: %s", r.body)
	}
	there.Close()
	if r := a.post("/v1/clusters/alpha/sync", "").want(t, 503); !strings.Contains(r.body, "n1") {
		t.Errorf("nobody says who does not answer: %s", r.body)
	}
}

func TestRaftRoutes(t *testing.T) {
	a := newAPI(t)
	if r := a.get("/v1/raft").want(t, 200); !strings.Contains(r.body, `"leader":"n1"`) {
		t.Error(r.body)
	}
	if r := a.post("/v1/raft/transfer", `{"to":"n2"}`).want(t, 200); !strings.Contains(r.body, `"leader":"n2"`) {
		t.Error(r.body)
	}
	a.post("/v1/raft/transfer", `{"to":"../x"}`).refused(t, wire.CodeInvalidArgument, "to")
	a.raft.transfer = wire.Errorf(wire.CodeConflict, "n3 does not vote")
	a.post("/v1/raft/transfer", `{}`).want(t, 409)
}

func TestDrainAndForgetANode(t *testing.T) {
	a := newAPI(t)
	drain := func(name, body string) answer { return a.do("PUT", "/v1/nodes/"+name+"/drain", body) }
	if r := drain("n1", `{"draining":true}`).want(t, 200); !strings.Contains(r.body, `"draining":true`) {
		t.Error(r.body)
	}
	if r := drain("n1", `{"draining":false}`).want(t, 200); strings.Contains(r.body, `"draining":true`) {
		t.Error(r.body)
	}
	drain("n1", `{}`).refused(t, wire.CodeMissingField, "draining")
	drain("nobody", `{"draining":true}`).want(t, 404)

	a.do("DELETE", "/v1/nodes/nobody", "").want(t, 404)
	a.do("DELETE", "/v1/nodes/n1", "").want(t, 409) // it lives
	a.do("DELETE", "/v1/nodes/n2", "").want(t, 200)
	if _, known := a.store.View().Node("n2"); known || !slices.Equal(a.raft.forgot, []wire.NodeName{"n2"}) {
		t.Errorf("n2 is known: %v; Raft forgot %v", known, a.raft.forgot)
	}
}

// TestAChangeNeedNotWaitForThisAgent: a caller that carries the indexes of its
// changes is answered when the leader has the change; others when this agent
// has it, too.
func TestAChangeNeedNotWaitForThisAgent(t *testing.T) {
	a := newAPI(t).populate()
	body := `{"node_tag":"node-1"}`
	r := a.do("POST", "/v1/sources/s1/mappings", body)
	if r.want(t, 201).index(t) != a.store.View().Index() {
		t.Errorf("the answer's index is %d, the change's is %d", r.index(t), a.store.View().Index())
	}
	ahead := a.store.View().Index() + 1000
	a.store.behind = func(*store) error { t.Error("a change made this agent catch up first"); return nil }
	a.do("POST", "/v1/sources/s2/mappings", body, wire.HeaderMinIndex, fmt.Sprint(ahead)).want(t, 201)

	a.store.lag = true // what is applied is seen by nobody here
	a.do("POST", "/v1/sources/s3/mappings", body, wire.HeaderMinIndex, "0").want(t, 201)
	done := make(chan answer)
	go func() { done <- a.do("POST", "/v1/sources/s4/mappings", body) }()
	select {
	case r := <-done:
		t.Fatalf("answered with %d before this agent has the change", r.status)
	case <-time.After(50 * time.Millisecond):
	}
	a.store.must(t, state.LabelNode{Name: "n1", Label: "l"}) // the index moves on
	(<-done).want(t, 201)
}
