package wire

import (
	"encoding/json"
)

// Headers of the v1 API, in Go's canonical spelling.
const (
	// HeaderIndex is the store's index that an answer is of; give it back as
	// ?index= to wait for something newer.
	HeaderIndex = "X-Framedb-Index"
	// HeaderStaleness says how old an answer may be, in milliseconds: how long
	// ago the agent heard of the leader; 0 on the leader.
	HeaderStaleness = "X-Framedb-Staleness"
	// HeaderMinIndex asks for an answer that is not older than this index: that
	// of the caller's own last change, for instance at another agent. At a
	// change of a mapping it says that the caller does so: the answer then need
	// not wait until the agent that was asked has the change, too.
	HeaderMinIndex = "X-Framedb-Min-Index"
	// HeaderCode and HeaderField are Error's, for answers without a body (HEAD).
	HeaderCode  = "X-Framedb-Code"
	HeaderField = "X-Framedb-Field"
	// HeaderRequestID carries the RequestID of a mutation.
	HeaderRequestID = "Idempotency-Key"
)

// Bounds of the HTTP API.
const (
	// MaxBody bounds a JSON body, in bytes.
	MaxBody = 1 << 20
	// MaxPage bounds ?limit= of GET /v1/sources and GET /v1/frames/{source}.
	MaxPage = 10_000
	// MaxDecrements bounds the keys of one POST …/decr.
	MaxDecrements = 10_000
)

// Failure is the body of every answer that is no success, on every route.
type Failure struct {
	Success bool `json:"success"` // always false
	Error
	// RetryAfterMS is Error.RetryAfter in milliseconds; the Retry-After header
	// knows whole seconds only.
	RetryAfterMS int64 `json:"retry_after_ms,omitempty"`
}

// FailureOf is the body that tells of err.
func FailureOf(err *Error) Failure {
	return Failure{Error: *err, RetryAfterMS: err.RetryAfter.Milliseconds()}
}

// Status is the HTTP status that goes with the failure.
func (f *Failure) Status() int { return f.Code.HTTPStatus() }

// CreateCluster is the body of POST /v1/clusters.
type CreateCluster struct {
	Name ClusterName `json:"name"`
	ClusterSpec
	// Metadata is Cluster.Metadata.
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

// UpdateCluster is the body of PATCH /v1/clusters/{name}; what is absent stays
// as it is.
type UpdateCluster struct {
	Replicas        *int    `json:"replicas,omitempty"`
	Quorum          *int    `json:"quorum,omitempty"`
	EnableMetrics   *bool   `json:"enable_metrics,omitempty"`
	Backup          *bool   `json:"backup,omitempty"`
	MaxMemory       *int64  `json:"max_memory,omitempty"`
	MaxMemoryPolicy *string `json:"max_memory_policy,omitempty"`
	DownAfter       *int64  `json:"down_after_ms,omitempty"`
	FailoverTimeout *int64  `json:"failover_timeout_ms,omitempty"`
	ParallelSyncs   *int    `json:"parallel_syncs,omitempty"`
	// Settings sets those that are named; null takes one away: nobody says then
	// what it is, and members keep what they have until they are started anew.
	Settings map[string]*string `json:"settings,omitempty"`
	// Metadata replaces Cluster.Metadata; {} empties it.
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

// RemovedCluster is the answer of DELETE /v1/clusters/{name}: where the
// cluster's sources went.
type RemovedCluster struct {
	Moved    []Mapping `json:"moved"`    // as they are now
	Unmapped []Mapping `json:"unmapped"` // gone: no other cluster was on the tag
}

// Resolved is one FrameDB instance and the URL by which its data is reached.
type Resolved struct {
	Instance
	// URL is redis://host:port/0 or mysql://host:port, without credentials.
	URL string `json:"url"`
	// Engine is what really holds the data of a persistent FrameDB; empty for
	// one in memory, and until it was asked.
	Engine Engine `json:"engine,omitempty"`
}

// Source is a source and where it writes to.
type Source struct {
	Source   SourceID  `json:"source_id"`
	Mappings []Mapping `json:"mappings"`
}

// SourceRoutes is a source and how to reach what it writes to.
type SourceRoutes struct {
	Source SourceID `json:"source_id"`
	Routes []Route  `json:"routes"`
}

// Route is one mapping with the members of its cluster.
type Route struct {
	Mapping
	Members []Instance `json:"members"`
}

// CreateMapping is the body of POST /v1/sources/{source}/mappings. Without
// Cluster the least loaded one on the tag is taken.
type CreateMapping struct {
	NodeTag  NodeTag         `json:"node_tag"`
	Cluster  ClusterName     `json:"cluster,omitempty"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

// UpdateMapping is the body of PATCH /v1/sources/{source}/mappings/{tag}:
// either a cluster to move to or new metadata, not both.
type UpdateMapping struct {
	Cluster  ClusterName     `json:"cluster,omitempty"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

// NodeLabel is the body of PUT /v1/nodes/{name}/label.
type NodeLabel struct {
	Label NodeTag `json:"label"`
}

// DrainNode is the body of PUT /v1/nodes/{name}/drain.
type DrainNode struct {
	// Draining false ends it.
	Draining bool `json:"draining"`
}

// TransferLeadership is the body of POST /v1/raft/transfer. Without To Raft
// chooses the voter that is most up to date.
type TransferLeadership struct {
	To NodeName `json:"to,omitempty"`
}

// Credentials is the answer of GET /v1/credentials, which is the deployment's,
// and of GET /v1/credentials?framedb_id=ID, which is that FrameDB's.
type Credentials struct {
	Password string `json:"password"`
	// User and Database are a persistent FrameDB's.
	User     string `json:"user,omitempty"`
	Database string `json:"database,omitempty"`
}

// HealthReport is the answer of GET /healthz and GET /readyz.
type HealthReport struct {
	Status string `json:"status"` // "ok" or "ready"
}
