package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/framedb/framedb/client/wire"
)

func TestDrainingWaitsForVoteAndWork(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.answer("PUT /v1/nodes/node1/drain", wire.Node{Name: "node1", Draining: true})
	var looks atomic.Int32
	f.on("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		st := status()
		st.Members[2].Draining = false // node3 carries the tag, too, and does not vote
		switch looks.Add(1) {
		case 1:
		case 2:
			st.Members[0].Voter = false
		default:
			st.Members[0].Voter, st.Clusters = false, nil
		}
		json.NewEncoder(w).Encode(st)
	})
	o := stage{api: f}.run(t, "node", "drain", "node1")
	if o.code != 0 || looks.Load() != 3 || !strings.HasPrefix(o.stdout, "node1 is drained\n\nthe frames of these stay on it:\n") ||
		strings.Count(o.stdout, "cameras-redis-node-") != 3 {
		t.Errorf("exit %d after %d looks: %s%s", o.code, looks.Load(), o.stdout, o.stderr)
	}
	if got := f.asked("PUT"); len(got) != 1 || got[0] != `PUT /v1/nodes/node1/drain {"draining":true}` {
		t.Errorf("asked %v", got)
	}
}

func TestDrainingSaysWhatIsLeft(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.answer("PUT /v1/nodes/node1/drain", wire.Node{Name: "node1", Draining: true})
	o := stage{api: f}.run(t, "node", "drain", "node1") // node3 drains, too: nobody is there to vote instead
	if o.code != 0 || !strings.HasPrefix(o.stdout, "node1 is drained\nit keeps its vote in Raft") {
		t.Errorf("exit %d: %s%s", o.code, o.stdout, o.stderr)
	}
	st := status()
	st.Members[2].Draining, st.Clusters = false, nil
	f.answer("GET /v1/status", st)
	o = stage{api: f}.run(t, "node", "drain", "node1", "--wait", "0s")
	if o.code != exitUnavailable || !strings.Contains(o.stderr, "node1 is draining and goes on: it still has a vote; see") || o.stdout != "" {
		t.Errorf("exit %d: %s%s", o.code, o.stdout, o.stderr)
	}
}

func TestOnlyWhatAnotherNodeCanTakeIsWaitedFor(t *testing.T) {
	t.Parallel()
	st := status()
	st.Members[0].Leader = true
	tagged := []wire.NodeTag{"node-1"}
	const all = "a vote and 2 FrameDBs that another agent can look after"
	for name, tc := range map[string]struct {
		other wire.Member
		left  string
	}{
		"takes it":       {wire.Member{Name: "b", Alive: true, Tags: tagged}, all},
		"takes the lead": {wire.Member{Name: "b", Alive: true, Voter: true}, "the lead"},
		"other tag":      {wire.Member{Name: "b", Alive: true, Tags: []wire.NodeTag{"node-a"}}, "a vote"},
		"dead":           {wire.Member{Name: "b", Tags: tagged}, ""},
		"draining":       {wire.Member{Name: "b", Alive: true, Draining: true, Tags: tagged}, ""},
		"itself":         {wire.Member{Name: "node1", Alive: true, Tags: tagged}, ""},
	} {
		st.Members = []wire.Member{st.Members[0], tc.other}
		if got := leftOn(&st, "node1"); got != tc.left {
			t.Errorf("%s: left is %q, want %q", name, got, tc.left)
		}
	}
}

func TestNodesAreJoinedWithMembers(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.answer("GET /v1/nodes", []wire.Node{{Name: "node1", Label: "gpu"}, {Name: "node9", Version: "v0"}})
	st := status()
	st.Members = append(st.Members, wire.Member{Name: "forgotten"})
	f.answer("GET /v1/status", st)
	o := stage{api: f}.run(t, "node", "list", "-o", "json")
	var rows []nodeRow
	if err := json.Unmarshal([]byte(o.stdout), &rows); err != nil || len(rows) != 4 {
		t.Fatalf("%s: %v", o.stdout, err)
	}
	if r := rows[0]; !r.Alive || !r.Leader || r.Owned != 2 || r.Label != "gpu" {
		t.Errorf("registered and alive: %+v", r)
	}
	if r := rows[2]; r.Name != "node3" || !r.Draining || r.Address != "127.0.0.3:5000" || !r.Alive {
		t.Errorf("not registered yet: %+v", r)
	}
	if r := rows[3]; r.Name != "node9" || r.Alive || r.Version != "v0" {
		t.Errorf("gone: %+v", r)
	}
}

func TestRemovingANodeAsksAPerson(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.answer("DELETE /v1/nodes/node2", wire.Node{Name: "node2"})
	if o := (stage{api: f, terminal: true, stdin: "n\n"}).run(t, "node", "remove", "node2"); o.code != exitFailed || len(f.asked("DELETE")) != 0 {
		t.Errorf("exit %d, asked %v", o.code, f.asked("DELETE"))
	}
	f.refuse("DELETE /v1/nodes/node2", wire.CodeConflict)
	if o := (stage{api: f, terminal: true}).run(t, "node", "remove", "node2", "-y"); o.code != exitConflict || len(f.asked("DELETE")) != 1 {
		t.Errorf("alive: exit %d, %s", o.code, o.stderr)
	}
}

func TestRaftWithoutALeaderSaysSo(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	st := raftStatus()
	st.Leader = ""
	f.answer("GET /v1/raft", st)
	if o := (stage{api: f}).run(t, "raft", "status"); o.code != 0 || !strings.HasPrefix(o.stdout, "NO LEADER") {
		t.Errorf("exit %d: %s", o.code, o.stdout)
	}
}

func TestTheStatusScreenHasRoomForManyNodes(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	st := status()
	for i := range 100 {
		st.Members = append(st.Members, wire.Member{Name: wire.NodeName(fmt.Sprintf("n-%02d", i)), Alive: true, Version: "v1"})
	}
	st.Members[80].Alive, st.Members[90].Voter = false, true
	f.answer("GET /v1/status", st)
	o := stage{api: f}.run(t, "status")
	lines := strings.Split(o.stdout, "\n")
	for i, want := range []string{"node2 ", "n-77 ", "node3 ", "node1 ", "n-87 ", "n-00 "} {
		if !strings.HasPrefix(lines[4+i], want) {
			t.Errorf("row %d is %q, want %s", i, lines[4+i], want)
		}
	}
	for _, want := range []string{"and 83 more; see framedb node list", "103 nodes (101 alive, 3 voters)", "versions differ: v1 on 100 nodes, v2 on 1 node"} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("%q is not said:\n%s", want, o.stdout)
		}
	}
}
