package httpapi

import (
	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

func (s *Server) v1ListIngestions(*gin.Context) (look, error) {
	return func(v *state.View) (any, error) { return rowsIn(v.Ingestions()), nil }, nil
}

func (s *Server) v1GetIngestion(c *gin.Context) (look, error) {
	source, err := pathName[wire.SourceID](c, "source")
	return func(v *state.View) (any, error) {
		row, found := v.Ingestion(source)
		if !found {
			return nil, wire.Errorf(wire.CodeNotFound, "source %q has no ingestion of its own: its frames are taken in by the defaults", source)
		}
		return row, nil
	}, err
}

func (s *Server) v1PutIngestion(c *gin.Context, in *wire.IngestionSpec) (reply, error) {
	source, err := pathName[wire.SourceID](c, "source")
	if err != nil {
		return reply{}, err
	}
	row, _, err := propose[wire.Ingestion](s, c, state.PutIngestion{Source: source, Spec: *in})
	return reply{body: row}, err
}

func (s *Server) v1DeleteIngestion(c *gin.Context) (reply, error) {
	source, err := pathName[wire.SourceID](c, "source")
	if err != nil {
		return reply{}, err
	}
	row, _, err := propose[wire.Ingestion](s, c, state.DeleteIngestion{Source: source})
	return reply{body: row}, err
}
