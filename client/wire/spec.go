package wire

import "slices"

// Bounds of a cluster.
const (
	// MaxReplicas bounds one cluster; Sentinel clusters beyond a handful of
	// replicas gain nothing and each costs the master its full write stream.
	MaxReplicas = 100
	// MaxClustersPerCall bounds createClusters and removeClusters.
	MaxClustersPerCall = 1000
	// MaxMembersPerCall bounds the members of all clusters of createClusters.
	MaxMembersPerCall = 10_000
	// MaxMetadata bounds a mapping's metadata, in bytes: Raft entries stay small.
	MaxMetadata = 64 << 10
	// MaxClusterMetadata bounds a cluster's metadata, in bytes: each status page
	// has those of all clusters.
	MaxClusterMetadata = 4 << 10
	// MaxFrame bounds one frame, in bytes.
	MaxFrame = 64 << 20
)

// MemoryPolicies are Redis' maxmemory-policy values.
var MemoryPolicies = []string{"noeviction", "allkeys-lru", "allkeys-lfu", "allkeys-random",
	"volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"}

// ApplyDefaults fills fields that are zero with the defaults of the first
// FrameDB. Replicas, Quorum and NodeTag have none.
func (s *ClusterSpec) ApplyDefaults() {
	if s.MaxMemoryPolicy == "" {
		s.MaxMemoryPolicy = "noeviction"
	}
	if s.DownAfter == 0 {
		s.DownAfter = 60_000
	}
	if s.FailoverTimeout == 0 {
		s.FailoverTimeout = 18_000
	}
	if s.ParallelSyncs == 0 {
		s.ParallelSyncs = 1
	}
}

// Validate checks each field and returns an Error whose Field is the JSON name
// of the first one at fault.
func (s *ClusterSpec) Validate() error {
	if err := s.NodeTag.Validate(); err != nil {
		return InField("node_tag", err)
	}
	switch {
	case s.Replicas < 1 || s.Replicas > MaxReplicas:
		return InField("replicas", Errorf(CodeInvalidArgument, "%d is out of range: give 1 to %d (members in all, the master among them)", s.Replicas, MaxReplicas))
	case s.Quorum < 1 || s.Quorum > s.Replicas:
		return InField("quorum", Errorf(CodeInvalidArgument, "%d is out of range: give 1 to %d (the number of replicas)", s.Quorum, s.Replicas))
	case s.MaxMemory < 0 || s.MaxMemory > 0 && s.MaxMemory < 1<<20:
		return InField("max_memory", Errorf(CodeInvalidArgument, "%d bytes is out of range: give 0 for no bound, or at least 1048576", s.MaxMemory))
	case !slices.Contains(MemoryPolicies, s.MaxMemoryPolicy):
		return InField("max_memory_policy", Errorf(CodeInvalidArgument, "%q is unknown: give one of %v", s.MaxMemoryPolicy, MemoryPolicies))
	case s.DownAfter < 100 || s.DownAfter > 3_600_000:
		return InField("down_after_ms", Errorf(CodeInvalidArgument, "%d is out of range: give 100 to 3600000 milliseconds", s.DownAfter))
	case s.FailoverTimeout < 1000 || s.FailoverTimeout > 3_600_000:
		return InField("failover_timeout_ms", Errorf(CodeInvalidArgument, "%d is out of range: give 1000 to 3600000 milliseconds", s.FailoverTimeout))
	case s.ParallelSyncs < 1 || s.ParallelSyncs > MaxReplicas:
		return InField("parallel_syncs", Errorf(CodeInvalidArgument, "%d is out of range: give 1 to %d", s.ParallelSyncs, MaxReplicas))
	}
	return s.Settings.Validate()
}
