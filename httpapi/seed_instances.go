package httpapi

import (
	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// instanceInfo is one cluster and the sources that write to it; the first
// FrameDB calls a cluster an instance here.
type instanceInfo struct {
	ID      wire.ClusterName `json:"_id"`
	Sources []wire.SourceID  `json:"sources"`
	NodeTag wire.NodeTag     `json:"nodeTag"`
	Count   int              `json:"sourceCount"`
}

func instanceInfoOf(v *state.View, c *wire.Cluster) instanceInfo {
	mappings := v.MappingsTo(c.Name)
	info := instanceInfo{ID: c.Name, Sources: make([]wire.SourceID, len(mappings)), NodeTag: c.NodeTag, Count: len(mappings)}
	for i, m := range mappings {
		info.Sources[i] = m.Source
	}
	return info
}

func (s *Server) seedSourcesByInstance(_ *gin.Context, in *seedInstance) (reply, error) {
	if err := check("framedb", in.FrameDB); err != nil {
		return reply{}, err
	}
	v := s.cfg.Store.View()
	name, err := clusterOf(v, "framedb", in.FrameDB)
	if err != nil {
		return reply{}, err
	}
	row, err := clusterIn(v, name)
	if err != nil {
		return reply{}, err
	}
	return ok(instanceInfoOf(v, row))
}

// nodeSources is the answer of getSourcesByNode and reassignInstance.
type nodeSources struct {
	NodeTag   wire.NodeTag                      `json:"nodeTag"`
	Instances map[wire.ClusterName]instanceInfo `json:"framedbInstances"`
}

func nodeSourcesOf(v *state.View, tag wire.NodeTag) nodeSources {
	res := nodeSources{NodeTag: tag, Instances: map[wire.ClusterName]instanceInfo{}}
	for _, c := range v.ClustersOnTag(tag) {
		res.Instances[c.Name] = instanceInfoOf(v, c)
	}
	return res
}

// checkTag refuses a tag that is no name, or that neither a cluster nor a node
// carries.
func checkTag(v *state.View, tag wire.NodeTag) error {
	if err := check("nodeTag", tag); err != nil {
		return err
	}
	if len(v.ClustersOnTag(tag)) == 0 && len(v.NodesWithTag(tag)) == 0 {
		return wire.InField("nodeTag", wire.Errorf(wire.CodeNotFound, "no node and no cluster carries %q", tag))
	}
	return nil
}

func (s *Server) seedSourcesByNode(_ *gin.Context, in *seedTag) (reply, error) {
	v := s.cfg.Store.View()
	if err := checkTag(v, in.NodeTag); err != nil {
		return reply{}, err
	}
	return ok(nodeSourcesOf(v, in.NodeTag))
}

func (s *Server) seedReassignInstance(c *gin.Context, in *seedReassign) (reply, error) {
	if err := firstError(check("nodeTag", in.NodeTag), check("framedb", in.FrameDB)); err != nil {
		return reply{}, err
	}
	name, err := clusterOf(s.cfg.Store.View(), "framedb", in.FrameDB)
	if err != nil {
		return reply{}, err
	}
	if _, _, err := propose[wire.RemovedCluster](s, c, state.ReassignInstance{NodeTag: in.NodeTag, Cluster: name}); err != nil {
		return reply{}, err
	}
	return ok(nodeSourcesOf(s.cfg.Store.View(), in.NodeTag))
}

func (s *Server) seedLeastAssigned(_ *gin.Context, in *seedTag) (reply, error) {
	return s.assigned(in.NodeTag, (*state.View).LeastLoaded)
}

func (s *Server) seedMaxAssigned(_ *gin.Context, in *seedTag) (reply, error) {
	return s.assigned(in.NodeTag, (*state.View).MostLoaded)
}

func (s *Server) assigned(tag wire.NodeTag, pick func(*state.View, wire.NodeTag) (*wire.Cluster, bool)) (reply, error) {
	if err := check("nodeTag", tag); err != nil {
		return reply{}, err
	}
	v := s.cfg.Store.View()
	row, found := pick(v, tag)
	if !found {
		return reply{}, wire.InField("nodeTag", wire.Errorf(wire.CodeNotFound, "no cluster on %q takes sources", tag))
	}
	return ok(instanceInfoOf(v, row))
}
