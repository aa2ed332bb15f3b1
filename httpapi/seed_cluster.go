package httpapi

import (
	"fmt"
	"slices"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// The bodies of the first FrameDB's /cluster and /replication endpoints.
type (
	seedCluster struct {
		Cluster wire.ClusterName `json:"clusterName"`
	}

	seedSpec struct {
		NodeTag       wire.NodeTag `json:"nodeTag"`
		Replicas      int          `json:"replicas"`
		EnableMetrics bool         `json:"enableMetrics"`
		Quorum        int          `json:"quorum"`
	}

	seedCreateCluster struct {
		seedCluster
		seedSpec
	}

	seedCreateClusters struct {
		Prefix string `json:"clusterPrefix"`
		Start  int    `json:"startIndex"`
		Count  int    `json:"nClusters"`
		seedSpec
	}

	seedClusterList struct {
		Clusters []wire.ClusterName `json:"clusterList"`
	}

	seedReplication struct {
		Cluster  wire.ClusterName `json:"clusterId"`
		Replicas int              `json:"replicas"`
	}

	seedSynchronize struct {
		Synchronize bool `json:"synchronize"`
	}
)

// specFields are the required fields of a seedSpec.
func specFields(more ...string) []string {
	return append(more, "nodeTag", "replicas", "enableMetrics", "quorum")
}

func (in *seedSpec) spec() wire.ClusterSpec {
	return wire.ClusterSpec{NodeTag: in.NodeTag, Replicas: in.Replicas, Quorum: in.Quorum, EnableMetrics: in.EnableMetrics}
}

func (s *Server) seedCreateCluster(c *gin.Context, in *seedCreateCluster) (reply, error) {
	list, err := s.createClusters(c, []wire.ClusterName{in.Cluster}, in.spec(), nil)
	if err != nil {
		return reply{}, err
	}
	return ok(s.infoOf(c.Request.Context(), &list[0]))
}

func (s *Server) seedCreateClusters(c *gin.Context, in *seedCreateClusters) (reply, error) {
	names, err := in.names()
	if err != nil {
		return reply{}, err
	}
	list, err := s.createClusters(c, names, in.spec(), nil)
	if err != nil {
		return reply{}, respell(err, map[string]string{"name": "clusterPrefix"})
	}
	infos := make([]clusterInfo, len(list))
	for i := range list {
		infos[i] = s.infoOf(c.Request.Context(), &list[i])
	}
	return ok(infos)
}

// maxStartIndex keeps startIndex + i a number.
const maxStartIndex = 1_000_000_000

// names are <clusterPrefix>-<startIndex + i>.
func (in *seedCreateClusters) names() ([]wire.ClusterName, error) {
	switch {
	case in.Count < 1 || in.Count > wire.MaxClustersPerCall:
		return nil, wire.InField("nClusters", wire.Errorf(wire.CodeInvalidArgument, "%d is out of range: give 1 to %d", in.Count, wire.MaxClustersPerCall))
	case in.Replicas > 0 && in.Replicas <= wire.MaxReplicas && in.Count*in.Replicas > wire.MaxMembersPerCall:
		return nil, wire.InField("nClusters", wire.Errorf(wire.CodeInvalidArgument, "%d clusters of %d replicas are %d members: at most %d are allowed in one call", in.Count, in.Replicas, in.Count*in.Replicas, wire.MaxMembersPerCall))
	case in.Start < 0 || in.Start > maxStartIndex:
		return nil, wire.InField("startIndex", wire.Errorf(wire.CodeInvalidArgument, "%d is out of range: give 0 to %d", in.Start, maxStartIndex))
	case in.Prefix == "":
		return nil, wire.InField("clusterPrefix", wire.Errorf(wire.CodeInvalidArgument, "is empty: give the beginning of the clusters' names"))
	}
	names := make([]wire.ClusterName, in.Count)
	for i := range names {
		names[i] = wire.ClusterName(fmt.Sprintf("%s-%d", in.Prefix, in.Start+i))
		if err := check("clusterPrefix", names[i]); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// stateRemoved is what is said of what is gone.
const stateRemoved = "removed"

// removedInfo is the answer of removeCluster: what became of the cluster and
// where its sources went.
type removedInfo struct {
	ID    wire.ClusterName `json:"_id"`
	State string           `json:"state"` // "removed", or "removing" when the wait ended first
	wire.RemovedCluster
}

func (s *Server) seedRemoveCluster(c *gin.Context, in *seedCluster) (reply, error) {
	p, cancel, err := s.pauseOf(c)
	if err != nil {
		return reply{}, err
	}
	defer cancel()
	moved, index, err := s.removeCluster(c, in.Cluster)
	if err != nil {
		return reply{}, err
	}
	res := removedInfo{ID: in.Cluster, State: string(wire.PhaseRemoving), RemovedCluster: moved}
	gone, err := s.awaitGone(p, in.Cluster, index)
	if gone {
		res.State = stateRemoved
	}
	return reply{body: res}, err
}

// removedList is the answer of removeClusters.
type removedList struct {
	Removed int                `json:"nClustersRemoved"`
	Failed  []wire.ClusterName `json:"failedRemovals"`
	// Errors tell why, by name.
	Errors map[wire.ClusterName]*wire.Error `json:"errors"`
}

func (s *Server) seedRemoveClusters(c *gin.Context, in *seedClusterList) (reply, error) {
	if len(in.Clusters) > wire.MaxClustersPerCall {
		return reply{}, wire.InField("clusterList", wire.Errorf(wire.CodeInvalidArgument, "%d names: at most %d are allowed", len(in.Clusters), wire.MaxClustersPerCall))
	}
	p, cancel, err := s.pauseOf(c)
	if err != nil {
		return reply{}, err
	}
	defer cancel()
	if _, err := requestID(c); err != nil {
		return reply{}, err
	}
	res := removedList{Failed: []wire.ClusterName{}, Errors: map[wire.ClusterName]*wire.Error{}}
	removing := map[wire.ClusterName]uint64{}
	for _, name := range in.Clusters {
		if _, twice := removing[name]; twice || slices.Contains(res.Failed, name) {
			continue
		}
		if _, index, err := s.removeCluster(c, name); err != nil {
			res.Failed = append(res.Failed, name)
			res.Errors[name] = respell(err, seedSpelling)
		} else {
			removing[name] = index
		}
	}
	for name, index := range removing {
		if _, err := s.awaitGone(p, name, index); err != nil {
			return reply{}, err
		}
	}
	res.Removed = len(removing)
	return ok(res)
}

// replicationInfo is the answer of createReplication.
type replicationInfo struct {
	clusterInfo
	Changed bool   `json:"changed"`
	Message string `json:"message"`
}

func (s *Server) seedCreateReplication(c *gin.Context, in *seedReplication) (reply, error) {
	if err := check("clusterId", in.Cluster); err != nil {
		return reply{}, err
	}
	before, err := clusterIn(s.cfg.Store.View(), in.Cluster)
	if err != nil {
		return reply{}, err
	}
	row, err := s.updateCluster(c, state.UpdateCluster{Name: in.Cluster, UpdateCluster: wire.UpdateCluster{Replicas: &in.Replicas}})
	if err != nil {
		return reply{}, scaleError(err, in.Replicas, before.Quorum)
	}
	res := replicationInfo{clusterInfo: s.infoOf(c.Request.Context(), &row), Changed: before.Replicas != in.Replicas}
	res.Message = fmt.Sprintf("cluster %s has %d replicas already: nothing to do", in.Cluster, in.Replicas)
	if res.Changed {
		res.Message = fmt.Sprintf("cluster %s goes from %d to %d replicas", in.Cluster, before.Replicas, in.Replicas)
	}
	return ok(res)
}

// scaleError blames the field that the caller gave, where the store can only
// see that the two do not fit.
func scaleError(err error, replicas, quorum int) error {
	e := wire.AsError(err)
	if e.Code != wire.CodeInvalidArgument || e.Field != "quorum" {
		return err
	}
	return wire.InField("replicas", wire.Errorf(wire.CodeInvalidArgument, "%d would be fewer than the quorum, which is %d", replicas, quorum))
}

func (s *Server) seedSynchronize(c *gin.Context, in *seedSynchronize) (reply, error) {
	found, err := s.synchronize(c, in.Synchronize)
	return reply{body: emptyNotNull(found)}, err
}

func (s *Server) seedSynchronizeCluster(c *gin.Context, in *seedCluster) (reply, error) {
	if err := check("clusterName", in.Cluster); err != nil {
		return reply{}, err
	}
	row, err := s.syncCluster(c, in.Cluster)
	if err != nil {
		return reply{}, err
	}
	return ok(s.infoOf(c.Request.Context(), row))
}

func (s *Server) seedClusterInfo(c *gin.Context, in *seedCluster) (reply, error) {
	if err := check("clusterName", in.Cluster); err != nil {
		return reply{}, err
	}
	row, err := clusterIn(s.cfg.Store.View(), in.Cluster)
	if err != nil {
		return reply{}, err
	}
	return ok(s.infoOf(c.Request.Context(), row))
}
