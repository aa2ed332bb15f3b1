package httpapi

import (
	"context"

	"github.com/framedb/framedb/client/wire"
)

// metricsPort is where a cluster's metrics service listens.
const metricsPort = 9121

// clusterInfo is getClusterInfo's result. The fields down to Pods are the
// first FrameDB's; those behind are ours.
type clusterInfo struct {
	ID           wire.ClusterName `json:"_id"`
	NodeTag      wire.NodeTag     `json:"node_tag"`
	SvcName      string           `json:"svc_name"`
	SvcHost      string           `json:"svc_host"`    // where a Sentinel answers; empty until one runs
	MetricsSvc   string           `json:"metrics_svc"` // empty without metrics
	Namespace    string           `json:"namespace"`
	MasterPort   int              `json:"master_port"`   // 0 until a master runs
	SentinelPort int              `json:"sentinel_port"` // 0 until one runs
	MetricsPort  int              `json:"metrics_port"`
	Pods         []wire.FrameDBID `json:"clusterPods"`

	State        wire.Phase `json:"state"`
	Reason       string     `json:"reason,omitempty"`
	Replicas     int        `json:"replicas"`
	Quorum       int        `json:"quorum"`
	ReadyMembers int        `json:"readyMembers"`
}

// infoOf describes a cluster. The master's port is what Sentinel says now, or
// the last known when no Sentinel answers soon.
func (s *Server) infoOf(ctx context.Context, c *wire.Cluster) clusterInfo {
	members := s.cfg.Store.View().InstancesOf(c.Name)
	entry := wire.NodeEntryOf(wire.Mapping{Cluster: c.Name}, rowsOf(members), s.cfg.Namespace)
	info := clusterInfo{
		ID: c.Name, NodeTag: c.NodeTag, Namespace: s.cfg.Namespace,
		SvcName: entry.ServiceName, SvcHost: entry.ServiceIP,
		MasterPort: entry.RedisPort, SentinelPort: entry.SentinelPort, MetricsPort: metricsPort,
		Pods:  podsOf(c, members),
		State: c.Status.Phase, Reason: c.Status.Reason,
		Replicas: c.Replicas, Quorum: c.Quorum, ReadyMembers: c.Status.ReadyMembers,
	}
	if c.EnableMetrics {
		info.MetricsSvc = metricsService(c.Name, s.cfg.Namespace)
	}
	if len(sentinelsOf(members)) > 0 {
		if m, err := s.master(ctx, members); err == nil {
			info.MasterPort = m.Port
		}
	}
	return info
}

func metricsService(name wire.ClusterName, namespace string) string {
	return string(name) + "-redis-metrics." + namespace + ".svc.cluster.local"
}

// podsOf are the members that there are, or will be when none was seen yet.
func podsOf(c *wire.Cluster, members []*wire.Instance) []wire.FrameDBID {
	pods := make([]wire.FrameDBID, 0, c.Replicas)
	for _, m := range members {
		pods = append(pods, m.ID)
	}
	for i := 0; len(members) == 0 && i < c.Replicas; i++ {
		pods = append(pods, c.Name.Member(i))
	}
	return pods
}
