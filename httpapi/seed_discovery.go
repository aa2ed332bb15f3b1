package httpapi

import (
	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// The bodies of /discovery; its getClusterMaster takes a seedCluster.
type seedFrameDB struct {
	ID wire.FrameDBID `json:"framedb_id"`
}

type (
	masterInfo struct {
		Host string `json:"masterHost"`
		Port int    `json:"masterPort"`
	}

	slaveInfo struct {
		Host string `json:"slaveHost"`
		Port int    `json:"slavePort"`
	}

	topologyInfo struct {
		ClusterInfo struct {
			Master     masterInfo  `json:"master"`
			Slaves     []slaveInfo `json:"slaves"`
			MasterName string      `json:"masterName"`
		} `json:"clusterInfo"`
	}
)

// discover asks Sentinel about the cluster that a FrameDB ID belongs to.
func (s *Server) discover(c *gin.Context, id wire.FrameDBID) (wire.Topology, error) {
	if err := check("framedb_id", id); err != nil {
		return wire.Topology{}, err
	}
	v := s.cfg.Store.View()
	name, err := clusterOf(v, "framedb_id", id)
	if err != nil {
		return wire.Topology{}, err
	}
	return s.topology(c.Request.Context(), v, name)
}

// clusterOf is the cluster that a FrameDB ID belongs to. A cluster's own name
// stands for any of its members.
func clusterOf(v *state.View, field string, id wire.FrameDBID) (wire.ClusterName, error) {
	if i, found := v.Instance(id); found {
		return i.Cluster, nil
	}
	if _, found := v.Cluster(wire.ClusterName(id)); found {
		return wire.ClusterName(id), nil
	}
	if _, found := v.Persistent(id); found {
		return "", wire.InField(field, wire.Errorf(wire.CodeConflict, "%q keeps its frames in storage: it has no Redis master", id))
	}
	if name, i, isMember := id.SplitMember(); isMember {
		if row, found := v.Cluster(name); found && i < row.Replicas {
			return name, nil // being created: the owner has not reported it yet
		}
	}
	return "", wire.InField(field, wire.Errorf(wire.CodeNotFound, "FrameDB %q is unknown", id))
}

func (s *Server) seedGetMaster(c *gin.Context, in *seedFrameDB) (reply, error) {
	t, err := s.discover(c, in.ID)
	return reply{body: masterInfo(t.Master)}, err
}

func (s *Server) seedGetSlaves(c *gin.Context, in *seedFrameDB) (reply, error) {
	t, err := s.discover(c, in.ID)
	return reply{body: slavesOf(t)}, err
}

func slavesOf(t wire.Topology) []slaveInfo {
	list := make([]slaveInfo, len(t.Replicas))
	for i, r := range t.Replicas {
		list[i] = slaveInfo(r)
	}
	return list
}

func (s *Server) seedTopology(c *gin.Context, in *seedFrameDB) (reply, error) {
	t, err := s.discover(c, in.ID)
	var info topologyInfo
	info.ClusterInfo.Master = masterInfo(t.Master)
	info.ClusterInfo.Slaves = slavesOf(t)
	info.ClusterInfo.MasterName = wire.MasterName
	return reply{body: info}, err
}

func (s *Server) seedClusterMaster(c *gin.Context, in *seedCluster) (reply, error) {
	if err := check("clusterName", in.Cluster); err != nil {
		return reply{}, err
	}
	v := s.cfg.Store.View()
	if _, err := clusterIn(v, in.Cluster); err != nil {
		return reply{}, err
	}
	t, err := s.topology(c.Request.Context(), v, in.Cluster)
	return reply{body: masterInfo(t.Master)}, err
}
