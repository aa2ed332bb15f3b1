package httpapi

import (
	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// defaultPage is how much a page holds when ?limit= does not say.
const defaultPage = 1000

func (s *Server) v1ListSources(c *gin.Context) (look, error) {
	q, err := queryOf(c)
	if err != nil {
		return nil, err
	}
	limit, err := parseUint(q, "limit", defaultPage, 1, wire.MaxPage)
	if err != nil {
		return nil, err
	}
	prefix, after := q.Get("prefix"), wire.SourceID(q.Get("after"))
	return func(v *state.View) (any, error) {
		ids := v.SourcesAfter(prefix, after, int(limit))
		return rows(func(yield func(any) bool) {
			for _, id := range ids {
				if !yield(wire.Source{Source: id, Mappings: rowsOf(v.MappingsOf(id))}) {
					return
				}
			}
		}), nil
	}, nil
}

func (s *Server) v1GetSource(c *gin.Context) (look, error) {
	source, err := pathName[wire.SourceID](c, "source")
	return func(v *state.View) (any, error) {
		mappings, err := mappingsOf(v, source)
		if err != nil {
			return nil, err
		}
		res := wire.SourceRoutes{Source: source, Routes: make([]wire.Route, len(mappings))}
		for i, m := range mappings {
			res.Routes[i] = wire.Route{Mapping: *m, Members: s.localSockets(v.InstancesOf(m.Cluster))}
		}
		return res, nil
	}, err
}

func mappingsOf(v *state.View, source wire.SourceID) ([]*wire.Mapping, error) {
	list := v.MappingsOf(source)
	if len(list) == 0 {
		return nil, wire.Errorf(wire.CodeNotFound, "source %q is not mapped", source)
	}
	return list, nil
}

// localSockets copies the members and leaves out the sockets of other nodes:
// the same path here would be another member's.
func (s *Server) localSockets(members []*wire.Instance) []wire.Instance {
	list := rowsOf(members)
	for i := range list {
		if list[i].Node != s.cfg.Node {
			list[i].Socket = ""
		}
	}
	return list
}

func (s *Server) v1CreateMapping(c *gin.Context, in *wire.CreateMapping) (reply, error) {
	source, err := pathName[wire.SourceID](c, "source")
	if err := firstError(err, check("node_tag", in.NodeTag), checkOptional("cluster", in.Cluster)); err != nil {
		return reply{}, err
	}
	row, err := s.proposeMapping(c, state.CreateMapping{Source: source, NodeTag: in.NodeTag, Cluster: in.Cluster, Metadata: in.Metadata})
	if err != nil {
		return reply{}, err
	}
	return created(row)
}

func (s *Server) v1UpdateMapping(c *gin.Context, in *wire.UpdateMapping) (reply, error) {
	source, err1 := pathName[wire.SourceID](c, "source")
	tag, err2 := pathName[wire.NodeTag](c, "tag")
	if err := firstError(err1, err2, checkOptional("cluster", in.Cluster)); err != nil {
		return reply{}, err
	}
	var cmd state.Command
	switch {
	case in.Cluster != "" && in.Metadata != nil:
		return reply{}, wire.InField("metadata", wire.Errorf(wire.CodeInvalidArgument, "give a cluster or metadata, not both"))
	case in.Cluster != "":
		cmd = state.ReassignSource{Source: source, NodeTag: tag, Cluster: in.Cluster}
	case in.Metadata != nil:
		cmd = state.UpdateMetadata{Source: source, NodeTag: tag, Metadata: in.Metadata}
	default:
		return reply{}, wire.InField("cluster", wire.Errorf(wire.CodeMissingField, "give a cluster to move to, or metadata"))
	}
	row, err := s.proposeMapping(c, cmd)
	return reply{body: row}, err
}

func (s *Server) v1RemoveMapping(c *gin.Context) (reply, error) {
	source, err1 := pathName[wire.SourceID](c, "source")
	tag, err2 := pathName[wire.NodeTag](c, "tag")
	if err := firstError(err1, err2); err != nil {
		return reply{}, err
	}
	row, err := s.proposeMapping(c, state.RemoveMapping{Source: source, NodeTag: tag})
	return reply{body: row}, err
}
