package demo

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/wire"
)

// scene is what a fake agent has, and what was changed there.
type scene struct {
	cluster *wire.Cluster // nil: there is none yet
	created wire.Phase    // of a cluster that is created
	mapped  wire.ClusterName

	mu      sync.Mutex
	changes []string // guarded by mu
}

func (s *scene) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		s.mu.Lock()
		s.changes = append(s.changes, r.Method+" "+r.URL.Path)
		s.mu.Unlock()
	}
	answer := func(v any) { json.NewEncoder(w).Encode(v) }
	refuse := func(code wire.Code) {
		w.WriteHeader(code.HTTPStatus())
		answer(wire.FailureOf(wire.Errorf(code, "as the scene says")))
	}
	switch call := r.Method + " " + r.URL.Path; {
	case call == "GET /v1/status":
		answer(wire.Status{Node: "n", Members: []wire.Member{{Name: "m"}, {Name: "n", Tags: []wire.NodeTag{"node-1", "node-a"}}}})
	case call == "GET /v1/clusters/demo" && s.cluster == nil:
		refuse(wire.CodeNotFound)
	case call == "GET /v1/clusters/demo":
		answer(s.cluster)
	case call == "POST /v1/clusters":
		var c wire.Cluster
		json.NewDecoder(r.Body).Decode(&c)
		c.Status.Phase = s.created
		answer(c)
	case call == "PATCH /v1/clusters/demo":
		c := *s.cluster
		c.Status.Phase = wire.PhaseReady
		answer(c)
	case call == "POST /v1/sources/demo-cam/mappings" && s.mapped != "":
		refuse(wire.CodeAlreadyExists)
	case call == "GET /v1/sources/demo-cam":
		answer(wire.SourceRoutes{Routes: []wire.Route{{Mapping: wire.Mapping{NodeTag: "node-1", Cluster: s.mapped}}}})
	default:
		answer(struct{}{})
	}
}

func TestOnlyWhatWasMadeIsTakenAway(t *testing.T) {
	t.Parallel()
	cluster := func(phase wire.Phase) *wire.Cluster {
		c := &wire.Cluster{Name: "demo", ClusterSpec: wire.ClusterSpec{NodeTag: "node-1", Replicas: 1}}
		c.Status.Phase = phase
		return c
	}
	const (
		create, map_ = "POST /v1/clusters", "POST /v1/sources/demo-cam/mappings"
		wait         = "PATCH /v1/clusters/demo"
		unmap, drop  = "DELETE /v1/sources/demo-cam/mappings/node-1", "DELETE /v1/clusters/demo"
	)
	cases := []struct {
		name    string
		scene   *scene
		keep    bool
		tag     wire.NodeTag
		fails   *wire.Error
		changes []string
	}{
		{"nothing is there", &scene{created: wire.PhaseReady}, false, "", nil, []string{create, map_, unmap, drop}},
		{"nothing is there, kept", &scene{created: wire.PhaseReady}, true, "", nil, []string{create, map_}},
		{"all is there", &scene{cluster: cluster(wire.PhaseReady), mapped: "demo"}, false, "", nil, []string{map_}},
		{"the cluster is there", &scene{cluster: cluster(wire.PhaseDegraded)}, false, "node-1", nil, []string{map_, unmap}},
		{"the cluster is being made", &scene{cluster: cluster(wire.PhaseCreating)}, false, "", nil, []string{wait, map_, unmap}},
		{"the cluster is being removed", &scene{cluster: cluster(wire.PhaseRemoving)}, false, "", wire.ErrUnavailable, nil},
		{"the source is in use", &scene{cluster: cluster(wire.PhaseReady), mapped: "other"}, false, "", wire.ErrConflict, []string{map_}},
		{"another tag", &scene{cluster: cluster(wire.PhaseReady)}, false, "node-9", wire.ErrConflict, nil},
		{"not ready in time", &scene{created: wire.PhaseCreating}, false, "", wire.ErrUnavailable, []string{create, drop}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(tc.scene)
			t.Cleanup(server.Close)
			c, err := client.New(client.Config{Addrs: []string{server.URL}, RetryFor: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			o := Defaults()
			var notes []string
			o.Keep, o.NodeTag, o.Note = tc.keep, tc.tag, func(line string) { notes = append(notes, line) }
			stage, err := setUp(t.Context(), c, o, []string{"8x8"})
			if tc.fails == nil && err != nil || tc.fails != nil && !errors.Is(err, tc.fails) {
				t.Errorf("got %v, want %v", err, tc.fails)
			}
			if err == nil && stage.tag != "node-1" {
				t.Errorf("tag is %q", stage.tag)
			}
			if err := stage.tearDown(t.Context()); err != nil {
				t.Error(err)
			}
			if !slices.Equal(tc.scene.changes, tc.changes) {
				t.Errorf("changed %v\n want %v", tc.scene.changes, tc.changes)
			}
			if said := strings.Contains(strings.Join(notes, "\n"), "stay"); said != tc.keep {
				t.Errorf("notes: %q", notes)
			}
		})
	}
}

func TestTheNoteOfWhatStaysCanBeRun(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		cluster, mapping bool
		want             string
	}{
		{true, true, "cluster demo and source demo-cam stay, without frames; to take away what was made: " +
			"bin/framedb --addr h:1 source unmap demo-cam --node-tag node-1 && bin/framedb --addr h:1 cluster remove demo"},
		{false, true, "cluster demo and source demo-cam stay, without frames; to take away what was made: " +
			"bin/framedb --addr h:1 source unmap demo-cam --node-tag node-1"},
		{false, false, "cluster demo and source demo-cam stay, without frames"},
	} {
		o := Defaults()
		var notes []string
		o.Command, o.Note = "bin/framedb --addr h:1", func(line string) { notes = append(notes, line) }
		s := &stage{opts: o, tag: "node-1", madeCluster: tc.cluster, madeMapping: tc.mapping, complete: true}
		if err := s.tearDown(t.Context()); err != nil || len(notes) != 1 || notes[0] != tc.want {
			t.Errorf("%v, noted %q\n want %q", err, notes, tc.want)
		}
	}
}
