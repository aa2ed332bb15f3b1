package wire

import (
	"encoding/json"
	"slices"
	"time"
)

// Phase says where a cluster is in its life.
type Phase string

// A cluster is creating until every member was ready once; degraded while
// something is wrong that Reason names; removing until nothing of it runs.
const (
	PhaseCreating Phase = "creating"
	PhaseReady    Phase = "ready"
	PhaseDegraded Phase = "degraded"
	PhaseRemoving Phase = "removing"
)

// Role is what a member last said about itself.
type Role string

const (
	RoleMaster  Role = "master"
	RoleReplica Role = "replica"
	RoleUnknown Role = "unknown" // it could not be asked
)

// Health is what the owner last saw of a member.
type Health string

const (
	HealthHealthy     Health = "healthy"     // answers and, if a replica, is in sync with the master
	HealthSyncing     Health = "syncing"     // a replica that is still copying
	HealthUnreachable Health = "unreachable" // could not be seen
	HealthStopped     Health = "stopped"     // seen not to run
)

// Kind tells where a FrameDB keeps its frames.
type Kind string

const (
	KindMemory  Kind = "memory"  // Redis
	KindStorage Kind = "storage" // TiDB, or what speaks its protocol
)

// ClusterSpec is what a user asks of a cluster. ApplyDefaults fills what is
// zero; Validate then holds for what is stored.
type ClusterSpec struct {
	NodeTag NodeTag `json:"node_tag"`
	// Replicas counts Redis members in all, the master among them (1..MaxReplicas).
	Replicas int `json:"replicas"`
	// Quorum is how many Sentinels must agree that the master is down (1..Replicas).
	Quorum        int  `json:"quorum"`
	EnableMetrics bool `json:"enable_metrics"`
	// Backup turns the append-only file on; off by default.
	Backup bool `json:"backup"`
	// MaxMemory bounds one member, in bytes; 0 means no bound of its own.
	MaxMemory int64 `json:"max_memory,omitempty"`
	// MaxMemoryPolicy is Redis' maxmemory-policy; default "noeviction", so that
	// a full FrameDB refuses writes rather than dropping frames.
	MaxMemoryPolicy string `json:"max_memory_policy"`
	// DownAfter is how long a member must be silent before a Sentinel holds it
	// for down, in milliseconds; default 60000.
	DownAfter int64 `json:"down_after_ms"`
	// FailoverTimeout is Sentinel's failover-timeout in milliseconds; default 18000.
	FailoverTimeout int64 `json:"failover_timeout_ms"`
	// ParallelSyncs is how many replicas copy from a new master at once; default 1.
	ParallelSyncs int `json:"parallel_syncs"`
	// Settings are further parameters of Redis, of SettableParameters, which all
	// members have; changed while they run.
	Settings RedisSettings `json:"settings,omitempty"`
}

// Cluster is one in-memory FrameDB cluster.
type Cluster struct {
	Name ClusterName `json:"name"`
	ClusterSpec
	// Metadata is a JSON object that users keep beside the cluster; FrameDB does
	// not read it. At most MaxClusterMetadata bytes.
	Metadata json.RawMessage `json:"metadata,omitempty"`
	// Generation counts the changes of the spec, from 1.
	Generation  uint64        `json:"generation"`
	Status      ClusterStatus `json:"status"`
	CreateIndex uint64        `json:"create_index"`
	ModifyIndex uint64        `json:"modify_index"`
}

// ClusterStatus is what the owner last reported of a cluster.
type ClusterStatus struct {
	Phase Phase `json:"phase"`
	// Reason says in one sentence why the cluster is not ready; empty when it is.
	Reason string `json:"reason,omitempty"`
	// ObservedGeneration is the newest generation that was brought about.
	ObservedGeneration uint64 `json:"observed_generation"`
	ReadyMembers       int    `json:"ready_members"`
	// Master is the last known master; Sentinel has the truth.
	Master FrameDBID `json:"master,omitempty"`
	// Owner is the node whose agent works on this cluster.
	Owner NodeName `json:"owner,omitempty"`
	// OwnerEpoch grows with each change of owner and fences the former one.
	OwnerEpoch uint64 `json:"owner_epoch"`
}

// Instance is one FrameDB ID and where it was last seen.
type Instance struct {
	ID      FrameDBID   `json:"framedb_id"`
	Kind    Kind        `json:"kind"`
	Cluster ClusterName `json:"cluster,omitempty"`
	NodeTag NodeTag     `json:"node_tag"`
	Node    NodeName    `json:"node,omitempty"`
	Role    Role        `json:"role"`
	Health  Health      `json:"health"`
	Reason  string      `json:"reason,omitempty"`
	// Host and Port are the TCP address for data.
	Host string `json:"host"`
	Port int    `json:"port"`
	// SentinelPort is the port of the Sentinel beside a Redis member, on Host.
	SentinelPort int `json:"sentinel_port,omitempty"`
	// Socket is the unix socket path on Node, empty where there is none.
	Socket      string `json:"socket,omitempty"`
	ModifyIndex uint64 `json:"modify_index"`
}

// Mapping says that a source writes to a cluster on a node tag. A source has
// at most one mapping on each tag.
type Mapping struct {
	Source  SourceID    `json:"source_id"`
	NodeTag NodeTag     `json:"node_tag"`
	Cluster ClusterName `json:"cluster"`
	// Metadata is a JSON object; writers read "sizes" ([]string) and
	// "ref_count" (int) from it. At most MaxMetadata bytes.
	Metadata    json.RawMessage `json:"metadata,omitempty"`
	CreateIndex uint64          `json:"create_index"`
	ModifyIndex uint64          `json:"modify_index"`
}

// Node is an agent's registration.
type Node struct {
	Name NodeName `json:"name"`
	// Address is the host:port of the agent's REST API.
	Address string `json:"address"`
	// Socket is the agent's unix socket on its node.
	Socket string `json:"socket,omitempty"`
	// SocketDir is where Redis sockets are on that node.
	SocketDir string `json:"socket_dir,omitempty"`
	// Tags come from the agent's configuration.
	Tags []NodeTag `json:"tags"`
	// Label is set by labelFramedbNode; it is a tag like the others.
	Label NodeTag `json:"label,omitempty"`
	// DataID names the agent's data directory: another one under the same name
	// is a node that lost its data.
	DataID string `json:"data_id,omitempty"`
	// Draining is set by users: the node takes no further work.
	Draining    bool   `json:"draining,omitempty"`
	Version     string `json:"version"`
	Driver      string `json:"driver"`
	CreateIndex uint64 `json:"create_index"`
	ModifyIndex uint64 `json:"modify_index"`
}

// Carries reports whether the node carries the tag, configured or labelled.
func (n *Node) Carries(tag NodeTag) bool {
	if tag != "" && n.Label == tag {
		return true
	}
	for _, t := range n.Tags {
		if t == tag {
			return true
		}
	}
	return false
}

// AllTags are the node's tags, configured ones first, each once.
func (n *Node) AllTags() []NodeTag {
	all := []NodeTag{}
	for _, tag := range append(slices.Clip(n.Tags), n.Label) {
		if tag != "" && !slices.Contains(all, tag) {
			all = append(all, tag)
		}
	}
	return all
}

// Table names a table of the store, for blocking queries and events.
type Table string

const (
	TableNodes      Table = "nodes"
	TableClusters   Table = "clusters"
	TableInstances  Table = "instances"
	TablePersistent Table = "persistent"
	TableMappings   Table = "mappings"
	TableIngestions Table = "ingestions"
)

// Tables lists every table that can be watched.
var Tables = []Table{TableNodes, TableClusters, TableInstances, TablePersistent, TableMappings, TableIngestions}

// Op is what happened to a row.
type Op string

const (
	OpPut    Op = "put"
	OpDelete Op = "delete"
	// OpReset comes first on a stream that cannot go on from where the reader
	// was: forget what you know, the rows of now follow as puts, and Key is
	// empty.
	OpReset Op = "reset"
)

// Event is one change of one row. Events of one index belong to one command
// and come in the order of the tables, then keys.
type Event struct {
	Index uint64 `json:"index"`
	Table Table  `json:"table"`
	Op    Op     `json:"op"`
	// Key is the row's key; a mapping's is "<source>/<node tag>".
	Key string `json:"key"`
	// Before and After are the row; Before is absent for a new one, After for
	// a deleted one.
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// Endpoint is where data can be reached.
type Endpoint struct {
	Host string `json:"host"`
	Port int    `json:"port"`
}

// Topology is what Sentinel says now.
type Topology struct {
	ID       FrameDBID  `json:"framedb_id,omitempty"` // the master's ID, where it is known
	Master   Endpoint   `json:"master"`
	Replicas []Endpoint `json:"replicas"`
}

// Member is one agent as gossip knows it, with its Raft part.
type Member struct {
	Name    NodeName  `json:"name"`
	Address string    `json:"address"`
	Tags    []NodeTag `json:"tags"`
	Alive   bool      `json:"alive"`
	Voter   bool      `json:"voter"`
	Leader  bool      `json:"leader"`
	Version string    `json:"version"`
	// Draining says that the node takes no further work.
	Draining bool `json:"draining"`
	// Owned counts the FrameDBs that the node's agent works on.
	Owned int `json:"owned"`
}

// RaftStatus is what one agent knows of Raft.
type RaftStatus struct {
	Node   NodeName `json:"node"` // whose answer this is
	Leader NodeName `json:"leader"`
	Term   uint64   `json:"term"`
	// Index is the last index that the agent has applied.
	Index uint64 `json:"index"`
	// LastContact is how long ago the agent heard of the leader, in
	// milliseconds; 0 on the leader.
	LastContact int64        `json:"last_contact_ms"`
	Servers     []RaftServer `json:"servers"`
}

// RaftServer is one agent in Raft's configuration.
type RaftServer struct {
	Name    NodeName `json:"name"`
	Address string   `json:"address"` // host:port of Raft, as last known
	Voter   bool     `json:"voter"`
	Leader  bool     `json:"leader"`
	Alive   bool     `json:"alive"`
}

// Status is the whole of FrameDB on one page. With ?brief=true Clusters,
// Storage and Degraded are left out.
type Status struct {
	Node      NodeName             `json:"node"`
	Version   string               `json:"version"`
	Driver    string               `json:"driver"`
	Socket    string               `json:"socket"`
	SocketDir string               `json:"socket_dir"`
	Leader    NodeName             `json:"leader"`
	Index     uint64               `json:"index"`
	StartedAt time.Time            `json:"started_at"`
	Members   []Member             `json:"members"`
	Clusters  []Cluster            `json:"clusters"`
	Storage   []PersistentInstance `json:"storage"`
	Sources   int                  `json:"sources"`
	Mappings  int                  `json:"mappings"`
	// Degraded lists what is wrong, one sentence each.
	Degraded []string `json:"degraded"`
}
