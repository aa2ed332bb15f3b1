package client_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

// plane is an agent with mappings that a test can change; the clusters behind
// them are real.
type plane struct {
	*httptest.Server

	mu       sync.Mutex
	index    uint64         // guarded by mu, as all below
	mappings []wire.Mapping //
	members  map[wire.ClusterName][]wire.Instance
	events   []wire.Event
	changed  chan struct{} // closed at the next event
	down     bool
	asked    int // for sources
	agents   []wire.Member
}

func newPlane(t *testing.T) *plane {
	t.Helper()
	p := &plane{index: 1, members: map[wire.ClusterName][]wire.Instance{}, changed: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		ok(wire.Status{Node: "node1", Index: p.index, Members: p.agents})(w, r)
	})
	mux.HandleFunc("GET /readyz", ok(wire.HealthReport{Status: "ready"}))
	mux.HandleFunc("GET /v1/credentials", ok(wire.Credentials{Password: redistest.Password}))
	mux.HandleFunc("GET /v1/sources/{source}", p.source)
	mux.HandleFunc("GET /v1/events", p.stream)
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func (p *plane) source(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	if p.down {
		drop(w, r)
		return
	}
	answer := wire.SourceRoutes{Source: wire.SourceID(r.PathValue("source"))}
	for _, m := range p.mappings {
		if m.Source == answer.Source {
			answer.Routes = append(answer.Routes, wire.Route{Mapping: m, Members: p.members[m.Cluster]})
		}
	}
	if len(answer.Routes) == 0 {
		refuse(wire.CodeNotFound, 0)(w, r)
		return
	}
	ok(answer)(w, r)
}

func (p *plane) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	for sent := 0; ; {
		p.mu.Lock()
		events, changed := p.events[sent:], p.changed
		p.mu.Unlock()
		for _, e := range events {
			data, _ := json.Marshal(e)
			fmt.Fprintf(w, "event: change\nid: %d\ndata: %s\n\nevent: index\nid: %d\n\n", e.Index, data, e.Index)
		}
		sent += len(events)
		w.(http.Flusher).Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func (p *plane) happenLocked(e wire.Event) {
	e.Index = p.index
	p.events = append(p.events, e)
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *plane) addCluster(t *testing.T, name wire.ClusterName, members int) *redistest.Cluster {
	t.Helper()
	c := redistest.StartCluster(t, members)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.members[name] = c.Members(name)
	return c
}

// write maps the source to the cluster on the tag, or moves it there.
func (p *plane) write(source wire.SourceID, tag wire.NodeTag, to wire.ClusterName, metadata string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.index++
	m := wire.Mapping{Source: source, NodeTag: tag, Cluster: to, ModifyIndex: p.index}
	if metadata != "" {
		m.Metadata = json.RawMessage(metadata)
	}
	p.mappings = append(slices.DeleteFunc(p.mappings, func(o wire.Mapping) bool { return o.Source == source && o.NodeTag == tag }), m)
	slices.SortFunc(p.mappings, func(a, b wire.Mapping) int { return strings.Compare(string(a.NodeTag), string(b.NodeTag)) })
	after, _ := json.Marshal(m)
	p.happenLocked(wire.Event{Table: wire.TableMappings, Op: wire.OpPut, Key: string(source) + "/" + string(tag), After: after})
}

func (p *plane) removeCluster(name wire.ClusterName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.index++
	delete(p.members, name)
	p.happenLocked(wire.Event{Table: wire.TableClusters, Op: wire.OpDelete, Key: string(name)})
}

func (p *plane) setDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

func (p *plane) askedFor() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// second is another agent with the same store.
func (p *plane) second(t *testing.T) {
	s := httptest.NewServer(p.Config.Handler)
	t.Cleanup(s.Close)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.agents = []wire.Member{{Name: "node2", Address: s.Listener.Addr().String(), Alive: true}}
}

func (p *plane) open(t *testing.T, tags ...wire.NodeTag) *client.FrameDB {
	t.Helper()
	db, err := client.Open(t.Context(), client.Config{Addrs: []string{p.URL}, NodeTags: tags, RetryFor: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return db
}
