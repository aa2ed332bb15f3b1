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
		return reply{}, later(wire.CodeUnavailable, "the agent is stopping")
	}
	if err := s.cfg.Ready(); err != nil {
		return reply{}, later(wire.CodeUnavailable, "not ready: %v", err)
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

// briefStatus is a wire.Status without what grows with the deployment.
type briefStatus struct {
	wire.Status
	Clusters *struct{} `json:"clusters,omitempty"`
	Storage  *struct{} `json:"storage,omitempty"`
	Degraded *struct{} `json:"degraded,omitempty"`
}

func (s *Server) v1Status(c *gin.Context) (reply, error) {
	q, err := queryOf(c)
	if err != nil {
		return reply{}, err
	}
	brief, err := parseFlag(q, "brief")
	if err != nil {
		return reply{}, err
	}
	v := s.cfg.Store.View()
	members := emptyNotNull(s.cfg.Members())
	setIndex(c, v.Index())
	status := wire.Status{
		Node: s.cfg.Node, Version: s.cfg.Version, Driver: s.cfg.Driver,
		Socket: s.cfg.Socket, SocketDir: s.cfg.SocketDir,
		Leader: leaderOf(members), Index: v.Index(), StartedAt: s.cfg.StartedAt,
		Members: members, Sources: v.CountSources(), Mappings: v.CountMappings(),
	}
	if brief {
		return ok(briefStatus{Status: status})
	}
	status.Clusters, status.Storage = rowsOf(v.Clusters()), rowsOf(v.PersistentInstances())
	status.Degraded = s.degraded(v, members)
	return ok(status)
}

func leaderOf(members []wire.Member) wire.NodeName {
	for _, m := range members {
		if m.Leader {
			return m.Name
		}
	}
	return ""
}

// degraded is what this node's actors find wrong, what the owners of what other
// nodes own reported, and which agents are gone.
func (s *Server) degraded(v *state.View, members []wire.Member) []string {
	list := emptyNotNull(s.cfg.Sync.Degraded())
	for _, c := range v.Clusters() {
		if c.Status.Owner != s.cfg.Node && c.Status.Phase == wire.PhaseDegraded {
			list = append(list, fmt.Sprintf("cluster %s: %s", c.Name, c.Status.Reason))
		}
	}
	for _, p := range v.PersistentInstances() {
		if p.Status.Owner != s.cfg.Node && p.Status.Phase == wire.PhaseDegraded {
			list = append(list, fmt.Sprintf("persistent FrameDB %s: %s", p.ID, p.Status.Reason))
		}
	}
	for _, m := range members {
		if !m.Alive {
			list = append(list, fmt.Sprintf("agent %s does not answer", m.Name))
		}
	}
	return list
}
