package httpapi

import (
	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

func (s *Server) v1ListClusters(*gin.Context) (look, error) {
	return func(v *state.View) (any, error) { return rowsIn(v.Clusters()), nil }, nil
}

func (s *Server) v1GetCluster(c *gin.Context) (look, error) {
	name, err := pathName[wire.ClusterName](c, "name")
	return func(v *state.View) (any, error) { return clusterIn(v, name) }, err
}

func clusterIn(v *state.View, name wire.ClusterName) (*wire.Cluster, error) {
	row, found := v.Cluster(name)
	if !found {
		return nil, wire.Errorf(wire.CodeNotFound, "cluster %q is unknown", name)
	}
	return row, nil
}

func (s *Server) v1CreateCluster(c *gin.Context, in *wire.CreateCluster) (reply, error) {
	list, err := s.createClusters(c, []wire.ClusterName{in.Name}, in.ClusterSpec, in.Metadata)
	if err != nil {
		return reply{}, err
	}
	return created(list[0])
}

func (s *Server) v1UpdateCluster(c *gin.Context, in *wire.UpdateCluster) (reply, error) {
	name, err := pathName[wire.ClusterName](c, "name")
	if err != nil {
		return reply{}, err
	}
	row, err := s.updateCluster(c, state.UpdateCluster{Name: name, UpdateCluster: *in})
	return reply{body: row}, err
}

func (s *Server) v1RemoveCluster(c *gin.Context) (reply, error) {
	p, cancel, err := s.pauseOf(c)
	if err != nil {
		return reply{}, err
	}
	defer cancel()
	name := wire.ClusterName(c.Param("name"))
	res, index, err := s.removeCluster(c, name)
	if err != nil {
		return reply{}, err
	}
	_, err = s.awaitGone(p, name, index)
	return reply{body: res}, err
}

func (s *Server) v1Topology(c *gin.Context) (reply, error) {
	name, err := pathName[wire.ClusterName](c, "name")
	if err != nil {
		return reply{}, err
	}
	v := s.cfg.Store.View()
	if _, err := clusterIn(v, name); err != nil {
		return reply{}, err
	}
	topology, err := s.topology(c.Request.Context(), v, name)
	return reply{body: topology}, err
}

func (s *Server) v1SyncCluster(c *gin.Context) (reply, error) {
	name, err := pathName[wire.ClusterName](c, "name")
	if err != nil {
		return reply{}, err
	}
	row, err := s.syncCluster(c, name)
	return reply{body: row}, err
}

// syncCluster brings the stored state of a cluster in line with what runs.
func (s *Server) syncCluster(c *gin.Context, name wire.ClusterName) (*wire.Cluster, error) {
	if err := s.synchronizeCluster(c, name); err != nil {
		return nil, err
	}
	return clusterIn(s.cfg.Store.View(), name)
}

// syncBody is the body of POST /v1/sync.
type syncBody struct {
	Adopt bool `json:"adopt"`
}

// syncResult is its answer: what was found in the deployment.
type syncResult struct {
	Clusters []wire.ClusterName `json:"clusters"`
}

func (s *Server) v1Sync(c *gin.Context, in *syncBody) (reply, error) {
	found, err := s.synchronize(c, in.Adopt)
	return reply{body: syncResult{emptyNotNull(found)}}, err
}

// rowsOf copies rows of the store into a list that is never null.
func rowsOf[T any](rows []*T) []T {
	list := make([]T, len(rows))
	for i, r := range rows {
		list[i] = *r
	}
	return list
}

func emptyNotNull[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
