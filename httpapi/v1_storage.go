package httpapi

import (
	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

func (s *Server) v1ListStorage(*gin.Context) (look, error) {
	return func(v *state.View) (any, error) { return rowsIn(v.PersistentInstances()), nil }, nil
}

func (s *Server) v1GetStorage(c *gin.Context) (look, error) {
	id, err := pathName[wire.FrameDBID](c, "framedb_id")
	return func(v *state.View) (any, error) { return persistentIn(v, id) }, err
}

func (s *Server) v1CreateStorage(c *gin.Context, in *wire.CreateStorage) (reply, error) {
	row, err := s.createStorage(c, *in)
	if err != nil {
		return reply{}, err
	}
	return created(row)
}

func (s *Server) v1UpdateStorage(c *gin.Context, in *wire.UpdateStorage) (reply, error) {
	id, err := pathName[wire.FrameDBID](c, "framedb_id")
	if err != nil {
		return reply{}, err
	}
	row, err := s.updateStorage(c, id, *in)
	return reply{body: row}, err
}

func (s *Server) v1RemoveStorage(c *gin.Context) (reply, error) {
	id, err := pathName[wire.FrameDBID](c, "framedb_id")
	if err != nil {
		return reply{}, err
	}
	row, _, err := s.removeStorage(c, id)
	return reply{body: row}, err
}
