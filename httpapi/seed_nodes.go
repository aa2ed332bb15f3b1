package httpapi

import (
	"net"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// The bodies of /nodes; its getFramedbNodes takes a seedTag.
type (
	seedNode struct {
		Node wire.NodeName `json:"nodeName"`
	}

	seedLabel struct {
		Node  wire.NodeName `json:"nodeName"`
		Label wire.NodeTag  `json:"framedbName"`
	}
)

// nodeInfo is one node. The fields down to Name are the first FrameDB's, which
// took them from Kubernetes; those behind are ours.
type nodeInfo struct {
	Labels   map[string]wire.NodeTag `json:"labels"`
	Info     map[string]string       `json:"node_info"`
	Address  string                  `json:"ipv4Address"`
	Hostname string                  `json:"hostname"`
	Name     wire.NodeName           `json:"name"`

	NodeTags []wire.NodeTag `json:"nodeTags"`
	Alive    bool           `json:"alive"`
}

// nodeLabel is the Kubernetes label that carries a node's tag; the first one
// that is configured, when the users set none.
const nodeLabel = "framedb"

func (s *Server) nodeInfoOf(n *wire.Node) nodeInfo {
	host, _, err := net.SplitHostPort(n.Address)
	if err != nil {
		host = n.Address
	}
	info := nodeInfo{
		Labels:  map[string]wire.NodeTag{},
		Info:    map[string]string{"agentVersion": n.Version, "driver": n.Driver},
		Address: host, Hostname: string(n.Name), Name: n.Name,
		NodeTags: n.AllTags(), Alive: s.alive(n.Name),
	}
	switch {
	case n.Label != "":
		info.Labels[nodeLabel] = n.Label
	case len(n.Tags) > 0:
		info.Labels[nodeLabel] = n.Tags[0]
	}
	return info
}

func (s *Server) seedGetNodes(*gin.Context) (reply, error) {
	list := []nodeInfo{}
	for _, n := range s.cfg.Store.View().Nodes() {
		list = append(list, s.nodeInfoOf(n))
	}
	return ok(list)
}

func (s *Server) seedLabelNode(c *gin.Context, in *seedLabel) (reply, error) {
	if err := firstError(check("nodeName", in.Node), check("framedbName", in.Label)); err != nil {
		return reply{}, err
	}
	return s.label(c, in.Node, in.Label)
}

func (s *Server) seedUnlabelNode(c *gin.Context, in *seedNode) (reply, error) {
	if err := check("nodeName", in.Node); err != nil {
		return reply{}, err
	}
	return s.label(c, in.Node, "")
}

func (s *Server) label(c *gin.Context, node wire.NodeName, label wire.NodeTag) (reply, error) {
	row, _, err := propose[wire.Node](s, c, state.LabelNode{Name: node, Label: label})
	return reply{body: s.nodeInfoOf(&row)}, err
}

type podInfo struct {
	Name wire.FrameDBID `json:"pod_name"`
	IP   string         `json:"ip"`
}

func (s *Server) seedGetPods(_ *gin.Context, in *seedNode) (reply, error) {
	if err := check("nodeName", in.Node); err != nil {
		return reply{}, err
	}
	v := s.cfg.Store.View()
	if _, found := v.Node(in.Node); !found {
		return reply{}, wire.InField("nodeName", wire.Errorf(wire.CodeNotFound, "node %q is unknown", in.Node))
	}
	list := []podInfo{}
	for _, i := range v.Instances() {
		if i.Node == in.Node {
			list = append(list, podInfo{i.ID, i.Host})
		}
	}
	return ok(list)
}

// serviceInfo is one cluster as getFramedbNodes lists it.
type serviceInfo struct {
	Cluster      wire.ClusterName `json:"clusterName"`
	Name         string           `json:"svcName"`
	IP           string           `json:"svcIp"`
	SentinelPort int              `json:"sentinelPort"`
	MasterPort   int              `json:"masterPort"`
}

func (s *Server) seedGetFramedbNodes(_ *gin.Context, in *seedTag) (reply, error) {
	v := s.cfg.Store.View()
	if err := checkTag(v, in.NodeTag); err != nil {
		return reply{}, err
	}
	list := []serviceInfo{}
	for _, c := range v.ClustersOnTag(in.NodeTag) {
		e := wire.NodeEntryOf(wire.Mapping{Cluster: c.Name}, rowsOf(v.InstancesOf(c.Name)), s.cfg.Namespace)
		list = append(list, serviceInfo{c.Name, e.ServiceName, e.ServiceIP, e.SentinelPort, e.RedisPort})
	}
	return ok(list)
}

func (s *Server) v1ListNodes(*gin.Context) (look, error) {
	return func(v *state.View) (any, error) { return rowsIn(v.Nodes()), nil }, nil
}

func (s *Server) v1LabelNode(c *gin.Context, in *wire.NodeLabel) (reply, error) {
	name, err := pathName[wire.NodeName](c, "name")
	if err := firstError(err, checkOptional("label", in.Label)); err != nil {
		return reply{}, err
	}
	row, _, err := propose[wire.Node](s, c, state.LabelNode{Name: name, Label: in.Label})
	return reply{body: row}, err
}
