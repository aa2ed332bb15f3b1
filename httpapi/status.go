package httpapi

import (
	"fmt"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

func (s *Server) health(*gin.Context) (reply, error) { return ok(wire.HealthReport{Status: "ok"}) }

func (s *Server) ready(*gin.Context) (reply, error) {
	if s.stopping.Err() != nil {
		return reply{}, wire.Errorf(wire.CodeUnavailable, "the agent is stopping")
	}
	if err := s.cfg.Ready(); err != nil {
		return reply{}, wire.Errorf(wire.CodeUnavailable, "not ready: %v", err)
	}
	return ok(wire.HealthReport{Status: "ready"})
}

func (s *Server) metricsPage() handler {
	page := promhttp.HandlerFor(s.cfg.Gatherer, promhttp.HandlerOpts{})
	return func(c *gin.Context) (reply, error) {
		page.ServeHTTP(c.Writer, c.Request)
		return reply{written: true}, nil
	}
}

func (s *Server) v1Status(c *gin.Context) (reply, error) {
	v := s.cfg.Store.View()
	members := emptyNotNull(s.cfg.Members())
	setIndex(c, v.Index())
	return ok(wire.Status{
		Node: s.cfg.Node, Version: s.cfg.Version, Driver: s.cfg.Driver,
		Socket: s.cfg.Socket, SocketDir: s.cfg.SocketDir,
		Leader: leaderOf(members), Index: v.Index(), StartedAt: s.cfg.StartedAt,
		Members: members, Clusters: rowsOf(v.Clusters()), Storage: rowsOf(v.PersistentInstances()),
		Sources: v.CountSources(), Mappings: v.CountMappings(),
		Degraded: s.degraded(v, members),
	})
}

func leaderOf(members []wire.Member) wire.NodeName {
	for _, m := range members {
		if m.Leader {
			return m.Name
		}
	}
	return ""
}

// degraded is what this node's actors find wrong, what the owners of other
// nodes' clusters reported, and which agents are gone.
func (s *Server) degraded(v *state.View, members []wire.Member) []string {
	list := emptyNotNull(s.cfg.Sync.Degraded())
	for _, c := range v.Clusters() {
		if c.Status.Owner != s.cfg.Node && c.Status.Phase == wire.PhaseDegraded {
			list = append(list, fmt.Sprintf("cluster %s: %s", c.Name, c.Status.Reason))
		}
	}
	for _, m := range members {
		if !m.Alive {
			list = append(list, fmt.Sprintf("agent %s does not answer", m.Name))
		}
	}
	return list
}

func (s *Server) v1Credentials(c *gin.Context) (reply, error) {
	if !trusted(c.Request) {
		return reply{}, wire.Errorf(wire.CodeForbidden, "only root and the agent's own user may ask, on the agent's unix socket")
	}
	c.Header("Cache-Control", "no-store")
	return ok(wire.Credentials{Password: s.cfg.Password})
}
