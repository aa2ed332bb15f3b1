package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/wire"
)

func TestEachCallAsksItsRoute(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	frame := wire.NewFrameKey("cam:1", 0, 2, 7)
	three := 3
	cases := []struct {
		want   string // method, URI and body
		answer any
		call   func(*client.Client) error
	}{
		{"GET /v1/clusters ", []wire.Cluster{{Name: "a"}}, func(c *client.Client) error {
			all, err := c.Clusters(ctx)
			return expect(err, len(all) == 1 && all[0].Name == "a")
		}},
		{"GET /v1/clusters/a ", wire.Cluster{Name: "a"}, func(c *client.Client) error {
			one, err := c.Cluster(ctx, "a")
			return expect(err, one.Name == "a")
		}},
		{`POST /v1/clusters?wait=2m0s {"name":"a","node_tag":"n","replicas":3,"quorum":2,"enable_metrics":false,"backup":false,"max_memory_policy":"","down_after_ms":0,"failover_timeout_ms":0,"parallel_syncs":0}`,
			wire.Cluster{Name: "a"}, func(c *client.Client) error {
				spec := wire.ClusterSpec{NodeTag: "n", Replicas: 3, Quorum: 2}
				_, err := c.CreateCluster(ctx, wire.CreateCluster{Name: "a", ClusterSpec: spec}, 2*time.Minute)
				return err
			}},
		{`PATCH /v1/clusters/a?wait=0s {"replicas":3}`, wire.Cluster{}, func(c *client.Client) error {
			_, err := c.UpdateCluster(ctx, "a", wire.UpdateCluster{Replicas: &three}, 0)
			return err
		}},
		{"DELETE /v1/clusters/a?wait=1.5s ", wire.RemovedCluster{Moved: []wire.Mapping{{Source: "s"}}}, func(c *client.Client) error {
			gone, err := c.RemoveCluster(ctx, "a", 1500*time.Millisecond)
			return expect(err, len(gone.Moved) == 1)
		}},
		{"GET /v1/clusters/a/topology ", wire.Topology{Master: wire.Endpoint{Port: 1}}, func(c *client.Client) error {
			top, err := c.Topology(ctx, "a")
			return expect(err, top.Master.Port == 1)
		}},
		{"POST /v1/clusters/a/sync ", wire.Cluster{}, func(c *client.Client) error { _, err := c.SyncCluster(ctx, "a"); return err }},
		{`POST /v1/clusters/a/sweep {"dry_run":true}`, wire.Swept{Keys: 3}, func(c *client.Client) error {
			swept, err := c.SweepCluster(ctx, "a", wire.SweepCluster{DryRun: true})
			return expect(err, swept.Keys == 3)
		}},
		{`POST /v1/frames/cam:1/retain {"uses":[{"key":"k","by":2}]}`, wire.UseResults{Results: []wire.Used{{Count: 5}}}, func(c *client.Client) error {
			used, err := c.RetainFrames(ctx, "cam:1", wire.RetainFrames{Uses: []wire.Use{{Key: "k", By: 2}}})
			return expect(err, len(used) == 1 && used[0].Count == 5)
		}},
		{"GET /v1/leases?cluster=a&limit=7 ", wire.Leases{Leases: []wire.Lease{{ID: "me"}}}, func(c *client.Client) error {
			all, err := c.Leases(ctx, "a", 7)
			return expect(err, len(all) == 1 && all[0].ID == "me")
		}},
		{`POST /v1/leases/me%2F1 {"source":"s","ttl_ms":1000,"uses":[{"key":"k","by":1}],"add":true}`, wire.UseResults{Results: []wire.Used{{Missing: true}}}, func(c *client.Client) error {
			used, err := c.TakeLease(ctx, "me/1", wire.TakeLease{LeasePlace: wire.LeasePlace{Source: "s"}, TTL: 1000, Uses: []wire.Use{{Key: "k", By: 1}}, Add: true})
			return expect(err, len(used) == 1 && used[0].Missing)
		}},
		{`POST /v1/leases/me/renew {"cluster":"a","ttl_ms":1000}`, struct{}{}, func(c *client.Client) error {
			return c.RenewLease(ctx, "me", wire.RenewLease{LeasePlace: wire.LeasePlace{Cluster: "a"}, TTL: 1000})
		}},
		{`POST /v1/leases/me/put-back {"source":"s","node_tag":"n","decrements":[{"key":"k","by":1,"sizes":[]}]}`, wire.DecrementResults{Results: []wire.Decremented{{Key: "é", Remaining: 1}}}, func(c *client.Client) error {
			done, err := c.PutBack(ctx, "me", wire.PutBack{LeasePlace: wire.LeasePlace{Source: "s", NodeTag: "n"}, Decrements: []wire.Decrement{{Key: "k", By: 1, Sizes: []string{}}}})
			return expect(err, len(done) == 1 && done[0].Key == "é")
		}},
		{`POST /v1/leases/me/release {"cluster":"a"}`, wire.LeaseReleased{Frames: 2}, func(c *client.Client) error {
			back, err := c.ReleaseLease(ctx, "me", wire.LeasePlace{Cluster: "a"})
			return expect(err, back.Frames == 2)
		}},
		{`POST /v1/sync {"adopt":true}`, map[string]any{"clusters": []string{"a", "b"}}, func(c *client.Client) error {
			names, err := c.Synchronize(ctx, true)
			return expect(err, len(names) == 2)
		}},
		{"GET /v1/instances?cluster=a&node_tag=n ", []wire.Resolved{{URL: "u"}}, func(c *client.Client) error {
			all, err := c.Instances(ctx, client.InstanceQuery{Cluster: "a", NodeTag: "n"})
			return expect(err, len(all) == 1)
		}},
		{"GET /v1/instances/a-redis-node-0 ", wire.Resolved{URL: "redis://h:1/0"}, func(c *client.Client) error {
			one, err := c.Resolve(ctx, "a-redis-node-0")
			return expect(err, one.URL == "redis://h:1/0")
		}},
		{"GET /v1/sources/cam:1 ", wire.SourceRoutes{Source: "cam:1"}, func(c *client.Client) error {
			s, err := c.Source(ctx, "cam:1")
			return expect(err, s.Source == "cam:1")
		}},
		{`POST /v1/sources/cam:1/mappings {"node_tag":"n","metadata":{"ref_count":2}}`, wire.Mapping{Cluster: "a"}, func(c *client.Client) error {
			m, err := c.CreateMapping(ctx, "cam:1", wire.CreateMapping{NodeTag: "n", Metadata: json.RawMessage(`{"ref_count":2}`)})
			return expect(err, m.Cluster == "a")
		}},
		{`PATCH /v1/sources/cam:1/mappings/n {"cluster":"b"}`, wire.Mapping{}, func(c *client.Client) error {
			_, err := c.UpdateMapping(ctx, "cam:1", "n", wire.UpdateMapping{Cluster: "b"})
			return err
		}},
		{"DELETE /v1/sources/cam:1/mappings/n ", wire.Mapping{}, func(c *client.Client) error {
			_, err := c.RemoveMapping(ctx, "cam:1", "n")
			return err
		}},
		{"GET /v1/nodes ", []wire.Node{{Name: "x"}}, func(c *client.Client) error {
			all, err := c.Nodes(ctx)
			return expect(err, len(all) == 1)
		}},
		{`PUT /v1/nodes/x/label {"label":"n"}`, wire.Node{}, func(c *client.Client) error {
			_, err := c.LabelNode(ctx, "x", "n")
			return err
		}},
		{`PUT /v1/nodes/x/drain {"draining":true}`, wire.Node{Draining: true}, func(c *client.Client) error {
			n, err := c.DrainNode(ctx, "x", true)
			return expect(err, n.Draining)
		}},
		{"DELETE /v1/nodes/x ", wire.Node{Name: "x"}, func(c *client.Client) error {
			n, err := c.RemoveNode(ctx, "x")
			return expect(err, n.Name == "x")
		}},
		{"GET /v1/raft ", wire.RaftStatus{Term: 3}, func(c *client.Client) error {
			st, err := c.Raft(ctx)
			return expect(err, st.Term == 3)
		}},
		{`POST /v1/raft/transfer {"to":"x"}`, wire.RaftStatus{Leader: "x"}, func(c *client.Client) error {
			st, err := c.TransferLeadership(ctx, "x")
			return expect(err, st.Leader == "x")
		}},
		{"GET /v1/credentials ", wire.Credentials{Password: "p"}, func(c *client.Client) error {
			p, err := c.Credentials(ctx)
			return expect(err, p == "p")
		}},
		{"GET /v1/credentials?framedb_id=disk ", wire.Credentials{Password: "p", User: "u", Database: "d"}, func(c *client.Client) error {
			creds, err := c.CredentialsOf(ctx, "disk")
			return expect(err, creds == wire.Credentials{Password: "p", User: "u", Database: "d"})
		}},
		{"GET /v1/storage ", []wire.PersistentInstance{{ID: "disk"}}, func(c *client.Client) error {
			all, err := c.PersistentInstances(ctx)
			return expect(err, len(all) == 1 && all[0].ID == "disk")
		}},
		{"GET /v1/storage/disk ", wire.PersistentInstance{ID: "disk", Status: wire.StorageStatus{Engine: "tidb"}}, func(c *client.Client) error {
			one, err := c.PersistentInstance(ctx, "disk")
			return expect(err, one.Status.Engine == wire.EngineTiDB)
		}},
		{`POST /v1/storage?wait=1m0s {"framedb_id":"disk","node_tag":"n","storage_size":"","replicas":{"pd":0,"tikv":3,"tidb":0},"password":"x"}`, wire.PersistentInstance{ID: "disk"}, func(c *client.Client) error {
			spec := wire.StorageSpec{NodeTag: "n", Replicas: wire.StorageReplicas{TiKV: 3}}
			one, err := c.CreateStorage(ctx, wire.CreateStorage{ID: "disk", StorageSpec: spec, Password: "x"}, time.Minute)
			return expect(err, one.ID == "disk")
		}},
		{`PATCH /v1/storage/disk?wait=0s {"password":""}`, wire.PersistentInstance{}, func(c *client.Client) error {
			_, err := c.UpdateStorage(ctx, "disk", wire.UpdateStorage{Password: new(string)}, 0)
			return err
		}},
		{"DELETE /v1/storage/disk?wait=1s ", wire.PersistentInstance{ID: "disk"}, func(c *client.Client) error {
			one, err := c.RemoveStorage(ctx, "disk", time.Second)
			return expect(err, one.ID == "disk")
		}},
		{"GET /v1/ingestions ", []wire.Ingestion{{Source: "cam:1"}}, func(c *client.Client) error {
			all, err := c.Ingestions(ctx)
			return expect(err, len(all) == 1)
		}},
		{"GET /v1/ingestions/cam:1 ", wire.Ingestion{Source: "cam:1"}, func(c *client.Client) error {
			one, err := c.Ingestion(ctx, "cam:1")
			return expect(err, one.Source == "cam:1")
		}},
		{`PUT /v1/ingestions/cam:1 {"target":"disk"}`, wire.Ingestion{Source: "cam:1"}, func(c *client.Client) error {
			_, err := c.PutIngestion(ctx, "cam:1", wire.IngestionSpec{Target: "disk"})
			return err
		}},
		{"DELETE /v1/ingestions/cam:1 ", wire.Ingestion{Source: "cam:1"}, func(c *client.Client) error {
			_, err := c.DeleteIngestion(ctx, "cam:1")
			return err
		}},
		{"GET /v1/frames/cam:1?cursor=x&limit=5&node_tag=n ", wire.FramePage{Next: "y"}, func(c *client.Client) error {
			p, err := c.ListFrames(ctx, "cam:1", "n", "x", 5)
			return expect(err, p.Next == "y")
		}},
		{"GET /v1/frames/cam:1/cam:1%3F0%3F2__7__8x8 ", "pixels", func(c *client.Client) error {
			b, err := c.ReadFrame(ctx, "cam:1", "", frame.Data("8x8"))
			return expect(err, string(b) == "\"pixels\"\n")
		}},
		{"PUT /v1/frames/cam:1/cam:1%3F0%3F2__7/8x8?count=2&node_tag=n pixels", wire.PutFrame{Count: 2}, func(c *client.Client) error {
			p, err := c.WriteFrame(ctx, frame, "8x8", "n", 2, []byte("pixels"))
			return expect(err, p.Count == 2)
		}},
		{`POST /v1/frames/cam:1/decr {"decrements":[{"key":"k","by":1,"sizes":["8x8"]}]}`, map[string]any{"results": []wire.Decremented{{Key: "k"}}}, func(c *client.Client) error {
			d, err := c.DecrementFrames(ctx, "cam:1", wire.DecrementFrames{Decrements: []wire.Decrement{{Key: "k", By: 1, Sizes: []string{"8x8"}}}})
			return expect(err, len(d) == 1 && d[0].Key == "k")
		}},
	}
	for _, tc := range cases {
		f := newFakeAgent(t, ok(tc.answer))
		if err := tc.call(newClient(t, client.Config{}, f)); err != nil {
			t.Errorf("%s: %v", tc.want, err)
		}
		calls := f.got()
		if len(calls) != 1 {
			t.Errorf("%s: %d calls were made", tc.want, len(calls))
			continue
		}
		if got := calls[0].method + " " + calls[0].uri + " " + calls[0].body; got != tc.want {
			t.Errorf("asked %q\n  want %q", got, tc.want)
		}
		repeatable := calls[0].method != http.MethodGet && !strings.HasSuffix(calls[0].body, "pixels")
		if repeatable != (calls[0].id != "") {
			t.Errorf("%s: request ID is %q", tc.want, calls[0].id)
		}
	}
}

func TestPingKnowsAnAgentFromOtherServers(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"no such page":   page(http.StatusNotFound, "<html>"),
		"any page":       page(http.StatusOK, "<html>"),
		"other JSON":     ok(map[string]int{"uptime": 3}),
		"not for you":    page(http.StatusForbidden, "<html>"),
		"bad gateway":    page(http.StatusBadGateway, "<html>"),
		"gone meanwhile": drop,
	} {
		f := newFakeAgent(t, answer)
		if err := newClient(t, client.Config{}, f).Ping(t.Context()); !errors.Is(err, wire.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f := newFakeAgent(t, ok(wire.HealthReport{Status: "ok"}))
	if err := newClient(t, client.Config{}, f).Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func expect(err error, good bool) error {
	if err == nil && !good {
		return errors.New("the answer was not decoded")
	}
	return err
}

func TestAChangeKeepsItsRequestIDThroughEveryFailure(t *testing.T) {
	t.Parallel()
	f := newFakeAgent(t, drop, cut, refuse(wire.CodeNoLeader, 0), refuse(wire.CodeOutcomeUnknown, 0),
		refuse(wire.CodeOverloaded, 0), page(http.StatusBadGateway, "<html>"), refuse(wire.CodeUnavailable, 1), ok(wire.Cluster{Name: "a"}))
	c := newClient(t, client.Config{RetryFor: time.Minute}, f)
	got, err := c.SyncCluster(t.Context(), "a")
	if err != nil || got.Name != "a" {
		t.Fatalf("got %v, %v after failures that pass", got.Name, err)
	}
	calls := f.got()
	if len(calls) != 8 {
		t.Fatalf("%d tries, want 8", len(calls))
	}
	for i, call := range calls {
		if call.id == "" || call.id != calls[0].id {
			t.Errorf("try %d has ID %q, the first had %q", i, call.id, calls[0].id)
		}
	}
	if _, err := c.SyncCluster(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if calls := f.got(); calls[8].id == calls[0].id {
		t.Error("another change has the same request ID")
	}
}

func TestTheCallersRequestIDIsSent(t *testing.T) {
	t.Parallel()
	f := newFakeAgent(t, ok(wire.Cluster{}))
	c := newClient(t, client.Config{}, f)
	if _, err := c.SyncCluster(client.WithRequestID(t.Context(), "mine-1"), "a"); err != nil {
		t.Fatal(err)
	}
	if id := f.got()[0].id; id != "mine-1" {
		t.Errorf("request ID is %q", id)
	}
	if _, err := c.SyncCluster(client.WithRequestID(t.Context(), "not allowed"), "a"); !errors.Is(err, wire.ErrInvalidArgument) {
		t.Errorf("a bad request ID gives %v", err)
	}
}

func TestErrorsSayWhatBecameOfTheCall(t *testing.T) {
	t.Parallel()
	read := func(ctx context.Context, c *client.Client) error { _, err := c.Cluster(ctx, "a"); return err }
	change := func(ctx context.Context, c *client.Client) error { _, err := c.SyncCluster(ctx, "a"); return err }
	put := func(ctx context.Context, c *client.Client) error {
		_, err := c.WriteFrame(ctx, wire.NewFrameKey("s", 0, 0, 1), "8x8", "", 1, nil)
		return err
	}
	cases := []struct {
		name   string
		call   func(context.Context, *client.Client) error
		script []http.HandlerFunc
		want   *wire.Error
		not    *wire.Error
		tries  int // 0: several
	}{
		{"refused", change, []http.HandlerFunc{refuse(wire.CodeConflict, 0)}, wire.ErrConflict, nil, 1},
		{"backend down", read, []http.HandlerFunc{refuse(wire.CodeUnavailable, 0)}, wire.ErrUnavailable, nil, 1},
		{"too long a wait", change, []http.HandlerFunc{refuse(wire.CodeOverloaded, 3600)}, wire.ErrOverloaded, nil, 1},
		{"no leader", change, []http.HandlerFunc{refuse(wire.CodeNoLeader, 0)}, wire.ErrNoLeader, wire.ErrOutcomeUnknown, 0},
		{"unknown, then no leader", change, []http.HandlerFunc{refuse(wire.CodeOutcomeUnknown, 0), refuse(wire.CodeNoLeader, 0)}, wire.ErrOutcomeUnknown, wire.ErrNoLeader, 0},
		{"sent, then refused", change, []http.HandlerFunc{drop, refuse(wire.CodeConflict, 0)}, wire.ErrConflict, wire.ErrOutcomeUnknown, 2},
		{"change without answer", change, []http.HandlerFunc{drop}, wire.ErrOutcomeUnknown, wire.ErrUnavailable, 0},
		{"change with half an answer", change, []http.HandlerFunc{cut}, wire.ErrOutcomeUnknown, nil, 0},
		{"read without answer", read, []http.HandlerFunc{drop}, wire.ErrUnavailable, wire.ErrOutcomeUnknown, 0},
		{"frame without answer", put, []http.HandlerFunc{drop, ok(wire.PutFrame{})}, wire.ErrOutcomeUnknown, nil, 1},
		{"frame and no leader", put, []http.HandlerFunc{refuse(wire.CodeOverloaded, 0), ok(wire.PutFrame{})}, nil, nil, 2},
		{"a proxy's 502", change, []http.HandlerFunc{page(http.StatusBadGateway, "<html>")}, wire.ErrOutcomeUnknown, nil, 0},
		{"someone else's 404", read, []http.HandlerFunc{page(http.StatusNotFound, "404 page not found")}, wire.ErrNotFound, nil, 1},
		{"no JSON", read, []http.HandlerFunc{page(http.StatusOK, "hello")}, &wire.Error{Code: wire.CodeInternal}, nil, 1},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeAgent(t, tc.script...)
			err := tc.call(t.Context(), newClient(t, client.Config{RetryFor: 300 * time.Millisecond}, f))
			if tc.want == nil && err != nil || tc.want != nil && !errors.Is(err, tc.want) || wire.CodeOf(err) != codeOf(tc.want) {
				t.Errorf("got %v (%s), want %s", err, wire.CodeOf(err), codeOf(tc.want))
			}
			if tc.not != nil && errors.Is(err, tc.not) {
				t.Errorf("%v also says %s", err, tc.not.Code)
			}
			if n := len(f.got()); tc.tries != 0 && n != tc.tries || n == 0 || tc.tries == 0 && n < 2 {
				t.Errorf("%d tries, want %d", n, tc.tries)
			}
		})
	}
}

func codeOf(e *wire.Error) wire.Code {
	if e == nil {
		return ""
	}
	return e.Code
}

func TestTheFieldAtFaultComesThrough(t *testing.T) {
	t.Parallel()
	f := newFakeAgent(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(w).Encode(wire.FailureOf(&wire.Error{Code: wire.CodeMissingField, Message: "quorum is missing", Field: "quorum"}))
	})
	_, err := newClient(t, client.Config{}, f).CreateCluster(t.Context(), wire.CreateCluster{}, 0)
	if e := wire.AsError(err); e.Code != wire.CodeMissingField || e.Field != "quorum" || e.Message != "quorum is missing" {
		t.Errorf("got %+v", e)
	}
}

func TestRetryAfterIsKept(t *testing.T) {
	t.Parallel()
	f := newFakeAgent(t, refuse(wire.CodeNoLeader, 1), ok(wire.Cluster{}))
	start := time.Now()
	if _, err := newClient(t, client.Config{}, f).Cluster(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < time.Second {
		t.Errorf("came back after %v, asked for 1 s of patience", took)
	}
}

func TestADeadFirstAddressCostsNothing(t *testing.T) {
	t.Parallel()
	f := newFakeAgent(t, ok(wire.PutFrame{}))
	c := newClient(t, client.Config{Addrs: []string{deadAddr(t)}, RetryFor: -1}, f)
	if _, err := c.WriteFrame(t.Context(), wire.NewFrameKey("s", 0, 0, 1), "8x8", "", 1, nil); err != nil {
		t.Fatalf("the second address was not used: %v", err)
	}
	if addr, err := c.Addr(t.Context()); addr != f.URL || err != nil {
		t.Errorf("stays with %s, %v", addr, err)
	}
	f.Close()
	if _, err := c.Clusters(t.Context()); !errors.Is(err, wire.ErrUnavailable) {
		t.Errorf("with all agents dead: %v", err)
	}
}

func TestAnotherAgentIsAskedWhenOneHasNoLeader(t *testing.T) {
	t.Parallel()
	cutOff, good := newFakeAgent(t, refuse(wire.CodeNoLeader, 0)), newFakeAgent(t, ok(wire.Cluster{}))
	if _, err := newClient(t, client.Config{}, cutOff, good).SyncCluster(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if cutOff.got()[0].id != good.got()[0].id {
		t.Error("the other agent got another request ID")
	}
}

func TestASlowAgentIsLeft(t *testing.T) {
	t.Parallel()
	slow, quick := newFakeAgent(t, hang), newFakeAgent(t, ok(wire.Cluster{}))
	c := newClient(t, client.Config{Timeout: 100 * time.Millisecond}, slow, quick)
	if _, err := c.SyncCluster(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if len(slow.got()) != 1 || len(quick.got()) != 1 {
		t.Errorf("%d and %d tries", len(slow.got()), len(quick.got()))
	}
}

func TestTheAgentMayTakeAsLongAsItWasAskedTo(t *testing.T) {
	t.Parallel()
	waited := func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(400 * time.Millisecond):
			ok(wire.Cluster{Name: "a"})(w, r)
		case <-r.Context().Done():
		}
	}
	c := newClient(t, client.Config{Timeout: 100 * time.Millisecond, RetryFor: -1}, newFakeAgent(t, waited))
	if _, err := c.UpdateCluster(t.Context(), "a", wire.UpdateCluster{}, 10*time.Second); err != nil {
		t.Error(err)
	}
}

func TestTheCallersContextEndsACall(t *testing.T) {
	t.Parallel()
	c := newClient(t, client.Config{}, newFakeAgent(t, hang))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.SyncCluster(ctx, "a")
	if !errors.Is(err, wire.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("deadline: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := c.Cluster(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestNamesThatLeadElsewhereAreNotSent(t *testing.T) {
	t.Parallel()
	f := newFakeAgent(t, ok(nil))
	c := newClient(t, client.Config{}, f)
	ctx := t.Context()
	for _, bad := range []string{"", ".", "..", "../x", "a/b", "a b", "カメラ", strings.Repeat("a", 300)} {
		_, err1 := c.Cluster(ctx, wire.ClusterName(bad))
		_, err2 := c.RemoveMapping(ctx, "s", wire.NodeTag(bad))
		_, err3 := c.Source(ctx, wire.SourceID(bad))
		_, err4 := c.Resolve(ctx, wire.FrameDBID(bad))
		_, err5 := c.LabelNode(ctx, wire.NodeName(bad), "n")
		_, err6 := c.CredentialsOf(ctx, wire.FrameDBID(bad))
		_, err7 := c.RemoveStorage(ctx, wire.FrameDBID(bad), 0)
		_, err8 := c.DeleteIngestion(ctx, wire.SourceID(bad))
		for i, err := range []error{err1, err2, err3, err4, err5, err6, err7, err8} {
			if !errors.Is(err, wire.ErrInvalidArgument) {
				t.Errorf("%q in call %d: %v", bad, i+1, err)
			}
		}
	}
	for _, bad := range []string{"", ".", ".."} {
		if _, err := c.ReadFrame(ctx, "s", "", bad); !errors.Is(err, wire.ErrInvalidArgument) {
			t.Errorf("key %q: %v", bad, err)
		}
	}
	if n := len(f.got()); n != 0 {
		t.Errorf("%d calls were made: %v", n, f.got())
	}
}

func TestAddressesAreChecked(t *testing.T) {
	t.Parallel()
	for addr, good := range map[string]bool{
		"http://h:1": true, "https://h": true, "h:1": true, "unix:///x": true, "http://h:1/base/": true,
		"": false, "unix://x": false, "ftp://h": false, "http://": false, "http://h?x=1": false, "http://h:port": false,
	} {
		_, err := client.New(client.Config{Addrs: []string{addr}})
		if (err == nil) != good || err != nil && wire.AsError(err).Field != "addr" {
			t.Errorf("%q: %v", addr, err)
		}
	}
}

func TestSourcesComeInPages(t *testing.T) {
	t.Parallel()
	var first []wire.Source
	for i := range 1000 {
		first = append(first, wire.Source{Source: wire.SourceID(fmt.Sprintf("cam-%04d", i))})
	}
	rest := []wire.Source{{Source: "cam-1000"}, {Source: "cam-1001"}}
	f := newFakeAgent(t, ok(first), ok(rest), ok(first), refuse(wire.CodeInternal, 0))
	c := newClient(t, client.Config{}, f)
	n := 0
	for s, err := range c.Sources(t.Context(), "cam") {
		if err != nil || s.Source != wire.SourceID(fmt.Sprintf("cam-%04d", n)) {
			t.Fatalf("source %d is %q, %v", n, s.Source, err)
		}
		n++
	}
	if n != 1002 || f.got()[1].uri != "/v1/sources?after=cam-0999&limit=1000&prefix=cam" {
		t.Errorf("%d sources; second page: %s", n, f.got()[1].uri)
	}
	var last error
	for _, err := range c.Sources(t.Context(), "") {
		last = err
	}
	if wire.CodeOf(last) != wire.CodeInternal {
		t.Errorf("an error in the middle: %v", last)
	}
}
