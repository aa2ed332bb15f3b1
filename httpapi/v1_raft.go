package httpapi

import (
	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

func (s *Server) v1Raft(*gin.Context) (reply, error) { return ok(s.cfg.Raft.RaftStatus()) }

// v1TransferLeadership answers once the new leader is known.
func (s *Server) v1TransferLeadership(c *gin.Context, in *wire.TransferLeadership) (reply, error) {
	if err := checkOptional("to", in.To); err != nil {
		return reply{}, err
	}
	if err := s.cfg.Raft.TransferLeadership(c.Request.Context(), in.To); err != nil {
		return reply{}, err
	}
	return s.v1Raft(c)
}

// v1DrainNode has a node take no further work. Raft's leader sees to the rest.
func (s *Server) v1DrainNode(c *gin.Context, in *wire.DrainNode) (reply, error) {
	name, err := pathName[wire.NodeName](c, "name")
	if err != nil {
		return reply{}, err
	}
	row, _, err := propose[wire.Node](s, c, state.DrainNode{Name: name, Draining: in.Draining})
	return reply{body: row}, err
}

// v1RemoveNode forgets an agent that is gone for good, in Raft and in the
// store.
func (s *Server) v1RemoveNode(c *gin.Context) (reply, error) {
	name, err := pathName[wire.NodeName](c, "name")
	if err != nil {
		return reply{}, err
	}
	row, found := s.cfg.Store.View().Node(name)
	if !found {
		return reply{}, wire.Errorf(wire.CodeNotFound, "node %q is unknown", name)
	}
	if s.alive(name) {
		return reply{}, wire.Errorf(wire.CodeConflict, "node %q is alive: end its agent first", name)
	}
	node := *row
	if _, _, err := propose[struct{}](s, c, state.RemoveNode{Name: name}); err != nil {
		return reply{}, err
	}
	return reply{body: node}, s.cfg.Raft.Forget(c.Request.Context(), name)
}
