package wire_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/framedb/framedb/client/wire"
)

func TestNamesKeepTheirRules(t *testing.T) {
	type validator interface{ Validate() error }
	long := strings.Repeat("a", 300)
	cases := []struct {
		name validator
		ok   bool
	}{
		{wire.ClusterName("cluster-alpha"), true},
		{wire.ClusterName(strings.Repeat("a", wire.MaxClusterName)), true},
		{wire.ClusterName(strings.Repeat("a", wire.MaxClusterName+1)), false},
		{wire.ClusterName(""), false},
		{wire.ClusterName(long), false},
		{wire.ClusterName("../x"), false},
		{wire.ClusterName("Alpha"), false},
		{wire.ClusterName("naïve"), false},
		{wire.ClusterName("-a"), false},
		{wire.ClusterName("a-"), false},
		{wire.ClusterName("a.b"), false},
		{wire.ClusterName("a\n"), false},
		{wire.FrameDBID("cluster-alpha-redis-node-0"), true},
		{wire.FrameDBID("Framedb_x"), false},
		{wire.NodeTag("node-1"), true},
		{wire.NodeTag("Rack_7.b"), true},
		{wire.NodeTag("../x"), false},
		{wire.NodeTag("a/b"), false},
		{wire.NodeTag(""), false},
		{wire.NodeName("node1.example.internal"), true},
		{wire.NodeName("Node1"), false},
		{wire.NodeName("a..b"), false},
		{wire.SourceID("camera-001"), true},
		{wire.SourceID("Cam:7@hall.B"), true},
		{wire.SourceID("cam?1"), false},
		{wire.SourceID("cam__1"), false},
		{wire.SourceID("../x"), false},
		{wire.SourceID("カメラ"), false},
		{wire.SourceID(long), false},
		{wire.RequestID(""), true},
		{wire.RequestID("3f2a-9"), true},
		{wire.RequestID("with space"), false},
		{wire.RequestID(long), false},
	}
	for _, c := range cases {
		err := c.name.Validate()
		if (err == nil) != c.ok {
			t.Errorf("%T(%q).Validate() = %v, want ok=%v", c.name, c.name, err, c.ok)
		}
		if err != nil && !errors.Is(err, wire.ErrInvalidArgument) {
			t.Errorf("%T(%q): code %q, want invalid_argument", c.name, c.name, wire.CodeOf(err))
		}
	}
}

func TestMemberIDsComeApartAsTheyWerePut(t *testing.T) {
	id := wire.ClusterName("a-redis-node-1").Member(12)
	if id != "a-redis-node-1-redis-node-12" {
		t.Fatalf("member ID is %q", id)
	}
	cluster, ordinal, ok := id.SplitMember()
	if !ok || cluster != "a-redis-node-1" || ordinal != 12 {
		t.Errorf("SplitMember = %q, %d, %v", cluster, ordinal, ok)
	}
	for _, bad := range []wire.FrameDBID{"", "x", "-redis-node-1", "a-redis-node-", "a-redis-node-01", "a-redis-node--1", "a-redis-node-x"} {
		if _, _, ok := bad.SplitMember(); ok {
			t.Errorf("SplitMember(%q) is ok", bad)
		}
	}
}

func TestSpecNamesTheFieldAtFault(t *testing.T) {
	good := wire.ClusterSpec{NodeTag: "node-1", Replicas: 3, Quorum: 2}
	good.ApplyDefaults()
	if err := good.Validate(); err != nil {
		t.Fatalf("a plain spec is refused: %v", err)
	}
	cases := []struct {
		field string
		spoil func(*wire.ClusterSpec)
	}{
		{"node_tag", func(s *wire.ClusterSpec) { s.NodeTag = "" }},
		{"replicas", func(s *wire.ClusterSpec) { s.Replicas = 0 }},
		{"replicas", func(s *wire.ClusterSpec) { s.Replicas = -1 }},
		{"replicas", func(s *wire.ClusterSpec) { s.Replicas = 10_000 }},
		{"quorum", func(s *wire.ClusterSpec) { s.Quorum = 0 }},
		{"quorum", func(s *wire.ClusterSpec) { s.Quorum = 4 }},
		{"max_memory", func(s *wire.ClusterSpec) { s.MaxMemory = -1 }},
		{"max_memory", func(s *wire.ClusterSpec) { s.MaxMemory = 1 }},
		{"max_memory_policy", func(s *wire.ClusterSpec) { s.MaxMemoryPolicy = "lru" }},
		{"down_after_ms", func(s *wire.ClusterSpec) { s.DownAfter = 1 }},
		{"failover_timeout_ms", func(s *wire.ClusterSpec) { s.FailoverTimeout = -5 }},
		{"parallel_syncs", func(s *wire.ClusterSpec) { s.ParallelSyncs = 101 }},
	}
	for _, c := range cases {
		spec := good
		c.spoil(&spec)
		err := spec.Validate()
		if !errors.Is(err, wire.ErrInvalidArgument) {
			t.Errorf("%s: got %v, want an invalid argument", c.field, err)
			continue
		}
		if got := wire.AsError(err).Field; got != c.field {
			t.Errorf("field is %q, want %q", got, c.field)
		}
	}
}

func TestErrorsKeepTheirMeaningWhenWrapped(t *testing.T) {
	base := wire.Errorf(wire.CodeNotFound, "cluster %q is unknown", "x")
	err := fmt.Errorf("sync: %w", base)
	if !errors.Is(err, wire.ErrNotFound) || errors.Is(err, wire.ErrConflict) {
		t.Error("errors.Is does not go by code")
	}
	e := wire.AsError(err)
	if e.Code != wire.CodeNotFound || e.Message != `sync: cluster "x" is unknown` {
		t.Errorf("AsError = %+v", e)
	}
	if wire.CodeOf(errors.New("boom")) != wire.CodeInternal || wire.CodeOf(nil) != "" {
		t.Error("CodeOf of a foreign error or nil is wrong")
	}
	if base.Message != `cluster "x" is unknown` {
		t.Error("wrapping changed the original")
	}
}

func TestAFieldIsNamedOnce(t *testing.T) {
	for _, c := range []struct{ field, message, want string }{
		{"replicas", "0 is out of range", "replicas: 0 is out of range"},
		{"cluster", `cluster "x" is unknown`, `cluster "x" is unknown`},
		{"node_tag", "node tag is empty", "node tag is empty"},
		{"source_id", `source ID "?" is not allowed`, `source ID "?" is not allowed`},
		{"node", "node tag is empty", "node tag is empty"},
		{"wait", "waiting", "wait: waiting"},
	} {
		err := wire.InField(c.field, wire.Errorf(wire.CodeInvalidArgument, "%s", c.message))
		if got := wire.AsError(err); got.Message != c.want || got.Field != c.field {
			t.Errorf("%s + %q is %q in %q, want %q", c.field, c.message, got.Message, got.Field, c.want)
		}
	}
}

func TestEveryCodeHasAStatus(t *testing.T) {
	statuses := map[wire.Code]int{
		wire.CodeInvalidArgument: 400, wire.CodeMissingField: 400, wire.CodeUnknownField: 400, wire.CodeMalformed: 400,
		wire.CodeUnauthorized: 401, wire.CodeForbidden: 403, wire.CodeNotFound: 404, wire.CodeMethod: 405,
		wire.CodeAlreadyExists: 409, wire.CodeConflict: 409, wire.CodeNoLiveNode: 409, wire.CodeNoCluster: 409,
		wire.CodeTooLarge: 413, wire.CodeOverloaded: 429, wire.CodeInternal: 500,
		wire.CodeNoLeader: 503, wire.CodeOutcomeUnknown: 503, wire.CodeUnavailable: 503,
		wire.CodeDiskFull: 507, wire.CodeTimeout: 504, wire.CodePrecondition: 412, wire.CodeRange: 416,
		wire.CodeChecksum: 400, wire.CodeCorrupt: 500, wire.Code("from the future"): http.StatusInternalServerError,
	}
	for code, want := range statuses {
		if got := code.HTTPStatus(); got != want {
			t.Errorf("%s: status %d, want %d", code, got, want)
		}
	}
}

func TestAllTags(t *testing.T) {
	for _, c := range []struct {
		node wire.Node
		want []wire.NodeTag
	}{
		{wire.Node{}, []wire.NodeTag{}},
		{wire.Node{Tags: []wire.NodeTag{"b", "a", "b"}}, []wire.NodeTag{"b", "a"}},
		{wire.Node{Tags: []wire.NodeTag{"b"}, Label: "x"}, []wire.NodeTag{"b", "x"}},
		{wire.Node{Tags: []wire.NodeTag{"x"}, Label: "x"}, []wire.NodeTag{"x"}},
	} {
		if got := c.node.AllTags(); !slices.Equal(got, c.want) {
			t.Errorf("%+v has %v, want %v", c.node, got, c.want)
		}
	}
}
